/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a test run does not tell of itself. Included before the programs, it puts a function between them
 * and each helper that sends a frame somewhere, which writes down what was asked for and passes it on.
 * It also makes what a test run cannot: the state in which the kernel hands a frame to a program, with
 * its outermost tag beside it and the tunnel that it came by. And it is what the programs ask of the
 * host: clocks, random numbers, hashes of flows, routes.
 *
 * src/tests/fuzz/rig.rs says the same in Rust, and reads and writes it as shared memory.
 */
#pragma once

#include "../maps.h"

#define WAYS_MAX 64
#define WAY_HEAD_OCTETS 192

enum way_call {
	WAY_REDIRECT = 0,
	WAY_REDIRECT_PEER,
	WAY_CLONE,
	WAY_REDIRECT_NEIGH,
};

/* One call that sent the frame, or a copy of it, by a device. */
struct way {
	__u32 call; /* enum way_call */
	__u32 ifindex;
	__u32 flags;
	__u32 octets; /* of the frame; its first ones are in `head` (copies only, the rest are in the result) */
	__u32 vlan; /* its tag, if it has one, and 1 << 16 */
	__u32 tunneled; /* whether there is a tunnel */
	struct bpf_tunnel_key tunnel;
	__u32 tunnel_flags;
	__u8 head[WAY_HEAD_OCTETS];
	struct bpf_redir_neigh neighbor;
};

struct witness {
	/* How the frame comes in. */
	__u32 program; /* slot of `entries` */
	__u32 octets; /* what is longer is cut to this */
	__u64 now_ns;
	__u64 now_ticks;
	__u32 random;
	__u32 flow_hash;
	/* The answer to each question about routes. */
	__u32 route_result;
	__u32 route_ifindex;
	__u32 route_next_hop;
	__u32 vlan; /* as in struct way */
	__u32 vlan_protocol;
	__u32 tunneled;
	struct bpf_tunnel_key tunnel_in;
	__u32 tunnel_in_flags;
	/* What became of it. */
	__u32 tunnel_set;
	struct bpf_tunnel_key tunnel_out;
	__u32 tunnel_out_flags;
	struct bpf_fib_lookup route; /* the last question */
	__u32 ways; /* how many are in use; more than there are if some were not written down */
	struct way way[WAYS_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct witness);
} witness SEC(".maps");

static __always_inline struct witness *the_witness(void)
{
	__u32 only = 0;

	return bpf_map_lookup_elem(&witness, &only);
}

static __always_inline void note_way(struct __sk_buff *skb, enum way_call call, __u32 ifindex, __u64 flags)
{
	struct witness *noted = the_witness();
	struct way *way;
	__u32 octets;

	if (!noted || noted->ways++ >= WAYS_MAX)
		return;
	way = &noted->way[(noted->ways - 1) & (WAYS_MAX - 1)];
	way->call = call;
	way->ifindex = ifindex;
	way->flags = flags;
	way->tunneled = noted->tunnel_set;
	way->tunnel = noted->tunnel_out;
	way->tunnel_flags = noted->tunnel_out_flags;
	if (!skb)
		return;
	way->octets = skb->len;
	way->vlan = skb->vlan_present ? 1 << 16 | skb->vlan_tci : 0;
	octets = skb->len < WAY_HEAD_OCTETS ? skb->len : WAY_HEAD_OCTETS;
	if (octets)
		bpf_skb_load_bytes(skb, 0, way->head, octets);
}

static __always_inline long noted_redirect(__u32 ifindex, __u64 flags)
{
	note_way(NULL, WAY_REDIRECT, ifindex, flags);
	return bpf_redirect(ifindex, flags);
}

static __always_inline long noted_redirect_peer(__u32 ifindex, __u64 flags)
{
	note_way(NULL, WAY_REDIRECT_PEER, ifindex, flags);
	return bpf_redirect_peer(ifindex, flags);
}

static __always_inline long noted_redirect_neigh(__u32 ifindex, struct bpf_redir_neigh *neighbor, int size, __u64 flags)
{
	struct witness *noted = the_witness();

	if (noted && neighbor)
		noted->way[noted->ways & (WAYS_MAX - 1)].neighbor = *neighbor;
	note_way(NULL, WAY_REDIRECT_NEIGH, ifindex, flags);
	return bpf_redirect_neigh(ifindex, neighbor, size, flags);
}

static __always_inline long noted_clone_redirect(struct __sk_buff *skb, __u32 ifindex, __u64 flags)
{
	note_way(skb, WAY_CLONE, ifindex, flags);
	return bpf_clone_redirect(skb, ifindex, flags);
}

static __always_inline long noted_set_tunnel_key(struct __sk_buff *skb, struct bpf_tunnel_key *key, __u32 size,
						 __u64 flags)
{
	struct witness *noted = the_witness();

	if (noted) {
		noted->tunnel_set = 1;
		noted->tunnel_out = *key;
		noted->tunnel_out_flags = flags;
	}
	return bpf_skb_set_tunnel_key(skb, key, size, flags);
}

static __always_inline __u64 noted_ktime_get_ns(void)
{
	struct witness *noted = the_witness();

	return noted ? noted->now_ns : 0;
}

static __always_inline __u64 noted_jiffies64(void)
{
	struct witness *noted = the_witness();

	return noted ? noted->now_ticks : 0;
}

static __always_inline __u32 noted_get_prandom_u32(void)
{
	struct witness *noted = the_witness();

	return noted ? noted->random : 0;
}

static __always_inline __u32 noted_get_hash_recalc(struct __sk_buff *skb)
{
	struct witness *noted = the_witness();

	return noted ? noted->flow_hash : bpf_get_hash_recalc(skb);
}

static __always_inline long noted_fib_lookup(void *skb, struct bpf_fib_lookup *route, int size, __u32 flags)
{
	struct witness *noted = the_witness();

	if (!noted || flags)
		return bpf_fib_lookup(skb, route, size, flags);
	noted->route = *route;
	route->ifindex = noted->route_ifindex;
	route->ipv4_dst = noted->route_next_hop;
	return noted->route_result;
}

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u32);
} entries SEC(".maps");

/* Brings a frame into the state that the witness has and hands it to one of the programs. */
SEC("classifier")
int enter(struct __sk_buff *skb)
{
	struct witness *noted = the_witness();
	struct bpf_tunnel_key tunnel;

	if (!noted)
		return -1;
	if (skb->len > noted->octets && bpf_skb_change_tail(skb, noted->octets, 0))
		return -1;
	if (noted->vlan && bpf_skb_vlan_push(skb, noted->vlan_protocol, noted->vlan))
		return -1;
	tunnel = noted->tunnel_in;
	if (noted->tunneled && bpf_skb_set_tunnel_key(skb, &tunnel, sizeof(tunnel), noted->tunnel_in_flags))
		return -1;
	bpf_tail_call(skb, &entries, noted->program);
	return -1;
}

#define bpf_redirect noted_redirect
#define bpf_redirect_peer noted_redirect_peer
#define bpf_clone_redirect noted_clone_redirect
#define bpf_redirect_neigh noted_redirect_neigh
#define bpf_jiffies64 noted_jiffies64
#define bpf_get_prandom_u32 noted_get_prandom_u32
#define bpf_get_hash_recalc noted_get_hash_recalc
#define bpf_fib_lookup(...) noted_fib_lookup(__VA_ARGS__)
#define bpf_ktime_get_ns noted_ktime_get_ns
#define bpf_skb_set_tunnel_key noted_set_tunnel_key
