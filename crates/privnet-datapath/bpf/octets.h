/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Octets of frames and of addresses. */
#pragma once

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

/* Copies octets of a frame that has them: from where they are, unless that is in several pieces. */
static __always_inline bool load(struct __sk_buff *skb, __u32 at, void *to, __u32 octets)
{
	const void *from = (void *)(long)skb->data + at;

	if (from + octets <= (void *)(long)skb->data_end) {
		__builtin_memcpy(to, from, octets);
		return true;
	}
	return !bpf_skb_load_bytes(skb, at, to, octets);
}

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

/* 01:80:c2:00:00:00 to 0f (IEEE 802.1Q 8.6.3): the two ends of a wire speak so, such as STP, LACP, LLDP, pause. */
static __always_inline bool is_reserved_group(const __u8 *mac)
{
	const __u8 reserved[5] = { 0x01, 0x80, 0xc2, 0x00, 0x00 };

	return same(mac, reserved, 5) && mac[5] <= 0x0f;
}
