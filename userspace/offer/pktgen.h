/* SPDX-License-Identifier: GPL-2.0-only */
/* pktgen.h - what the files of kb-offer-pktgen share. */
#ifndef KB_PKTGEN_H
#define KB_PKTGEN_H

#include <stdbool.h>
#include <stdint.h>

#include "kb_netdev.h"
#include "pktgen_proc.h"
#include "traffic.h"

/* Sums over the devices. */
struct totals {
	uint64_t sent, failed;
	uint64_t first_ns, last_ns, elapsed_ns, busy_ns;
};

struct generator {
	const char *ifname, *traffic_path;
	int cpu;
	bool no_shared;
	uint32_t frame_bytes, clone_skb;
	uint64_t rate_pps, duration_ms, count;

	struct traffic traffic;
	uint32_t devices;  /* groups that get a packet */
	uint64_t delay_ns; /* between two packets of one */
	char names[TRAFFIC_GROUPS_MAX][PKTGEN_NAME_MAX];
	bool shared;

	struct kb_netdev port;
	struct pktgen_state state[TRAFFIC_GROUPS_MAX];
	struct totals base; /* at SIGUSR2 */

	int done; /* readable once the starter has come back */
	int starter_done;
	int start_error;
};

/* pktgen_config.c: makes one pktgen device for each group, ready to start. Exits if it can't. */
void pktgen_configure(struct generator *gen);

#endif
