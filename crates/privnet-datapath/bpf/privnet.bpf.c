// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * from_port, on the ingress of each port's host side, and from_overlay, on the ingress of the vxlan
 * device. Every frame is redirected or dropped with a counted reason: the host's stack sees none.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"

#define DHCP_SERVER_PORT 67
#define IP_FRAGMENT_OFFSET 0x1fff
#define TUNNEL_TTL 64
#define VLAN_ID 0x0fff
#define OVERLAY_ROW 0

char _license[] SEC("license") = "Dual BSD/GPL";

/* Set when the programs are loaded. */
const volatile __u32 local_vtep_ipv4 = 0; /* the host's byte order, as in struct bpf_tunnel_key */
/* Set before they are attached, and again when that device has been made anew. */
volatile __u32 overlay_ifindex;

/* RFC 826. <linux/if_arp.h> needs a C library. */
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

static __always_inline bool same(const __u8 *a, const __u8 *b, int octets)
{
	__u8 difference = 0;

	for (int i = 0; i < octets; i++)
		difference |= a[i] ^ b[i];
	return !difference;
}

static __always_inline bool is_group(const __u8 *mac)
{
	return mac[0] & 1;
}

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

static __always_inline void count_sent(struct counters *row, struct __sk_buff *skb)
{
	if (row) {
		row->sent_frames++;
		row->sent_octets += skb->len;
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

static __always_inline bool set_tunnel(struct __sk_buff *skb, __u32 vni, const __u8 *vtep)
{
	struct bpf_tunnel_key key = {
		.tunnel_id = vni,
		.tunnel_ttl = TUNNEL_TTL,
		.remote_ipv4 = (__u32)vtep[12] << 24 | (__u32)vtep[13] << 16 | (__u32)vtep[14] << 8 | vtep[15],
		.local_ipv4 = local_vtep_ipv4,
	};

	return !bpf_skb_set_tunnel_key(skb, &key, sizeof(key), BPF_F_ZERO_CSUM_TX);
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
	/* The frame was not addressed to the device that it came in by, and its new owner would drop it for that. */
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
		bpf_clone_redirect(flood->skb, overlay_ifindex, 0);
	return 0;
}

/* ---- from_port ---- */

/*
 * Whether the frame belongs to a segment that instances have made within the network. The outermost tag
 * is not in the frame any more, and ID 0 is none: the receiver takes the frame as untagged (802.1Q 9.6).
 */
static __always_inline bool in_vlan(struct __sk_buff *skb)
{
	return skb->vlan_present && skb->vlan_tci & VLAN_ID;
}

enum dhcp_side {
	NOT_DHCP,
	DHCP_TO_SERVER,
	DHCP_FROM_SERVER,
};

static __always_inline enum dhcp_side dhcp_side(struct __sk_buff *skb)
{
	__be16 udp_ports[2];
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
		return NOT_DHCP;
	if (ip.protocol != IPPROTO_UDP || ip.frag_off & bpf_htons(IP_FRAGMENT_OFFSET))
		return NOT_DHCP;
	if (bpf_skb_load_bytes(skb, ETH_HLEN + ip.ihl * 4, udp_ports, sizeof(udp_ports)))
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
	count_sent(row, skb);
	if (row) {
		row->arp_replies++;
		row->received_frames++;
		row->received_octets += skb->len;
	}
	return bpf_redirect(skb->ifindex, 0);
}

/* A frame that will be cut into segments is judged by those; the device has the network's MTU. */
static __always_inline bool too_big(struct __sk_buff *skb, __u32 mtu)
{
	__u32 octets = 0;

	if (skb->gso_size)
		return bpf_check_mtu(skb, 0, &octets, 0, BPF_MTU_CHK_SEGS);
	return skb->len > mtu + ETH_HLEN;
}

SEC("classifier")
int from_port(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex;
	struct counters *row = bpf_map_lookup_elem(&counters, &ifindex);
	struct port *port = bpf_map_lookup_elem(&ports, &ifindex);
	struct network *network;
	struct fdb_key key = {};
	struct fdb_target *target;
	struct ethhdr ethernet;
	__be16 protocol;

	if (!port || !port->open)
		return drop(row, DROP_CLOSED);
	network = bpf_map_lookup_elem(&networks, &port->vni);
	if (!network)
		return drop(row, DROP_CLOSED);

	if (bpf_skb_load_bytes(skb, 0, &ethernet, sizeof(ethernet)))
		return drop(row, DROP_TOO_SHORT);
	if (!same(ethernet.h_source, port->mac, ETH_ALEN))
		return drop(row, DROP_SPOOFED_MAC);
	protocol = ethernet.h_proto;
	key.vni = port->vni;
	__builtin_memcpy(key.mac, ethernet.h_dest, ETH_ALEN);

	if (network->managed && !in_vlan(skb)) {
		/* A second tag, below which nothing could be checked. */
		if (protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD))
			return drop(row, DROP_TAGGED);
		if (protocol == bpf_htons(ETH_P_IP)) {
			switch (dhcp_side(skb)) {
			case DHCP_TO_SERVER:
				return ask_agent(skb, port, row);
			case DHCP_FROM_SERVER:
				return drop(row, DROP_ROGUE_DHCP);
			case NOT_DHCP:
				break;
			}
		}
	}

	if (protocol == bpf_htons(ETH_P_ARP)) {
		struct arp_ipv4 arp;
		struct neighbor *neighbor;

		if (bpf_skb_load_bytes(skb, ETH_HLEN, &arp, sizeof(arp)))
			return drop(row, DROP_TOO_SHORT);
		if (arp.header.ar_hln != ETH_ALEN || !same(arp.sender_mac, port->mac, ETH_ALEN))
			return drop(row, DROP_SPOOFED_ARP);
		neighbor = in_vlan(skb) ? NULL : known_answer(&arp, port);
		if (neighbor)
			return answer_arp(skb, &arp, port, neighbor, row);
	}

	if (too_big(skb, network->mtu))
		return drop(row, DROP_TOO_BIG);

	if (is_group(key.mac)) {
		struct flood flood = { .skb = skb, .vni = port->vni, .from = ifindex };

		count_sent(row, skb);
		bpf_loop(network->local_members, flood_to_port, &flood, 0);
		bpf_loop(network->remote_members, flood_to_vtep, &flood, 0);
		return TC_ACT_SHOT;
	}

	target = bpf_map_lookup_elem(&fdb, &key);
	if (!target || target->ifindex == ifindex)
		return drop(row, DROP_UNKNOWN_UNICAST);
	if (target->ifindex) {
		int verdict = to_port(skb, target->ifindex, key.vni, ifindex);

		if (verdict != TC_ACT_SHOT)
			count_sent(row, skb);
		return verdict;
	}
	if (!set_tunnel(skb, key.vni, target->vtep))
		return drop(row, DROP_NO_TUNNEL);
	count_sent(row, skb);
	return bpf_redirect(overlay_ifindex, 0);
}

/* ---- from_overlay ---- */

SEC("classifier")
int from_overlay(struct __sk_buff *skb)
{
	struct bpf_tunnel_key tunnel = {};
	struct vtep_key source = { .address = { [10] = 0xff, [11] = 0xff } };
	struct fdb_key key = {};
	struct fdb_target *target;
	struct network *network;
	struct ethhdr ethernet;

	if (bpf_skb_get_tunnel_key(skb, &tunnel, sizeof(tunnel), 0))
		return drop_from(OVERLAY_ROW, DROP_NO_TUNNEL);
	source.vni = tunnel.tunnel_id;
	source.address[12] = tunnel.remote_ipv4 >> 24;
	source.address[13] = tunnel.remote_ipv4 >> 16;
	source.address[14] = tunnel.remote_ipv4 >> 8;
	source.address[15] = tunnel.remote_ipv4;
	if (!bpf_map_lookup_elem(&vteps, &source))
		return drop_from(OVERLAY_ROW, DROP_UNKNOWN_VTEP);

	if (bpf_skb_load_bytes(skb, 0, &ethernet, sizeof(ethernet)))
		return drop_from(OVERLAY_ROW, DROP_TOO_SHORT);
	key.vni = source.vni;
	__builtin_memcpy(key.mac, ethernet.h_dest, ETH_ALEN);

	if (is_group(key.mac)) {
		struct flood flood = { .skb = skb, .vni = key.vni };

		network = bpf_map_lookup_elem(&networks, &key.vni);
		if (!network)
			return drop_from(OVERLAY_ROW, DROP_CLOSED);
		bpf_loop(network->local_members, flood_to_port, &flood, 0);
		return TC_ACT_SHOT;
	}

	target = bpf_map_lookup_elem(&fdb, &key);
	if (!target || !target->ifindex)
		return drop_from(OVERLAY_ROW, DROP_UNKNOWN_UNICAST);
	return to_port(skb, target->ifindex, key.vni, OVERLAY_ROW);
}
