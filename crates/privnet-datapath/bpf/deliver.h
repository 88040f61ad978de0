/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where a frame goes: a port of this host, another host, or all that a network has. */
#pragma once

#include <linux/if_packet.h>

#include "count.h"

#define TUNNEL_TTL 64

/* Set when the programs are loaded. */
/* This host's own, as struct bpf_tunnel_key has it: one of the two, and 0 for the other. */
const volatile __u32 local_vtep_ipv4 = 0; /* the host's byte order */
const volatile __u32 local_vtep_ipv6[4] = {};
/* Set before they are attached, and again when one of the devices has been made anew. */
volatile struct {
	__u32 overlay; /* leads to other hosts by the offload lane */
	__u32 route; /* routes are looked up as if from there; 0: no fast lane */
} devices;

static __always_inline bool set_tunnel(struct __sk_buff *skb, __u32 vni, const __u8 *vtep)
{
	struct bpf_tunnel_key key = { .tunnel_id = vni, .tunnel_ttl = TUNNEL_TTL };
	__u64 flags = BPF_F_ZERO_CSUM_TX;

	if (local_vtep_ipv4) {
		key.remote_ipv4 = (__u32)vtep[12] << 24 | (__u32)vtep[13] << 16 | (__u32)vtep[14] << 8 | vtep[15];
		key.local_ipv4 = local_vtep_ipv4;
	} else {
		__builtin_memcpy(key.remote_ipv6, vtep, sizeof(key.remote_ipv6));
		for (int i = 0; i < 4; i++)
			key.local_ipv6[i] = local_vtep_ipv6[i];
		flags |= BPF_F_TUNINFO_IPV6;
	}
	return !bpf_skb_set_tunnel_key(skb, &key, sizeof(key), flags);
}

/* Writes an IPv4 address, in the host's byte order, as the maps have it. */
static __always_inline void set_ipv4(__u8 *vtep, __u32 address)
{
	vtep[10] = vtep[11] = 0xff;
	vtep[12] = address >> 24;
	vtep[13] = address >> 16;
	vtep[14] = address >> 8;
	vtep[15] = address;
}

/* Which host sent a frame that came by the overlay device, and in which network. */
static __always_inline bool get_tunnel(struct __sk_buff *skb, struct vtep_key *source)
{
	struct bpf_tunnel_key key = {};

	if (!bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0)) {
		set_ipv4(source->address, key.remote_ipv4);
	} else if (!bpf_skb_get_tunnel_key(skb, &key, sizeof(key), BPF_F_TUNINFO_IPV6)) {
		__builtin_memcpy(source->address, key.remote_ipv6, sizeof(source->address));
	} else {
		return false;
	}
	source->vni = key.tunnel_id;
	return true;
}

static __always_inline struct port *open_port(__u32 ifindex, __u32 vni)
{
	struct port *port = bpf_map_lookup_elem(&ports, &ifindex);

	return port && port->open && port->vni == vni ? port : NULL;
}

/* Hands the frame to one of this host's ports. `from` is the sender's device, or the overlay's row. */
static __always_inline int to_port(struct __sk_buff *skb, __u32 ifindex, __u32 vni, __u32 from)
{
	struct port *port = open_port(ifindex, vni);

	if (!port)
		return drop_from(from, DROP_TARGET_CLOSED);
	count_received(ifindex, skb);
	if (port->kind == PORT_TAP)
		return bpf_redirect(ifindex, 0);
	/* A frame that was not addressed to the device that it came in by would be dropped for that by its new owner. */
	if (skb->pkt_type != PACKET_HOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	return bpf_redirect_peer(ifindex, 0);
}

struct flood {
	struct __sk_buff *skb;
	__u32 vni;
	__u32 from; /* the sender's device, which gets no copy */
};

static long flood_to_port(__u32 slot, struct flood *flood)
{
	struct member_key key = { .vni = flood->vni, .slot = slot };
	__u32 *ifindex = bpf_map_lookup_elem(&local_members, &key);

	if (!ifindex || *ifindex == flood->from || !open_port(*ifindex, flood->vni))
		return 0;
	count_received(*ifindex, flood->skb);
	bpf_clone_redirect(flood->skb, *ifindex, 0);
	return 0;
}

static long flood_to_vtep(__u32 slot, struct flood *flood)
{
	struct member_key key = { .vni = flood->vni, .slot = slot };
	struct remote_member *member = bpf_map_lookup_elem(&remote_members, &key);

	if (member && set_tunnel(flood->skb, flood->vni, member->vtep))
		bpf_clone_redirect(flood->skb, devices.overlay, 0);
	return 0;
}
