/* SPDX-License-Identifier: GPL-2.0-only */
/* template.h - the headers of a traffic group's packets, as the BPF generator sends them. */
#ifndef KB_TEMPLATE_H
#define KB_TEMPLATE_H

#include <stdbool.h>
#include <stdint.h>

#include "offer.h"
#include "traffic.h"

/* Frame sizes include the frame check sequence (RFC 2544), which is not in the buffer. */
#define KB_FRAME_MIN 64
#define KB_FRAME_MAX 1518

/* Have frames of this size room for time stamp and sequence number, in all groups? */
bool template_has_room(const struct traffic *traffic, uint32_t frame_bytes);

/* Dies with exit code 2 if frames of that size can't hold the group's headers and, if asked for,
 * the marks. */
void template_fill(const struct traffic *traffic, uint32_t index, uint32_t frame_bytes, bool marks,
		   struct kb_offer_group *group);

#endif
