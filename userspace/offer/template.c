// SPDX-License-Identifier: GPL-2.0-only
/* Builds a group's headers: see template.h. */
#include "template.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <string.h>

#include "kb_prog.h"

#define HOPS 64

/* Sum of 16-bit words as they lie in memory: RFC 1071 2(B), byte order doesn't matter. */
static uint32_t sum_words(const void *data, size_t bytes)
{
	const uint8_t *byte = data;
	uint32_t sum = 0;
	uint16_t word;

	for (size_t i = 0; i < bytes; i += 2) {
		memcpy(&word, byte + i, 2);
		sum += word;
	}
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static void fill_ipv4(const struct traffic_group *from, uint8_t *l3, uint16_t bytes)
{
	struct iphdr ip = { .version = 4, .ihl = 5, .ttl = HOPS, .protocol = IPPROTO_UDP };
	struct udphdr udp = { .dest = htons(from->dport), .len = htons(bytes - sizeof(ip)) };

	ip.tot_len = htons(bytes);
	memcpy(&ip.saddr, from->src, 4);
	memcpy(&ip.daddr, from->dst, 4);
	ip.check = (uint16_t)~fold(sum_words(&ip, sizeof(ip)));
	memcpy(l3, &ip, sizeof(ip));
	memcpy(l3 + sizeof(ip), &udp, sizeof(udp));
}

static void fill_ipv6(const struct traffic_group *from, uint8_t *l3, uint16_t bytes,
		      uint32_t *checksum)
{
	struct ipv6hdr ip = { .version = 6, .hop_limit = HOPS, .nexthdr = IPPROTO_UDP };
	struct udphdr udp = { .dest = htons(from->dport), .len = htons(bytes - sizeof(ip)) };

	ip.payload_len = udp.len;
	memcpy(&ip.saddr, from->src, 16);
	memcpy(&ip.daddr, from->dst, 16);
	memcpy(l3, &ip, sizeof(ip));
	memcpy(l3 + sizeof(ip), &udp, sizeof(udp));
	/* Pseudo-header (RFC 8200 8.1) and header; what remains of the payload is zero. */
	*checksum = sum_words(from->src, 16) + sum_words(from->dst, 16) + udp.len +
		    htons(IPPROTO_UDP) + sum_words(&udp, sizeof(udp));
}

bool template_has_room(const struct traffic *traffic, uint32_t frame_bytes)
{
	uint32_t least = KB_OFFER_IPV4_PAYLOAD;

	for (uint32_t i = 0; i < traffic->count; i++) {
		if (traffic->groups[i].family == 6)
			least = KB_OFFER_IPV6_PAYLOAD;
	}
	return frame_bytes >= least + KB_OFFER_PAYLOAD_MIN + ETH_FCS_LEN;
}

void template_fill(const struct traffic *traffic, uint32_t index, uint32_t frame_bytes, bool marks,
		   struct kb_offer_group *group)
{
	const struct traffic_group *from = &traffic->groups[index];
	struct ethhdr eth = { .h_proto = htons(from->family == 4 ? ETH_P_IP : ETH_P_IPV6) };
	uint32_t buffer = frame_bytes - ETH_FCS_LEN;
	uint32_t payload = from->family == 4 ? KB_OFFER_IPV4_PAYLOAD : KB_OFFER_IPV6_PAYLOAD;
	uint8_t header[KB_OFFER_HEADER_MAX] = {};

	if (marks)
		payload += KB_OFFER_PAYLOAD_MIN;
	if (buffer < payload)
		kb_die(KB_EXIT_USAGE,
		       "frames of %u bytes can't hold IPv%u and UDP%s: %u is the least",
		       frame_bytes, from->family, marks ? " with a time stamp" : "",
		       payload + ETH_FCS_LEN);
	memset(group, 0, sizeof(*group));
	memcpy(eth.h_dest, traffic->dst_mac, 6);
	memcpy(eth.h_source, traffic->src_mac, 6);
	memcpy(header, &eth, sizeof(eth));
	if (from->family == 4)
		fill_ipv4(from, header + sizeof(eth), buffer - sizeof(eth));
	else
		fill_ipv6(from, header + sizeof(eth), buffer - sizeof(eth), &group->checksum);
	memcpy(group->header, header, sizeof(header));
	group->ipv6 = from->family == 6;
	group->sport_lo = from->sport_lo;
	group->flows = from->sport_hi - from->sport_lo + 1;
}
