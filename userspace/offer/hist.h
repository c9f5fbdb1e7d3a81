/* SPDX-License-Identifier: GPL-2.0-only */
/* Printing of histograms laid out as in kmods/bpf/hist.h. */
#ifndef KB_OFFER_HIST_H
#define KB_OFFER_HIST_H

#include <stdint.h>

/* {"sub_bits":5,"buckets":[[index,count],...],"count":N,"min_ns":N,"max_ns":N}: docs/programs.md */
void hist_json(const char *key, const uint64_t *buckets, uint64_t min_ns, uint64_t max_ns);

/* Lower edge of a bucket in nanoseconds. */
uint64_t hist_low_ns(uint32_t index);

#endif
