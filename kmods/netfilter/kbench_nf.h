/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The generic-netlink family of kbench_nf.ko, shared with userspace.
 *
 * One session at a time in each network namespace, owned by the socket that
 * sent BEGIN and ended with it: nothing forwards when its program is gone.
 * All commands need CAP_NET_ADMIN in the namespace's user namespace.
 */
#ifndef KBENCH_NF_H
#define KBENCH_NF_H

#include <linux/types.h>

#define KBENCH_NF_GENL_NAME "kbench_nf"
#define KBENCH_NF_GENL_VERSION 1

/* Most bytes of an image in one CHUNK. */
#define KBENCH_NF_CHUNK_MAX 32768

enum kbench_nf_command {
	KBENCH_NF_CMD_UNSPEC,
	KBENCH_NF_CMD_BEGIN,	  /* SIZE: start the upload of an image of that size */
	KBENCH_NF_CMD_CHUNK,	  /* OFFSET, DATA: its next bytes, in order */
	KBENCH_NF_CMD_ACTIVATE,	  /* RX_IFINDEX, TX_IFINDEX, FUNCTION: check it, then forward */
	KBENCH_NF_CMD_DEACTIVATE, /* stop; counters can still be read */
	KBENCH_NF_CMD_GET,	  /* reply: ACTIVE (if so), COUNTERS */
	KBENCH_NF_CMD_RESET,	  /* all counters to zero */
};

enum kbench_nf_attribute {
	KBENCH_NF_A_UNSPEC,
	KBENCH_NF_A_PAD,
	KBENCH_NF_A_SIZE,	/* u64 */
	KBENCH_NF_A_OFFSET,	/* u64 */
	KBENCH_NF_A_DATA,	/* binary, up to KBENCH_NF_CHUNK_MAX */
	KBENCH_NF_A_RX_IFINDEX, /* u32: port 0, packets are taken from it */
	KBENCH_NF_A_TX_IFINDEX, /* u32: port 1 */
	KBENCH_NF_A_FUNCTION,	/* u32: must be that of the image */
	KBENCH_NF_A_ACTIVE,	/* flag */
	KBENCH_NF_A_COUNTERS,	/* nest of KBENCH_NF_A_COUNTER */
	KBENCH_NF_A_COUNTER,	/* nest of KBENCH_NF_A_NAME, _VALUE and _KIND */
	KBENCH_NF_A_NAME,	/* string: as in docs/programs.md */
	KBENCH_NF_A_VALUE,	/* u64: packets */
	KBENCH_NF_A_KIND,	/* u32: enum kbench_nf_kind */

	__KBENCH_NF_A_END,
	KBENCH_NF_A_MAX = __KBENCH_NF_A_END - 1
};

/* Where a counter belongs in the programs' output. */
enum kbench_nf_kind {
	KBENCH_NF_KIND_TOTAL, /* received, forwarded, passed */
	KBENCH_NF_KIND_DROPPED,
	KBENCH_NF_KIND_LOST,
};

#endif
