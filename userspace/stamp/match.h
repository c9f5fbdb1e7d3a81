/* SPDX-License-Identifier: GPL-2.0-only */
/* match.h - brings the two time stamps of each packet together, in whichever order they come. */
#ifndef KB_STAMP_MATCH_H
#define KB_STAMP_MATCH_H

#include <stdint.h>

/* Packets of one run. At 1000 a second this is more than four hours. */
#define MATCH_MAX (1u << 24)

struct match_counts {
	uint64_t sent, received;
	uint64_t tx_stamps, rx_stamps; /* sent and received packets that have one */
	uint64_t duplicates;	       /* came once more */
	uint64_t backwards;	       /* arrived before they were sent, by their stamps */
	uint64_t taken;		       /* are in the histogram */
};

/* A packet was sent; its number is the sum of all sent before, resets notwithstanding. */
void match_sent(void);

/* Nanoseconds of one clock; 0: the packet has no stamp. Numbers of before a reset are ignored. */
void match_tx_stamp(uint32_t number, int64_t ns);
void match_received(uint32_t number, int64_t ns);

/* Forgets all packets so far. */
void match_reset(void);

struct match_counts match_counts(void);

/* Nothing is missing that can still come. */
int match_complete(void);

/* "latency": the histogram. */
void match_json(void);

#endif
