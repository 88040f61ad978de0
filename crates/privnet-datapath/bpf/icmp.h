/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Packets that are too big, answered so that path MTU discovery works for an instance whose device has a
 * larger MTU than its network (RFC 1191, RFC 8201). As the kernel does for its own tunnels, the answer
 * comes from the address that the packet was for, since a segment has none of its own.
 *
 * An IPv4 packet without DF is dropped and counted alone: a router would fragment it, but a segment is
 * none, and "fragmentation needed" is no answer to somebody who allows it (RFC 792). So is what an instance's
 * own tunnel has wrapped up: the kernel lets nobody cut that to a quote (bpf_skb_change_tail).
 */
#pragma once

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>

#include "count.h"
#include "deliver.h"
#include "limits.h"

/* What is quoted is handled in pieces of this size, one of which finds place on the stack. */
#define QUOTE_PIECE 176
/* Of 576 octets (RFC 1812 4.3.2.3) and of 1280 (RFC 4443 2.4 c), what the answer's own headers leave. */
#define QUOTE_PIECES_IPV4 3
#define QUOTE_PIECES_IPV6 7
/* What a device would have to do to the packet is forgotten when it loses the octets that this concerns, in two steps. */
#define QUOTE_LAST_STEP 4

#define IP_DONT_FRAGMENT 0x4000
#define IP_OFFSET 0x1fff
#define IP_PRECEDENCE_INTERNETWORK_CONTROL 0xc0 /* RFC 1812 4.3.2.5 */
#define ANSWER_TTL 64

#define UDP_HEADER_OCTETS 8
#define TCP_OFFSET_AT 12

#define ICMP_UNREACHABLE 3
#define ICMP_SOURCE_QUENCH 4
#define ICMP_REDIRECT 5
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12
#define ICMP_FRAGMENTATION_NEEDED 4 /* a code */

#define ICMPV6_PACKET_TOO_BIG 2
#define ICMPV6_INFORMATION 128 /* errors have smaller types */
#define IPV6_MTU_MIN 1280
#define IPV6_FRAGMENT_OFFSET 0xfff8
/* More than sensible packets have. */
#define IPV6_EXTENSIONS_MAX 6

struct icmp {
	__u8 type;
	__u8 code;
	__be16 checksum;
	union {
		struct {
			__be16 unused;
			__be16 mtu;
		};
		__be32 mtu_ipv6;
	};
};

struct ipv4_answer {
	struct iphdr ip;
	struct icmp icmp;
};

struct ipv6_answer {
	struct ipv6hdr ip;
	struct icmp icmp;
};

/*
 * Whether a frame will be cut into packets that are too big. What these have beside a UDP header, as those of
 * an instance's own tunnel do, or without one, only the kernel knows; it is asked for the overlay device's
 * MTU, which no network's exceeds.
 */
static __always_inline bool segments_too_big(struct __sk_buff *skb, __be16 protocol, __u32 mtu)
{
	__u32 octets = 0, whole_frame = 0;
	__u8 next = 0, offset;

	if (protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (!bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip))) {
			octets = ip.ihl * 4;
			next = ip.protocol;
		}
	} else if (protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;

		if (!bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip))) {
			octets = sizeof(ip);
			next = ip.nexthdr;
		}
	}
	if (next == IPPROTO_TCP && !bpf_skb_load_bytes(skb, ETH_HLEN + octets + TCP_OFFSET_AT, &offset, sizeof(offset)))
		return octets + (offset >> 4) * 4 + skb->gso_size > mtu;
	if (next == IPPROTO_UDP && octets + UDP_HEADER_OCTETS + skb->gso_size > mtu)
		return true;
	return bpf_check_mtu(skb, devices.overlay, &whole_frame, 0, BPF_MTU_CHK_SEGS);
}

/* A frame that will be cut into segments is judged by those. */
static __always_inline bool too_big(struct __sk_buff *skb, __be16 protocol, __u32 mtu)
{
	if (skb->len <= mtu + ETH_HLEN)
		return false;
	return !skb->gso_size || segments_too_big(skb, protocol, mtu);
}

static __always_inline __u16 folded(__u64 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/*
 * Leaves of the packet its first pieces, with room for headers before them, and sums these pieces up.
 * Cutting the packet makes one of what was to be segmented. A checksum that a device was to fill in would
 * be written into the quote: the kernel forgets it when the octets where it starts are removed
 * (skb_postpull_rcsum), which before Linux 6.2 takes a second removal to be noticed.
 */
static __always_inline bool quote(struct __sk_buff *skb, __u32 pieces, __u32 room, __s64 *sum)
{
	__u8 piece[QUOTE_PIECE];

	if (skb->len < ETH_HLEN + pieces * QUOTE_PIECE)
		return false;
	/* Backwards, so that the first one is what is kept. */
	for (int at = pieces - 1; at >= 0; at--) {
		if (bpf_skb_load_bytes(skb, ETH_HLEN + at * QUOTE_PIECE, piece, sizeof(piece)))
			return false;
		*sum = bpf_csum_diff(NULL, 0, (__be32 *)piece, sizeof(piece), *sum);
	}
	return !bpf_skb_change_tail(skb, ETH_HLEN + pieces * QUOTE_PIECE, 0) &&
	       !bpf_skb_adjust_room(skb, -(QUOTE_PIECE - QUOTE_LAST_STEP), BPF_ADJ_ROOM_MAC, 0) &&
	       !bpf_skb_adjust_room(skb, -QUOTE_LAST_STEP, BPF_ADJ_ROOM_MAC, 0) &&
	       !bpf_skb_adjust_room(skb, QUOTE_PIECE + room, BPF_ADJ_ROOM_MAC, 0) &&
	       !bpf_skb_store_bytes(skb, ETH_HLEN + room, piece, sizeof(piece), 0);
}

static __always_inline int send_back(struct __sk_buff *skb, const struct ethhdr *request, const void *answer,
				     __u32 octets, struct counters *row)
{
	struct ethhdr ethernet = { .h_proto = request->h_proto };

	__builtin_memcpy(ethernet.h_dest, request->h_source, ETH_ALEN);
	__builtin_memcpy(ethernet.h_source, request->h_dest, ETH_ALEN);
	if (bpf_skb_store_bytes(skb, 0, &ethernet, sizeof(ethernet), 0) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN, answer, octets, 0))
		return TC_ACT_SHOT;
	if (row) {
		row->icmp_replies++;
		row->received_frames++;
		row->received_octets += skb->len;
	}
	return bpf_redirect(skb->ifindex, 0);
}

/* Nobody's, a host's own, or a group's: what ICMP is neither sent to nor from (RFC 1122 3.2.2). */
static __always_inline bool is_one_host_ipv4(__be32 address)
{
	__u8 first = bpf_ntohl(address) >> 24;

	return first != 0 && first != 127 && first < 224;
}

static __always_inline bool is_one_host_ipv6(const struct in6_addr *address)
{
	const __u8 zeros[15] = {};

	if (same(address->s6_addr, zeros, sizeof(zeros)))
		return address->s6_addr[15] > 1;
	return address->s6_addr[0] != 0xff;
}

/* Not an error, of which none is reported, and no fragment but the first (RFC 1812 4.3.2.7). */
static __always_inline bool is_answered_ipv4(struct __sk_buff *skb, const struct iphdr *ip)
{
	__u8 type;

	if (ip->version != 4 || ip->ihl < 5 || !(ip->frag_off & bpf_htons(IP_DONT_FRAGMENT)) ||
	    ip->frag_off & bpf_htons(IP_OFFSET) || !is_one_host_ipv4(ip->saddr) || !is_one_host_ipv4(ip->daddr))
		return false;
	if (ip->protocol != IPPROTO_ICMP)
		return true;
	if (bpf_skb_load_bytes(skb, ETH_HLEN + ip->ihl * 4, &type, sizeof(type)))
		return false;
	return type != ICMP_UNREACHABLE && type != ICMP_SOURCE_QUENCH && type != ICMP_REDIRECT &&
	       type != ICMP_TIME_EXCEEDED && type != ICMP_PARAMETER_PROBLEM;
}

static __always_inline bool is_answered_ipv6(struct __sk_buff *skb, const struct ipv6hdr *ip)
{
	__u32 at = ETH_HLEN + sizeof(*ip);
	__u8 next = ip->nexthdr;
	struct {
		__u8 next;
		__u8 octets; /* in units of 8, less one */
		__be16 offset; /* a fragment's */
	} extension;

	if (ip->version != 6 || !is_one_host_ipv6(&ip->saddr) || !is_one_host_ipv6(&ip->daddr))
		return false;
	for (int i = 0; i < IPV6_EXTENSIONS_MAX; i++) {
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
		    next != IPPROTO_FRAGMENT)
			break;
		if (bpf_skb_load_bytes(skb, at, &extension, sizeof(extension)))
			return false;
		if (next == IPPROTO_FRAGMENT && extension.offset & bpf_htons(IPV6_FRAGMENT_OFFSET))
			return false;
		at += next == IPPROTO_FRAGMENT ? 8 : (extension.octets + 1) * 8;
		next = extension.next;
	}
	if (next != IPPROTO_ICMPV6)
		return true;
	return !bpf_skb_load_bytes(skb, at, &extension.next, 1) && extension.next >= ICMPV6_INFORMATION;
}

static __noinline int answer_ipv4(struct __sk_buff *skb, const struct ethhdr *ethernet, __u32 mtu, struct counters *row)
{
	struct ipv4_answer answer = {};
	__s64 sum = 0;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &answer.ip, sizeof(answer.ip)) || !is_answered_ipv4(skb, &answer.ip) ||
	    !may_be_answered(skb->ifindex) ||
	    !quote(skb, QUOTE_PIECES_IPV4, sizeof(answer), &sum))
		return TC_ACT_SHOT;
	answer.ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tos = IP_PRECEDENCE_INTERNETWORK_CONTROL,
		.tot_len = bpf_htons(sizeof(answer) + QUOTE_PIECES_IPV4 * QUOTE_PIECE),
		.frag_off = bpf_htons(IP_DONT_FRAGMENT),
		.ttl = ANSWER_TTL,
		.protocol = IPPROTO_ICMP,
		.saddr = answer.ip.daddr,
		.daddr = answer.ip.saddr,
	};
	answer.ip.check = folded(bpf_csum_diff(NULL, 0, (__be32 *)&answer.ip, sizeof(answer.ip), 0));
	answer.icmp.type = ICMP_UNREACHABLE;
	answer.icmp.code = ICMP_FRAGMENTATION_NEEDED;
	answer.icmp.mtu = bpf_htons(mtu);
	answer.icmp.checksum = folded(bpf_csum_diff(NULL, 0, (__be32 *)&answer.icmp, sizeof(answer.icmp), sum));
	return send_back(skb, ethernet, &answer, sizeof(answer), row);
}

static __noinline int answer_ipv6(struct __sk_buff *skb, const struct ethhdr *ethernet, __u32 mtu, struct counters *row)
{
	const __u16 octets = sizeof(struct icmp) + QUOTE_PIECES_IPV6 * QUOTE_PIECE;
	/* The end of the pseudo header (RFC 8200 8.1). */
	__be32 pseudo[2] = { bpf_htonl(octets), bpf_htonl(IPPROTO_ICMPV6) };
	struct ipv6_answer answer = {};
	struct in6_addr source;
	__s64 sum = 0;

	/* Below the least MTU of IPv6 nobody would heed an answer. */
	if (mtu < IPV6_MTU_MIN || bpf_skb_load_bytes(skb, ETH_HLEN, &answer.ip, sizeof(answer.ip)) ||
	    !is_answered_ipv6(skb, &answer.ip) || !may_be_answered(skb->ifindex) ||
	    !quote(skb, QUOTE_PIECES_IPV6, sizeof(answer), &sum))
		return TC_ACT_SHOT;
	source = answer.ip.daddr;
	answer.ip.daddr = answer.ip.saddr;
	answer.ip.saddr = source;
	answer.ip.priority = 0;
	__builtin_memset(answer.ip.flow_lbl, 0, sizeof(answer.ip.flow_lbl));
	answer.ip.payload_len = bpf_htons(octets);
	answer.ip.nexthdr = IPPROTO_ICMPV6;
	answer.ip.hop_limit = ANSWER_TTL;
	answer.icmp.type = ICMPV6_PACKET_TOO_BIG;
	answer.icmp.mtu_ipv6 = bpf_htonl(mtu);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&answer.ip.saddr, 2 * sizeof(answer.ip.saddr), sum);
	sum = bpf_csum_diff(NULL, 0, pseudo, sizeof(pseudo), sum);
	answer.icmp.checksum = folded(bpf_csum_diff(NULL, 0, (__be32 *)&answer.icmp, sizeof(answer.icmp), sum));
	return send_back(skb, ethernet, &answer, sizeof(answer), row);
}

/* Drops a frame for its size, and tells the port why where IP has words for that. */
static __always_inline int refuse_too_big(struct __sk_buff *skb, const struct ethhdr *ethernet, __u32 mtu,
					  struct counters *row)
{
	int dropped = drop(row, DROP_TOO_BIG);

	/* What was for all on the link is not answered (RFC 1122 3.2.2). */
	if (is_group(ethernet->h_dest))
		return dropped;
	if (ethernet->h_proto == bpf_htons(ETH_P_IP))
		return answer_ipv4(skb, ethernet, mtu, row);
	if (ethernet->h_proto == bpf_htons(ETH_P_IPV6))
		return answer_ipv6(skb, ethernet, mtu, row);
	return dropped;
}
