/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What from_port refuses for what it says, judged once more where it comes from another host. A guest, and an
 * instance with CAP_NET_RAW, say with a frame where in it a checksum goes; the sending host's kernel writes that
 * after from_port, which cannot see the place. Those two octets make another frame of it: one of a DHCP server.
 */
#pragma once

#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>

#include "arp.h"
#include "count.h"
#include "dhcp.h"
#include "octets.h"

#define VLAN_ID 0x0fff

/*
 * Whether the frame belongs to a segment that instances have made within the network. The outermost tag
 * is not in the frame any more, and ID 0 is none: the receiver takes the frame as untagged (802.1Q 9.6).
 */
static __always_inline bool in_vlan(struct __sk_buff *skb)
{
	return skb->vlan_present && skb->vlan_tci & VLAN_ID;
}

/* Whether what might be IP or ARP is behind an LLC and SNAP header (RFC 1042), which some hosts take. */
static __always_inline bool is_encapsulated(struct __sk_buff *skb, __u32 payload_at, __be16 protocol)
{
	const __u8 snap[6] = { 0xaa, 0xaa, 0x03, 0x00, 0x00, 0x00 };
	__u8 header[6];

	return bpf_ntohs(protocol) < ETH_P_802_3_MIN && !bpf_skb_load_bytes(skb, payload_at, header, sizeof(header)) &&
	       same(header, snap, sizeof(snap));
}

/* Whether it is behind that or a second tag, below which nothing could be checked. */
static __always_inline bool is_hidden(struct __sk_buff *skb, __u32 payload_at, __be16 protocol)
{
	return protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD) ||
	       is_encapsulated(skb, payload_at, protocol);
}

/* What is not known to be unmanaged is taken for managed. */
static __always_inline bool is_managed(__u32 vni)
{
	struct network *network = bpf_map_lookup_elem(&networks, &vni);

	return !network || network->managed;
}

/*
 * Why a frame of another host is refused for what it says, and NOT_DROPPED if it is not. The network is looked up
 * for those alone that a managed one refuses: a lookup is a large part of what a small frame costs. No DHCP crosses
 * from host to host in a managed network, since the agents have it all.
 */
static __always_inline enum drop_reason arrival_refusal(struct __sk_buff *skb, __u32 payload_at,
							const struct ethhdr *ethernet, __u32 vni)
{
	const __be16 protocol = ethernet->h_proto;
	enum drop_reason reason;

	if (protocol == bpf_htons(ETH_P_IP)) {
		if (dhcp_side(skb, payload_at) == NOT_DHCP)
			return NOT_DROPPED;
		reason = DROP_ROGUE_DHCP;
	} else if (protocol == bpf_htons(ETH_P_ARP)) {
		struct arp_ipv4 arp;

		return arp_refusal(skb, payload_at, ethernet->h_source, &arp);
	} else {
		if (!is_hidden(skb, payload_at, protocol))
			return NOT_DROPPED;
		reason = DROP_TAGGED;
	}
	return in_vlan(skb) || !is_managed(vni) ? NOT_DROPPED : reason;
}
