/* SPDX-License-Identifier: GPL-2.0-only */
/* What sink.bpf.c and its program, kb-sink, share. */
#ifndef KB_SINK_H
#define KB_SINK_H

#include "hist.h"

#define KB_SINK_SAMPLES 256
#define KB_SINK_SAMPLE_EVERY 512

enum kb_sink_mode { KB_SINK_COUNT, KB_SINK_STAMP, KB_SINK_LATENCY };

/*
 * One CPU's. first_ns and last_ns are of the first packet and, in count mode, of the last that was
 * sampled. When the samples are full, every other one goes and the distance doubles, so that they
 * span the trial.
 */
struct kb_sink_cpu {
	__u64 packets, bytes;
	__u64 first_ns, last_ns;
	__u64 next_sample; /* number of the packet that is sampled next */
	__u64 sample_every;
	__u64 sampled;
	__u64 unstamped;
	__u64 min_ns, max_ns;
	__u64 pad[6];
	__u64 samples[KB_SINK_SAMPLES][2]; /* clock, packets with this one */
	__u64 latency[KB_HIST_BUCKETS];
};

#endif
