/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Drops, each with its reason, and what passed. */
#pragma once

#include <linux/pkt_cls.h>

#include "maps.h"

/* For judgements that return a reason. */
#define NOT_DROPPED DROP_REASONS

static __always_inline int drop(struct counters *row, enum drop_reason reason)
{
	if (row)
		row->drops[reason]++;
	return TC_ACT_SHOT;
}

/* For whoever has not needed the row so far: a lookup is a large part of what a small frame costs. */
static __always_inline int drop_from(__u32 ifindex, enum drop_reason reason)
{
	return drop(bpf_map_lookup_elem(&counters, &ifindex), reason);
}

static __always_inline void count_sent(struct counters *row, __u32 octets)
{
	if (row) {
		row->sent_frames++;
		row->sent_octets += octets;
	}
}

static __always_inline void count_received(__u32 ifindex, struct __sk_buff *skb)
{
	struct counters *row = bpf_map_lookup_elem(&counters, &ifindex);

	if (row) {
		row->received_frames++;
		row->received_octets += skb->len;
	}
}
