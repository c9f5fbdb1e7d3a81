// SPDX-License-Identifier: GPL-2.0-only
/* The counters of kb-af-packet, as docs/programs.md has them and with what is known besides. */
#include "af_packet.h"
#include "kb_prog.h"

#include <string.h>
#include <sys/resource.h>
#include <time.h>

static const char *const reason_names[] = {
#define X(id, name) [KB_##id] = name,
	KB_REASONS(X)
#undef X
};
static struct usage usage_now(void)
{
	struct rusage usage;
	struct timespec cpu;

	getrusage(RUSAGE_THREAD, &usage);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
	return (struct usage){ cpu.tv_sec * 1000000000ULL + cpu.tv_nsec, usage.ru_nvcsw,
			       usage.ru_nivcsw };
}

void print_counters(struct datapath *dp)
{
	uint64_t forwarded = 0, lost = 0, no_room = 0, too_big = dp->truncated, retries = 0;
	uint64_t syscalls = dp->syscalls;
	struct usage now = usage_now();
	uint32_t i;

	ring_read_lost(&dp->ring);
	for (i = 0; i < KB_PORTS; i++) {
		forwarded += dp->out[i].sent;
		lost += dp->out[i].lost;
		no_room += dp->out[i].no_room;
		too_big += dp->out[i].too_big;
		retries += dp->out[i].retries;
		syscalls += dp->out[i].syscalls;
	}
	kb_json_begin("counters");
	kb_json_u64("received", dp->received);
	kb_json_u64("forwarded", forwarded);
	kb_json_obj_begin("dropped");
	for (i = 0; i < KB_REASON_COUNT; i++)
		if (i != KB_FORWARDED && i != KB_PASSED)
			kb_json_u64(reason_names[i], dp->reasons[i]);
	kb_json_obj_end();
	kb_json_u64("passed", dp->reasons[KB_PASSED]);
	kb_json_obj_begin("lost");
	kb_json_u64("socket_ring", dp->ring.lost);
	kb_json_u64("socket_buffer", no_room);
	kb_json_u64("tx", lost);
	kb_json_u64("too_big", too_big);
	kb_json_obj_end();
	kb_json_u64("tx_retries", retries);
	kb_json_u64("partial_checksums", dp->partial_checksums);
	kb_json_u64("cpu_ns", now.cpu_ns - dp->base.cpu_ns);
	kb_json_u64("syscalls", syscalls);
	kb_json_u64("voluntary_switches", now.voluntary - dp->base.voluntary);
	kb_json_u64("involuntary_switches", now.involuntary - dp->base.involuntary);
	kb_json_end();
}

void reset_counters(struct datapath *dp)
{
	uint32_t i;

	ring_read_lost(&dp->ring);
	dp->ring.lost = 0;
	dp->received = dp->truncated = dp->partial_checksums = dp->syscalls = 0;
	memset(dp->reasons, 0, sizeof(dp->reasons));
	for (i = 0; i < KB_PORTS; i++) {
		struct transmit *out = &dp->out[i];

		out->sent = out->lost = out->no_room = 0;
		out->too_big = out->retries = out->syscalls = 0;
	}
	dp->base = usage_now();
}
