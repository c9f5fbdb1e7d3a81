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

#define KB_NETDEV_DRIVER_MAX 32

/*
 * The driver's own statistics (ETHTOOL_GSTATS), and the base that is subtracted. Some drivers have
 * one name for the same statistic of each queue (vmxnet3): `same` is the first of that name, which
 * has the sum.
 */
struct kb_netdev {
	const char *name;
	char driver[KB_NETDEV_DRIVER_MAX];
	size_t count;
	char (*names)[32];
	size_t *same;
	uint64_t *now;
	uint64_t *base;
	uint64_t tx_packets, tx_packets_base;
	uint64_t tx_dropped, tx_dropped_base;
};

/* Reads all and makes it the base. Dies (code 1) if the device can't be read. */
void kb_netdev_open(struct kb_netdev *dev, const char *name);
void kb_netdev_read(struct kb_netdev *dev);
void kb_netdev_rebase(struct kb_netdev *dev);
void kb_netdev_close(struct kb_netdev *dev);

/* How XDP frames come to a port: from elsewhere, or back out of the port they arrived at. */
enum kb_xdp_way { KB_XDP_REDIRECTED, KB_XDP_RETURNED };

/*
 * XDP frames that the driver accepted since the base. False if it has no counter of them alone:
 * then they are all that the port has sent, which some drivers count only when the frame has left.
 */
bool kb_netdev_xdp_taken(const struct kb_netdev *dev, enum kb_xdp_way way, uint64_t *frames);

/* tx_packets and tx_dropped of /proc/net/dev since the base. */
uint64_t kb_netdev_tx_packets(const struct kb_netdev *dev);
uint64_t kb_netdev_tx_dropped(const struct kb_netdev *dev);

/* What `ethtool -i` calls the driver; "" if it does not say. */
void kb_netdev_driver(const char *name, char driver[KB_NETDEV_DRIVER_MAX]);

/* Is the other end of the cable another interface of this machine? */
bool kb_netdev_is_veth(const char *name);

/* Whether the device is up and has a link, and the kernel has acted upon that. */
bool kb_netdev_has_link(const char *name);

/* An object NAME: {statistic: change since the base}, those that changed. */
void kb_netdev_json(const struct kb_netdev *dev);

#endif
