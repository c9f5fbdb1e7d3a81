// SPDX-License-Identifier: GPL-2.0-only
/*
 * Packet sockets with time stamps: see sockets.h, and Documentation/networking/timestamping.rst.
 *
 * The stamp of a sent packet comes back without the packet (SOF_TIMESTAMPING_OPT_TSONLY), because a
 * copy that waits in the socket would make the DUT's packet a shared one, which is dearer to
 * forward where both are on one machine. So it is known by the count of packets that its socket has
 * sent (SOF_TIMESTAMPING_OPT_ID), which is not sure any more when one was refused: then a new
 * socket starts counting anew.
 */
#include "sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/net_tstamp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kb_prog.h"
#include "match.h"

#define RECEIVE_BUFFER_BYTES (4 << 20)
#define SOFTWARE 0 /* index in struct scm_timestamping */
#define HARDWARE 2

static int open_socket(const char *ifname, int protocol, int flags)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(protocol) };
	int bytes = RECEIVE_BUFFER_BYTES, fd;

	address.sll_ifindex = kb_ifindex(ifname);
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		kb_die(KB_EXIT_LACKS, "packet socket: %s", strerror(errno));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) ||
	    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof(flags)))
		kb_die(KB_EXIT_LACKS, "packet socket options: %s", strerror(errno));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)))
		kb_die(KB_EXIT_LACKS, "packet socket on %s: %s", ifname, strerror(errno));
	return fd;
}

static void open_tx(struct sockets *sockets)
{
	int flags = sockets->hardware ? SOF_TIMESTAMPING_TX_HARDWARE | SOF_TIMESTAMPING_RAW_HARDWARE
				      : SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;

	/* Protocol 0: it receives nothing. */
	sockets->tx = open_socket(sockets->out, 0,
				  flags | SOF_TIMESTAMPING_OPT_ID | SOF_TIMESTAMPING_OPT_TSONLY);
	sockets->tx_first = sockets->sent;
}

/* Only kb-stamp's packets: without a sink, the generator's would arrive here as well. */
static void filter_marked(int fd)
{
	/* The magic's place, behind the run's number; both are little-endian, loads are not. */
	const uint32_t magic = __builtin_bswap32(KB_STAMP_MAGIC);
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 2 * ETH_ALEN),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, 2),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, KB_OFFER_IPV4_PAYLOAD + 4),
		BPF_JUMP(BPF_JMP | BPF_JA, 2, 0, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IPV6, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, KB_OFFER_IPV6_PAYLOAD + 4),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, magic, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)))
		kb_die(KB_EXIT_LACKS, "filter of the packet socket: %s", strerror(errno));
}

static void open_rx(struct sockets *sockets)
{
	int flags = sockets->hardware ? SOF_TIMESTAMPING_RX_HARDWARE | SOF_TIMESTAMPING_RAW_HARDWARE
				      : SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;
	int one = 1;

	sockets->rx = open_socket(sockets->in, ETH_P_ALL, flags);
	if (setsockopt(sockets->rx, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)))
		kb_die(KB_EXIT_LACKS, "packet socket options: %s", strerror(errno));
	filter_marked(sockets->rx);
}

static void enter(int fd, const char *netns)
{
	if (setns(fd, CLONE_NEWNET))
		kb_die(KB_EXIT_LACKS, "network namespace %s: %s", netns, strerror(errno));
}

void sockets_open(struct sockets *sockets, const char *in_netns)
{
	struct adapter out, in;
	char path[256];
	int here, there;

	open_tx(sockets);
	if (in_netns) {
		if (strchr(in_netns, '/') || !*in_netns)
			kb_die(KB_EXIT_USAGE, "--in-netns: \"%s\" is no name of a namespace",
			       in_netns);
		snprintf(path, sizeof(path), "/run/netns/%s", in_netns);
		here = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
		there = open(path, O_RDONLY | O_CLOEXEC);
		if (here < 0 || there < 0)
			kb_die(KB_EXIT_USAGE, "--in-netns: %s: %s", path, strerror(errno));
		enter(there, in_netns);
		open_rx(sockets);
		enter(here, "of this program");
		close(here);
		close(there);
	} else {
		open_rx(sockets);
	}
	out = (struct adapter){ sockets->tx, sockets->out };
	in = (struct adapter){ sockets->rx, sockets->in };
	if (sockets->hardware)
		adapters_stamp(out, in, sockets->ptp, sockets->before);
	adapter_wait_carrier(out);
	adapter_wait_carrier(in);
}

bool sockets_send(struct sockets *sockets)
{
	frames_write(sockets->frames, sockets->sent);
	if (send(sockets->tx, sockets->frames->frame, sockets->frames->bytes, 0) >= 0) {
		match_sent();
		sockets->sent++;
		return true;
	}
	switch (errno) {
	case ENOBUFS: /* refused by the socket, before it was counted, or by the port, after that */
		sockets_take(sockets);
		close(sockets->tx);
		open_tx(sockets);
		return false;
	case EAGAIN:
	case EINTR:
	case ENETDOWN:
		return false;
	default:
		kb_die(KB_EXIT_FAILED, "%s: %s", sockets->out, strerror(errno));
	}
}

static int64_t stamp_in(const struct cmsghdr *control, bool hardware)
{
	struct scm_timestamping stamps;
	const struct timespec *at = &stamps.ts[hardware ? HARDWARE : SOFTWARE];

	memcpy(&stamps, CMSG_DATA(control), sizeof(stamps));
	return at->tv_sec * 1000000000LL + at->tv_nsec;
}

/* One message and its time stamp, 0 if it has none. `key`, if not NULL: of which sent packet. */
static ssize_t receive(struct sockets *sockets, int fd, int flags, uint8_t *bytes, size_t room,
		       int64_t *ns, uint32_t *key)
{
	char controls[512];
	struct iovec iov = { .iov_base = bytes, .iov_len = room };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = controls,
				  .msg_controllen = sizeof(controls) };
	struct cmsghdr *control;
	ssize_t len;

	*ns = 0;
	do {
		len = recvmsg(fd, &message, flags);
	} while (len < 0 && errno == EINTR);
	if (len < 0)
		return len;
	for (control = CMSG_FIRSTHDR(&message); control; control = CMSG_NXTHDR(&message, control)) {
		if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_TIMESTAMPING)
			*ns = stamp_in(control, sockets->hardware);
		if (key && control->cmsg_level == SOL_PACKET &&
		    control->cmsg_type == PACKET_TX_TIMESTAMP) {
			struct sock_extended_err err;

			memcpy(&err, CMSG_DATA(control), sizeof(err));
			*key = err.ee_data;
		}
	}
	return len;
}

void sockets_take(struct sockets *sockets)
{
	uint8_t bytes[KB_OFFER_IPV6_PAYLOAD + KB_OFFER_PAYLOAD_MIN];
	uint32_t number;
	ssize_t len;
	int64_t ns;

	while (receive(sockets, sockets->tx, MSG_ERRQUEUE, bytes, 0, &ns, &number) >= 0)
		match_tx_stamp(sockets->tx_first + number, ns);
	while ((len = receive(sockets, sockets->rx, 0, bytes, sizeof(bytes), &ns, NULL)) >= 0) {
		if (frames_read(sockets->frames, bytes, len, &number))
			match_received(number, ns);
	}
}
