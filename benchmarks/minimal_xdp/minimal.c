// SPDX-License-Identifier: GPL-2.0-only
/*
 * kb-minimal-xdp - loads minimal.bpf.c under the contract of a datapath (docs/programs.md), so that
 * it can be measured in turns with one. It takes the MAC addresses from the image, sends all by
 * port 1, and has no counters of its own: what it reports is the device's (veth:
 * rx_queue_N_xdp_packets, tx_queue_N_xdp_xmit).
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image.h"
#include "kb_netdev.h"
#include "kb_prog.h"
#include "kb_xdp.h"
#include "minimal.h"
#include "minimal.skel.h"

struct datapath {
	const char *rx, *tx, *function, *image;
	int cpu;
	struct kb_xdp_link link;
	struct minimal *skel;
	struct kb_netdev in, out;
};

static void load(struct datapath *dp)
{
	__u32 zero = 0, out = kb_ifindex(dp->tx);
	struct minimal_macs *macs;
	struct kb_image image;
	int err;

	kb_xdp_read_image(dp->image, dp->function, &image);
	if (image.params.function != KB_FORWARD)
		kb_die(KB_EXIT_USAGE, "--function: this program only forwards");
	kb_netdev_open(&dp->in, dp->rx);
	kb_netdev_open(&dp->out, dp->tx);
	dp->skel = minimal__open();
	if (!dp->skel)
		kb_die(KB_EXIT_FAILED, "can't open the BPF object");
	macs = (struct minimal_macs *)&dp->skel->rodata->macs;
	memcpy(macs->words, image.params.ports[1].next_hop, 6);
	memcpy((char *)macs->words + 6, image.params.ports[1].mac, 6);
	err = minimal__load(dp->skel);
	if (err)
		kb_xdp_load_failed(err);
	err = bpf_map_update_elem(bpf_map__fd(dp->skel->maps.port), &zero, &out, 0);
	if (err)
		kb_die(KB_EXIT_LACKS, "%s can't be redirected to: %s", dp->tx, strerror(-err));
	kb_xdp_attach(&dp->link, bpf_program__fd(dp->skel->progs.minimal), dp->rx, KB_XDP_NATIVE);
}

/* Sum of a statistic over all queues: "rx_queue_N" + suffix. */
static uint64_t queues(const struct kb_netdev *dev, const char *suffix)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < dev->count; i++) {
		const char *end = strstr(dev->names[i], suffix);

		if (!strncmp(dev->names[i], "rx_queue_", 9) && end && !end[strlen(suffix)])
			sum += dev->now[i] - dev->base[i];
	}
	return sum;
}

static void print_counters(struct datapath *dp)
{
	uint64_t received, redirected, forwarded, dropped;

	kb_netdev_read(&dp->in);
	kb_netdev_read(&dp->out);
	received = queues(&dp->in, "_xdp_packets");
	redirected = queues(&dp->in, "_xdp_redirect");
	dropped = queues(&dp->in, "_xdp_drops");
	kb_netdev_xdp_taken(&dp->out, KB_XDP_REDIRECTED, &forwarded);
	kb_json_begin("counters");
	kb_json_u64("received", received);
	kb_json_u64("forwarded", forwarded);
	kb_json_obj_begin("dropped");
	kb_json_u64("ttl", dropped);
	kb_json_obj_end();
	kb_json_u64("passed", received - redirected - dropped);
	kb_json_obj_begin("lost");
	kb_json_u64("tx", redirected > forwarded ? redirected - forwarded : 0);
	kb_json_obj_end();
	kb_json_end();
}

static void parse(int argc, char **argv, struct datapath *dp)
{
	static const struct option options[] = {
		{ "rx", required_argument, NULL, 'r' },
		{ "tx", required_argument, NULL, 't' },
		{ "function", required_argument, NULL, 'f' },
		{ "image", required_argument, NULL, 'i' },
		{ "cpu", required_argument, NULL, 'c' },
		{},
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'r':
			dp->rx = optarg;
			break;
		case 't':
			dp->tx = optarg;
			break;
		case 'f':
			dp->function = optarg;
			break;
		case 'i':
			dp->image = optarg;
			break;
		case 'c':
			dp->cpu = kb_parse_u64("--cpu", optarg, 0, 4095);
			break;
		default:
			exit(KB_EXIT_USAGE);
		}
	}
	kb_require("--rx", dp->rx);
	kb_require("--tx", dp->tx);
	kb_require("--function", dp->function);
	kb_require("--image", dp->image);
}

int main(int argc, char **argv)
{
	struct datapath dp = { .cpu = -1 };

	kb_prog_init("kb-minimal-xdp");
	parse(argc, argv, &dp);
	dp.cpu = kb_pin_cpu(dp.cpu);
	load(&dp);
	kb_json_begin("ready");
	kb_json_str("mode", "native");
	kb_json_i64("cpu", dp.cpu);
	kb_json_end();
	while (!kb_stop) {
		kb_poll(NULL, 0, -1);
		if (kb_reset) {
			kb_reset = 0;
			kb_netdev_rebase(&dp.in);
			kb_netdev_rebase(&dp.out);
			kb_json_begin("reset");
			kb_json_end();
		}
		if (kb_snapshot) {
			kb_snapshot = 0;
			print_counters(&dp);
		}
	}
	kb_xdp_detach(&dp.link);
	print_counters(&dp);
	minimal__destroy(dp.skel);
	kb_netdev_close(&dp.in);
	kb_netdev_close(&dp.out);
	return KB_EXIT_OK;
}
