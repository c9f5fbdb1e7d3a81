// SPDX-License-Identifier: GPL-2.0-only
/*
 * kb-perf - counts what the CPUs of a device under test do: perf events per CPU, and with
 * --bpf-stats the run time of BPF programs. With --sample it tells where their time goes.
 *
 * It sleeps between signals, so while packets flow it costs what the counting itself does: nothing
 * for the PMU, two clock readings per run of a BPF program for --bpf-stats. Sampling costs some
 * microseconds a sample, and a quarter of a second's samples are fetched at a time.
 */
#include "perf.h"
#include "kb_prog.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DRAIN_MS 250
#define MAX_SAMPLE_HZ 100000

static void parse_cpus(const char *text, struct cpu_list *cpus)
{
	char *copy = strdup(text), *range, *rest = copy;

	if (!copy)
		kb_die(KB_EXIT_FAILED, "out of memory");
	while ((range = strsep(&rest, ","))) {
		char *dash = strchr(range, '-');
		uint64_t first, last;

		if (dash)
			*dash++ = '\0';
		first = kb_parse_u64("--cpu", range, 0, MAX_CPUS - 1);
		last = dash ? kb_parse_u64("--cpu", dash, first, MAX_CPUS - 1) : first;
		for (; first <= last; first++) {
			if (cpus->count == MAX_CPUS)
				kb_die(KB_EXIT_USAGE, "--cpu: more than %d CPUs", MAX_CPUS);
			cpus->cpu[cpus->count++] = (int)first;
		}
	}
	free(copy);
}

enum mode { COUNT, COUNT_AND_BPF, SAMPLE };

static uint64_t since_ns;

static void print_counters(enum mode mode)
{
	kb_json_begin("counters");
	kb_json_u64("elapsed_ns", kb_now_ns() - since_ns);
	if (mode == SAMPLE) {
		samples_drain();
		samples_json();
	} else {
		events_json_counters();
	}
	if (mode == COUNT_AND_BPF)
		bpf_stats_json();
	kb_json_end();
}

static void reset(enum mode mode)
{
	if (mode == SAMPLE)
		samples_reset();
	else
		events_reset();
	if (mode == COUNT_AND_BPF)
		bpf_stats_reset();
	since_ns = kb_now_ns();
	kb_json_begin("reset");
	kb_json_end();
}

static void print_ready(enum mode mode, const struct cpu_list *cpus)
{
	size_t i;

	kb_json_begin("ready");
	kb_json_arr_begin("cpus");
	for (i = 0; i < cpus->count; i++)
		kb_json_u64(NULL, (uint64_t)cpus->cpu[i]);
	kb_json_arr_end();
	if (mode == SAMPLE) {
		kb_json_str("sampled", samples.event);
		kb_json_u64("hz", samples.hz);
		kb_json_obj_begin("absent");
		if (samples.no_cycles[0])
			kb_json_str("cycles", samples.no_cycles);
		kb_json_obj_end();
	} else {
		events_json_ready();
		kb_json_bool("bpf_stats", mode == COUNT_AND_BPF);
	}
	kb_json_end();
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "cpu", required_argument, NULL, 'c' }, { "events", required_argument, NULL, 'e' },
		{ "bpf-stats", no_argument, NULL, 'b' }, { "sample", no_argument, NULL, 's' },
		{ "hz", required_argument, NULL, 'h' },	 {},
	};
	const char *cpu = NULL, *events = NULL;
	uint64_t hz = 0;
	static struct cpu_list cpus;
	enum mode mode = COUNT;
	bool bpf = false;
	int opt;

	kb_prog_init("kb-perf");
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'c')
			cpu = optarg;
		else if (opt == 'e')
			events = optarg;
		else if (opt == 'b')
			bpf = true;
		else if (opt == 's')
			mode = SAMPLE;
		else if (opt == 'h')
			hz = kb_parse_u64("--hz", optarg, 1, MAX_SAMPLE_HZ);
		else
			return KB_EXIT_USAGE;
	}
	if (mode == SAMPLE && (bpf || events))
		kb_die(KB_EXIT_USAGE, "--sample is alone: without --events and --bpf-stats");
	if (mode != SAMPLE && hz)
		kb_die(KB_EXIT_USAGE, "--hz is of --sample");
	if (!bpf)
		kb_require("--cpu", cpu);
	if (bpf) {
		mode = COUNT_AND_BPF;
		bpf_stats_open();
	}
	if (cpu)
		parse_cpus(cpu, &cpus);
	if (mode == SAMPLE)
		samples_open(&cpus, hz ? hz : DEFAULT_SAMPLE_HZ);
	else if (cpu)
		events_open(events ? events : DEFAULT_EVENTS, &cpus);
	since_ns = kb_now_ns();
	print_ready(mode, &cpus);
	while (!kb_stop) {
		kb_poll(NULL, 0, mode == SAMPLE ? DRAIN_MS : -1);
		if (mode == SAMPLE)
			samples_drain();
		if (kb_reset) {
			kb_reset = 0;
			reset(mode);
		}
		if (kb_snapshot) {
			kb_snapshot = 0;
			print_counters(mode);
		}
	}
	if (mode == SAMPLE)
		samples_end();
	print_counters(mode);
	return KB_EXIT_OK;
}
