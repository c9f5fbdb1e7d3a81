// SPDX-License-Identifier: GPL-2.0-only
/*
 * kb-wire - finds out which ports hear each other: sends a probe frame out of each of its ports
 * every interval, and prints once for each pair which of its ports heard whom.
 *
 * One runs on each machine, all with the same nonce. Ports must be up; nothing is changed on them.
 */
#include "kb_prog.h"
#include "probe_frame.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORTS_MAX 64
#define HEARD_MAX 1024

struct port {
	const char *name; /* IF or IF@NETNS, as it was given */
	struct probe_frame frame;
	uint64_t sent, failed, received;
};

static struct port ports[PORTS_MAX];
static struct pollfd sockets[PORTS_MAX];
static unsigned int port_count;

/* What was printed already. */
static struct {
	unsigned int at;
	struct probe from;
} heard[HEARD_MAX];
static unsigned int heard_count;

static void parse_nonce(const char *text, uint8_t nonce[PROBE_NONCE_BYTES])
{
	if (strlen(text) != 2 * PROBE_NONCE_BYTES ||
	    strspn(text, "0123456789abcdefABCDEF") != 2 * PROBE_NONCE_BYTES)
		kb_die(KB_EXIT_USAGE, "--nonce: \"%s\" is not %d hexadecimal digits", text,
		       2 * PROBE_NONCE_BYTES);
	for (size_t i = 0; i < PROBE_NONCE_BYTES; i++) {
		unsigned int byte;

		sscanf(text + 2 * i, "%2x", &byte);
		nonce[i] = byte;
	}
}

static void copy_text(const char *option, char *to, const char *text)
{
	if (strlen(text) >= PROBE_TEXT_BYTES)
		kb_die(KB_EXIT_USAGE, "%s: longer than %d bytes", option, PROBE_TEXT_BYTES - 1);
	strcpy(to, text);
}

static int open_namespace(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		kb_die(KB_EXIT_USAGE, "network namespace %s: %s", path, strerror(errno));
	return fd;
}

static void enter(int namespace, const char *what)
{
	if (setns(namespace, CLONE_NEWNET))
		kb_die(KB_EXIT_LACKS, "network namespace %s: %s", what, strerror(errno));
	close(namespace);
}

/* A socket on interface `ifname` of the namespace that this thread is in. */
static int open_socket(const char *ifname)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET,
				       .sll_protocol = htons(PROBE_ETHERTYPE) };
	int one = 1, fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	address.sll_ifindex = kb_ifindex(ifname);
	if (fd < 0)
		kb_die(KB_EXIT_LACKS, "packet socket: %s", strerror(errno));
	if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)))
		kb_die(KB_EXIT_LACKS, "packet socket options: %s", strerror(errno));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)))
		kb_die(KB_EXIT_LACKS, "packet socket on %s: %s", ifname, strerror(errno));
	return fd;
}

static void port_open(unsigned int at, struct probe *probe)
{
	struct port *port = &ports[at];
	char path[256], *ifname = strdup(port->name), *netns;
	int own = -1;
	uint8_t mac[6];

	if (!ifname)
		kb_die(KB_EXIT_FAILED, "out of memory");
	netns = strchr(ifname, '@');
	if (netns) {
		*netns++ = '\0';
		if (strchr(netns, '/') || !*netns)
			kb_die(KB_EXIT_USAGE, "--port: \"%s\" is no name of a namespace", netns);
		snprintf(path, sizeof(path), "/run/netns/%s", netns);
		own = open_namespace("/proc/self/ns/net");
		enter(open_namespace(path), netns);
	}
	sockets[at].fd = open_socket(ifname);
	sockets[at].events = POLLIN;
	kb_if_mac(ifname, mac);
	copy_text("--port", probe->port, port->name);
	probe_write(&port->frame, probe, mac);
	if (netns)
		enter(own, "of this program");
	free(ifname);
}

static bool known(unsigned int at, const struct probe *from)
{
	for (unsigned int i = 0; i < heard_count; i++) {
		if (heard[i].at == at && !strcmp(heard[i].from.port, from->port) &&
		    !strcmp(heard[i].from.label, from->label))
			return true;
	}
	return false;
}

static void hear(unsigned int at, const struct probe *from)
{
	if (memcmp(from->nonce, ports[at].frame.probe.nonce, PROBE_NONCE_BYTES))
		return; /* of somebody else's search */
	ports[at].received++;
	if (known(at, from) || heard_count == HEARD_MAX)
		return;
	heard[heard_count].at = at;
	heard[heard_count++].from = *from;
	kb_json_begin("heard");
	kb_json_str("at", ports[at].name);
	kb_json_str("from", from->port);
	kb_json_str("label", from->label);
	kb_json_end();
}

/* All frames that wait at a port. A port that goes down meanwhile says so once, and stays silent.
 */
static void listen_at(unsigned int at)
{
	uint8_t bytes[2048];
	struct probe from;
	ssize_t len;

	for (;;) {
		len = recv(sockets[at].fd, bytes, sizeof(bytes), 0);
		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0)
			return;
		if (probe_read(bytes, len, &from))
			hear(at, &from);
	}
}

static void send_all(void)
{
	for (unsigned int i = 0; i < port_count; i++) {
		if (send(sockets[i].fd, &ports[i].frame, sizeof(ports[i].frame), 0) < 0)
			ports[i].failed++;
		else
			ports[i].sent++;
	}
}

static void search(uint64_t interval_ns, uint64_t duration_ns)
{
	uint64_t now = kb_now_ns(), end = now + duration_ns, next = now;

	while (!kb_stop && now < end) {
		kb_snapshot = kb_reset = 0; /* nothing to tell before the end */
		if (now >= next) {
			send_all();
			next = now + interval_ns;
		}
		kb_poll(sockets, port_count, (int)((next - now + 999999) / 1000000));
		for (unsigned int i = 0; i < port_count; i++)
			listen_at(i);
		now = kb_now_ns();
	}
}

static void print_done(void)
{
	kb_json_begin("done");
	kb_json_obj_begin("ports");
	for (unsigned int i = 0; i < port_count; i++) {
		kb_json_obj_begin(ports[i].name);
		kb_json_u64("sent", ports[i].sent);
		kb_json_u64("failed", ports[i].failed);
		kb_json_u64("heard", ports[i].received);
		kb_json_obj_end();
	}
	kb_json_obj_end();
	kb_json_end();
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "port", required_argument, NULL, 'p' },
		{ "label", required_argument, NULL, 'l' },
		{ "nonce", required_argument, NULL, 'n' },
		{ "interval-ms", required_argument, NULL, 'i' },
		{ "duration-ms", required_argument, NULL, 'd' },
		{},
	};
	const char *label = NULL, *nonce = NULL;
	uint64_t interval_ms = 100, duration_ms = 2000;
	struct probe probe = { 0 };
	int option;

	kb_prog_init("kb-wire");
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'p':
			if (port_count == PORTS_MAX)
				kb_die(KB_EXIT_USAGE, "--port: more than %d", PORTS_MAX);
			ports[port_count++].name = optarg;
			break;
		case 'l':
			label = optarg;
			break;
		case 'n':
			nonce = optarg;
			break;
		case 'i':
			interval_ms = kb_parse_u64("--interval-ms", optarg, 10, 10000);
			break;
		case 'd':
			duration_ms = kb_parse_u64("--duration-ms", optarg, 10, 600000);
			break;
		default:
			return KB_EXIT_USAGE; /* getopt has said why */
		}
	}
	if (optind < argc)
		kb_die(KB_EXIT_USAGE, "unexpected argument \"%s\"", argv[optind]);
	kb_require("--port", ports[0].name);
	kb_require("--label", label);
	kb_require("--nonce", nonce);
	parse_nonce(nonce, probe.nonce);
	copy_text("--label", probe.label, label);
	for (unsigned int i = 0; i < port_count; i++)
		port_open(i, &probe);
	kb_json_begin("ready");
	kb_json_u64("ports", port_count);
	kb_json_end();
	search(interval_ms * 1000000, duration_ms * 1000000);
	print_done();
	return KB_EXIT_OK;
}
