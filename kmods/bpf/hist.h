/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Log-linear histogram of nanoseconds: 32 sub-buckets per octave, so a bucket is at most 1/32 wide.
 * The layout is that of kbench.model.Histogram: a value below 32 is its own index, above it stands
 * (exponent + 1) * 32 + the five bits after the leading one.
 */
#ifndef KB_HIST_H
#define KB_HIST_H

#include <linux/types.h>

#define KB_HIST_SUB_BITS 5
#define KB_HIST_BUCKETS ((64 - KB_HIST_SUB_BITS + 1) << KB_HIST_SUB_BITS)

static inline __attribute__((always_inline)) __u32 kb_hist_index(__u64 value)
{
	__u32 exponent = 0, index;
	__u64 rest = value >> KB_HIST_SUB_BITS;

	if (!rest)
		return (__u32)value;
	if (rest >> 32) {
		exponent += 32;
		rest >>= 32;
	}
	if (rest >> 16) {
		exponent += 16;
		rest >>= 16;
	}
	if (rest >> 8) {
		exponent += 8;
		rest >>= 8;
	}
	if (rest >> 4) {
		exponent += 4;
		rest >>= 4;
	}
	if (rest >> 2) {
		exponent += 2;
		rest >>= 2;
	}
	exponent += rest >> 1;
	index = (exponent + 1) << KB_HIST_SUB_BITS | ((value >> exponent) & 31);
	return index;
}

#endif
