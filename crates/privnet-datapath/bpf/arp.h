/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ARP (RFC 826), answered from what the network knows. */
#pragma once

#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>

#include "count.h"
#include "octets.h"

/* <linux/if_arp.h> needs a C library. */
#define ARPOP_REQUEST 1
#define ARPOP_REPLY 2

struct arp_ipv4 {
	struct {
		__be16 ar_hrd;
		__be16 ar_pro;
		__u8 ar_hln;
		__u8 ar_pln;
		__be16 ar_op;
	} header;
	__u8 sender_mac[ETH_ALEN];
	__u8 sender_address[4];
	__u8 target_mac[ETH_ALEN];
	__u8 target_address[4];
} __attribute__((packed));

/* Why a station may not say that; reads the packet. */
static __always_inline enum drop_reason arp_refusal(struct __sk_buff *skb, __u32 packet_at, const __u8 *station,
						    struct arp_ipv4 *arp)
{
	if (bpf_skb_load_bytes(skb, packet_at, arp, sizeof(*arp)))
		return DROP_TOO_SHORT;
	if (arp->header.ar_hln != ETH_ALEN || !same(arp->sender_mac, station, ETH_ALEN))
		return DROP_SPOOFED_ARP;
	return NOT_DROPPED;
}

/*
 * The MAC address that a request is answered with, if it is for an address that the network knows.
 * Probes, announcements and questions about one's own address are for the others to hear (RFC 5227).
 */
static __always_inline struct neighbor *known_answer(struct arp_ipv4 *arp, struct port *port)
{
	const __u8 nobody[4] = {};
	struct neighbor_key key = { .vni = port->vni };
	struct neighbor *neighbor;

	if (arp->header.ar_op != bpf_htons(ARPOP_REQUEST) || arp->header.ar_pro != bpf_htons(ETH_P_IP) ||
	    arp->header.ar_pln != 4 || same(arp->sender_address, nobody, 4) ||
	    same(arp->sender_address, arp->target_address, 4))
		return NULL;
	__builtin_memcpy(key.address, arp->target_address, 4);
	neighbor = bpf_map_lookup_elem(&neighbors, &key);
	return neighbor && !same(neighbor->mac, port->mac, ETH_ALEN) ? neighbor : NULL;
}

/* Turns the request into its answer and sends it back. */
static __always_inline int answer_arp(struct __sk_buff *skb, struct arp_ipv4 *arp, struct port *port,
				      struct neighbor *neighbor, struct counters *row)
{
	struct ethhdr ethernet = { .h_proto = bpf_htons(ETH_P_ARP) };
	struct arp_ipv4 reply = { .header = arp->header };

	reply.header.ar_op = bpf_htons(ARPOP_REPLY);
	__builtin_memcpy(reply.sender_mac, neighbor->mac, ETH_ALEN);
	__builtin_memcpy(reply.sender_address, arp->target_address, 4);
	__builtin_memcpy(reply.target_mac, port->mac, ETH_ALEN);
	__builtin_memcpy(reply.target_address, arp->sender_address, 4);
	__builtin_memcpy(ethernet.h_dest, port->mac, ETH_ALEN);
	__builtin_memcpy(ethernet.h_source, neighbor->mac, ETH_ALEN);
	/* Not through packet pointers: the verifier would have the program copy every shared frame's head first. */
	if (bpf_skb_store_bytes(skb, 0, &ethernet, sizeof(ethernet), 0) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN, &reply, sizeof(reply), 0))
		return drop(row, DROP_TOO_SHORT);
	count_sent(row, skb->len);
	if (row) {
		row->arp_replies++;
		row->received_frames++;
		row->received_octets += skb->len;
	}
	return bpf_redirect(skb->ifindex, 0);
}
