// SPDX-License-Identifier: GPL-2.0-only
/*
 * kb-sink - counts the packets that arrive at a port, in XDP, and drops them. Native XDP unless
 * told otherwise: --xdp auto takes generic mode where the driver has none.
 *
 * Put on the port behind the datapath it is the end of the testbed. Put on the datapath's own
 * receiving port it makes the baseline: what generator, device and a bare XDP drop cost without any
 * datapath.
 *
 * --mode count reads the clock at every 512th packet. --mode stamp reads it at each packet, so that
 * last_ns is the last packet's own. --mode latency does too, and takes the difference to the time
 * stamp in the payload.
 *
 * With --pass-stamped, packets of kb-stamp are left to its packet socket and not counted.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "hist.h"
#include "kb_netdev.h"
#include "kb_prog.h"
#include "kb_xdp.h"
#include "sink.h"
#include "sink.skel.h"

static const char *const modes[] = { "count", "stamp", "latency", NULL };

struct receiver {
	const char *ifname;
	int cpu, mode, cpus;
	enum kb_xdp_mode xdp;
	bool pass_stamped;
	struct kb_xdp_link link;
	struct sink *skel;
	struct kb_sink_cpu *banks; /* mapped memory, two times `cpus` */
	struct kb_netdev port;
};

static struct kb_sink_cpu *bank(const struct receiver *rx, uint32_t number)
{
	return rx->banks + number * rx->cpus;
}

static void clear_bank(const struct receiver *rx, uint32_t number)
{
	struct kb_sink_cpu *cpu = bank(rx, number);

	memset(cpu, 0, rx->cpus * sizeof(*cpu));
	for (int i = 0; i < rx->cpus; i++) {
		cpu[i].next_sample = 1;
		cpu[i].sample_every = KB_SINK_SAMPLE_EVERY;
		cpu[i].min_ns = UINT64_MAX;
	}
}

static void load(struct receiver *rx)
{
	size_t bytes;
	int err;

	kb_ifindex(rx->ifname);
	rx->cpus = libbpf_num_possible_cpus();
	if (rx->cpus < 1)
		kb_die(KB_EXIT_FAILED, "can't tell the number of CPUs");
	kb_netdev_open(&rx->port, rx->ifname);
	rx->skel = sink__open();
	if (!rx->skel)
		kb_die(KB_EXIT_FAILED, "can't open the BPF object");
	rx->skel->rodata->mode = rx->mode;
	rx->skel->rodata->cpus = rx->cpus;
	rx->skel->rodata->pass_stamped = rx->pass_stamped;
	err = bpf_map__set_max_entries(rx->skel->maps.banks, 2 * rx->cpus);
	if (!err)
		err = sink__load(rx->skel);
	if (err)
		kb_xdp_load_failed(err);
	rx->banks = kb_xdp_map_memory(rx->skel->maps.banks, &bytes);
	clear_bank(rx, 0);
	kb_xdp_attach(&rx->link, bpf_program__fd(rx->skel->progs.sink), rx->ifname, rx->xdp);
}

/* Packets that a CPU had counted at a time, interpolated between its samples. */
static double packets_at(const struct kb_sink_cpu *cpu, uint64_t when)
{
	const __u64(*s)[2] = cpu->samples;
	uint64_t i = 0;

	while (i < cpu->sampled && s[i][0] <= when)
		i++;
	if (!i)
		return 0;
	if (i == cpu->sampled)
		return s[i - 1][1];
	return s[i - 1][1] +
	       (double)(s[i][1] - s[i - 1][1]) * (when - s[i - 1][0]) / (s[i][0] - s[i - 1][0]);
}

/* At the times that the busiest CPU sampled, what all had counted. */
static void print_samples(const struct kb_sink_cpu *cpu, int cpus)
{
	int busiest = 0;

	for (int i = 1; i < cpus; i++) {
		if (cpu[i].packets > cpu[busiest].packets)
			busiest = i;
	}
	kb_json_arr_begin("samples");
	for (uint64_t n = 0; n < cpu[busiest].sampled; n++) {
		uint64_t when = cpu[busiest].samples[n][0];
		uint64_t packets = cpu[busiest].samples[n][1];

		for (int i = 0; i < cpus; i++) {
			if (i != busiest)
				packets += packets_at(&cpu[i], when);
		}
		kb_json_arr_begin(NULL);
		kb_json_u64(NULL, when);
		kb_json_u64(NULL, packets);
		kb_json_arr_end();
	}
	kb_json_arr_end();
}

static void add_cpu(struct kb_sink_cpu *sum, const struct kb_sink_cpu *cpu)
{
	if (!cpu->packets)
		return;
	sum->packets += cpu->packets;
	sum->bytes += cpu->bytes;
	sum->unstamped += cpu->unstamped;
	if (!sum->first_ns || cpu->first_ns < sum->first_ns)
		sum->first_ns = cpu->first_ns;
	if (cpu->last_ns > sum->last_ns)
		sum->last_ns = cpu->last_ns;
	if (cpu->min_ns < sum->min_ns)
		sum->min_ns = cpu->min_ns;
	if (cpu->max_ns > sum->max_ns)
		sum->max_ns = cpu->max_ns;
	for (int i = 0; i < KB_HIST_BUCKETS; i++)
		sum->latency[i] += cpu->latency[i];
}

static void print_counters(struct receiver *rx)
{
	static struct kb_sink_cpu sum, copy;
	const struct kb_sink_cpu *cpu = bank(rx, rx->skel->bss->bank);

	memset(&sum, 0, sizeof(sum));
	sum.min_ns = UINT64_MAX;
	for (int i = 0; i < rx->cpus; i++) {
		copy = cpu[i];
		add_cpu(&sum, &copy);
	}
	kb_netdev_read(&rx->port);
	kb_json_begin("counters");
	kb_json_u64("packets", sum.packets);
	kb_json_u64("bytes", sum.bytes);
	kb_json_u64("first_ns", sum.first_ns);
	kb_json_u64("last_ns", sum.last_ns);
	print_samples(cpu, rx->cpus);
	if (rx->mode == KB_SINK_LATENCY) {
		hist_json("latency", (const uint64_t *)sum.latency, sum.min_ns, sum.max_ns);
		kb_json_u64("unstamped", sum.unstamped);
	}
	kb_json_obj_begin("ethtool");
	kb_netdev_json(&rx->port);
	kb_json_obj_end();
	kb_json_end();
}

static void reset_counters(struct receiver *rx)
{
	uint32_t next = !rx->skel->bss->bank;

	clear_bank(rx, next);
	__atomic_store_n(&rx->skel->bss->bank, next, __ATOMIC_RELEASE);
	kb_netdev_rebase(&rx->port);
	kb_json_begin("reset");
	kb_json_end();
}

static void parse(int argc, char **argv, struct receiver *rx)
{
	static const struct option options[] = {
		{ "if", required_argument, NULL, 'i' },
		{ "mode", required_argument, NULL, 'm' },
		{ "cpu", required_argument, NULL, 'c' },
		{ "xdp", required_argument, NULL, 'x' },
		{ "pass-stamped", no_argument, NULL, 'p' },
		{},
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'i':
			rx->ifname = optarg;
			break;
		case 'm':
			rx->mode = kb_parse_choice("--mode", optarg, modes);
			break;
		case 'c':
			rx->cpu = kb_parse_u64("--cpu", optarg, 0, 4095);
			break;
		case 'x':
			rx->xdp = kb_parse_choice("--xdp", optarg, kb_xdp_modes);
			break;
		case 'p':
			rx->pass_stamped = true;
			break;
		default:
			exit(KB_EXIT_USAGE);
		}
	}
	if (optind < argc)
		kb_die(KB_EXIT_USAGE, "unexpected argument \"%s\"", argv[optind]);
	kb_require("--if", rx->ifname);
	kb_require("--mode", rx->mode < 0 ? NULL : modes[rx->mode]);
}

int main(int argc, char **argv)
{
	struct receiver rx = { .cpu = -1, .mode = -1 };

	kb_prog_init("kb-sink");
	parse(argc, argv, &rx);
	rx.cpu = kb_pin_cpu(rx.cpu);
	load(&rx);
	kb_json_begin("ready");
	kb_json_str("mode", modes[rx.mode]);
	kb_json_str("xdp", kb_xdp_link_mode(&rx.link));
	kb_json_u64("link_wait_ms", rx.link.wait_ms);
	kb_json_i64("cpu", rx.cpu);
	kb_json_end();
	while (!kb_stop) {
		kb_poll(NULL, 0, -1);
		if (kb_reset) {
			kb_reset = 0;
			reset_counters(&rx);
		}
		if (kb_snapshot) {
			kb_snapshot = 0;
			print_counters(&rx);
		}
	}
	kb_xdp_detach(&rx.link);
	print_counters(&rx);
	sink__destroy(rx.skel);
	kb_netdev_close(&rx.port);
	return KB_EXIT_OK;
}
