// SPDX-License-Identifier: GPL-2.0-only
/*
 * kb-perf - counts what the CPUs of a device under test do: perf events per CPU, and with
 * --bpf-stats the run time of BPF programs.
 *
 * It sleeps between signals, so while packets flow it costs what the counting itself does: nothing
 * for the PMU, two clock readings per run of a BPF program for --bpf-stats.
 */
#include "perf.h"
#include "kb_prog.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void print_counters(uint64_t since_ns, bool bpf)
{
	kb_json_begin("counters");
	kb_json_u64("elapsed_ns", kb_now_ns() - since_ns);
	events_json_counters();
	if (bpf)
		bpf_stats_json();
	kb_json_end();
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "cpu", required_argument, NULL, 'c' },
		{ "events", required_argument, NULL, 'e' },
		{ "bpf-stats", no_argument, NULL, 'b' },
		{},
	};
	const char *cpu = NULL, *events = DEFAULT_EVENTS;
	static struct cpu_list cpus;
	bool bpf = false;
	uint64_t since_ns;
	size_t i;
	int opt;

	kb_prog_init("kb-perf");
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'c')
			cpu = optarg;
		else if (opt == 'e')
			events = optarg;
		else if (opt == 'b')
			bpf = true;
		else
			return KB_EXIT_USAGE;
	}
	if (!bpf)
		kb_require("--cpu", cpu);
	if (bpf)
		bpf_stats_open();
	if (cpu) {
		parse_cpus(cpu, &cpus);
		events_open(events, &cpus);
	}
	since_ns = kb_now_ns();

	kb_json_begin("ready");
	kb_json_arr_begin("cpus");
	for (i = 0; i < cpus.count; i++)
		kb_json_u64(NULL, (uint64_t)cpus.cpu[i]);
	kb_json_arr_end();
	events_json_ready();
	kb_json_bool("bpf_stats", bpf);
	kb_json_end();
	while (!kb_stop) {
		kb_poll(NULL, 0, -1);
		if (kb_reset) {
			kb_reset = 0;
			events_reset();
			if (bpf)
				bpf_stats_reset();
			since_ns = kb_now_ns();
			kb_json_begin("reset");
			kb_json_end();
		}
		if (kb_snapshot) {
			kb_snapshot = 0;
			print_counters(since_ns, bpf);
		}
	}
	print_counters(since_ns, bpf);
	return KB_EXIT_OK;
}
