/* SPDX-License-Identifier: GPL-2.0-only */
/* link.h - what rtnetlink tells about one interface. */
#ifndef KB_PORTS_LINK_H
#define KB_PORTS_LINK_H

#include <linux/if_link.h>
#include <stdint.h>

/* A netlink socket of the network namespace that this thread is in now. */
int link_socket(void);

/* Statistics of the interface, all of them apart (/proc/net/dev adds some up). */
void link_statistics(int fd, int ifindex, struct rtnl_link_stats64 *stats);

/*
 * Packets that the interface's outermost queueing discipline dropped, those of its inner ones
 * included; 0 if there is none (noqueue). The kernel counts in 32 bits.
 */
uint32_t link_qdisc_drops(int fd, int ifindex);

#endif
