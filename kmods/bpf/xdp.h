/* SPDX-License-Identifier: GPL-2.0-only */
/* What xdp.bpf.c and its loader, kb-xdp, share. */
#ifndef KB_XDP_H
#define KB_XDP_H

#include "function.h"

/* One look-up fetches a cache line of slots. */
struct kb_line {
	__u32 slots[KB_SLOT_GROUP];
};

/* The root nodes, which the loader copies out of the slots and renumbers: parameter and place. */
#define KB_ROOTS(X)                                                                                \
	X(route4, 0)                                                                               \
	X(route6, 1)                                                                               \
	X(src4, 2)                                                                                 \
	X(dst4, 3)                                                                                 \
	X(src6, 4)                                                                                 \
	X(dst6, 5)                                                                                 \
	X(sport, 6)                                                                                \
	X(dport, 7)
#define KB_ROOT_COUNT 8

/* Packets of one CPU by reason. `unsent`: verdict forwarded, but the port is gone. */
struct kb_xdp_counters {
	__u64 reasons[KB_REASON_COUNT];
	__u64 unsent;
};

#endif
