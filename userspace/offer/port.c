// SPDX-License-Identifier: GPL-2.0-only
/* A port that frames are sent to and captured from: see port.h. */
#include "port.h"
#include "kb_netdev.h"
#include "kb_prog.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define VLAN_TAG_BYTES 4
#define RECEIVE_BUFFER_BYTES (16 << 20)

/*
 * Redirected XDP frames reach a veth port only if it has NAPI, which an XDP program switches on
 * (Linux: veth_xdp_xmit()). The link goes away with this process. Other adapters need none, and
 * some would reset themselves.
 */
static void attach_pass(int ifindex, const char *ifname)
{
	const struct bpf_insn program[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "kb_inject_pass", "GPL", program, 2, NULL);

	if (fd < 0)
		kb_die(KB_EXIT_LACKS, "can't load an XDP program: %s", strerror(errno));
	if (bpf_link_create(fd, ifindex, BPF_XDP, NULL) < 0)
		kb_die(KB_EXIT_LACKS, "%s: can't attach an XDP program%s: %s", ifname,
		       errno == EBUSY ? " beside the one that is there" : "", strerror(errno));
	close(fd);
}

/* A socket on the port, in the namespace that this thread is in now. */
static void open_here(struct port *port, const char *ifname)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	int bytes = RECEIVE_BUFFER_BYTES, one = 1;

	port->ifname = ifname;
	address.sll_ifindex = kb_ifindex(ifname);
	if (kb_netdev_is_veth(ifname))
		attach_pass(address.sll_ifindex, ifname);
	port->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (port->fd < 0)
		kb_die(KB_EXIT_LACKS, "packet socket: %s", strerror(errno));
	if (setsockopt(port->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) ||
	    setsockopt(port->fd, SOL_PACKET, PACKET_AUXDATA, &one, sizeof(one)) ||
	    setsockopt(port->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)))
		kb_die(KB_EXIT_LACKS, "packet socket options: %s", strerror(errno));
	if (bind(port->fd, (struct sockaddr *)&address, sizeof(address)))
		kb_die(KB_EXIT_LACKS, "packet socket on %s: %s", ifname, strerror(errno));
}

static void enter(int fd, const char *netns)
{
	if (setns(fd, CLONE_NEWNET))
		kb_die(KB_EXIT_LACKS, "network namespace %s: %s", netns, strerror(errno));
}

bool port_is(const struct port *port, const char *ifname, const char *netns)
{
	struct stat here, there;
	char path[256];

	if (strcmp(port->ifname, ifname))
		return false;
	if (!netns)
		return true;
	snprintf(path, sizeof(path), "/run/netns/%s", netns);
	return !stat("/proc/thread-self/ns/net", &here) && !stat(path, &there) &&
	       here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

void port_open(struct port *port, const char *ifname, const char *netns)
{
	char path[256];
	int here, there;

	if (!netns) {
		open_here(port, ifname);
		return;
	}
	if (strchr(netns, '/') || !*netns)
		kb_die(KB_EXIT_USAGE, "--in-netns: \"%s\" is no name of a namespace", netns);
	snprintf(path, sizeof(path), "/run/netns/%s", netns);
	here = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	there = open(path, O_RDONLY | O_CLOEXEC);
	if (here < 0 || there < 0)
		kb_die(KB_EXIT_USAGE, "--in-netns: %s: %s", path, strerror(errno));
	enter(there, netns);
	open_here(port, ifname);
	enter(here, "of this program");
	close(here);
	close(there);
}

/* Puts back the tag that the kernel took out of the frame. Returns the new length. */
static size_t restore_tag(uint8_t *frame, size_t len, struct msghdr *message)
{
	struct tpacket_auxdata aux;
	struct cmsghdr *control;
	uint16_t tag[2];

	for (control = CMSG_FIRSTHDR(message); control; control = CMSG_NXTHDR(message, control)) {
		if (control->cmsg_level != SOL_PACKET || control->cmsg_type != PACKET_AUXDATA)
			continue;
		memcpy(&aux, CMSG_DATA(control), sizeof(aux));
		if (!(aux.tp_status & TP_STATUS_VLAN_VALID) || len < 2 * ETH_ALEN)
			return len;
		tag[0] = htons(aux.tp_status & TP_STATUS_VLAN_TPID_VALID ? aux.tp_vlan_tpid
									 : ETH_P_8021Q);
		tag[1] = htons(aux.tp_vlan_tci);
		memmove(frame + 2 * ETH_ALEN + VLAN_TAG_BYTES, frame + 2 * ETH_ALEN,
			len - 2 * ETH_ALEN);
		memcpy(frame + 2 * ETH_ALEN, tag, sizeof(tag));
		return len + VLAN_TAG_BYTES;
	}
	return len;
}

ssize_t port_receive(struct port *port, const uint8_t **frame)
{
	static uint8_t bytes[FRAME_MAX + VLAN_TAG_BYTES];
	char control[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
	struct iovec iov = { .iov_base = bytes, .iov_len = FRAME_MAX };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = sizeof(control) };
	ssize_t len;

	do {
		len = recvmsg(port->fd, &message, 0);
	} while (len < 0 && errno == EINTR);
	if (len < 0 && errno == EAGAIN)
		return -1;
	if (len < 0)
		kb_die(KB_EXIT_FAILED, "%s: %s", port->ifname, strerror(errno));
	*frame = bytes;
	return restore_tag(bytes, len, &message);
}
