// SPDX-License-Identifier: GPL-2.0-only
/* Device statistics: see kb_netdev.h. */
#include "kb_netdev.h"

#include <errno.h>
#include <fnmatch.h>
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

void kb_netdev_driver(const char *name, char driver[KB_NETDEV_DRIVER_MAX])
{
	struct ethtool_drvinfo info = { .cmd = ETHTOOL_GDRVINFO };

	if (ethtool(name, &info) && errno != EOPNOTSUPP)
		kb_die(KB_EXIT_FAILED, "driver of %s: %s", name, strerror(errno));
	snprintf(driver, KB_NETDEV_DRIVER_MAX, "%.31s", info.driver);
}

bool kb_netdev_is_veth(const char *name)
{
	char driver[KB_NETDEV_DRIVER_MAX];

	kb_netdev_driver(name, driver);
	return !strcmp(driver, "veth");
}

bool kb_netdev_has_link(const char *name)
{
	struct ethtool_value link = { .cmd = ETHTOOL_GLINK };
	struct ifreq request = {};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		kb_die(KB_EXIT_FAILED, "socket: %s", strerror(errno));
	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	err = ioctl(fd, SIOCGIFFLAGS, &request);
	close(fd);
	/* IFF_RUNNING follows the carrier up to a second late; until it does, nothing is sent. */
	if (err || !(request.ifr_flags & IFF_RUNNING))
		return false;
	return ethtool(name, &link) ? errno == EOPNOTSUPP : link.data;
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
		const char *text = (char *)strings->data + i * ETH_GSTRING_LEN;
		size_t blanks = strspn(text, " "); /* vmxnet3 indents */

		snprintf(dev->names[i], ETH_GSTRING_LEN, "%.*s",
			 (int)(ETH_GSTRING_LEN - blanks - 1), text + blanks);
		dev->same[i] = 0;
		while (strcmp(dev->names[dev->same[i]], dev->names[i]))
			dev->same[i]++;
	}
	free(strings);
}

/* /proc/net/dev shows the namespace that we are in, whatever /sys is mounted. */
static void read_sent(struct kb_netdev *dev)
{
	const char *name = dev->name;
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
		dev->tx_packets = v[9];
		dev->tx_dropped = v[11];
		return;
	}
	kb_die(KB_EXIT_FAILED, "no statistics of %s in /proc/net/dev", name);
}

void kb_netdev_read(struct kb_netdev *dev)
{
	struct ethtool_stats *stats;

	if (!dev->count) {
		read_sent(dev);
		return;
	}
	if (statistics_count(dev->name) != dev->count)
		kb_die(KB_EXIT_FAILED, "%s changed its number of queues", dev->name);
	stats = allocate(sizeof(*stats) + dev->count * sizeof(__u64));
	stats->cmd = ETHTOOL_GSTATS;
	stats->n_stats = dev->count;
	if (ethtool(dev->name, stats))
		kb_die(KB_EXIT_FAILED, "statistics of %s: %s", dev->name, strerror(errno));
	memset(dev->now, 0, dev->count * sizeof(*dev->now));
	for (size_t i = 0; i < dev->count; i++)
		dev->now[dev->same[i]] += stats->data[i];
	free(stats);
	/* Behind them: some drivers bring the common ones up to date when asked for their own. */
	read_sent(dev);
}

void kb_netdev_rebase(struct kb_netdev *dev)
{
	kb_netdev_read(dev);
	memcpy(dev->base, dev->now, dev->count * sizeof(*dev->base));
	dev->tx_packets_base = dev->tx_packets;
	dev->tx_dropped_base = dev->tx_dropped;
}

void kb_netdev_open(struct kb_netdev *dev, const char *name)
{
	memset(dev, 0, sizeof(*dev));
	dev->name = name;
	kb_netdev_driver(name, dev->driver);
	dev->count = statistics_count(name);
	dev->names = allocate(dev->count * sizeof(*dev->names));
	dev->same = allocate(dev->count * sizeof(*dev->same));
	dev->now = allocate(dev->count * sizeof(*dev->now));
	dev->base = allocate(dev->count * sizeof(*dev->base));
	if (dev->count)
		read_names(dev);
	kb_netdev_rebase(dev);
}

void kb_netdev_close(struct kb_netdev *dev)
{
	free(dev->names);
	free(dev->same);
	free(dev->now);
	free(dev->base);
	memset(dev, 0, sizeof(*dev));
}

/*
 * What counts XDP frames and nothing else; `refused` are part of `offered`. Of each queue: some
 * kernels have a total of them as well.
 */
static const struct {
	const char *driver;
	enum kb_xdp_way way;
	const char *offered, *refused;
} xdp_counters[] = {
	{ "veth", KB_XDP_REDIRECTED, "tx_queue_*_xdp_xmit", NULL },
	{ "veth", KB_XDP_RETURNED, "rx_queue_*_xdp_tx", NULL },
	{ "virtio_net", KB_XDP_REDIRECTED, "tx*[0-9]_xdp_tx", "tx*[0-9]_xdp_tx_drops" },
	{ "virtio_net", KB_XDP_RETURNED, "tx*[0-9]_xdp_tx", "tx*[0-9]_xdp_tx_drops" },
	{ "mlx5_core", KB_XDP_REDIRECTED, "tx_xdp_xmit", NULL },
	{ "mlx5_core", KB_XDP_RETURNED, "rx_xdp_tx_xmit", NULL },
	{ "vmxnet3", KB_XDP_REDIRECTED, "xdp xmit", NULL },
	{ "vmxnet3", KB_XDP_RETURNED, "xdp tx", NULL },
};

static bool sum_of(const struct kb_netdev *dev, const char *pattern, uint64_t *sum)
{
	bool found = false;

	*sum = 0;
	for (size_t i = 0; pattern && i < dev->count; i++) {
		if (dev->same[i] != i || fnmatch(pattern, dev->names[i], 0))
			continue;
		*sum += dev->now[i] - dev->base[i];
		found = true;
	}
	return found;
}

bool kb_netdev_xdp_taken(const struct kb_netdev *dev, enum kb_xdp_way way, uint64_t *frames)
{
	uint64_t refused;

	for (size_t i = 0; i < sizeof(xdp_counters) / sizeof(xdp_counters[0]); i++) {
		if (strcmp(xdp_counters[i].driver, dev->driver) || xdp_counters[i].way != way ||
		    !sum_of(dev, xdp_counters[i].offered, frames))
			continue;
		sum_of(dev, xdp_counters[i].refused, &refused);
		*frames -= refused < *frames ? refused : *frames;
		return true;
	}
	*frames = kb_netdev_tx_packets(dev);
	return false;
}

uint64_t kb_netdev_tx_packets(const struct kb_netdev *dev)
{
	return dev->tx_packets - dev->tx_packets_base;
}

uint64_t kb_netdev_tx_dropped(const struct kb_netdev *dev)
{
	return dev->tx_dropped - dev->tx_dropped_base;
}

void kb_netdev_json(const struct kb_netdev *dev)
{
	kb_json_obj_begin(dev->name);
	for (size_t i = 0; i < dev->count; i++) {
		if (dev->same[i] == i && dev->now[i] != dev->base[i])
			kb_json_u64(dev->names[i], dev->now[i] - dev->base[i]);
	}
	if (kb_netdev_tx_dropped(dev))
		kb_json_u64("tx_dropped", kb_netdev_tx_dropped(dev));
	kb_json_obj_end();
}
