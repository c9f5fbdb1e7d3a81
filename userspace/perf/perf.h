/* SPDX-License-Identifier: GPL-2.0-only */
/* perf.h - the three things that kb-perf watches: perf events per CPU, the run time of BPF
 * programs, and, with --sample, what CPUs are at. */
#ifndef KB_PERF_H
#define KB_PERF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

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

/* Why perf_event_open() failed with `error`, for people. */
void perf_why(char *text, size_t room, int error, int cpu);

/*
 * Turns on the kernel's accounting of BPF run time for as long as this process lives
 * (BPF_ENABLE_STATS: the effect ends with the descriptor, so also after SIGKILL). Dies (code 3)
 * where the kernel does not have it.
 */
void bpf_stats_open(void);
void bpf_stats_reset(void);
/* An array of the programs that ran since the reset. */
void bpf_stats_json(void);

#define DEFAULT_SAMPLE_HZ 3999 /* in no step with the kernel's timer */
#define MAX_CHAINS 600	       /* printed per CPU; samples of others are counted by thread */
#define THREAD_NAME_BYTES 16

/* One sample: `depth` addresses from words[first] on, the innermost first; none of user space. */
struct sample {
	size_t watched; /* index of its CPU in the list */
	size_t name;	/* of its thread: index into names */
	bool user;
	size_t first, depth;
};

/* All that was sampled since the reset. */
extern struct samples {
	const struct cpu_list *cpus;
	uint64_t hz;
	const char *event;
	char no_cycles[128]; /* why it isn't "cycles"; empty if it is */
	struct sample *at;
	size_t count;
	uint64_t *words;
	size_t word_count;
	char (*names)[THREAD_NAME_BYTES];
	size_t name_count;
	uint64_t *lost; /* by CPU of the list */
} samples;

/*
 * Samples the CPUs `hz` times a second, or as often as the kernel allows: by the PMU's cycles,
 * where there is none by the CPU's clock (an interrupt of a timer, so what runs with interrupts off
 * is charged to where they are turned on again). Dies (code 3) where that is not allowed or kernel
 * addresses have no names.
 */
void samples_open(const struct cpu_list *cpus, uint64_t hz);
/* Empties the kernel's rings; has to be called every quarter of a second. */
void samples_drain(void);
void samples_reset(void);
/* No more samples from now on. */
void samples_end(void);
/* The event and its rate, and an array with the samples of each CPU. */
void samples_json(void);

/* Dies (code 3) where the kernel does not tell addresses of its functions. */
void symbols_require(void);
/* Reads what the kernel has loaded now, all of it: some 100 ms. */
void symbols_load(void);
/* Writes the function's name, with its [module]. */
void symbol_write(FILE *out, uint64_t address);

#endif
