// SPDX-License-Identifier: GPL-2.0-only
/* Device statistics: see kb_netdev.h. */
#include "kb_netdev.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kb_prog.h"

static void *allocate(size_t bytes)
{
	void *memory = calloc(1, bytes ? bytes : 1);

	if (!memory)
		kb_die(KB_EXIT_FAILED, "out of memory");
	return memory;
}

/* 0, or -1 with errno. */
static int ethtool(const char *name, void *command)
{
	struct ifreq request = { .ifr_data = command };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int result, saved;

	if (fd < 0)
		kb_die(KB_EXIT_FAILED, "socket: %s", strerror(errno));
	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	result = ioctl(fd, SIOCETHTOOL, &request);
	saved = errno;
	close(fd);
	errno = saved;
	return result;
}

static size_t statistics_count(const char *name)
{
	struct {
		struct ethtool_sset_info info;
		__u32 count;
	} sset = { .info = { .cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ULL << ETH_SS_STATS } };

	if (ethtool(name, &sset)) {
		if (errno == EOPNOTSUPP)
			return 0; /* a driver without statistics of its own */
		kb_die(KB_EXIT_FAILED, "statistics of %s: %s", name, strerror(errno));
	}
	return sset.info.sset_mask ? sset.count : 0;
}

static void read_names(struct kb_netdev *dev)
{
	struct ethtool_gstrings *strings;

	strings = allocate(sizeof(*strings) + dev->count * ETH_GSTRING_LEN);
	strings->cmd = ETHTOOL_GSTRINGS;
	strings->string_set = ETH_SS_STATS;
	strings->len = dev->count;
	if (ethtool(dev->name, strings))
		kb_die(KB_EXIT_FAILED, "statistics of %s: %s", dev->name, strerror(errno));
	for (size_t i = 0; i < dev->count; i++) {
		memcpy(dev->names[i], strings->data + i * ETH_GSTRING_LEN, ETH_GSTRING_LEN);
		dev->names[i][ETH_GSTRING_LEN - 1] = '\0';
	}
	free(strings);
}

/* /proc/net/dev shows the namespace that we are in, whatever /sys is mounted. */
static uint64_t read_tx_dropped(const char *name)
{
	size_t len, name_len = strlen(name);
	char *text = kb_read_file("/proc/self/net/dev", &len);
	char *line, *rest = text;
	uint64_t v[12];

	while ((line = strsep(&rest, "\n"))) {
		line += strspn(line, " ");
		if (strncmp(line, name, name_len) || line[name_len] != ':')
			continue;
		if (sscanf(line + name_len + 1, "%lu %lu %lu %lu %lu %lu %lu %lu %lu %lu %lu %lu",
			   v, v + 1, v + 2, v + 3, v + 4, v + 5, v + 6, v + 7, v + 8, v + 9, v + 10,
			   v + 11) != 12)
			break;
		free(text);
		return v[11];
	}
	kb_die(KB_EXIT_FAILED, "no statistics of %s in /proc/net/dev", name);
}

void kb_netdev_read(struct kb_netdev *dev)
{
	struct ethtool_stats *stats;

	dev->tx_dropped = read_tx_dropped(dev->name);
	if (!dev->count)
		return;
	if (statistics_count(dev->name) != dev->count)
		kb_die(KB_EXIT_FAILED, "%s changed its number of queues", dev->name);
	stats = allocate(sizeof(*stats) + dev->count * sizeof(__u64));
	stats->cmd = ETHTOOL_GSTATS;
	stats->n_stats = dev->count;
	if (ethtool(dev->name, stats))
		kb_die(KB_EXIT_FAILED, "statistics of %s: %s", dev->name, strerror(errno));
	for (size_t i = 0; i < dev->count; i++)
		dev->now[i] = stats->data[i];
	free(stats);
}

void kb_netdev_rebase(struct kb_netdev *dev)
{
	kb_netdev_read(dev);
	memcpy(dev->base, dev->now, dev->count * sizeof(*dev->base));
	dev->tx_dropped_base = dev->tx_dropped;
}

void kb_netdev_open(struct kb_netdev *dev, const char *name)
{
	memset(dev, 0, sizeof(*dev));
	dev->name = name;
	dev->count = statistics_count(name);
	dev->names = allocate(dev->count * sizeof(*dev->names));
	dev->now = allocate(dev->count * sizeof(*dev->now));
	dev->base = allocate(dev->count * sizeof(*dev->base));
	if (dev->count)
		read_names(dev);
	kb_netdev_rebase(dev);
}

void kb_netdev_close(struct kb_netdev *dev)
{
	free(dev->names);
	free(dev->now);
	free(dev->base);
	memset(dev, 0, sizeof(*dev));
}

bool kb_netdev_xdp_xmit(const struct kb_netdev *dev, uint64_t *frames)
{
	bool found = false;

	*frames = 0;
	for (size_t i = 0; i < dev->count; i++) {
		const char *end = strstr(dev->names[i], "_xdp_xmit");

		if (strncmp(dev->names[i], "tx_queue_", 9) || !end || end[9])
			continue;
		*frames += dev->now[i] - dev->base[i];
		found = true;
	}
	return found;
}

uint64_t kb_netdev_tx_dropped(const struct kb_netdev *dev)
{
	return dev->tx_dropped - dev->tx_dropped_base;
}

void kb_netdev_json(const struct kb_netdev *dev)
{
	kb_json_obj_begin(dev->name);
	for (size_t i = 0; i < dev->count; i++) {
		if (dev->now[i] != dev->base[i])
			kb_json_u64(dev->names[i], dev->now[i] - dev->base[i]);
	}
	if (kb_netdev_tx_dropped(dev))
		kb_json_u64("tx_dropped", kb_netdev_tx_dropped(dev));
	kb_json_obj_end();
}
