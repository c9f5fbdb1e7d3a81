/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * frame.h - packets of a traffic file's flows that are marked as kb-stamp's.
 *
 * Where the generator writes its time stamp stand KB_STAMP_MAGIC (upper half) and this run's
 * number, then the sequence number.
 */
#ifndef KB_STAMP_FRAME_H
#define KB_STAMP_FRAME_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "template.h"

struct frames {
	struct kb_offer_group groups[TRAFFIC_GROUPS_MAX];
	uint32_t count, next;
	uint32_t run;
	size_t bytes; /* without the frame check sequence */
	uint8_t frame[KB_FRAME_MAX];
};

/*
 * Reads the traffic file. Dies with exit code 2 if it is none, or the frames are too small. With
 * `ptp` they look like Sync messages of PTP version 2 to an adapter: by UDP destination port and
 * the first two bytes of the payload, which are the lower half of the run's number.
 */
void frames_open(struct frames *frames, const char *path, uint32_t frame_bytes, bool ptp);

/* The next packet, round-robin over groups and flows, is in frames->frame then. */
void frames_write(struct frames *frames, uint32_t sequence);

/* Whether a packet is one of this run's, as it may have changed on its way; if so, which. */
bool frames_read(const struct frames *frames, const uint8_t *frame, size_t len, uint32_t *sequence);

#endif
