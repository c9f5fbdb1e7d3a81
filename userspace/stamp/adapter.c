// SPDX-License-Identifier: GPL-2.0-only
/*
 * Time stamps of network adapters: see adapter.h.
 *
 * The configuration belongs to the adapter and outlives all sockets. So a child waits for the end
 * of this process (a pipe whose other end only this process holds) and puts back what was there.
 * It has a session of its own, so that what kills this process's group leaves it alone.
 */
#include "adapter.h"

#include <errno.h>
#include <linux/net_tstamp.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kb_prog.h"

#define PORTS 2
#define CARRIER_STEP_US 10000
#define CARRIER_STEPS 1000 /* 10 s: 1000BASE-T takes up to 4 */

static pid_t guard_pid;
static int guard_fd; /* its end is the guard's sign */
static bool changed;

static int configure(struct adapter port, unsigned long request, struct hwtstamp_config *config)
{
	struct ifreq ifr = { .ifr_data = (void *)config };

	strncpy(ifr.ifr_name, port.ifname, IFNAMSIZ - 1);
	return ioctl(port.fd, request, &ifr) ? -errno : 0;
}

static struct hwtstamp_config read_config(struct adapter port)
{
	struct hwtstamp_config config = {};
	int err = configure(port, SIOCGHWTSTAMP, &config);

	/* Some drivers can be told but not asked: off is what they start with. */
	if (err && err != -EOPNOTSUPP)
		kb_die(KB_EXIT_FAILED, "%s: can't read how it stamps packets: %s", port.ifname,
		       strerror(-err));
	return config;
}

/* The child: waits for its parent's end, then puts all back. */
static void guard(const struct adapter *ports, struct hwtstamp_config *before, int pipe_end)
{
	int code = KB_EXIT_OK;
	char byte;

	setsid();
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	close(STDIN_FILENO);
	close(STDOUT_FILENO); /* who reads it waits for its end */
	while (read(pipe_end, &byte, 1) < 0 && errno == EINTR)
		;
	for (int i = 0; i < PORTS; i++) {
		if (configure(ports[i], SIOCSHWTSTAMP, &before[i]))
			code = KB_EXIT_FAILED;
	}
	_exit(code);
}

static void put_back(void)
{
	int status = 0;

	close(guard_fd);
	if ((waitpid(guard_pid, &status, 0) < 0 || status) && changed)
		kb_warn("how the adapters stamp packets could not be set back");
}

static void put_back_at_end(const struct adapter *ports, struct hwtstamp_config *before)
{
	int ends[2];

	if (pipe(ends))
		kb_die(KB_EXIT_FAILED, "pipe: %s", strerror(errno));
	guard_pid = fork();
	if (guard_pid < 0)
		kb_die(KB_EXIT_FAILED, "fork: %s", strerror(errno));
	if (!guard_pid) {
		close(ends[1]);
		guard(ports, before, ends[0]);
	}
	close(ends[0]);
	guard_fd = ends[1];
	atexit(put_back);
}

static void set_config(struct adapter port, struct hwtstamp_config *config, const char *what)
{
	int err = configure(port, SIOCSHWTSTAMP, config);

	if (err == -EPERM)
		kb_die(KB_EXIT_LACKS, "%s: stamping packets needs CAP_NET_ADMIN: run as root",
		       port.ifname);
	if (err)
		kb_die(KB_EXIT_LACKS,
		       "%s: the adapter stamps no %s packets: %s; use --clock software",
		       port.ifname, what, strerror(-err));
	changed = true;
}

/* Drivers may set a wider filter than they were asked for. */
static bool covers(int filter, bool ptp)
{
	if (filter == HWTSTAMP_FILTER_ALL)
		return true;
	return ptp && (filter == HWTSTAMP_FILTER_PTP_V2_EVENT ||
		       filter == HWTSTAMP_FILTER_PTP_V2_L4_EVENT);
}

void adapters_stamp(struct adapter out, struct adapter in, bool ptp, struct adapter_config told[2])
{
	const struct adapter ports[PORTS] = { out, in };
	struct hwtstamp_config before[PORTS] = { read_config(out), read_config(in) }, config;

	for (int i = 0; i < PORTS; i++)
		told[i] = (struct adapter_config){ before[i].tx_type, before[i].rx_filter };
	put_back_at_end(ports, before);
	config = before[0];
	config.tx_type = HWTSTAMP_TX_ON;
	set_config(out, &config, "sent");
	config = read_config(in);
	config.rx_filter = ptp ? HWTSTAMP_FILTER_PTP_V2_EVENT : HWTSTAMP_FILTER_ALL;
	set_config(in, &config, ptp ? "received PTP" : "received");
	if (!covers(config.rx_filter, ptp))
		kb_die(KB_EXIT_LACKS,
		       "%s: the adapter stamps only some received packets (filter %d);"
		       " use --clock software",
		       in.ifname, config.rx_filter);
}

void adapter_wait_carrier(struct adapter port)
{
	struct ifreq ifr = {};

	strncpy(ifr.ifr_name, port.ifname, IFNAMSIZ - 1);
	for (int step = 0; step < CARRIER_STEPS && !kb_stop; step++) {
		if (ioctl(port.fd, SIOCGIFFLAGS, &ifr))
			kb_die(KB_EXIT_FAILED, "%s: %s", port.ifname, strerror(errno));
		if (ifr.ifr_flags & IFF_RUNNING)
			return;
		usleep(CARRIER_STEP_US);
	}
	if (!kb_stop)
		kb_die(KB_EXIT_FAILED, "%s: no link", port.ifname);
}
