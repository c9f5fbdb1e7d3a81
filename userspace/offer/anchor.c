// SPDX-License-Identifier: GPL-2.0-only
/*
 * The anchor: see anchor.h.
 *
 * A test run of an XDP program enters it into the kernel's dispatcher and takes it out at the end
 * (bpf_prog_change_xdp() in bpf_prog_test_run_xdp()), and each time the kernel waits until no CPU
 * uses the old dispatcher: 10 ms before the first packet and 10 ms behind the last one. A program
 * that is attached to a device is in there already, so that nothing changes. The device is a veth
 * that is down, in a network namespace that has no name and ends with this process.
 *
 * The dispatcher has 48 places (programs beyond them are called indirectly) and finds a program by
 * a binary search: 16 idle generators cost the others about 1 % of 7.5 M packets/s, 1.5 ns each.
 */
#include "anchor.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kb_prog.h"

#define ANCHOR "kb-anchor"

/* ip link add kb-anchor type veth */
static int make_veth(void)
{
	static const char kind[] = "veth";
	struct {
		struct nlmsghdr head;
		struct ifinfomsg info;
		struct rtattr name_attr;
		char name[RTA_ALIGN(sizeof(ANCHOR))];
		struct rtattr info_attr, kind_attr;
		char kind[RTA_ALIGN(sizeof(kind))];
	} request = {
		.head = { .nlmsg_len = sizeof(request),
			  .nlmsg_type = RTM_NEWLINK,
			  .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL },
		.name_attr = { .rta_len = RTA_LENGTH(sizeof(ANCHOR)), .rta_type = IFLA_IFNAME },
		.name = ANCHOR,
		.info_attr = { .rta_len = 2 * RTA_LENGTH(0) + sizeof(request.kind),
			       .rta_type = IFLA_LINKINFO },
		.kind_attr = { .rta_len = RTA_LENGTH(sizeof(kind)), .rta_type = IFLA_INFO_KIND },
	};
	char answer[4096];
	struct nlmsghdr *head = (void *)answer;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), err = -EPROTO;
	ssize_t len;

	if (fd < 0)
		return -errno;
	memcpy(request.kind, kind, sizeof(kind));
	if (send(fd, &request, sizeof(request), 0) < 0) {
		err = -errno;
	} else {
		len = recv(fd, answer, sizeof(answer), 0);
		if (len < 0)
			err = -errno;
		else if (NLMSG_OK(head, len) && head->nlmsg_type == NLMSG_ERROR)
			err = ((struct nlmsgerr *)NLMSG_DATA(head))->error;
	}
	close(fd);
	return err;
}

static int attach(int prog)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = XDP_FLAGS_DRV_MODE);
	int err = make_veth(), link;

	if (err)
		return err;
	/* Attached as long as this descriptor is open, which it stays. */
	link = bpf_link_create(prog, if_nametoindex(ANCHOR), BPF_XDP, &opts);
	return link < 0 ? link : 0;
}

int anchor_program(int prog)
{
	int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), there, err;

	if (home < 0 || unshare(CLONE_NEWNET))
		return -errno;
	there = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	err = there < 0 ? -errno : attach(prog);
	if (setns(home, CLONE_NEWNET))
		kb_die(KB_EXIT_FAILED, "can't come back from a network namespace: %s",
		       strerror(errno));
	close(home);
	if (err && there >= 0)
		close(there);
	return err; /* `there` stays open: it keeps the namespace */
}
