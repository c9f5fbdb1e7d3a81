// SPDX-License-Identifier: GPL-2.0-only
/* Reads the traffic file: see traffic.h. */
#include "traffic.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "kb_prog.h"

struct file_header {
	char magic[4];
	uint32_t version;
	uint8_t src_mac[6], dst_mac[6];
	uint32_t groups;
} __attribute__((packed));

void traffic_read(const char *path, struct traffic *traffic)
{
	const struct file_header *header;
	size_t len;
	void *file = kb_read_file(path, &len);

	header = file;
	if (len < sizeof(*header) || memcmp(header->magic, "KBTR", 4))
		kb_die(KB_EXIT_USAGE, "%s: not a traffic file", path);
	if (header->version != 1)
		kb_die(KB_EXIT_USAGE, "%s: traffic file of version %u, not 1", path,
		       header->version);
	if (!header->groups || header->groups > TRAFFIC_GROUPS_MAX)
		kb_die(KB_EXIT_USAGE, "%s: %u groups, not 1..%d", path, header->groups,
		       TRAFFIC_GROUPS_MAX);
	if (len != sizeof(*header) + header->groups * sizeof(traffic->groups[0]))
		kb_die(KB_EXIT_USAGE, "%s: length differs from the header's", path);
	memcpy(traffic->src_mac, header->src_mac, 6);
	memcpy(traffic->dst_mac, header->dst_mac, 6);
	traffic->count = header->groups;
	memcpy(traffic->groups, header + 1, len - sizeof(*header));
	for (uint32_t i = 0; i < traffic->count; i++) {
		const struct traffic_group *group = &traffic->groups[i];

		if (group->family != 4 && group->family != 6)
			kb_die(KB_EXIT_USAGE, "%s: group %u: address family %u", path, i,
			       group->family);
		if (group->proto != IPPROTO_UDP)
			kb_die(KB_EXIT_USAGE, "%s: group %u: protocol %u, not UDP", path, i,
			       group->proto);
		if (group->sport_lo > group->sport_hi)
			kb_die(KB_EXIT_USAGE, "%s: group %u: empty range of source ports", path, i);
	}
	free(file);
}
