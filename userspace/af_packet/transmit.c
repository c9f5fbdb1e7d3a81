// SPDX-License-Identifier: GPL-2.0-only
/*
 * Transmission by sendmmsg(): see af_packet.h. The kernel copies each frame into a buffer of its
 * own before the call returns, so the frames may lie in the receive ring.
 */
#include "af_packet.h"
#include "kb_prog.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <string.h>
#include <unistd.h>

/* A full queue is waited for, but a port that has stopped must not stop the datapath. */
#define RETRIES_MAX 16
#define RETRY_WAIT_MS 1

void transmit_open(struct transmit *transmit, const char *ifname, uint32_t batch,
		   uint32_t buffer_bytes)
{
	/* Protocol 0: this socket receives nothing. */
	struct sockaddr_ll address = { .sll_family = AF_PACKET };
	int bytes = buffer_bytes;
	uint32_t i;

	address.sll_ifindex = kb_ifindex(ifname);
	transmit->batch = batch;
	transmit->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (transmit->fd < 0)
		kb_die(KB_EXIT_LACKS, "packet socket: %s", strerror(errno));
	setsockopt(transmit->fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
	if (bind(transmit->fd, (struct sockaddr *)&address, sizeof(address)))
		kb_die(KB_EXIT_LACKS, "packet socket on %s: %s", ifname, strerror(errno));
	for (i = 0; i < KB_BATCH_MAX; i++) {
		transmit->messages[i].msg_hdr.msg_iov = &transmit->iov[i];
		transmit->messages[i].msg_hdr.msg_iovlen = 1;
	}
}

void transmit_flush(struct transmit *transmit)
{
	struct pollfd writable = { .fd = transmit->fd, .events = POLLOUT };
	uint32_t done = 0, retries = 0;

	while (done < transmit->waiting) {
		int sent = sendmmsg(transmit->fd, transmit->messages + done,
				    transmit->waiting - done, MSG_DONTWAIT);

		transmit->syscalls++;
		if (sent > 0) {
			transmit->sent += sent;
			done += sent;
			retries = 0;
			continue;
		}
		if (errno == EINTR)
			continue;
		if ((errno == EAGAIN || errno == ENOBUFS) && retries < RETRIES_MAX) {
			retries++;
			transmit->retries++;
			transmit->syscalls++;
			poll(&writable, 1, RETRY_WAIT_MS);
			continue;
		}
		/* The first that waits is the one that failed; those behind it may go. */
		if (errno == EMSGSIZE)
			transmit->too_big++;
		else if (errno == EAGAIN)
			transmit->no_room++;
		else
			transmit->lost++;
		done++;
		retries = 0;
	}
	transmit->waiting = 0;
}
