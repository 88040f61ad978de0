/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Addresses as octets. */
#pragma once

#include <linux/types.h>
#include <stdbool.h>

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
