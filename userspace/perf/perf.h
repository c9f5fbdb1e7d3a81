/* SPDX-License-Identifier: GPL-2.0-only */
/* perf.h - the two things that kb-perf watches: perf events per CPU, and the run time of BPF
 * programs. */
#ifndef KB_PERF_H
#define KB_PERF_H

#include <stdbool.h>
#include <stddef.h>

#define MAX_CPUS 1024

struct cpu_list {
	int cpu[MAX_CPUS];
	size_t count;
};

/* Names of events that are opened unless --events says otherwise. */
#define DEFAULT_EVENTS "cycles,instructions,cache-references,cache-misses,branches,branch-misses"

/*
 * Opens each event of a comma-separated list on all CPUs; those that can't be opened are kept with
 * the kernel's reason. Dies (code 2) at a name that it does not know.
 */
void events_open(const char *list, const struct cpu_list *cpus);
/* Counts from now on. */
void events_reset(void);
/* An array of the names that are open, and an object {name: reason} of those that are not. */
void events_json_ready(void);
/* An object {name: {value, ...}} and the absent ones, as differences since the reset. */
void events_json_counters(void);

/*
 * Turns on the kernel's accounting of BPF run time for as long as this process lives
 * (BPF_ENABLE_STATS: the effect ends with the descriptor, so also after SIGKILL). Dies (code 3)
 * where the kernel does not have it.
 */
void bpf_stats_open(void);
void bpf_stats_reset(void);
/* An array of the programs that ran since the reset. */
void bpf_stats_json(void);

#endif
