/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A slow-down of known size, for `kbench selftest ab`: KB_TEST_SLOWDOWN operations per packet,
 * each of which needs the one before. Only test builds define it (kbench/host/builds.py); in all
 * others this is nothing, so that what is measured holds no trace of it.
 */
#ifndef KB_SLOWDOWN_H
#define KB_SLOWDOWN_H

#include "packet.h"

KB_INLINE void kb_slow_down(__u32 value)
{
#ifdef KB_TEST_SLOWDOWN
	int i;

	KB_UNROLL
	for (i = 0; i < KB_TEST_SLOWDOWN; i++) {
		value += value;
		asm volatile("" : "+r"(value));
	}
#else
	(void)value;
#endif
}

#endif
