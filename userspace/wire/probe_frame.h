/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * probe_frame.h - the frame by which kb-wire finds cables.
 *
 * It is broadcast: that passes every NIC's filter without promiscuous mode, and switches and
 * bridges flood it, so that one in the way is noticed. The group 01:80:c2:00:00:00-0f, which they
 * must not forward, would hide it (IEEE 802.1Q, 8.6.3). The ethertype 0x88b5 is "local
 * experimental 1" (IEEE 802): no stack listens to it.
 */
#ifndef KB_PROBE_FRAME_H
#define KB_PROBE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROBE_ETHERTYPE 0x88b5
#define PROBE_NONCE_BYTES 16
#define PROBE_TEXT_BYTES 128

/* What one frame says: who sent it. Texts end with a NUL byte. */
struct probe {
	uint8_t nonce[PROBE_NONCE_BYTES]; /* of this search; others' frames are not ours */
	char label[PROBE_TEXT_BYTES];	  /* the machine */
	char port[PROBE_TEXT_BYTES];
};

struct probe_frame {
	uint8_t dst[6], src[6];
	uint16_t ethertype;
	char magic[4];
	uint8_t version;
	struct probe probe;
} __attribute__((packed));

void probe_write(struct probe_frame *frame, const struct probe *probe, const uint8_t mac[6]);

/* Whether the bytes are a whole frame of this kind; `probe` gets what it says. */
bool probe_read(const void *bytes, size_t len, struct probe *probe);

#endif
