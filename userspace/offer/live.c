// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs loads of kb-offer-xdp: see live.h.
 *
 * kmods/bpf/offer.bpf.c decides what is sent when, and when to end, to the packet. The test run
 * itself ends only by a signal: a thread of its own runs it, and this one looks whether the program
 * is done. (A timer's signal for looking would end the run each time, and starting and ending one
 * takes 20 ms, unless the program is anchored: anchor.c.)
 *
 * `failed` are frames that the device did not take: a full ring, or no receiver behind a veth. The
 * kernel tells no one about them but its tracepoints. Some drivers count the XDP frames that they
 * took, and the difference is exact; with others it is made from all that the port has sent, some
 * of which is still on its way when the load ends.
 */
#include "live.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if_ether.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "hist.h"
#include "kb_prog.h"
#include "offer.h"
#include "offer.skel.h"
#include "template.h"

#define LOOK_MIN_MS 1 /* each look takes the CPU from the test run for some microseconds */
#define LOOK_MAX_MS 10
#define LEAVE_STEP_MS 2
#define LEAVE_QUIET_STEPS 10

/*
 * Frames leave the generator a batch at a time, so a small batch paces better and a large one costs
 * less: 1 frame a batch reaches 2.2 M/s into a bare drop, 16 reach 6.1 M/s and 64 7.4 M/s.
 */
int choose_batch(const struct generator *gen, uint64_t rate_pps)
{
	if (gen->batch)
		return gen->batch;
	if (!rate_pps || rate_pps > 2000000)
		return 64;
	if (rate_pps > 1000000)
		return 16;
	return rate_pps > 400000 ? 4 : 1;
}

void load_check(const struct generator *gen, const struct load *load, const char *from)
{
	if (!load->count && !load->duration_ms)
		kb_die(KB_EXIT_USAGE, "%s: neither count nor duration sets an end", from);
	if (gen->gaps && !load->rate_pps)
		kb_die(KB_EXIT_USAGE,
		       "%s: --gaps needs a rate: at full speed the clock isn't read at each packet",
		       from);
}

/* Frames of all `attempts` that the device refused. */
static uint64_t read_failed(struct generator *gen, uint64_t attempts, bool *exact)
{
	uint64_t taken;

	kb_netdev_read(&gen->port);
	*exact = kb_netdev_xdp_taken(&gen->port, KB_XDP_REDIRECTED, &taken);
	return attempts > taken ? attempts - taken : 0;
}

/* Until what the port has taken has left it, where only that is counted. */
static void let_leave(struct generator *gen)
{
	const struct timespec step = { .tv_nsec = LEAVE_STEP_MS * 1000000 };
	uint64_t attempts = gen->skel->bss->state.sent, left, before;
	bool exact;

	left = read_failed(gen, attempts, &exact);
	for (int quiet = 0; !exact && left && quiet < LEAVE_QUIET_STEPS; quiet++) {
		before = left;
		nanosleep(&step, NULL);
		left = read_failed(gen, attempts, &exact);
		if (left != before)
			quiet = 0;
	}
}

/* Packets of the schedule that fall into some time, fixed point; a part of one is one. */
static uint64_t packets_in(const struct generator *gen, uint64_t time)
{
	const struct kb_offer_load *load = &gen->skel->bss->load;

	return ((unsigned __int128)time * load->burst + load->step - 1) / load->step;
}

/* What the rate called for up to now, or up to the end: docs/programs.md. Needs a rate. */
static uint64_t read_intended(const struct generator *gen, const struct kb_offer_state *now)
{
	uint64_t duration_ns = gen->skel->bss->load.duration_ns, behind = 0, elapsed, intended;

	if (!now->sent)
		return 0;
	elapsed = (now->done ? now->end_ns : kb_now_ns()) - now->first_ns;
	if (duration_ns && elapsed > duration_ns)
		elapsed = duration_ns;
	elapsed <<= KB_OFFER_FRACTION;
	if (elapsed > now->due)
		behind = elapsed - now->due;
	intended = now->sent + packets_in(gen, now->skipped + behind);
	return gen->called_for && intended > gen->called_for ? gen->called_for : intended;
}

static struct kb_offer_state read_state(const struct generator *gen)
{
	return *(volatile struct kb_offer_state *)&gen->skel->bss->state;
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
	struct kb_offer_state now = read_state(gen);
	bool exact, paced = gen->load.rate_pps;
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
	if (paced)
		kb_json_u64("intended", read_intended(gen, &now) - gen->base_intended);
	kb_json_u64("first_ns", first_ns);
	kb_json_u64("last_ns", now.last_ns);
	kb_json_u64("elapsed_ns", now.last_ns > first_ns ? now.last_ns - first_ns : 0);
	kb_json_u64("clocked", now.clocked > gen->base_sent ? now.clocked - gen->base_sent : 0);
	kb_json_u64("late", now.late);
	kb_json_u64("max_late_ns", now.max_late_ns);
	kb_json_u64("skipped", paced ? packets_in(gen, now.skipped) : 0);
	kb_json_i64("batch", gen->batch_now);
	if (gen->ran_ns) {
		kb_json_u64("ran_ns", gen->ran_ns);
		kb_json_u64("waited_ns", gen->waited_ns);
	}
	if (gen->gaps)
		print_gaps((const uint64_t *)gen->skel->bss->gap_buckets);
	kb_json_obj_begin("ethtool");
	kb_netdev_json(&gen->port);
	kb_json_obj_end();
	kb_json_end();
}

static void reset_counters(struct generator *gen)
{
	struct kb_offer_state now = read_state(gen);
	bool exact;

	gen->base_sent = now.sent;
	gen->base_failed = read_failed(gen, now.sent, &exact);
	/* What is due and not yet sent still counts: else sent could exceed intended. */
	gen->base_intended = gen->load.rate_pps ? now.sent + packets_in(gen, now.skipped) : 0;
	gen->base_ns = kb_now_ns();
	kb_json_begin("reset");
	kb_json_end();
}

void live_answer(struct generator *gen)
{
	if (kb_reset) {
		kb_reset = 0;
		reset_counters(gen);
	}
	if (kb_snapshot) {
		kb_snapshot = 0;
		print_counters(gen);
	}
}

/* While no test run is under way: everything as it was when the program was loaded. */
static void start_clean(struct generator *gen)
{
	struct kb_offer_load *load = &gen->skel->bss->load;
	uint64_t rate_pps = gen->load.rate_pps, duration_ms = gen->load.duration_ms;

	memset(&gen->skel->bss->state, 0, sizeof(gen->skel->bss->state));
	memset(gen->skel->bss->gap_buckets, 0, sizeof(gen->skel->bss->gap_buckets));
	for (uint32_t i = 0; i < KB_OFFER_GROUPS_MAX; i++)
		gen->skel->bss->groups[i].next_flow = 0;
	gen->base_sent = gen->base_failed = gen->base_intended = gen->base_ns = 0;
	gen->ran_ns = gen->waited_ns = 0;
	gen->error = 0;
	gen->ended = false;
	gen->batch_now = choose_batch(gen, rate_pps);
	gen->called_for = (rate_pps * duration_ms + 999) / 1000;

	memset(load, 0, sizeof(*load));
	load->duration_ns = duration_ms * 1000000;
	load->count = gen->load.count;
	/* Bursts are whole; the duration's end may ask for a part of one. */
	if (gen->called_for && (!load->count || load->count > gen->called_for))
		load->count = gen->called_for;
	load->burst = gen->timestamp || gen->gaps ? 1 : gen->batch_now;
	if (rate_pps)
		load->step =
			(uint64_t)(1e9 * (1 << KB_OFFER_FRACTION) * load->burst / rate_pps + 0.5);
	kb_netdev_rebase(&gen->port);
}

static void on_alarm(int sig)
{
	(void)sig; /* interrupts the test run */
}

/* What others took of the CPU shows as waiting. Both stay 0 on kernels without the file. */
static void read_thread_times(struct generator *gen)
{
	char text[96];
	int fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	if (got <= 0)
		return;
	text[got] = '\0';
	sscanf(text, "%" SCNu64 " %" SCNu64, &gen->ran_ns, &gen->waited_ns);
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
			    .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = gen->batch_now);

		err = bpf_prog_test_run_opts(bpf_program__fd(gen->skel->progs.offer), &opts);
		if (err && err != -EINTR)
			break;
		err = 0;
	}
	gen->error = err;
	read_thread_times(gen);
	gen->ended = true;
	return NULL;
}

/* Until the end if that is near, and otherwise ever longer. */
static int look_again_ms(const struct generator *gen, int before_ms)
{
	uint64_t first_ns = __atomic_load_n(&gen->skel->bss->state.first_ns, __ATOMIC_RELAXED);
	int ms = before_ms < LOOK_MAX_MS / 2 ? before_ms * 2 : LOOK_MAX_MS;

	if (!first_ns)
		return LOOK_MIN_MS;
	if (gen->load.duration_ms) {
		uint64_t now_ns = kb_now_ns();
		uint64_t end_ns = first_ns + gen->load.duration_ms * 1000000;
		uint64_t left_ms = end_ns > now_ns ? (end_ns - now_ns) / 1000000 : 0;

		if (left_ms < (uint64_t)ms)
			ms = left_ms;
	}
	return ms > LOOK_MIN_MS ? ms : LOOK_MIN_MS;
}

/* Ends with the test run over: done by itself, stopped by SIGTERM, or failed. */
static void supervise(struct generator *gen)
{
	struct kb_offer_state *state = &gen->skel->bss->state;
	const struct timespec moment = { .tv_nsec = 1000000 };
	struct sigaction action = { .sa_handler = on_alarm };
	sigset_t ours, before;
	pthread_t runner;
	int wait_ms = LOOK_MIN_MS;

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
		wait_ms = look_again_ms(gen, wait_ms);
		kb_poll(NULL, 0, wait_ms);
		live_answer(gen);
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

void live_offer(struct generator *gen)
{
	start_clean(gen);
	supervise(gen);
	let_leave(gen);
	print_counters(gen);
}
