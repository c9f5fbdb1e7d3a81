// SPDX-License-Identifier: GPL-2.0-only
/* Marked packets: see frame.h. */
#include "frame.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <string.h>
#include <unistd.h>

#include "kb_prog.h"

#define SPORT_AFTER_HEADERS 8 /* the UDP header's length: its first field */
#define CHECKSUM_AFTER_HEADERS 2

/* IEEE 1588-2008, 13.3 and annex D: first byte of the message, second byte, UDP port. */
#define PTP_SYNC 0
#define PTP_VERSION 2
#define PTP_EVENT_PORT 319

void frames_open(struct frames *frames, const char *path, uint32_t frame_bytes, bool ptp)
{
	static struct traffic traffic;

	traffic_read(path, &traffic);
	memset(frames, 0, sizeof(*frames));
	frames->count = traffic.count;
	frames->bytes = frame_bytes - ETH_FCS_LEN;
	/* Packets of another run that are still under way are not taken for ours. */
	frames->run = (uint32_t)kb_now_ns() ^ (uint32_t)getpid() << 16;
	if (ptp)
		frames->run = (frames->run & 0xffff0000) | PTP_SYNC | PTP_VERSION << 8;
	for (uint32_t i = 0; i < traffic.count; i++) {
		if (ptp)
			traffic.groups[i].dport = PTP_EVENT_PORT;
		template_fill(&traffic, i, frame_bytes, true, &frames->groups[i]);
	}
}

static uint64_t stamp(const struct frames *frames)
{
	return (uint64_t)KB_STAMP_MAGIC << 32 | frames->run;
}

static size_t payload_of(bool ipv6)
{
	return ipv6 ? KB_OFFER_IPV6_PAYLOAD : KB_OFFER_IPV4_PAYLOAD;
}

void frames_write(struct frames *frames, uint32_t sequence)
{
	struct kb_offer_group *group = &frames->groups[frames->next];
	size_t payload = payload_of(group->ipv6);
	uint16_t sport = htons(group->sport_lo + group->next_flow), checksum;
	uint64_t mark = stamp(frames);
	uint8_t *to = frames->frame;
	uint64_t sum;

	frames->next = (frames->next + 1) % frames->count;
	group->next_flow = (group->next_flow + 1) % group->flows;
	memset(to, 0, frames->bytes);
	memcpy(to, group->header, payload);
	memcpy(to + payload - SPORT_AFTER_HEADERS, &sport, sizeof(sport));
	memcpy(to + payload, &mark, sizeof(mark));
	memcpy(to + payload + sizeof(mark), &sequence, sizeof(sequence));
	if (!group->ipv6)
		return; /* no UDP checksum */
	sum = (uint64_t)group->checksum + sport + (mark & 0xffffffff) + (mark >> 32) + sequence;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	checksum = ~sum;
	if (!checksum)
		checksum = 0xffff; /* RFC 8200 8.1 */
	memcpy(to + payload - CHECKSUM_AFTER_HEADERS, &checksum, sizeof(checksum));
}

bool frames_read(const struct frames *frames, const uint8_t *frame, size_t len, uint32_t *sequence)
{
	uint64_t mark;
	uint16_t type;
	size_t payload;

	if (len < ETH_HLEN)
		return false;
	memcpy(&type, frame + 2 * ETH_ALEN, sizeof(type));
	if (type != htons(ETH_P_IP) && type != htons(ETH_P_IPV6))
		return false;
	payload = payload_of(type == htons(ETH_P_IPV6));
	if (len < payload + KB_OFFER_PAYLOAD_MIN)
		return false;
	memcpy(&mark, frame + payload, sizeof(mark));
	memcpy(sequence, frame + payload + sizeof(mark), sizeof(*sequence));
	return mark == stamp(frames);
}
