/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kb_netdev.h - what a network device says about packets that no program sees: frames that a
 * redirect queued and its driver then refused. Read around a trial, never during one.
 */
#ifndef KB_NETDEV_H
#define KB_NETDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The driver's own statistics (ETHTOOL_GSTATS), and the base that is subtracted. */
struct kb_netdev {
	const char *name;
	size_t count;
	char (*names)[32];
	uint64_t *now;
	uint64_t *base;
	uint64_t tx_dropped, tx_dropped_base;
};

/* Reads all and makes it the base. Dies (code 1) if the device can't be read. */
void kb_netdev_open(struct kb_netdev *dev, const char *name);
void kb_netdev_read(struct kb_netdev *dev);
void kb_netdev_rebase(struct kb_netdev *dev);
void kb_netdev_close(struct kb_netdev *dev);

/*
 * Frames that the driver accepted from XDP redirects since the base, as veth counts them
 * (tx_queue_N_xdp_xmit). False if this driver has no such counter.
 */
bool kb_netdev_xdp_xmit(const struct kb_netdev *dev, uint64_t *frames);

/* tx_dropped of /proc/net/dev since the base. */
uint64_t kb_netdev_tx_dropped(const struct kb_netdev *dev);

/* An object NAME: {statistic: change since the base}, those that changed. */
void kb_netdev_json(const struct kb_netdev *dev);

#endif
