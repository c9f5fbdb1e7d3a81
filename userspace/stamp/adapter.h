/* SPDX-License-Identifier: GPL-2.0-only */
/* adapter.h - switches the time stamps of network adapters on, and back to what they were. */
#ifndef KB_STAMP_ADAPTER_H
#define KB_STAMP_ADAPTER_H

#include <stdbool.h>

/* A port and any socket of its network namespace. */
struct adapter {
	int fd;
	const char *ifname;
};

/* What they stamp: HWTSTAMP_TX_..., HWTSTAMP_FILTER_... */
struct adapter_config {
	int tx_type, rx_filter;
};

/*
 * Has one port stamp what it sends, the other what it receives (they may be the same) until this
 * process ends: however it does, a child that outlives it puts the configuration back, which
 * `before` gets of out and in. With `ptp` it is enough that events of PTP version 2 over UDP are
 * stamped. Dies with exit code 3 if an adapter can't.
 */
void adapters_stamp(struct adapter out, struct adapter in, bool ptp,
		    struct adapter_config before[2]);

/* Some adapters start anew when they are told: waits for the link, exit code 1 if it stays away. */
void adapter_wait_carrier(struct adapter port);

#endif
