/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The fast lane: outer headers written and taken off by the programs, past the kernel's vxlan device and
 * its IP stack. It takes single IP frames over an IPv4 underlay. What it does not take, or what a kernel
 * has not all for, goes by the offload lane, with the same octets on the wire.
 */
#pragma once

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>

#include "deliver.h"
#include "dhcp.h"
#include "octets.h"

/* <sys/socket.h> needs a C library. */
#define AF_INET 2

/* What flags of bpf_skb_adjust_room are called in <linux/bpf.h> since 6.3. */
#define ADJUST_ROOM_DECAP_L3_IPV6 (1ULL << 8)

#define VXLAN_VNI_VALID 0x08000000
#define IP_MORE_FRAGMENTS 0x2000
#define IP_VERSION_4_NO_OPTIONS 0x45
#define ECN 0x03
#define ECN_ECT_1 0x01
#define ECN_ECT_0 0x02
#define ECN_CE 0x03

/* Of the overlay device, too (src/overlay.rs). */
#define SOURCE_PORT_MIN 49152
#define SOURCE_PORT_MAX 65535

/* Set when the programs are loaded. */
const volatile __u16 vxlan_port = 0;

/* What comes between the outer Ethernet header and the inner one's payload. */
struct envelope {
	struct iphdr ip;
	struct udphdr udp;
	__be32 vxlan_flags;
	__be32 vxlan_vni;
	struct ethhdr ethernet;
};

/* Not its size, which is a multiple of its alignment. */
#define ENVELOPE_OCTETS (offsetof(struct envelope, ethernet) + ETH_HLEN)

/*
 * When a flow last had a frame for the offload lane, in the kernel's ticks. A frame may wait in the
 * overlay device's GRO cells; what follows in the fast lane at once would overtake it. Flows are told
 * apart by the UDP source port, on its way out and in.
 */
#define FLOWS (SOURCE_PORT_MAX - SOURCE_PORT_MIN + 1)
/* The first may be almost over. */
#define FLOW_REST_TICKS 3

struct flows {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLOWS);
	__type(key, __u32);
	__type(value, __u64);
};

struct flows flows_out SEC(".maps");
struct flows flows_in SEC(".maps");

static __always_inline void keep_in_offload_lane(void *flows, __u32 flow)
{
	__u32 slot = flow % FLOWS;
	__u64 *last = bpf_map_lookup_elem(flows, &slot);
	__u64 now = bpf_jiffies64();

	/* Of many frames in a tick one writes. */
	if (last && *last != now)
		*last = now;
}

static __always_inline bool is_kept_in_offload_lane(void *flows, __u32 flow)
{
	__u32 slot = flow % FLOWS;
	__u64 *last = bpf_map_lookup_elem(flows, &slot);

	return !last || bpf_jiffies64() - *last < FLOW_REST_TICKS;
}

/* udp_flow_src_port() in the kernel's include/net/udp.h, host's byte order. */
static __always_inline __u16 source_port(__u32 flow_hash)
{
	flow_hash ^= flow_hash << 16;
	return ((__u64)flow_hash * (SOURCE_PORT_MAX - SOURCE_PORT_MIN) >> 32) + SOURCE_PORT_MIN;
}

/* RFC 1071; that of a header with its checksum is 0. */
static __always_inline __u16 ip_checksum(const struct iphdr *ip)
{
	const __u16 *words = (const __u16 *)ip;
	__u32 sum = 0;

	for (unsigned int i = 0; i < sizeof(*ip) / sizeof(*words); i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return ~(sum + (sum >> 16));
}

/*
 * The outer TOS of an IP packet: no DSCP, and the inner ECN as INET_ECN_encapsulate() in the kernel makes it.
 * There is none for what is no IP packet, or too short for one.
 */
static __always_inline bool outer_tos(struct __sk_buff *skb, __be16 protocol, __u8 *tos)
{
	const __u8 *packet = (void *)(long)skb->data + ETH_HLEN;
	const __u8 *end = (void *)(long)skb->data_end;
	__u8 ecn;

	if (protocol == bpf_htons(ETH_P_IP) && packet + sizeof(struct iphdr) <= end)
		ecn = packet[1];
	else if (protocol == bpf_htons(ETH_P_IPV6) && packet + sizeof(struct ipv6hdr) <= end)
		ecn = packet[1] >> 4;
	else
		return false;
	ecn &= ECN;
	*tos = ecn == ECN_CE ? ECN_ECT_0 : ecn;
	return true;
}

/*
 * By which device and next hop a flow's packets go to another host. Asking the kernel would be a quarter of
 * what a small frame costs, so its answer holds for the rest of the tick of its clock in which it was given,
 * on this processor, for packets that are no larger.
 */
struct path {
	__u64 asked_at; /* in ticks */
	__be32 vtep;
	__u16 source_port;
	__u16 octets;
	struct bpf_redir_neigh next_hop;
	__u32 ifindex;
	__u16 next_id; /* of an IP packet */
};

#define PATHS 1024

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PATHS);
	__type(key, __u32);
	__type(value, struct path);
} paths SEC(".maps");

/*
 * Asks the kernel. To the routing rules the packet seems to be forwarded from a device of ours, as
 * bpf_fib_lookup will have it.
 */
static __always_inline bool ask_for_path(struct __sk_buff *skb, const struct iphdr *ip, __u16 source_port,
					 __u16 octets, struct path *path)
{
	/* An initializer would leave open what the rest of its unions is. */
	struct bpf_fib_lookup route = {};
	long found;

	route.family = AF_INET;
	route.l4_protocol = IPPROTO_UDP;
	route.sport = bpf_htons(source_port);
	route.dport = bpf_htons(vxlan_port);
	route.tot_len = octets;
	route.ifindex = devices.route;
	route.tos = ip->tos;
	route.ipv4_src = ip->saddr;
	route.ipv4_dst = ip->daddr;
	found = bpf_fib_lookup(skb, &route, sizeof(route), 0);
	/* A neighbour that is not resolved yet will be, and the frame waits for it. */
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return false;
	path->asked_at = bpf_jiffies64();
	path->vtep = ip->daddr;
	path->source_port = source_port;
	path->octets = octets;
	path->next_hop.nh_family = route.family;
	__builtin_memcpy(path->next_hop.ipv6_nh, route.ipv6_dst, sizeof(path->next_hop.ipv6_nh));
	path->ifindex = route.ifindex;
	path->next_id = bpf_get_prandom_u32();
	return true;
}

/* The path of a packet with these outer headers; NULL if there is none that the fast lane may take. */
static __always_inline struct path *find_path(struct __sk_buff *skb, const struct iphdr *ip, __u16 source_port,
					      __u16 octets)
{
	__u32 slot = source_port % PATHS;
	struct path *path = bpf_map_lookup_elem(&paths, &slot);

	if (!path)
		return NULL;
	if (path->asked_at == bpf_jiffies64() && path->vtep == ip->daddr && path->source_port == source_port &&
	    path->octets >= octets)
		return path;
	return ask_for_path(skb, ip, source_port, octets, path) ? path : NULL;
}

/*
 * Sends a frame to another host. Returns TC_ACT_UNSPEC, and leaves the frame as it is, if that is for the
 * offload lane to do.
 *
 * A function of its own, since from_port's other branches need the 512 octets of stack as well.
 */
static __noinline int send_by_fast_lane(struct __sk_buff *skb, const struct ethhdr *ethernet, __u32 vni,
					const __u8 *vtep)
{
	/* That it is Ethernet in UDP is for devices that know what to do with a tunnel's frames. */
	const __u64 flags = BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP | BPF_F_ADJ_ROOM_ENCAP_L2_ETH |
			    BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN);
	const __u16 octets = skb->len + offsetof(struct envelope, ethernet);
	struct envelope envelope = {};
	__u32 hash, port;
	struct path *path;

	if (!local_vtep_ipv4 || !devices.route || skb->vlan_present || !outer_tos(skb, ethernet->h_proto, &envelope.ip.tos))
		return TC_ACT_UNSPEC;
	hash = bpf_get_hash_recalc(skb);
	port = source_port(hash);
	if (skb->gso_size) {
		keep_in_offload_lane(&flows_out, port);
		return TC_ACT_UNSPEC;
	}
	if (!hash || is_kept_in_offload_lane(&flows_out, port))
		return TC_ACT_UNSPEC;

	envelope.ip.version = 4;
	envelope.ip.ihl = sizeof(envelope.ip) / 4;
	envelope.ip.tot_len = bpf_htons(octets);
	envelope.ip.ttl = TUNNEL_TTL;
	envelope.ip.protocol = IPPROTO_UDP;
	envelope.ip.saddr = bpf_htonl(local_vtep_ipv4);
	__builtin_memcpy(&envelope.ip.daddr, vtep + 12, 4);
	path = find_path(skb, &envelope.ip, port, octets);
	if (!path || bpf_skb_adjust_room(skb, ENVELOPE_OCTETS, BPF_ADJ_ROOM_MAC, flags)) {
		keep_in_offload_lane(&flows_out, port);
		return TC_ACT_UNSPEC;
	}

	envelope.ip.id = path->next_id++;
	envelope.ip.check = ip_checksum(&envelope.ip);
	envelope.udp.source = bpf_htons(port);
	envelope.udp.dest = bpf_htons(vxlan_port);
	envelope.udp.len = bpf_htons(octets - sizeof(envelope.ip));
	envelope.vxlan_flags = bpf_htonl(VXLAN_VNI_VALID);
	envelope.vxlan_vni = bpf_htonl(vni << 8);
	envelope.ethernet = *ethernet;
	if (bpf_skb_store_bytes(skb, ETH_HLEN, &envelope, ENVELOPE_OCTETS, 0))
		return TC_ACT_SHOT;
	return bpf_redirect_neigh(path->ifindex, &path->next_hop, sizeof(path->next_hop), 0);
}

/* Whether it is VXLAN for this host, whole and with its headers where they are looked for. */
static __always_inline bool is_for_this_vtep(const struct envelope *envelope)
{
	const struct iphdr *ip = &envelope->ip;

	return *(const __u8 *)ip == IP_VERSION_4_NO_OPTIONS && ip->protocol == IPPROTO_UDP &&
	       local_vtep_ipv4 && ip->daddr == bpf_htonl(local_vtep_ipv4) && envelope->udp.dest == bpf_htons(vxlan_port) &&
	       !(ip->frag_off & bpf_htons(IP_MORE_FRAGMENTS | IP_FRAGMENT_OFFSET));
}

/*
 * Whether the kernel would make of it what the fast lane makes of it. A UDP checksum is the kernel's to
 * verify, and so is what congestion has left in the outer header to carry over to the inner one (RFC 6040).
 */
static __always_inline bool is_plain(struct __sk_buff *skb, const struct envelope *envelope)
{
	const __be16 protocol = envelope->ethernet.h_proto;

	return !skb->gso_size && bpf_ntohs(envelope->ip.tot_len) == skb->len - ETH_HLEN &&
	       bpf_ntohs(envelope->udp.len) == skb->len - ETH_HLEN - sizeof(envelope->ip) &&
	       !ip_checksum(&envelope->ip) && !envelope->udp.check &&
	       (envelope->ip.tos & ECN) != ECN_CE && (envelope->ip.tos & ECN) != ECN_ECT_1 &&
	       envelope->vxlan_flags == bpf_htonl(VXLAN_VNI_VALID) && !(envelope->vxlan_vni & bpf_htonl(0xff)) &&
	       (protocol == bpf_htons(ETH_P_IP) || protocol == bpf_htons(ETH_P_IPV6)) &&
	       !is_group(envelope->ethernet.h_dest);
}

/* Leaves the inner frame alone, as if it had come from the overlay device. */
static __always_inline bool take_off(struct __sk_buff *skb, const struct ethhdr *inner)
{
	const bool is_ipv6 = inner->h_proto == bpf_htons(ETH_P_IPV6);
	const __u64 flags = BPF_F_ADJ_ROOM_NO_CSUM_RESET | (is_ipv6 ? ADJUST_ROOM_DECAP_L3_IPV6 : 0);

	if (bpf_skb_adjust_room(skb, -(__s32)ENVELOPE_OCTETS, BPF_ADJ_ROOM_MAC, flags))
		return false;
	/* A device may have verified the outermost checksum, which the UDP header has not got, or the next one, too. */
	bpf_csum_level(skb, BPF_CSUM_LEVEL_DEC);
	return !bpf_skb_store_bytes(skb, 0, inner, sizeof(*inner), 0);
}
