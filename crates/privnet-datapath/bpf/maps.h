/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the agent and the programs share. src/layout.rs says the same in Rust, and a test holds the two
 * together. Whoever changes a layout here raises LAYOUT_VERSION there: pinned maps outlive the agent.
 *
 * Ethernet and IP addresses are as on the wire; an IPv4 underlay address is IPv4-mapped
 * (RFC 4291 2.5.5.2); all other numbers are the host's.
 */
#pragma once

#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_helpers.h>

/* One of this host's ports, by the index of its device. */
struct port {
	__u32 vni;
	__u8 mac[6];
	__u8 open; /* 0: passes nothing, either way */
	__u8 kind; /* enum port_kind */
};

enum port_kind {
	PORT_VETH = 0,
	PORT_TAP = 1,
};

/* One network, by VNI. */
struct network {
	__u32 mtu; /* of an IP packet, octets */
	__u32 local_members; /* how many slots of that map are in use, from 0 */
	__u32 remote_members;
	__u32 managed;
};

struct fdb_key {
	__u32 vni;
	__u8 mac[6];
	__u8 unused[2];
};

struct vtep_key {
	__u32 vni;
	__u8 address[16];
};

struct fdb_target {
	__u32 ifindex; /* 0: behind a VTEP */
	__u8 vtep[16];
};

struct neighbor_key {
	__u32 vni;
	__u8 address[4];
};

struct neighbor {
	__u8 mac[6];
	__u8 unused[2];
};

/* BUM frames go to slots 0 .. local_members - 1 and 0 .. remote_members - 1. */
struct member_key {
	__u32 vni;
	__u32 slot;
};

struct remote_member {
	__u8 vtep[16];
};

/* Why a frame was dropped. */
enum drop_reason {
	DROP_CLOSED = 0, /* the port is closed */
	DROP_TOO_SHORT, /* for its headers */
	DROP_SPOOFED_MAC, /* the source is not the port's MAC address, or no port's behind that VTEP */
	DROP_SPOOFED_ARP, /* ARP with another sender */
	DROP_TAGGED, /* tags or LLC in a managed network that hide what is below */
	DROP_DHCP_QUEUE_FULL, /* the agent does not keep up */
	DROP_ROGUE_DHCP, /* an instance as DHCP server in a managed network */
	DROP_TOO_BIG, /* more than the network's MTU */
	DROP_UNKNOWN_UNICAST, /* no port of the network has that MAC address */
	DROP_TARGET_CLOSED, /* the port that it is for is closed */
	DROP_UNKNOWN_VTEP, /* from a host that does not carry the network */
	DROP_NO_TUNNEL, /* not from a tunnel, or a tunnel header could not be made */
	DROP_BUM_LIMIT, /* more copies than the port, or the network from the overlay, may cause */
	DROP_DHCP_LIMIT, /* more DHCP requests than the port may make */
	DROP_RESERVED_GROUP, /* to an address that no bridge forwards */
	DROP_UNKNOWN_VNI, /* from the overlay, of a network that this host does not carry */
	DROP_REASONS,
};

/* What passed one port, as its instance sees it; row 0 is what the overlay brought and no port had. */
struct counters {
	__u64 sent_frames;
	__u64 sent_octets;
	__u64 received_frames;
	__u64 received_octets;
	__u64 dhcp_requests;
	__u64 arp_replies;
	__u64 icmp_replies; /* to frames that were too big */
	__u64 drops[DROP_REASONS];
};

#define DHCP_FRAME_OCTETS_MAX 1536

/* A client's request for the agent. The UDP checksum may be left for a device to fill in. */
struct dhcp_request {
	__u32 vni;
	__u8 mac[6]; /* the port's */
	__u16 octets;
	__u8 frame[DHCP_FRAME_OCTETS_MAX];
};

/* All ports of a host may ask in the same moment, as after a power cut, before the agent has read the first. */
#define DHCP_QUEUE_OCTETS (1 << 21)
#define RING_HEADER_OCTETS 8
_Static_assert(DHCP_QUEUE_OCTETS >= 1000 * (sizeof(struct dhcp_request) + RING_HEADER_OCTETS),
	       "the requests of 1,000 ports wait for the agent");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct port);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct network);
} networks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, struct fdb_key);
	__type(value, struct fdb_target);
} fdb SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, struct neighbor_key);
	__type(value, struct neighbor);
} neighbors SEC(".maps");

/* The hosts that may send into a network. The value says nothing. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, struct vtep_key);
	__type(value, __u32);
} vteps SEC(".maps");

/* The indexes of the devices that a network's BUM frames go to. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, struct member_key);
	__type(value, __u32);
} local_members SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, struct member_key);
	__type(value, struct remote_member);
} remote_members SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16385);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct counters);
} counters SEC(".maps");

/*
 * How many DHCPDECLINEs the agent has read of each port's own address. No program knows a message's type, and nobody
 * but they may write what they count, or counts get lost: so it has a map of its own.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u64);
} declines SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, DHCP_QUEUE_OCTETS);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} dhcp_requests SEC(".maps");
