// SPDX-License-Identifier: GPL-2.0-only
/* Reading an interface by rtnetlink: see link.h. */
#include "link.h"
#include "kb_prog.h"

#include <errno.h>
#include <linux/gen_stats.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

static char answer[64 << 10];

int link_socket(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0)
		kb_die(KB_EXIT_LACKS, "rtnetlink: %s", strerror(errno));
	return fd;
}

static ssize_t receive(int fd)
{
	ssize_t len;

	do {
		len = recv(fd, answer, sizeof(answer), 0);
	} while (len < 0 && errno == EINTR);
	if (len < 0)
		kb_die(KB_EXIT_FAILED, "rtnetlink: %s", strerror(errno));
	return len;
}

static void request(int fd, const struct nlmsghdr *head)
{
	if (send(fd, head, head->nlmsg_len, 0) < 0)
		kb_die(KB_EXIT_FAILED, "rtnetlink: %s", strerror(errno));
}

static void check(const struct nlmsghdr *head, const char *what)
{
	if (head->nlmsg_type == NLMSG_ERROR)
		kb_die(KB_EXIT_FAILED, "%s: %s", what,
		       strerror(-((const struct nlmsgerr *)NLMSG_DATA(head))->error));
}

static const struct rtattr *find(const struct rtattr *attr, int len, int type)
{
	for (; RTA_OK(attr, len); attr = RTA_NEXT(attr, len)) {
		if ((attr->rta_type & NLA_TYPE_MASK) == type)
			return attr;
	}
	return NULL;
}

void link_statistics(int fd, int ifindex, struct rtnl_link_stats64 *stats)
{
	struct {
		struct nlmsghdr head;
		struct ifinfomsg info;
	} ask = { .head = { .nlmsg_len = sizeof(ask),
			    .nlmsg_type = RTM_GETLINK,
			    .nlmsg_flags = NLM_F_REQUEST },
		  .info.ifi_index = ifindex };
	const struct nlmsghdr *head = (void *)answer;
	const struct rtattr *attr = NULL;
	size_t bytes;
	ssize_t len;

	request(fd, &ask.head);
	len = receive(fd);
	if (NLMSG_OK(head, len)) {
		check(head, "statistics of an interface");
		attr = find(IFLA_RTA((struct ifinfomsg *)NLMSG_DATA(head)), IFLA_PAYLOAD(head),
			    IFLA_STATS64);
	}
	if (!attr)
		kb_die(KB_EXIT_FAILED, "an interface without statistics");
	/* Kernels differ in how many there are at the end. */
	bytes = RTA_PAYLOAD(attr) < sizeof(*stats) ? RTA_PAYLOAD(attr) : sizeof(*stats);
	memset(stats, 0, sizeof(*stats));
	memcpy(stats, RTA_DATA(attr), bytes);
}

static uint32_t drops_of(const struct nlmsghdr *head, int ifindex)
{
	const struct tcmsg *tc = NLMSG_DATA(head);
	const struct rtattr *attr;
	struct gnet_stats_queue queue = {};
	size_t bytes;

	if (head->nlmsg_type != RTM_NEWQDISC || tc->tcm_ifindex != ifindex ||
	    tc->tcm_parent != TC_H_ROOT)
		return 0;
	attr = find(TCA_RTA(tc), TCA_PAYLOAD(head), TCA_STATS2);
	if (attr)
		attr = find(RTA_DATA(attr), RTA_PAYLOAD(attr), TCA_STATS_QUEUE);
	if (!attr)
		return 0;
	bytes = RTA_PAYLOAD(attr) < sizeof(queue) ? RTA_PAYLOAD(attr) : sizeof(queue);
	memcpy(&queue, RTA_DATA(attr), bytes);
	return queue.drops;
}

uint32_t link_qdisc_drops(int fd, int ifindex)
{
	struct {
		struct nlmsghdr head;
		struct tcmsg tc;
	} ask = { .head = { .nlmsg_len = sizeof(ask),
			    .nlmsg_type = RTM_GETQDISC,
			    .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		  .tc.tcm_ifindex = ifindex };
	uint32_t drops = 0;

	request(fd, &ask.head);
	for (;;) {
		struct nlmsghdr *head = (void *)answer;
		ssize_t len = receive(fd);

		for (; NLMSG_OK(head, len); head = NLMSG_NEXT(head, len)) {
			check(head, "queueing disciplines");
			if (head->nlmsg_type == NLMSG_DONE)
				return drops;
			drops += drops_of(head, ifindex);
		}
	}
}
