/* SPDX-License-Identifier: GPL-2.0-only */
/* sockets.h - packet sockets that tell when packets left and arrived. */
#ifndef KB_STAMP_SOCKETS_H
#define KB_STAMP_SOCKETS_H

#include <stdbool.h>
#include <stdint.h>

#include "adapter.h"
#include "frame.h"

struct sockets {
	const char *out, *in;
	bool hardware, ptp;
	struct adapter_config before[2]; /* with `hardware`: of out and in */
	int tx, rx;
	uint32_t sent;	   /* packets so far: the next one's number */
	uint32_t tx_first; /* number of the first packet of the socket `tx` */
	struct frames *frames;
};

/*
 * Opens both; `in` lies in the network namespace called `in_netns` if that is not NULL. With
 * `hardware` the adapters are told to stamp, until this process ends. Dies if something is missing.
 */
void sockets_open(struct sockets *sockets, const char *in_netns);

/* Sends the next packet; false if the port did not take it. */
bool sockets_send(struct sockets *sockets);

/* Takes what waits: time stamps of sent packets, received packets. */
void sockets_take(struct sockets *sockets);

#endif
