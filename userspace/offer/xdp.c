// SPDX-License-Identifier: GPL-2.0-only
/*
 * kb-offer-xdp - generator: redirects frames that the kernel makes for BPF_F_TEST_XDP_LIVE_FRAMES
 * into a device.
 *
 * kmods/bpf/offer.bpf.c decides what is sent when, and when to end, to the packet. The test run
 * itself ends only by a signal: a thread of its own runs it, and this one looks every 10 ms whether
 * the program is done. (A timer's signal for looking would end the run each time, and starting one
 * takes 24 ms.)
 *
 * `failed` are frames that the device did not take: a full ring, or no receiver behind a veth. The
 * kernel tells no one about them but its tracepoints; veth counts what it took
 * (tx_queue_N_xdp_xmit), and the difference is exact. Other drivers: the device's tx_dropped.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <getopt.h>
#include <linux/if_ether.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hist.h"
#include "kb_netdev.h"
#include "kb_prog.h"
#include "kb_xdp.h"
#include "offer.h"
#include "offer.skel.h"
#include "template.h"
#include "traffic.h"

#define BATCH_MAX 128 /* the kernel takes 256, but that many overflow the ring of a veth */

struct generator {
	const char *ifname, *traffic;
	int cpu, batch;
	bool timestamp, gaps;
	uint32_t frame_bytes;
	uint64_t rate_pps, duration_ms, count;
	struct offer *skel;
	struct kb_netdev port;
	uint64_t base_sent, base_failed, base_ns; /* SIGUSR2 */
	int error;
	volatile bool ended;
};

/*
 * Frames leave the generator a batch at a time, so a small batch paces better and a large one costs
 * less: 1 frame a batch reaches 2.2 M/s into a bare drop, 16 reach 6.1 M/s and 64 7.4 M/s.
 */
static int choose_batch(uint64_t rate_pps)
{
	if (!rate_pps || rate_pps > 2000000)
		return 64;
	if (rate_pps > 1000000)
		return 16;
	return rate_pps > 400000 ? 4 : 1;
}

static void on_alarm(int sig)
{
	(void)sig; /* interrupts the test run */
}

static void *run(void *argument)
{
	static uint8_t frame[KB_FRAME_MAX];
	struct generator *gen = argument;
	uint32_t bytes = gen->frame_bytes - ETH_FCS_LEN;
	struct xdp_md ctx = { .data_end = bytes };
	int err = 0;

	while (!__atomic_load_n(&gen->skel->bss->state.done, __ATOMIC_ACQUIRE)) {
		LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = bytes,
			    .ctx_in = &ctx, .ctx_size_in = sizeof(ctx), .repeat = -1 /* 2^32 - 1 */,
			    .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = gen->batch);

		err = bpf_prog_test_run_opts(bpf_program__fd(gen->skel->progs.offer), &opts);
		if (err && err != -EINTR)
			break;
		err = 0;
	}
	gen->error = err;
	gen->ended = true;
	return NULL;
}

static void load(struct generator *gen)
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
	config->count = gen->count;
	config->duration_ns = gen->duration_ms * 1000000;
	config->groups = traffic.count;
	config->timestamp = gen->timestamp;
	config->gaps = gen->gaps;
	config->marks = gen->timestamp || template_has_room(&traffic, gen->frame_bytes);
	if (gen->rate_pps)
		config->period = (uint64_t)(1e9 * (1 << KB_OFFER_FRACTION) / gen->rate_pps + 0.5);
	err = offer__load(gen->skel);
	if (err)
		kb_xdp_load_failed(err);
	for (uint32_t i = 0; i < traffic.count; i++)
		template_fill(&traffic, i, gen->frame_bytes, config->marks,
			      &gen->skel->bss->groups[i]);
	err = bpf_map_update_elem(bpf_map__fd(gen->skel->maps.port), &zero, &ifindex, 0);
	if (err)
		kb_die(KB_EXIT_LACKS, "%s can't be redirected to: %s", gen->ifname, strerror(-err));
}

/* Frames of all `attempts` that the device refused. */
static uint64_t read_failed(struct generator *gen, uint64_t attempts, bool *exact)
{
	uint64_t taken;

	kb_netdev_read(&gen->port);
	*exact = kb_netdev_xdp_xmit(&gen->port, &taken);
	if (*exact)
		return attempts > taken ? attempts - taken : 0;
	taken = kb_netdev_tx_dropped(&gen->port);
	return taken < attempts ? taken : attempts;
}

static void print_gaps(const uint64_t *buckets)
{
	uint32_t first = 0, last = KB_HIST_BUCKETS - 1;

	while (first < last && !buckets[first])
		first++;
	while (last > first && !buckets[last])
		last--;
	hist_json("gaps", buckets, hist_low_ns(first), hist_low_ns(last));
}

static void print_counters(struct generator *gen)
{
	struct kb_offer_state now = *(volatile struct kb_offer_state *)&gen->skel->bss->state;
	bool exact;
	uint64_t failed = read_failed(gen, now.sent, &exact);
	uint64_t first_ns = gen->base_ns ? gen->base_ns : now.first_ns;
	uint64_t attempts = now.sent - gen->base_sent;

	failed = failed > gen->base_failed ? failed - gen->base_failed : 0;
	if (failed > attempts)
		failed = attempts;
	kb_json_begin("counters");
	kb_json_u64("sent", attempts - failed);
	kb_json_u64("failed", failed);
	kb_json_bool("failed_exact", exact);
	kb_json_u64("first_ns", first_ns);
	kb_json_u64("last_ns", now.last_ns);
	kb_json_u64("elapsed_ns", now.last_ns > first_ns ? now.last_ns - first_ns : 0);
	kb_json_u64("clocked", now.clocked > gen->base_sent ? now.clocked - gen->base_sent : 0);
	kb_json_u64("late", now.late);
	kb_json_u64("max_late_ns", now.max_late_ns);
	kb_json_u64("skipped", gen->skel->rodata->config.period
				       ? now.skipped / gen->skel->rodata->config.period
				       : 0);
	kb_json_i64("batch", gen->batch);
	if (gen->gaps)
		print_gaps((const uint64_t *)gen->skel->bss->gap_buckets);
	kb_json_obj_begin("ethtool");
	kb_netdev_json(&gen->port);
	kb_json_obj_end();
	kb_json_end();
}

static void reset_counters(struct generator *gen)
{
	bool exact;

	gen->base_sent = __atomic_load_n(&gen->skel->bss->state.sent, __ATOMIC_RELAXED);
	gen->base_failed = read_failed(gen, gen->base_sent, &exact);
	gen->base_ns = kb_now_ns();
	kb_json_begin("reset");
	kb_json_end();
}

/* Ends with the test run over: done by itself, stopped by SIGTERM, or failed. */
static void supervise(struct generator *gen)
{
	struct kb_offer_state *state = &gen->skel->bss->state;
	const struct timespec moment = { .tv_nsec = 1000000 };
	struct sigaction action = { .sa_handler = on_alarm };
	sigset_t ours, before;
	pthread_t runner;

	sigaction(SIGALRM, &action, NULL);
	/* The runner is to be interrupted by SIGALRM alone. */
	sigfillset(&ours);
	sigdelset(&ours, SIGALRM);
	pthread_sigmask(SIG_SETMASK, &ours, &before);
	if (pthread_create(&runner, NULL, run, gen))
		kb_die(KB_EXIT_FAILED, "can't start a thread");
	pthread_sigmask(SIG_SETMASK, &before, NULL);

	while (!gen->ended && !__atomic_load_n(&state->done, __ATOMIC_ACQUIRE)) {
		if (kb_stop) {
			__atomic_store_n(&state->stop, 1, __ATOMIC_RELEASE);
			nanosleep(&moment, NULL);
			continue;
		}
		kb_poll(NULL, 0, 10);
		if (kb_reset) {
			kb_reset = 0;
			reset_counters(gen);
		}
		if (kb_snapshot) {
			kb_snapshot = 0;
			print_counters(gen);
		}
	}
	/* Again and again: one that comes just before the system call interrupts nothing. */
	while (!gen->ended) {
		pthread_kill(runner, SIGALRM);
		nanosleep(&moment, NULL);
	}
	pthread_join(runner, NULL);
	if (gen->error == -EINVAL || gen->error == -EOPNOTSUPP)
		kb_die(KB_EXIT_LACKS,
		       "this kernel can't run XDP programs on live frames (5.18 can)");
	if (gen->error)
		kb_die(KB_EXIT_FAILED, "the test run failed: %s", strerror(-gen->error));
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
			gen->rate_pps = kb_parse_u64("--rate-pps", optarg, 0, 1000000000);
			break;
		case 'd':
			gen->duration_ms = kb_parse_u64("--duration-ms", optarg, 0, 86400000);
			break;
		case 'n':
			gen->count = kb_parse_u64("--count", optarg, 0, UINT64_MAX);
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
	if (!gen->count && !gen->duration_ms)
		kb_die(KB_EXIT_USAGE, "neither --count nor --duration-ms sets an end");
	if (gen->gaps && !gen->rate_pps)
		kb_die(KB_EXIT_USAGE,
		       "--gaps needs a rate: at full speed the clock isn't read at each packet");
	if (!gen->batch)
		gen->batch = choose_batch(gen->rate_pps);
}

int main(int argc, char **argv)
{
	struct generator gen = { .cpu = -1 };

	kb_prog_init("kb-offer-xdp");
	parse(argc, argv, &gen);
	gen.cpu = kb_pin_cpu(gen.cpu);
	load(&gen);
	kb_json_begin("ready");
	kb_json_i64("cpu", gen.cpu);
	kb_json_i64("batch", gen.batch);
	kb_json_end();
	supervise(&gen);
	print_counters(&gen);
	offer__destroy(gen.skel);
	kb_netdev_close(&gen.port);
	return KB_EXIT_OK;
}
