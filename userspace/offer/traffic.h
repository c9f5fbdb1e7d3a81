/* SPDX-License-Identifier: GPL-2.0-only */
/* traffic.h - the traffic file (KBTR, docs/programs.md) that all generators read. */
#ifndef KB_TRAFFIC_H
#define KB_TRAFFIC_H

#include <stdint.h>

#define TRAFFIC_GROUPS_MAX 64

struct traffic_group {
	uint8_t family;			    /* 4 or 6 */
	uint8_t proto;			    /* 17 */
	uint16_t sport_lo, sport_hi, dport; /* host order */
	uint8_t src[16], dst[16];	    /* network order; IPv4 in the first 4 bytes */
} __attribute__((packed));

struct traffic {
	uint8_t src_mac[6], dst_mac[6];
	uint32_t count;
	struct traffic_group groups[TRAFFIC_GROUPS_MAX];
};

/* Dies with exit code 2 and the reason if the file is not a traffic file. */
void traffic_read(const char *path, struct traffic *traffic);

#endif
