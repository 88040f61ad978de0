// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The programs, watched. */
#include "witness.h"

#include "../privnet.bpf.c"
