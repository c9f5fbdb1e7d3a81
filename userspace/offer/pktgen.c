// SPDX-License-Identifier: GPL-2.0-only
/*
 * kb-offer-pktgen - generator: drives the kernel's packet generator.
 *
 * Each group of the traffic file is a pktgen device, IF@k, of one thread, kpktgend_CPU. The packets
 * are made there, so --cpu names the thread, and this program sleeps wherever it is put.
 *
 * pktgen sends the device that is due first (next_to_run()); one without delay is always
 * due since the start, so several of them would send one group after the other. With
 * a delay, however short, their due times advance in step: round-robin. The price is a
 * walk over all devices and a look at the clock for each packet, the same for every
 * datapath; exact instruction counts contain it, and the baseline takes it out. A group of its
 * own costs less than one of 16: compare counts only between equal numbers of groups.
 *
 * All devices start together, so a paced load comes in bursts of one packet per
 * group ("burst" in `ready`), evenly spaced: the rate is right, the gaps are not. A due time
 * that was missed is made up for. kb-offer-xdp paces packet by packet.
 *
 * --clone-skb sends each packet N times more before it makes the next, so with several flows N + 1
 * packets of one come in a row: cheaper for the generator, and kinder to caches of the DUT.
 *
 * A full ring makes pktgen wait, and no packet is lost by that. Without a link it gives up.
 *
 * On a veth neither clone_skb nor burst work in this mode (ENOTSUPP): each packet
 * is a new buffer, which pktgen holds on to while it is sent ("shared"), so that veth copies it
 * in front of native XDP. Where the kernel has the flag SHARED, --no-shared gives it away.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kb_prog.h"
#include "pktgen.h"

#define STOP_AGAIN_MS 50
#define LOOK_AGAIN_MS 10

/*
 * Packets that a veth drops since its ring is full are errors to pktgen, which
 * makes another instead: the count is what got through. Drivers that hide the drop
 * from pktgen count it in tx_dropped (veth before commit 151e887d8ff9).
 */
static void read_totals(struct generator *gen, struct totals *totals)
{
	uint64_t first_us = UINT64_MAX, last_us = 0, elapsed_us = 0, idle_us = 0, hidden;
	struct pktgen_state *state;
	uint32_t i;

	memset(totals, 0, sizeof(*totals));
	for (i = 0; i < gen->devices; i++) {
		state = &gen->state[i];
		pktgen_read(gen->names[i], state);
		totals->sent += state->sofar;
		totals->failed += state->errors;
		idle_us += state->idle_us;
		if (state->started_us < first_us)
			first_us = state->started_us;
		if (state->stopped_us > last_us)
			last_us = state->stopped_us;
		if (state->stopped_us - state->started_us > elapsed_us)
			elapsed_us = state->stopped_us - state->started_us;
	}
	kb_netdev_read(&gen->port);
	hidden = kb_netdev_tx_dropped(&gen->port);
	hidden = hidden > totals->failed ? hidden - totals->failed : 0;
	if (hidden > totals->sent)
		hidden = totals->sent;
	totals->sent -= hidden;
	totals->failed += hidden;
	totals->first_ns = first_us * 1000;
	totals->last_ns = last_us * 1000;
	totals->elapsed_ns = elapsed_us * 1000;
	/* One thread: while one device waits, none sends. */
	totals->busy_ns = elapsed_us > idle_us ? (elapsed_us - idle_us) * 1000 : 0;
}

static void print_counters(struct generator *gen)
{
	const struct totals *base = &gen->base;
	struct totals now;
	uint32_t i;

	read_totals(gen, &now);
	kb_json_begin("counters");
	kb_json_u64("sent", now.sent - base->sent);
	kb_json_u64("failed", now.failed - base->failed);
	kb_json_u64("first_ns", base->last_ns ? base->last_ns : now.first_ns);
	kb_json_u64("last_ns", now.last_ns);
	kb_json_u64("elapsed_ns", now.elapsed_ns - base->elapsed_ns);
	kb_json_u64("busy_ns", now.busy_ns - base->busy_ns);
	kb_json_bool("shared", gen->shared);
	kb_json_arr_begin("devices");
	for (i = 0; i < gen->devices; i++) {
		kb_json_obj_begin(NULL);
		kb_json_str("name", gen->names[i]);
		kb_json_u64("sent", gen->state[i].sofar);
		kb_json_u64("errors", gen->state[i].errors);
		kb_json_u64("started_us", gen->state[i].started_us);
		kb_json_u64("stopped_us", gen->state[i].stopped_us);
		kb_json_u64("idle_us", gen->state[i].idle_us);
		kb_json_obj_end();
	}
	kb_json_arr_end();
	kb_json_end();
}

/* "start" comes back when all devices have ended; it looks every 100 ms. */
static void *starter(void *argument)
{
	struct generator *gen = argument;

	gen->start_error = pktgen_try("pgctrl", "start\n");
	if (write(gen->starter_done, "", 1) != 1)
		kb_die(KB_EXIT_FAILED, "pipe: %s", strerror(errno));
	return NULL;
}

/*
 * Milliseconds until the time is up, at least 0; -1 for no limit. The thread
 * starts up to 0.2 s after it was told to, so ask when it did, but not before
 * the earliest end: a look costs instructions, which exact mode counts.
 */
static int time_left_ms(struct generator *gen, uint64_t told_ns)
{
	uint64_t now = kb_now_ns(), end_ns = told_ns + gen->duration_ms * 1000000;

	if (!gen->duration_ms)
		return -1;
	if (now >= end_ns) {
		pktgen_read(gen->names[0], &gen->state[0]);
		if (gen->state[0].started_us * 1000 < told_ns)
			return LOOK_AGAIN_MS;
		end_ns = gen->state[0].started_us * 1000 + gen->duration_ms * 1000000;
		if (now >= end_ns)
			return 0;
	}
	return (end_ns - now) / 1000000 + 1;
}

/* A "stop" that overtakes "start" in the thread is lost (pktgen_run()), so say it again. */
static void stop(struct generator *gen)
{
	struct pollfd done = { .fd = gen->done, .events = POLLIN };
	int err;

	do {
		err = pktgen_try("pgctrl", "stop\n");
		if (err)
			kb_die(KB_EXIT_FAILED, "pktgen stop: %s", strerror(-err));
	} while (poll(&done, 1, STOP_AGAIN_MS) != 1);
}

/* pktgen ends by itself at the count, or since the port has no link: pktgen_xmit(). */
static void check_end(struct generator *gen)
{
	struct totals totals;

	read_totals(gen, &totals);
	if (!gen->count || totals.sent + totals.failed < gen->count)
		kb_die(KB_EXIT_FAILED, "%s lost its link after %llu packets", gen->ifname,
		       (unsigned long long)totals.sent);
}

static void run(struct generator *gen)
{
	struct pollfd done = { .events = POLLIN };
	sigset_t all, before;
	uint64_t told_ns;
	pthread_t thread;
	int ends[2], left;

	if (pipe2(ends, O_CLOEXEC))
		kb_die(KB_EXIT_FAILED, "pipe: %s", strerror(errno));
	gen->done = done.fd = ends[0];
	gen->starter_done = ends[1];
	/* Signals are for this thread: one in the other would end "start" (and pktgen) early. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	told_ns = kb_now_ns();
	if (pthread_create(&thread, NULL, starter, gen))
		kb_die(KB_EXIT_FAILED, "can't start a thread");
	pthread_sigmask(SIG_SETMASK, &before, NULL);

	for (;;) {
		left = kb_stop ? 0 : time_left_ms(gen, told_ns);
		if (!left) {
			stop(gen);
			break;
		}
		if (kb_poll(&done, 1, left) > 0) {
			check_end(gen);
			break;
		}
		if (kb_reset) {
			kb_reset = 0;
			read_totals(gen, &gen->base);
			kb_json_begin("reset");
			kb_json_end();
		}
		if (kb_snapshot) {
			kb_snapshot = 0;
			print_counters(gen);
		}
	}
	pthread_join(thread, NULL);
	close(ends[0]);
	close(ends[1]);
	if (gen->start_error)
		kb_die(KB_EXIT_FAILED, "pktgen start: %s", strerror(-gen->start_error));
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
		{ "clone-skb", required_argument, NULL, 'k' },
		{ "no-shared", no_argument, NULL, 's' },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'i':
			gen->ifname = optarg;
			break;
		case 't':
			gen->traffic_path = optarg;
			break;
		case 'f':
			gen->frame_bytes = kb_parse_u64("--frame-bytes", optarg, 64, 65535);
			break;
		case 'r':
			gen->rate_pps = kb_parse_u64("--rate-pps", optarg, 0, 1000000000);
			break;
		case 'd':
			gen->duration_ms = kb_parse_u64("--duration-ms", optarg, 0, 86400000);
			break;
		case 'n':
			gen->count = kb_parse_u64("--count", optarg, 0, 9999999999);
			break;
		case 'c':
			gen->cpu = kb_parse_u64("--cpu", optarg, 0, 1 << 20);
			break;
		case 'k':
			gen->clone_skb = kb_parse_u64("--clone-skb", optarg, 0, 1000000);
			break;
		case 's':
			gen->no_shared = true;
			break;
		default:
			exit(KB_EXIT_USAGE); /* getopt has said why */
		}
	}
	if (optind < argc)
		kb_die(KB_EXIT_USAGE, "unexpected argument \"%s\"", argv[optind]);
	kb_require("--if", gen->ifname);
	kb_require("--traffic", gen->traffic_path);
	if (!gen->frame_bytes)
		kb_die(KB_EXIT_USAGE, "--frame-bytes is missing");
	if (!gen->count && !gen->duration_ms)
		kb_die(KB_EXIT_USAGE, "neither --count nor --duration-ms sets an end");
}

int main(int argc, char **argv)
{
	static struct generator gen;

	kb_prog_init("kb-offer-pktgen");
	parse(argc, argv, &gen);
	kb_ifindex(gen.ifname);
	traffic_read(gen.traffic_path, &gen.traffic);
	pktgen_require(gen.cpu);
	atexit(pktgen_clear);
	pktgen_configure(&gen);
	kb_netdev_open(&gen.port, gen.ifname);
	kb_json_begin("ready");
	kb_json_i64("cpu", gen.cpu);
	kb_json_u64("groups", gen.devices);
	kb_json_u64("delay_ns", gen.delay_ns);
	kb_json_u64("clone_skb", gen.clone_skb);
	kb_json_u64("burst", gen.devices);
	kb_json_bool("shared", gen.shared);
	kb_json_end();
	run(&gen);
	print_counters(&gen);
	return KB_EXIT_OK;
}
