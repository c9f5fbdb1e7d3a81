// SPDX-License-Identifier: GPL-2.0-only
/*
 * kb-ports - reads what a testbed's ports say about packets that they lost: the interfaces' own
 * statistics, the driver's, the queueing discipline's, and the backlog's of this machine. Between
 * two readings it sleeps.
 *
 * It stays for as long as the testbed, because starting ip, tc and ethtool for each reading takes
 * longer than a short trial.
 */
#include "kb_netdev.h"
#include "kb_prog.h"
#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PORTS_MAX 16

struct port {
	char *role, *ifname, *netns; /* netns NULL: the one that we were started in */
	int netns_fd, ifindex, netlink;
	struct kb_netdev driver;
};

static struct port ports[PORTS_MAX];
static int port_count, own_netns;

/* ROLE=IF or ROLE=IF@NETNS */
static void parse_port(const char *text)
{
	struct port *port = &ports[port_count];

	if (port_count++ == PORTS_MAX)
		kb_die(KB_EXIT_USAGE, "--port: more than %d", PORTS_MAX);
	port->role = strdup(text);
	if (!port->role)
		kb_die(KB_EXIT_FAILED, "out of memory");
	port->ifname = strchr(port->role, '=');
	if (!port->ifname)
		kb_die(KB_EXIT_USAGE, "--port: \"%s\" is not ROLE=IF or ROLE=IF@NETNS", text);
	*port->ifname++ = '\0';
	port->netns = strchr(port->ifname, '@');
	if (port->netns)
		*port->netns++ = '\0';
}

static void enter(const struct port *port)
{
	if (setns(port->netns_fd, CLONE_NEWNET))
		kb_die(KB_EXIT_LACKS, "network namespace of %s: %s", port->ifname, strerror(errno));
}

static void port_open(struct port *port)
{
	char path[256];

	port->netns_fd = own_netns;
	if (port->netns) {
		if (strchr(port->netns, '/') || !*port->netns)
			kb_die(KB_EXIT_USAGE, "--port: \"%s\" is no name of a namespace",
			       port->netns);
		snprintf(path, sizeof(path), "/run/netns/%s", port->netns);
		port->netns_fd = open(path, O_RDONLY | O_CLOEXEC);
		if (port->netns_fd < 0)
			kb_die(KB_EXIT_USAGE, "%s: %s", path, strerror(errno));
	}
	enter(port);
	port->ifindex = kb_ifindex(port->ifname);
	port->netlink = link_socket();
	kb_netdev_open(&port->driver, port->ifname);
}

static void print_port(struct port *port)
{
	struct rtnl_link_stats64 stats;

	enter(port); /* the driver's are read by name */
	kb_netdev_read(&port->driver);
	link_statistics(port->netlink, port->ifindex, &stats);
	kb_json_obj_begin(port->role);
#define X(name) kb_json_u64(#name, stats.name);
	X(rx_packets)
	X(tx_packets)
	X(rx_errors)
	X(tx_errors)
	X(rx_dropped)
	X(tx_dropped)
	X(rx_over_errors)
	X(rx_fifo_errors)
	X(rx_missed_errors)
	X(rx_nohandler)
#undef X
	kb_json_u64("qdisc_drops", link_qdisc_drops(port->netlink, port->ifindex));
	kb_json_str("driver_name", port->driver.driver);
	kb_json_obj_begin("driver");
	for (size_t i = 0; i < port->driver.count; i++) {
		if (port->driver.same[i] == i)
			kb_json_u64(port->driver.names[i], port->driver.now[i]);
	}
	kb_json_obj_end();
	kb_json_obj_end();
}

/* Column 2 of all CPUs: packets for which a backlog queue had no room. */
static uint64_t backlog_dropped(void)
{
	size_t len;
	char *text = kb_read_file("/proc/net/softnet_stat", &len);
	char *line, *rest = text;
	unsigned int dropped;
	uint64_t sum = 0;

	while ((line = strsep(&rest, "\n"))) {
		if (sscanf(line, "%*x %x", &dropped) == 1)
			sum += dropped;
	}
	free(text);
	return sum;
}

static void print_counters(void)
{
	kb_json_begin("counters");
	kb_json_u64("backlog_dropped", backlog_dropped());
	kb_json_obj_begin("ports");
	for (int i = 0; i < port_count; i++)
		print_port(&ports[i]);
	kb_json_obj_end();
	kb_json_end();
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "port", required_argument, NULL, 'p' },
		{},
	};
	int option;

	kb_prog_init("kb-ports");
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option != 'p')
			return KB_EXIT_USAGE; /* getopt has said why */
		parse_port(optarg);
	}
	if (optind < argc)
		kb_die(KB_EXIT_USAGE, "unexpected argument \"%s\"", argv[optind]);
	if (!port_count)
		kb_die(KB_EXIT_USAGE, "--port is missing");
	own_netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (own_netns < 0)
		kb_die(KB_EXIT_FAILED, "own network namespace: %s", strerror(errno));
	for (int i = 0; i < port_count; i++)
		port_open(&ports[i]);
	kb_json_begin("ready");
	kb_json_u64("ports", port_count);
	kb_json_end();
	while (!kb_stop) {
		kb_poll(NULL, 0, -1);
		kb_reset = 0; /* differences are the reader's business */
		if (kb_snapshot) {
			kb_snapshot = 0;
			print_counters();
		}
	}
	print_counters();
	return KB_EXIT_OK;
}
