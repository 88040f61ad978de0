/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* DHCP goes to the agent; instances are no servers of a managed network. */
#pragma once

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>

#include "count.h"
#include "limits.h"
#include "octets.h"

#define DHCP_SERVER_PORT 67
#define IP_FRAGMENT_OFFSET 0x1fff

enum dhcp_side {
	NOT_DHCP,
	DHCP_TO_SERVER,
	DHCP_FROM_SERVER,
};

/* Of an IPv4 packet, by its UDP ports. It is looked at where it is, unless that is in several pieces. */
static __always_inline enum dhcp_side dhcp_side(struct __sk_buff *skb, __u32 packet_at)
{
	const struct iphdr *ip = (void *)(long)skb->data + packet_at;
	__be16 udp_ports[2];
	struct iphdr copy;

	if ((void *)(ip + 1) > (void *)(long)skb->data_end) {
		if (bpf_skb_load_bytes(skb, packet_at, &copy, sizeof(copy)))
			return NOT_DHCP;
		ip = &copy;
	}
	if (ip->protocol != IPPROTO_UDP || ip->frag_off & bpf_htons(IP_FRAGMENT_OFFSET))
		return NOT_DHCP;
	if (!load(skb, packet_at + ip->ihl * 4, udp_ports, sizeof(udp_ports)))
		return NOT_DHCP;
	if (udp_ports[1] == bpf_htons(DHCP_SERVER_PORT))
		return DHCP_TO_SERVER;
	return udp_ports[0] == bpf_htons(DHCP_SERVER_PORT) ? DHCP_FROM_SERVER : NOT_DHCP;
}

static __always_inline int ask_agent(struct __sk_buff *skb, struct port *port, struct counters *row)
{
	__u32 octets = skb->len;
	struct dhcp_request *request;

	if (octets < ETH_HLEN)
		return drop(row, DROP_TOO_SHORT);
	if (octets > DHCP_FRAME_OCTETS_MAX)
		return drop(row, DROP_TOO_BIG);
	if (!may_ask_agent(skb->ifindex))
		return drop(row, DROP_DHCP_LIMIT);
	request = bpf_ringbuf_reserve(&dhcp_requests, sizeof(*request), 0);
	if (!request)
		return drop(row, DROP_DHCP_QUEUE_FULL);
	request->vni = port->vni;
	__builtin_memcpy(request->mac, port->mac, ETH_ALEN);
	request->octets = octets;
	if (bpf_skb_load_bytes(skb, 0, request->frame, octets)) {
		bpf_ringbuf_discard(request, 0);
		return drop(row, DROP_TOO_SHORT);
	}
	bpf_ringbuf_submit(request, 0);
	if (row)
		row->dhcp_requests++;
	return TC_ACT_SHOT;
}
