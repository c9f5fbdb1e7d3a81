// SPDX-License-Identifier: GPL-2.0-only
/* The packet path of kb-af-packet: decide about a packet in the ring, rewrite it there, send it. */
#include "af_packet.h"

#include <linux/if_packet.h>

/* @stored: bytes of the frame in the ring; @len: its length; @status: TP_STATUS_* */
static inline __attribute__((always_inline)) void take(struct datapath *dp, uint32_t function,
						       uint8_t *frame, uint32_t stored,
						       uint32_t len, uint32_t status)
{
	uint32_t verdict, reason, port;

	dp->received++;
	dp->partial_checksums += !!(status & TP_STATUS_CSUMNOTREADY);
	/* The kernel took the tag out of the frame: to the core it is a tagged one nevertheless. */
	if (status & TP_STATUS_VLAN_VALID)
		verdict = KB_PASSED;
	else
		verdict = kb_decide_frame(&dp->image, &dp->image.params, function, frame,
					  frame + stored, len);
	reason = KB_VERDICT_REASON(verdict);
	if (reason != KB_FORWARDED) {
		dp->reasons[reason]++;
		return;
	}
	if (stored < len) {
		dp->truncated++;
		return;
	}
	port = KB_VERDICT_PORT(verdict) ? 1 : 0;
	kb_rewrite_ip(frame + KB_ETH_LEN, kb_swap16(((struct kb_eth *)frame)->ethertype));
	kb_rewrite_eth(frame, &dp->image.params, port);
	transmit_add(&dp->out[port], frame, len);
}

static inline __attribute__((always_inline)) void flush(struct datapath *dp)
{
	for (uint32_t port = 0; port < KB_PORTS; port++)
		if (dp->out[port].waiting)
			transmit_flush(&dp->out[port]);
}

/* One block of a V3 ring, if the kernel has handed one over. */
static inline __attribute__((always_inline)) bool work_v3(struct datapath *dp, uint32_t function)
{
	struct ring *ring = &dp->ring;
	uint8_t *block = ring->memory + (size_t)ring->block * ring->block_bytes;
	struct tpacket_hdr_v1 *head = &((struct tpacket_block_desc *)block)->hdr.bh1;
	uint32_t count, i;
	uint8_t *at;

	if (!(__atomic_load_n(&head->block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER))
		return false;
	count = head->num_pkts;
	at = block + head->offset_to_first_pkt;
	for (i = 0; i < count; i++) {
		struct tpacket3_hdr *packet = (struct tpacket3_hdr *)at;

		take(dp, function, at + packet->tp_mac, packet->tp_snaplen, packet->tp_len,
		     packet->tp_status);
		at += packet->tp_next_offset;
	}
	flush(dp);
	__atomic_store_n(&head->block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
	if (++ring->block == ring->blocks)
		ring->block = 0;
	return true;
}

/* Up to a batch of a V2 ring's slots. */
static inline __attribute__((always_inline)) bool work_v2(struct datapath *dp, uint32_t function)
{
	struct tpacket2_hdr *packets[KB_BATCH_MAX];
	uint32_t slots, most, count, i;
	struct ring *ring = &dp->ring;

	slots = ring->block_bytes / ring->slot_bytes;
	/* Slots are given back behind the batch: once around, we would meet our own again. */
	most = dp->batch < slots * ring->blocks ? dp->batch : slots * ring->blocks;
	for (count = 0; count < most; count++) {
		struct tpacket2_hdr *packet =
			(struct tpacket2_hdr *)(ring->memory +
						(size_t)ring->block * ring->block_bytes +
						(size_t)ring->slot * ring->slot_bytes);
		uint32_t status = __atomic_load_n(&packet->tp_status, __ATOMIC_ACQUIRE);

		if (!(status & TP_STATUS_USER))
			break;
		packets[count] = packet;
		take(dp, function, (uint8_t *)packet + packet->tp_mac, packet->tp_snaplen,
		     packet->tp_len, status);
		if (++ring->slot == slots) {
			ring->slot = 0;
			if (++ring->block == ring->blocks)
				ring->block = 0;
		}
	}
	flush(dp);
	for (i = 0; i < count; i++)
		__atomic_store_n(&packets[i]->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
	return count;
}

/* One copy for each ring and function, so that what a function does not do costs nothing. */
#define WORKER(version, function)                                                                  \
	static bool work_##version##_##function(struct datapath *dp)                               \
	{                                                                                          \
		return work_##version(dp, function);                                               \
	}
WORKER(v2, KB_DROP)
WORKER(v2, KB_FORWARD)
WORKER(v2, KB_FILTER)
WORKER(v3, KB_DROP)
WORKER(v3, KB_FORWARD)
WORKER(v3, KB_FILTER)

static bool (*const workers[2][3])(struct datapath *dp) = {
	{ work_v2_KB_DROP, work_v2_KB_FORWARD, work_v2_KB_FILTER },
	{ work_v3_KB_DROP, work_v3_KB_FORWARD, work_v3_KB_FILTER },
};

bool (*worker_for(int version, uint32_t function))(struct datapath *dp)
{
	return workers[version - 2][function - KB_DROP];
}
