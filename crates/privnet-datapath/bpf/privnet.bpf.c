// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * from_port, on the ingress of each port's host side, and from_overlay, on the ingress of the vxlan
 * device: every frame is redirected or dropped with a counted reason, and the host's stack sees none.
 * from_underlay, on the ingress of devices that are the host's: what it does not deliver goes on
 * untouched.
 */
#include "arp.h"
#include "arrival.h"
#include "deliver.h"
#include "dhcp.h"
#include "fast_lane.h"
#include "icmp.h"
#include "limits.h"

#define OVERLAY_ROW 0

char _license[] SEC("license") = "Dual BSD/GPL";

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
	__u32 octets;
	int verdict;

	if (!port || !port->open)
		return drop(row, DROP_CLOSED);
	network = bpf_map_lookup_elem(&networks, &port->vni);
	if (!network)
		return drop(row, DROP_CLOSED);

	if (!load(skb, 0, &ethernet, sizeof(ethernet)))
		return drop(row, DROP_TOO_SHORT);
	if (!same(ethernet.h_source, port->mac, ETH_ALEN))
		return drop(row, DROP_SPOOFED_MAC);
	protocol = ethernet.h_proto;
	key.vni = port->vni;
	__builtin_memcpy(key.mac, ethernet.h_dest, ETH_ALEN);

	if (network->managed && !in_vlan(skb)) {
		if (is_hidden(skb, ETH_HLEN, protocol))
			return drop(row, DROP_TAGGED);
		if (protocol == bpf_htons(ETH_P_IP)) {
			switch (dhcp_side(skb, ETH_HLEN)) {
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
		enum drop_reason reason = arp_refusal(skb, ETH_HLEN, port->mac, &arp);

		if (reason != NOT_DROPPED)
			return drop(row, reason);
		neighbor = in_vlan(skb) ? NULL : known_answer(&arp, port);
		if (neighbor)
			return answer_arp(skb, &arp, port, neighbor, row);
	}

	if (too_big(skb, protocol, network->mtu))
		return refuse_too_big(skb, &ethernet, network->mtu, row);

	if (is_group(key.mac)) {
		struct flood flood = { .skb = skb, .vni = port->vni, .from = ifindex };

		if (is_reserved_group(key.mac))
			return drop(row, DROP_RESERVED_GROUP);
		if (!may_flood(ifindex, BUDGET_PORT_BUM, network->local_members + network->remote_members))
			return drop(row, DROP_BUM_LIMIT);
		count_sent(row, skb->len);
		bpf_loop(network->local_members, flood_to_port, &flood, 0);
		bpf_loop(network->remote_members, flood_to_vtep, &flood, 0);
		return TC_ACT_SHOT;
	}

	target = bpf_map_lookup_elem(&fdb, &key);
	if (!target || target->ifindex == ifindex)
		return drop(row, DROP_UNKNOWN_UNICAST);
	if (target->ifindex) {
		verdict = to_port(skb, target->ifindex, key.vni, ifindex);

		if (verdict != TC_ACT_SHOT)
			count_sent(row, skb->len);
		return verdict;
	}
	octets = skb->len;
	verdict = send_by_fast_lane(skb, &ethernet, key.vni, target->vtep);
	if (verdict == TC_ACT_UNSPEC)
		verdict = set_tunnel(skb, key.vni, target->vtep) ? bpf_redirect(devices.overlay, 0) : TC_ACT_SHOT;
	if (verdict == TC_ACT_SHOT)
		return drop(row, DROP_NO_TUNNEL);
	count_sent(row, octets);
	return verdict;
}

/* Whether a host carries the network; counts the frame that it has sent if not. */
static __always_inline bool is_vtep(const struct vtep_key *source)
{
	if (bpf_map_lookup_elem(&vteps, source))
		return true;
	drop_from(OVERLAY_ROW, bpf_map_lookup_elem(&networks, &source->vni) ? DROP_UNKNOWN_VTEP : DROP_UNKNOWN_VNI);
	return false;
}

/* The port of this host that has a MAC address; NULL if there is none, and the frame for it is counted. */
static __always_inline struct fdb_target *local_target(__u32 vni, const __u8 *mac)
{
	struct fdb_key key = { .vni = vni };
	struct fdb_target *target;

	__builtin_memcpy(key.mac, mac, ETH_ALEN);
	target = bpf_map_lookup_elem(&fdb, &key);
	if (target && target->ifindex)
		return target;
	drop_from(OVERLAY_ROW, DROP_UNKNOWN_UNICAST);
	return NULL;
}

/*
 * Whether the port with that MAC address is behind that host: else one host could send in the name of
 * others' instances, of this host's own, and of the DHCP server. A port that has just moved is heard from
 * its new host when this one knows of that, which is also when it is reached there.
 */
static __always_inline bool is_behind(const struct vtep_key *source, const __u8 *mac)
{
	struct fdb_key key = { .vni = source->vni };
	struct fdb_target *target;

	__builtin_memcpy(key.mac, mac, ETH_ALEN);
	target = bpf_map_lookup_elem(&fdb, &key);
	return target && !target->ifindex && same(target->vtep, source->address, sizeof(source->address));
}

SEC("classifier")
int from_overlay(struct __sk_buff *skb)
{
	struct vtep_key source = {};
	enum drop_reason reason;
	struct fdb_target *target;
	struct network *network;
	struct ethhdr ethernet;

	if (!get_tunnel(skb, &source))
		return drop_from(OVERLAY_ROW, DROP_NO_TUNNEL);
	if (!is_vtep(&source))
		return TC_ACT_SHOT;
	if (!load(skb, 0, &ethernet, sizeof(ethernet)))
		return drop_from(OVERLAY_ROW, DROP_TOO_SHORT);
	if (!is_behind(&source, ethernet.h_source))
		return drop_from(OVERLAY_ROW, DROP_SPOOFED_MAC);
	reason = arrival_refusal(skb, ETH_HLEN, &ethernet, source.vni);
	if (reason != NOT_DROPPED)
		return drop_from(OVERLAY_ROW, reason);

	if (is_group(ethernet.h_dest)) {
		struct flood flood = { .skb = skb, .vni = source.vni };

		network = bpf_map_lookup_elem(&networks, &source.vni);
		if (!network)
			return drop_from(OVERLAY_ROW, DROP_CLOSED);
		if (!may_flood(source.vni, BUDGET_NETWORK_BUM, network->local_members))
			return drop_from(OVERLAY_ROW, DROP_BUM_LIMIT);
		bpf_loop(network->local_members, flood_to_port, &flood, 0);
		return TC_ACT_SHOT;
	}

	target = local_target(source.vni, ethernet.h_dest);
	return target ? to_port(skb, target->ifindex, source.vni, OVERLAY_ROW) : TC_ACT_SHOT;
}

SEC("classifier")
int from_underlay(struct __sk_buff *skb)
{
	const struct envelope *envelope = (void *)(long)skb->data + ETH_HLEN;
	struct vtep_key source = {};
	enum drop_reason reason;
	struct fdb_target *target;
	struct ethhdr ethernet;
	__u32 flow;

	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->vlan_present || skb->pkt_type != PACKET_HOST ||
	    (void *)envelope + ENVELOPE_OCTETS > (void *)(long)skb->data_end || !is_for_this_vtep(envelope))
		return TC_ACT_UNSPEC;
	flow = bpf_ntohs(envelope->udp.source);
	if (!is_plain(skb, envelope)) {
		keep_in_offload_lane(&flows_in, flow);
		return TC_ACT_UNSPEC;
	}
	if (is_kept_in_offload_lane(&flows_in, flow))
		return TC_ACT_UNSPEC;

	source.vni = bpf_ntohl(envelope->vxlan_vni) >> 8;
	set_ipv4(source.address, bpf_ntohl(envelope->ip.saddr));
	if (!is_vtep(&source))
		return TC_ACT_SHOT;
	ethernet = envelope->ethernet;
	if (!is_behind(&source, ethernet.h_source))
		return drop_from(OVERLAY_ROW, DROP_SPOOFED_MAC);
	reason = arrival_refusal(skb, ETH_HLEN + ENVELOPE_OCTETS, &ethernet, source.vni);
	if (reason != NOT_DROPPED)
		return drop_from(OVERLAY_ROW, reason);
	target = local_target(source.vni, ethernet.h_dest);
	if (!target)
		return TC_ACT_SHOT;
	if (!take_off(skb, &ethernet)) {
		keep_in_offload_lane(&flows_in, flow);
		return TC_ACT_UNSPEC;
	}
	return to_port(skb, target->ifindex, source.vni, OVERLAY_ROW);
}
