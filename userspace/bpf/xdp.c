// SPDX-License-Identifier: GPL-2.0-only
/*
 * kb-xdp - the xdp datapath: loads kmods/bpf/xdp.bpf.c with an image and attaches it to the
 * receiving port. Where that is the outgoing one too, frames go back by XDP_TX; otherwise they are
 * redirected, and the outgoing port gets a program as well where its driver wants one for that.
 *
 * Counters are the program's own, by reason. What the outgoing driver refuses after the verdict
 * shows only in the device's statistics (the tracepoints xdp_redirect_err and xdp_devmap_xmit would
 * name it too, at a fifth of the speed): verdicts are compared with the XDP frames that the driver
 * took, where it counts those, or with all that the port sent. True once traffic has drained.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kb_netdev.h"
#include "kb_prog.h"
#include "kb_xdp.h"
#include "xdp.h"
#include "xdp.skel.h"

static const char *const reason_names[] = {
#define X(id, name) name,
	KB_REASONS(X)
#undef X
};

struct datapath {
	const char *rx, *tx, *function, *image;
	bool generic;
	int cpu;
	struct xdp *skel;
	struct kb_xdp_link in, out;
	struct kb_netdev ports[KB_PORTS];
	int port_count; /* 1: all leaves by the port it came in by */
	struct kb_xdp_counters base;
};

static struct bpf_program *pick_program(struct datapath *dp)
{
	bool back = dp->port_count == 1 && strcmp(dp->function, "drop");
	struct bpf_program *prog, *picked = NULL;
	char name[32];

	snprintf(name, sizeof(name), "xdp_%s%s", dp->function, back ? "_back" : "");
	bpf_object__for_each_program (prog, dp->skel->obj) {
		bool ours = !strcmp(bpf_program__name(prog), name);

		bpf_program__set_autoload(prog, ours);
		if (ours)
			picked = prog;
	}
	if (!picked)
		kb_die(KB_EXIT_FAILED, "no program for function \"%s\"", dp->function);
	return picked;
}

static void set_entries(struct bpf_map *map, __u64 entries)
{
	int err = bpf_map__set_max_entries(map, entries ? entries : 1);

	if (err)
		kb_die(KB_EXIT_FAILED, "can't size BPF map %s: %s", bpf_map__name(map),
		       strerror(-err));
}

static void fill(const struct bpf_map *map, const void *data, size_t bytes)
{
	size_t room;
	void *memory = kb_xdp_map_memory(map, &room);

	if (bytes > room)
		kb_die(KB_EXIT_FAILED, "BPF map %s is too small for the image", bpf_map__name(map));
	memcpy(memory, data, bytes);
	munmap(memory, room);
}

/* A root node that a forged image has beyond its end is empty there, as in all datapaths. */
static void fill_root(struct datapath *dp, const struct kb_image *image, __u32 root, __u32 place)
{
	__u32 count = root < image->slot_count ? image->slot_count - root : 0;

	if (count > KB_ROOT_SLOTS)
		count = KB_ROOT_SLOTS;
	if (count)
		memcpy(dp->skel->bss->roots + place * KB_ROOT_SLOTS, image->slots + root,
		       count * sizeof(*image->slots));
}

static void load(struct datapath *dp)
{
	const char *names[KB_PORTS] = { dp->rx, dp->tx };
	struct kb_params *params;
	struct bpf_program *prog;
	struct kb_image image;
	__u32 ifindex[KB_PORTS];
	int err;

	kb_xdp_read_image(dp->image, dp->function, &image);
	for (__u32 i = 0; i < KB_PORTS; i++)
		ifindex[i] = kb_ifindex(names[i]);
	dp->port_count = ifindex[0] == ifindex[1] ? 1 : KB_PORTS;
	for (int i = 0; i < dp->port_count; i++)
		kb_netdev_open(&dp->ports[i], names[i]);
	dp->skel = xdp__open();
	if (!dp->skel)
		kb_die(KB_EXIT_FAILED, "can't open the BPF object");
	prog = pick_program(dp);
	params = (struct kb_params *)&dp->skel->rodata->kb_params;
	*params = image.params;
#define X(root, place) params->root = (place)*KB_ROOT_SLOTS;
	KB_ROOTS(X)
#undef X
	set_entries(dp->skel->maps.slots, image.slot_count / KB_SLOT_GROUP);
	set_entries(dp->skel->maps.vectors, image.vector_count);
	err = xdp__load(dp->skel);
	if (err)
		kb_xdp_load_failed(err);
	fill(dp->skel->maps.slots, image.slots, image.slot_count * sizeof(*image.slots));
	fill(dp->skel->maps.vectors, image.vectors, image.vector_count * sizeof(*image.vectors));
#define X(root, place) fill_root(dp, &image, image.params.root, place);
	KB_ROOTS(X)
#undef X
	for (__u32 i = 0; i < KB_PORTS; i++) {
		err = bpf_map_update_elem(bpf_map__fd(dp->skel->maps.ports), &i, &ifindex[i], 0);
		if (err)
			kb_die(KB_EXIT_LACKS, "%s can't be redirected to: %s", names[i],
			       strerror(-err));
	}
	if (dp->port_count > 1 && !dp->generic && image.params.function != KB_DROP)
		kb_xdp_open_way_out(&dp->out, dp->tx);
	kb_xdp_attach(&dp->in, bpf_program__fd(prog), dp->rx,
		      dp->generic ? KB_XDP_GENERIC : KB_XDP_NATIVE);
	/* What came while the ports were set up is no business of the counters. */
	for (int i = 0; i < dp->port_count; i++)
		kb_netdev_rebase(&dp->ports[i]);
}

static void read_counters(const struct datapath *dp, struct kb_xdp_counters *sum)
{
	int cpus = libbpf_num_possible_cpus();
	struct kb_xdp_counters *each;
	__u32 zero = 0;

	if (cpus < 1)
		kb_die(KB_EXIT_FAILED, "can't tell the number of CPUs");
	each = calloc(cpus, sizeof(*each));
	if (!each || bpf_map_lookup_elem(bpf_map__fd(dp->skel->maps.counters), &zero, each))
		kb_die(KB_EXIT_FAILED, "can't read the counters");
	memset(sum, 0, sizeof(*sum));
	for (int cpu = 0; cpu < cpus; cpu++) {
		for (int i = 0; i < KB_REASON_COUNT; i++)
			sum->reasons[i] += each[cpu].reasons[i];
		sum->unsent += each[cpu].unsent;
	}
	free(each);
}

/*
 * Packets of all that were to leave that no port took, and whether that is exact. On a veth
 * tx_dropped is: what generic mode sends, and nothing else, may be refused there.
 */
static bool lost_in_transmit(const struct datapath *dp, __u64 leaving, __u64 *lost)
{
	enum kb_xdp_way way = dp->port_count == 1 ? KB_XDP_RETURNED : KB_XDP_REDIRECTED;
	uint64_t taken = 0, dropped = 0, frames;
	bool told = true;

	for (int i = 0; i < dp->port_count; i++) {
		bool veth = !strcmp(dp->ports[i].driver, "veth");

		if (dp->generic) {
			frames = kb_netdev_tx_packets(&dp->ports[i]);
			told &= veth;
		} else {
			told &= kb_netdev_xdp_taken(&dp->ports[i], way, &frames);
		}
		taken += frames;
		dropped += kb_netdev_tx_dropped(&dp->ports[i]);
	}
	/* More taken than were to leave: the counters were read while packets flowed. */
	*lost = leaving > taken ? leaving - taken : 0;
	if (dp->generic && told)
		*lost = dropped < leaving ? dropped : leaving;
	return told;
}

static void print_counters(struct datapath *dp)
{
	struct kb_xdp_counters now;
	__u64 received = 0, lost;
	bool exact;

	read_counters(dp, &now);
	for (int i = 0; i < dp->port_count; i++)
		kb_netdev_read(&dp->ports[i]);
	for (int i = 0; i < KB_REASON_COUNT; i++) {
		now.reasons[i] -= dp->base.reasons[i];
		received += now.reasons[i];
	}
	now.unsent -= dp->base.unsent;
	exact = lost_in_transmit(dp, now.reasons[KB_FORWARDED] - now.unsent, &lost);

	kb_json_begin("counters");
	kb_json_u64("received", received);
	kb_json_u64("forwarded", now.reasons[KB_FORWARDED] - now.unsent - lost);
	kb_json_obj_begin("dropped");
	for (int i = 0; i < KB_REASON_COUNT; i++) {
		if (i != KB_FORWARDED && i != KB_PASSED)
			kb_json_u64(reason_names[i], now.reasons[i]);
	}
	kb_json_obj_end();
	kb_json_u64("passed", now.reasons[KB_PASSED]);
	kb_json_obj_begin("lost");
	kb_json_u64("xdp_aborted", now.unsent);
	kb_json_u64("tx", lost);
	kb_json_obj_end();
	kb_json_bool("lost_exact", exact);
	kb_json_obj_begin("ethtool");
	for (int i = 0; i < dp->port_count; i++)
		kb_netdev_json(&dp->ports[i]);
	kb_json_obj_end();
	kb_json_end();
}

static void reset_counters(struct datapath *dp)
{
	read_counters(dp, &dp->base);
	for (int i = 0; i < dp->port_count; i++)
		kb_netdev_rebase(&dp->ports[i]);
	kb_json_begin("reset");
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
		{ "mode", required_argument, NULL, 'm' },
		{},
	};
	static const char *const modes[] = { "native", "generic", NULL };
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
		case 'm':
			dp->generic = kb_parse_choice("--mode", optarg, modes);
			break;
		default:
			exit(KB_EXIT_USAGE);
		}
	}
	if (optind < argc)
		kb_die(KB_EXIT_USAGE, "unexpected argument \"%s\"", argv[optind]);
	kb_require("--rx", dp->rx);
	kb_require("--tx", dp->tx);
	kb_require("--function", dp->function);
	kb_require("--image", dp->image);
}

int main(int argc, char **argv)
{
	struct datapath dp = { .cpu = -1 };

	kb_prog_init("kb-xdp");
	parse(argc, argv, &dp);
	dp.cpu = kb_pin_cpu(dp.cpu);
	load(&dp);

	kb_json_begin("ready");
	kb_json_str("mode", kb_xdp_link_mode(&dp.in));
	kb_json_str("verdict", dp.port_count == 1 ? "tx" : "redirect");
	kb_json_str("tx_program", kb_xdp_link_mode(&dp.out));
	kb_json_u64("link_wait_ms", dp.in.wait_ms + dp.out.wait_ms);
	kb_json_i64("cpu", dp.cpu);
	kb_json_end();
	while (!kb_stop) {
		kb_poll(NULL, 0, -1);
		if (kb_reset) {
			kb_reset = 0;
			reset_counters(&dp);
		}
		if (kb_snapshot) {
			kb_snapshot = 0;
			print_counters(&dp);
		}
	}
	kb_xdp_detach(&dp.in);
	kb_xdp_detach(&dp.out);
	print_counters(&dp);
	xdp__destroy(dp.skel);
	for (int i = 0; i < dp.port_count; i++)
		kb_netdev_close(&dp.ports[i]);
	return KB_EXIT_OK;
}
