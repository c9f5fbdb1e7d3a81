/* SPDX-License-Identifier: GPL-2.0-only */
/* port.h - a port that kb-inject sends frames to and captures frames from. */
#ifndef KB_PORT_H
#define KB_PORT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define FRAME_MAX 65536

struct port {
	const char *ifname;
	const char *name; /* in output */
	int fd;		  /* packet socket, doesn't block */
};

/* Is this port, opened in this network namespace, the interface of that name and namespace? */
bool port_is(const struct port *port, const char *ifname, const char *netns);

/*
 * Opens the interface in this network namespace or, if not NULL, in that of name `netns`. A veth
 * passes all XDP frames to its socket until the process ends.
 */
void port_open(struct port *port, const char *ifname, const char *netns);

/* The next frame that waits, valid until the next call, and its length; -1: there is none. */
ssize_t port_receive(struct port *port, const uint8_t **frame);

#endif
