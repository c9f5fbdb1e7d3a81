// SPDX-License-Identifier: GPL-2.0-only
/*
 * kb-offer-xdp - generator: redirects frames that the kernel makes for BPF_F_TEST_XDP_LIVE_FRAMES
 * into a device; one load (live.c), or with --resident one after the other (resident.c).
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "anchor.h"
#include "kb_prog.h"
#include "kb_xdp.h"
#include "live.h"
#include "offer.h"
#include "offer.skel.h"
#include "resident.h"
#include "template.h"
#include "traffic.h"

static void load_program(struct generator *gen)
{
	struct traffic traffic;
	struct kb_offer_config *config;
	uint32_t zero = 0, ifindex = kb_ifindex(gen->ifname);
	int err;

	traffic_read(gen->traffic, &traffic);
	kb_netdev_open(&gen->port, gen->ifname);
	gen->skel = offer__open();
	if (!gen->skel)
		kb_die(KB_EXIT_FAILED, "can't open the BPF object");
	config = (struct kb_offer_config *)&gen->skel->rodata->config;
	config->groups = traffic.count;
	config->timestamp = gen->timestamp;
	config->gaps = gen->gaps;
	config->marks = gen->timestamp || template_has_room(&traffic, gen->frame_bytes);
	err = offer__load(gen->skel);
	if (err)
		kb_xdp_load_failed(err);
	for (uint32_t i = 0; i < traffic.count; i++)
		template_fill(&traffic, i, gen->frame_bytes, config->marks,
			      &gen->skel->bss->groups[i]);
	err = bpf_map_update_elem(bpf_map__fd(gen->skel->maps.port), &zero, &ifindex, 0);
	if (err)
		kb_die(KB_EXIT_LACKS, "%s can't be redirected to: %s", gen->ifname, strerror(-err));
	kb_xdp_open_way_out(&gen->way_out, gen->ifname);
}

static void parse(int argc, char **argv, struct generator *gen)
{
	static const struct option options[] = {
		{ "if", required_argument, NULL, 'i' },
		{ "traffic", required_argument, NULL, 't' },
		{ "frame-bytes", required_argument, NULL, 'f' },
		{ "rate-pps", required_argument, NULL, 'r' },
		{ "duration-ms", required_argument, NULL, 'd' },
		{ "count", required_argument, NULL, 'n' },
		{ "cpu", required_argument, NULL, 'c' },
		{ "batch", required_argument, NULL, 'b' },
		{ "timestamp", no_argument, NULL, 's' },
		{ "gaps", no_argument, NULL, 'g' },
		{ "resident", no_argument, NULL, 'R' },
		{},
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'i':
			gen->ifname = optarg;
			break;
		case 't':
			gen->traffic = optarg;
			break;
		case 'f':
			gen->frame_bytes =
				kb_parse_u64("--frame-bytes", optarg, KB_FRAME_MIN, KB_FRAME_MAX);
			break;
		case 'r':
			gen->load.rate_pps = kb_parse_u64("--rate-pps", optarg, 0, RATE_PPS_MAX);
			break;
		case 'd':
			gen->load.duration_ms =
				kb_parse_u64("--duration-ms", optarg, 0, DURATION_MS_MAX);
			break;
		case 'n':
			gen->load.count = kb_parse_u64("--count", optarg, 0, UINT64_MAX);
			break;
		case 'c':
			gen->cpu = kb_parse_u64("--cpu", optarg, 0, 4095);
			break;
		case 'b':
			gen->batch = kb_parse_u64("--batch", optarg, 1, BATCH_MAX);
			break;
		case 's':
			gen->timestamp = true;
			break;
		case 'g':
			gen->gaps = true;
			break;
		case 'R':
			gen->resident = true;
			break;
		default:
			exit(KB_EXIT_USAGE);
		}
	}
	if (optind < argc)
		kb_die(KB_EXIT_USAGE, "unexpected argument \"%s\"", argv[optind]);
	kb_require("--if", gen->ifname);
	kb_require("--traffic", gen->traffic);
	if (!gen->frame_bytes)
		kb_die(KB_EXIT_USAGE, "--frame-bytes is missing");
	if (!gen->resident)
		load_check(gen, &gen->load, "arguments");
	else if (gen->load.rate_pps || gen->load.duration_ms || gen->load.count)
		kb_die(KB_EXIT_USAGE,
		       "--resident: rate, duration and count of each load come from stdin");
}

/* Nothing depends on it but time, so that it may fail, but not in silence. */
static bool anchor(const struct offer *skel)
{
	int err = anchor_program(bpf_program__fd(skel->progs.offer));

	if (err)
		kb_warn("each load will take 20 ms longer: no veth of its own to attach to: %s",
			strerror(-err));
	return !err;
}

int main(int argc, char **argv)
{
	struct generator gen = { .cpu = -1 };
	bool anchored = false;

	kb_prog_init("kb-offer-xdp");
	parse(argc, argv, &gen);
	gen.cpu = kb_pin_cpu(gen.cpu);
	load_program(&gen);
	if (gen.resident)
		anchored = anchor(gen.skel);
	kb_json_begin("ready");
	kb_json_i64("cpu", gen.cpu);
	kb_json_str("tx_program", kb_xdp_link_mode(&gen.way_out));
	kb_json_u64("link_wait_ms", gen.way_out.wait_ms);
	if (!gen.resident)
		kb_json_i64("batch", choose_batch(&gen, gen.load.rate_pps));
	if (gen.resident)
		kb_json_bool("anchored", anchored);
	kb_json_end();
	if (gen.resident)
		resident_serve(&gen);
	else
		live_offer(&gen);
	kb_xdp_detach(&gen.way_out);
	offer__destroy(gen.skel);
	kb_netdev_close(&gen.port);
	return KB_EXIT_OK;
}
