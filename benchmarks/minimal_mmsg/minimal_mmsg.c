// SPDX-License-Identifier: GPL-2.0-only
/*
 * kb-minimal-mmsg: the smallest packet-socket forwarder that one would write by hand. What
 * kb-af-packet, which does the whole work of a router, is measured against.
 *
 * recvmmsg(), one hop less and new addresses for each IPv4 packet, sendmmsg(). No look-up, no check
 * of anything but the ethertype, one port to leave by. The kernel's stack is kept away
 * from the packets in the same way as in kb-af-packet, so that both are spared the same. It takes a
 * datapath's options (docs/programs.md) and only the addresses from the image.
 */
#include "function.h"
#include "kb_ingress.h"
#include "kb_prog.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define BATCH 64
#define FRAME_BYTES 2048
#define BUFFER_BYTES (16 << 20)
#define IDLE_POLL_MS 100

static uint8_t frames[BATCH][FRAME_BYTES];
static struct iovec in_iov[BATCH], out_iov[BATCH];
static struct mmsghdr in[BATCH], out[BATCH];
static uint64_t received, forwarded, passed, tx_lost, ring_lost, syscalls, cpu_base_ns;

static int open_socket(const char *ifname, uint16_t protocol)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(protocol) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	int bytes = BUFFER_BYTES, one = 1;

	address.sll_ifindex = kb_ifindex(ifname);
	if (fd < 0)
		kb_die(KB_EXIT_LACKS, "packet socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
	if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)))
		kb_die(KB_EXIT_LACKS, "packet socket on %s: %s", ifname, strerror(errno));
	return fd;
}

static uint64_t cpu_ns(void)
{
	struct timespec cpu;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
	return cpu.tv_sec * 1000000000ULL + cpu.tv_nsec;
}

static void read_lost(int fd)
{
	struct tpacket_stats stats = { 0 };
	socklen_t len = sizeof(stats);

	if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len))
		kb_die(KB_EXIT_FAILED, "PACKET_STATISTICS: %s", strerror(errno));
	ring_lost += stats.tp_drops;
}

static void print_counters(int fd)
{
	read_lost(fd);
	kb_json_begin("counters");
	kb_json_u64("received", received);
	kb_json_u64("forwarded", forwarded);
	kb_json_obj_begin("dropped");
	kb_json_obj_end();
	kb_json_u64("passed", passed);
	kb_json_obj_begin("lost");
	kb_json_u64("socket_ring", ring_lost);
	kb_json_u64("tx", tx_lost);
	kb_json_obj_end();
	kb_json_u64("cpu_ns", cpu_ns() - cpu_base_ns);
	kb_json_u64("syscalls", syscalls);
	kb_json_end();
}

/* Returns the number of packets that arrived. */
static int forward(int rx, int tx, const struct kb_params *params)
{
	int count, sent, i, n = 0;

	count = recvmmsg(rx, in, BATCH, MSG_DONTWAIT, NULL);
	syscalls++;
	if (count <= 0)
		return 0;
	for (i = 0; i < count; i++) {
		struct kb_eth *eth = (struct kb_eth *)frames[i];

		if (eth->ethertype != kb_swap16(KB_ETH_P_IPV4)) {
			passed++;
			continue;
		}
		kb_ipv4_decrease_ttl((struct kb_ipv4 *)(eth + 1));
		kb_rewrite_eth(eth, params, 1);
		out_iov[n].iov_base = eth;
		out_iov[n++].iov_len = in[i].msg_len;
	}
	received += count;
	if (n) {
		sent = sendmmsg(tx, out, n, 0);
		syscalls++;
		sent = sent < 0 ? 0 : sent;
		forwarded += sent;
		tx_lost += n - sent;
	}
	return count;
}

static const struct option options[] = {
	{ "rx", required_argument, NULL, 'r' },	      { "tx", required_argument, NULL, 't' },
	{ "function", required_argument, NULL, 'f' }, { "image", required_argument, NULL, 'i' },
	{ "cpu", required_argument, NULL, 'c' },      { 0 },
};

int main(int argc, char **argv)
{
	const char *rx_name = NULL, *tx_name = NULL, *function = NULL, *path = NULL, *wrong,
		   *ingress;
	int rx, tx, option, i, cpu = -1;
	struct kb_image image;
	size_t len;
	void *blob;

	kb_prog_init("kb-minimal-mmsg");
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'r':
			rx_name = optarg;
			break;
		case 't':
			tx_name = optarg;
			break;
		case 'f':
			function = optarg;
			break;
		case 'i':
			path = optarg;
			break;
		case 'c':
			cpu = kb_parse_u64("--cpu", optarg, 0, 1023);
			break;
		default:
			return KB_EXIT_USAGE;
		}
	}
	kb_require("--rx", rx_name);
	kb_require("--tx", tx_name);
	kb_require("--image", path);
	kb_require("--function", function);
	if (strcmp(function, "forward"))
		kb_die(KB_EXIT_USAGE, "--function: this program can only forward");
	blob = kb_read_file(path, &len);
	wrong = kb_image_check(blob, len, &image);
	if (wrong)
		kb_die(KB_EXIT_USAGE, "%s: %s", path, wrong);

	cpu = kb_pin_cpu(cpu);
	for (i = 0; i < BATCH; i++) {
		in_iov[i] = (struct iovec){ frames[i], FRAME_BYTES };
		in[i].msg_hdr.msg_iov = &in_iov[i];
		in[i].msg_hdr.msg_iovlen = out[i].msg_hdr.msg_iovlen = 1;
		out[i].msg_hdr.msg_iov = &out_iov[i];
	}
	tx = open_socket(tx_name, 0);
	rx = open_socket(rx_name, ETH_P_ALL);
	ingress = kb_ingress_drop(rx_name);
	kb_json_begin("ready");
	kb_json_i64("cpu", cpu);
	kb_json_u64("batch", BATCH);
	kb_json_str("ingress", ingress);
	kb_json_end();

	while (!kb_stop) {
		struct pollfd readable = { .fd = rx, .events = POLLIN };

		if (kb_reset) {
			kb_reset = 0;
			read_lost(rx);
			received = forwarded = passed = tx_lost = ring_lost = syscalls = 0;
			cpu_base_ns = cpu_ns();
			kb_json_begin("reset");
			kb_json_end();
		}
		if (kb_snapshot) {
			kb_snapshot = 0;
			print_counters(rx);
		}
		if (!forward(rx, tx, &image.params)) {
			syscalls++;
			poll(&readable, 1, IDLE_POLL_MS);
		}
	}
	while (forward(rx, tx, &image.params))
		;
	kb_ingress_restore();
	print_counters(rx);
	return KB_EXIT_OK;
}
