/* SPDX-License-Identifier: GPL-2.0-only */
/* live.h - one load of kb-offer-xdp after the other, on live frames. */
#ifndef KB_OFFER_LIVE_H
#define KB_OFFER_LIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "kb_netdev.h"
#include "kb_xdp.h"

#define RATE_PPS_MAX 1000000000
#define DURATION_MS_MAX 86400000
#define BATCH_MAX 128 /* the kernel takes 256, but that many overflow the ring of a veth */

/* What to offer; 0 is the maximum rate, no limit of time, no limit of packets. */
struct load {
	uint64_t rate_pps, duration_ms, count;
};

struct generator {
	const char *ifname, *traffic;
	int cpu;
	int batch; /* 0: chosen for each load by its rate */
	bool timestamp, gaps, resident;
	uint32_t frame_bytes;
	struct load load;
	struct offer *skel;
	struct kb_netdev port;
	struct kb_xdp_link way_out;
	int batch_now;
	uint64_t called_for; /* rate x duration; 0: no such end */
	uint64_t base_sent, base_failed, base_intended, base_ns; /* SIGUSR2 */
	uint64_t ran_ns, waited_ns; /* of the load's thread: on a CPU, waiting for one */
	int error;
	volatile bool ended;
};

/* Exit code 2 if the load has no end, or can't be measured as asked; `from` names its origin. */
void load_check(const struct generator *gen, const struct load *load, const char *from);

/* Offers gen->load from a clean state, prints its counters at the end. SIGTERM ends it early. */
void live_offer(struct generator *gen);

/* Serves SIGUSR1 and SIGUSR2, if they came. */
void live_answer(struct generator *gen);

int choose_batch(const struct generator *gen, uint64_t rate_pps);

#endif
