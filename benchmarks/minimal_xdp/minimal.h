/* SPDX-License-Identifier: GPL-2.0-only */
/* What minimal.bpf.c and its loader share. */
#ifndef KB_MINIMAL_H
#define KB_MINIMAL_H

/* Destination and source, the first 12 bytes of a frame. */
struct minimal_macs {
	unsigned int words[3];
};

#endif
