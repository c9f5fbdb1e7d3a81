// SPDX-License-Identifier: GPL-2.0-only
/* See probe_frame.h. */
#include "probe_frame.h"

#include <arpa/inet.h>
#include <string.h>

#define VERSION 1

static const char magic[4] = { 'K', 'B', 'W', 'I' };

void probe_write(struct probe_frame *frame, const struct probe *probe, const uint8_t mac[6])
{
	memset(frame->dst, 0xff, sizeof(frame->dst));
	memcpy(frame->src, mac, sizeof(frame->src));
	frame->ethertype = htons(PROBE_ETHERTYPE);
	memcpy(frame->magic, magic, sizeof(magic));
	frame->version = VERSION;
	frame->probe = *probe;
}

bool probe_read(const void *bytes, size_t len, struct probe *probe)
{
	struct probe_frame frame;

	if (len < sizeof(frame))
		return false;
	memcpy(&frame, bytes, sizeof(frame));
	if (frame.ethertype != htons(PROBE_ETHERTYPE) ||
	    memcmp(frame.magic, magic, sizeof(magic)) || frame.version != VERSION)
		return false;
	*probe = frame.probe;
	/* They come from the wire: whatever is in them, they end, and are printable. */
	probe->label[PROBE_TEXT_BYTES - 1] = probe->port[PROBE_TEXT_BYTES - 1] = '\0';
	for (char *text = (char *)probe->label; text < (char *)(probe + 1); text++) {
		if (*text && (*text < 0x20 || *text > 0x7e))
			*text = '?';
	}
	return true;
}
