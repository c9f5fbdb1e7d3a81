// SPDX-License-Identifier: GPL-2.0-only
/*
 * kb-stamp - measures the latency of a datapath by time stamps that its tester's ports give to
 * packets: network adapters (--clock hardware) or the kernel (--clock software).
 *
 * It sends packets of the traffic file's flows beside whatever else is offered, at a low rate and
 * at irregular intervals, and takes each one's stamp on leaving from its stamp on arrival. The
 * intervals are between half and one and a half of the mean (RFC 2330 11.1, additive random
 * sampling): packets at regular ones would always meet the same phase of a load that is regular
 * too. No two are closer than half the mean, as most adapters hold one stamp of a sent packet only.
 *
 * Many adapters stamp only received packets of PTP. With --rx-filter ptp ours look like such.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "frame.h"
#include "kb_prog.h"
#include "match.h"
#include "sockets.h"

#define NSEC_PER_SEC 1000000000ull
/* Others and stamps may come for so long after the last packet, if one comes at least so often. */
#define DRAIN_NS NSEC_PER_SEC
#define QUIET_NS (NSEC_PER_SEC / 4)
#define GAP_STEPS 1024

static const char *const clocks[] = { "hardware", "software", NULL };
static const char *const filters[] = { "all", "ptp", NULL };

struct stamper {
	struct sockets sockets;
	struct frames frames;
	const char *in_netns, *traffic;
	uint64_t rate_pps, duration_ns, frame_bytes;
	uint64_t failed, first_ns, last_ns;
	int cpu, clock, timer;
};

static void print_counters(const struct stamper *st)
{
	struct match_counts counts = match_counts();

	kb_json_begin("counters");
	kb_json_str("clock", clocks[st->clock]);
	kb_json_u64("sent", counts.sent);
	kb_json_u64("failed", st->failed);
	kb_json_u64("received", counts.received);
	kb_json_u64("duplicates", counts.duplicates);
	kb_json_u64("without_tx_stamp", counts.sent - counts.tx_stamps);
	kb_json_u64("without_rx_stamp", counts.received - counts.rx_stamps);
	kb_json_u64("backwards", counts.backwards);
	kb_json_u64("first_ns", st->first_ns);
	kb_json_u64("last_ns", st->last_ns);
	match_json();
	kb_json_end();
}

static void answer_signals(struct stamper *st)
{
	if (kb_reset) {
		kb_reset = 0;
		match_reset();
		st->failed = st->first_ns = st->last_ns = 0;
		kb_json_begin("reset");
		kb_json_end();
	}
	if (kb_snapshot) {
		kb_snapshot = 0;
		print_counters(st);
	}
}

/* Waits until `when`, for a stamp, a packet or a signal, and takes what came. */
static void wait_until(struct stamper *st, uint64_t when)
{
	struct itimerspec timer = { .it_value = { when / NSEC_PER_SEC, when % NSEC_PER_SEC } };
	struct pollfd fds[] = {
		{ .fd = st->timer, .events = POLLIN },
		{ .fd = st->sockets.rx, .events = POLLIN },
		{ .fd = st->sockets.tx }, /* its error queue */
	};

	if (timerfd_settime(st->timer, TFD_TIMER_ABSTIME, &timer, NULL))
		kb_die(KB_EXIT_FAILED, "timer: %s", strerror(errno));
	kb_poll(fds, sizeof(fds) / sizeof(fds[0]), -1);
	sockets_take(&st->sockets);
	answer_signals(st);
}

static uint64_t gap_ns(const struct stamper *st)
{
	uint64_t mean = NSEC_PER_SEC / st->rate_pps;

	return mean / 2 + mean * (random() % (GAP_STEPS + 1)) / GAP_STEPS;
}

static void offer(struct stamper *st)
{
	uint64_t due = kb_now_ns() + gap_ns(st), end, now;

	end = st->duration_ns ? due + st->duration_ns : UINT64_MAX;
	while (!kb_stop && due < end && st->sockets.sent < MATCH_MAX) {
		wait_until(st, due);
		now = kb_now_ns();
		if (now < due)
			continue;
		if (sockets_send(&st->sockets)) {
			st->last_ns = now;
			if (!st->first_ns)
				st->first_ns = now;
		} else {
			st->failed++;
			now = kb_now_ns(); /* a new socket takes its time */
		}
		/* Held up, it goes on from now instead of sending a burst. */
		due = (now > due + NSEC_PER_SEC / st->rate_pps ? now : due) + gap_ns(st);
	}
}

static void drain(struct stamper *st)
{
	struct match_counts counts = match_counts(), before;
	uint64_t now = kb_now_ns(), end = now + DRAIN_NS, quiet = now + QUIET_NS;

	kb_stop = 0; /* once more means: at once */
	while (!match_complete() && now < end && now < quiet && !kb_stop) {
		wait_until(st, quiet < end ? quiet : end);
		now = kb_now_ns();
		before = counts;
		counts = match_counts();
		if (counts.received != before.received || counts.tx_stamps != before.tx_stamps)
			quiet = now + QUIET_NS;
	}
}

enum {
	OPT_OUT = 1,
	OPT_IN,
	OPT_IN_NETNS,
	OPT_TRAFFIC,
	OPT_FRAME_BYTES,
	OPT_RATE,
	OPT_DURATION,
	OPT_CPU,
	OPT_CLOCK,
	OPT_FILTER
};

static const struct option options[] = {
	{ "out", required_argument, NULL, OPT_OUT },
	{ "in", required_argument, NULL, OPT_IN },
	{ "in-netns", required_argument, NULL, OPT_IN_NETNS },
	{ "traffic", required_argument, NULL, OPT_TRAFFIC },
	{ "frame-bytes", required_argument, NULL, OPT_FRAME_BYTES },
	{ "rate-pps", required_argument, NULL, OPT_RATE },
	{ "duration-ms", required_argument, NULL, OPT_DURATION },
	{ "cpu", required_argument, NULL, OPT_CPU },
	{ "clock", required_argument, NULL, OPT_CLOCK },
	{ "rx-filter", required_argument, NULL, OPT_FILTER },
	{},
};

static void parse(int argc, char **argv, struct stamper *st)
{
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case OPT_OUT:
			st->sockets.out = optarg;
			break;
		case OPT_IN:
			st->sockets.in = optarg;
			break;
		case OPT_IN_NETNS:
			st->in_netns = optarg;
			break;
		case OPT_TRAFFIC:
			st->traffic = optarg;
			break;
		case OPT_FRAME_BYTES:
			st->frame_bytes =
				kb_parse_u64("--frame-bytes", optarg, KB_FRAME_MIN, KB_FRAME_MAX);
			break;
		case OPT_RATE:
			st->rate_pps = kb_parse_u64("--rate-pps", optarg, 1, 100000);
			break;
		case OPT_DURATION:
			st->duration_ns =
				kb_parse_u64("--duration-ms", optarg, 0, 86400000) * 1000000;
			break;
		case OPT_CPU:
			st->cpu = kb_parse_u64("--cpu", optarg, 0, 4095);
			break;
		case OPT_CLOCK:
			st->clock = kb_parse_choice("--clock", optarg, clocks);
			break;
		case OPT_FILTER:
			st->sockets.ptp = kb_parse_choice("--rx-filter", optarg, filters);
			break;
		default:
			exit(KB_EXIT_USAGE);
		}
	}
	if (optind < argc)
		kb_die(KB_EXIT_USAGE, "unexpected argument \"%s\"", argv[optind]);
	kb_require("--out", st->sockets.out);
	kb_require("--in", st->sockets.in);
	kb_require("--traffic", st->traffic);
	kb_require("--frame-bytes", st->frame_bytes ? "given" : NULL);
	kb_require("--clock", st->clock < 0 ? NULL : clocks[st->clock]);
}

static void print_adapter(const char *key, const struct adapter_config *config)
{
	kb_json_obj_begin(key);
	kb_json_i64("tx_type", config->tx_type);
	kb_json_i64("rx_filter", config->rx_filter);
	kb_json_obj_end();
}

int main(int argc, char **argv)
{
	static struct stamper st = { .cpu = -1, .clock = -1, .rate_pps = 1000 };

	kb_prog_init("kb-stamp");
	parse(argc, argv, &st);
	frames_open(&st.frames, st.traffic, st.frame_bytes, st.sockets.ptp);
	st.cpu = kb_pin_cpu(st.cpu);
	st.timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	if (st.timer < 0)
		kb_die(KB_EXIT_FAILED, "timer: %s", strerror(errno));
	st.sockets.frames = &st.frames;
	st.sockets.hardware = !st.clock;
	sockets_open(&st.sockets, st.in_netns);
	kb_json_begin("ready");
	kb_json_i64("cpu", st.cpu);
	kb_json_str("clock", clocks[st.clock]);
	kb_json_u64("rate_pps", st.rate_pps);
	if (st.sockets.hardware) {
		print_adapter("out_before", &st.sockets.before[0]);
		print_adapter("in_before", &st.sockets.before[1]);
	}
	kb_json_end();
	offer(&st);
	drain(&st);
	print_counters(&st);
	return KB_EXIT_OK;
}
