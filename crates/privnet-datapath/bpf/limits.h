/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How much one port may cost its host and the agent, so that none slows the others down.
 *
 * A budget is a token bucket, kept as one number: when all that was spent so far will have been earned
 * again. Whoever is ahead of that by more than a burst has to wait. A frame that costs more than a burst
 * passes when nothing is owed.
 */
#pragma once

#include "maps.h"

#define MILLISECOND_NS 1000000ULL
#define SECOND_NS (1000 * MILLISECOND_NS)

/* A quarter of a second's worth of copies: a large picture of a multicast video, or a host's start. */
#define BUM_BURST_NS (250 * MILLISECOND_NS)

/* A client that has its lease asks twice an hour, one that starts sends two requests and retries them. */
#define DHCP_REQUEST_NS (250 * MILLISECOND_NS)
#define DHCP_BURST_NS (5 * SECOND_NS)

/* One destination's answer is remembered for minutes. */
#define ICMP_REPLY_NS (10 * MILLISECOND_NS)
#define ICMP_BURST_NS (1 * SECOND_NS)

/* Set when the programs are loaded; 0: no limit. */
const volatile __u64 bum_copy_ns = 0;

enum budget_kind {
	BUDGET_PORT_BUM, /* of a port, by its device's index */
	BUDGET_PORT_DHCP,
	BUDGET_NETWORK_BUM, /* of all that the overlay brings into a network, by VNI */
	BUDGET_PORT_ICMP,
};

struct budget_key {
	__u32 owner;
	__u32 kind;
};

/*
 * Not pinned, since a budget that is forgotten is a full one, and no agent has to remove any. Only this
 * host's ports and networks have any, so that nobody can push out others'.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct budget_key);
	__type(value, __u64);
} budgets SEC(".maps");

/* Spends from a budget, unless too much is owed. Processors that spend at the same time may spend a little more. */
static __always_inline bool spend(__u32 owner, enum budget_kind kind, __u64 cost_ns, __u64 burst_ns)
{
	struct budget_key key = { .owner = owner, .kind = kind };
	__u64 *earned_at = bpf_map_lookup_elem(&budgets, &key);
	__u64 now = bpf_ktime_get_ns();

	if (!earned_at) {
		now += cost_ns;
		bpf_map_update_elem(&budgets, &key, &now, BPF_ANY);
		return true;
	}
	if (*earned_at < now)
		*earned_at = now;
	else if (*earned_at - now > burst_ns)
		return false;
	__sync_fetch_and_add(earned_at, cost_ns);
	return true;
}

/* Counted in copies, not in frames: they are what a frame to all of a network costs. */
static __always_inline bool may_flood(__u32 owner, enum budget_kind kind, __u32 copies)
{
	return !bum_copy_ns || spend(owner, kind, copies * bum_copy_ns, BUM_BURST_NS);
}

static __always_inline bool may_ask_agent(__u32 ifindex)
{
	return spend(ifindex, BUDGET_PORT_DHCP, DHCP_REQUEST_NS, DHCP_BURST_NS);
}

static __always_inline bool may_be_answered(__u32 ifindex)
{
	return spend(ifindex, BUDGET_PORT_ICMP, ICMP_REPLY_NS, ICMP_BURST_NS);
}
