/* SPDX-License-Identifier: GPL-2.0-only */
/* resident.h - loads that come line by line on stdin. */
#ifndef KB_OFFER_RESIDENT_H
#define KB_OFFER_RESIDENT_H

#include "live.h"

/* Offers each load that stdin asks for ("RATE_PPS DURATION_MS COUNT"), until its end or SIGTERM. */
void resident_serve(struct generator *gen);

#endif
