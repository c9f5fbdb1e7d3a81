/* SPDX-License-Identifier: GPL-2.0-only */
/* af_packet.h - the parts of kb-af-packet: receive ring, transmit batches, work, counters. */
#ifndef KB_AF_PACKET_H
#define KB_AF_PACKET_H

#include "function.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define KB_BATCH_MAX 256

/* The receive ring: memory that the kernel writes packets into (packet_mmap.rst). */
struct ring {
	int fd;
	int version;	      /* 2 or 3 */
	uint32_t block_bytes; /* what the kernel allocates in one piece */
	uint32_t blocks;
	uint32_t slot_bytes; /* V2: room of one packet, its header included */
	uint32_t timeout_ms; /* V3: a block that holds packets is handed over after this at the
				latest */
	uint8_t *memory;
	uint32_t block; /* where we read next */
	uint32_t slot;	/* V2: within the block */
	uint64_t lost;	/* for want of room; the kernel forgets it at each reading */
};

/* Opens the socket on `ifname`; geometry 0 means the default, and is filled in. */
void ring_open(struct ring *ring, const char *ifname);
void ring_read_lost(struct ring *ring);
/* From here on the kernel puts nothing more into the ring. */
void ring_stop(struct ring *ring);

/* What goes out of one port. Frames stay where they are until the batch is flushed. */
struct transmit {
	int fd;
	uint32_t batch; /* send when this many wait */
	uint32_t waiting;
	uint64_t sent;
	uint64_t lost;	  /* refused by the port, and given up */
	uint64_t no_room; /* given up because the socket's buffer stayed full */
	uint64_t too_big; /* longer than the port's MTU allows */
	uint64_t retries;
	uint64_t syscalls;
	struct iovec iov[KB_BATCH_MAX];
	struct mmsghdr messages[KB_BATCH_MAX];
};

void transmit_open(struct transmit *transmit, const char *ifname, uint32_t batch,
		   uint32_t buffer_bytes);
void transmit_flush(struct transmit *transmit);

static inline void transmit_add(struct transmit *transmit, void *frame, uint32_t len)
{
	struct iovec *iov = &transmit->iov[transmit->waiting];

	iov->iov_base = frame;
	iov->iov_len = len;
	if (++transmit->waiting == transmit->batch)
		transmit_flush(transmit);
}

struct usage {
	uint64_t cpu_ns;
	long voluntary, involuntary;
};

struct datapath {
	struct ring ring;
	struct kb_image image;
	struct transmit out[KB_PORTS];
	bool (*work)(struct datapath *dp);
	bool busy;
	uint32_t batch;
	uint64_t received;
	uint64_t reasons[KB_REASON_COUNT];
	uint64_t truncated;
	uint64_t partial_checksums;
	uint64_t syscalls;
	struct usage base; /* at the last reset */
};

/* Takes what is there, up to a block or batch; false if there was nothing. */
bool (*worker_for(int version, uint32_t function))(struct datapath *dp);

void print_counters(struct datapath *dp);
void reset_counters(struct datapath *dp);

#endif
