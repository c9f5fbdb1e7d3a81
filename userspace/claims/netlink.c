// SPDX-License-Identifier: GPL-2.0-only
/* See netlink.h. */
#include "netlink.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int netlink_open(int protocol)
{
	return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
}

int netlink_ask(int fd, struct nlmsghdr *request,
		void (*take)(const struct nlmsghdr *message, void *context), void *context)
{
	static char answer[256 << 10] __attribute__((aligned(8)));
	static uint32_t sequence;

	request->nlmsg_flags |= NLM_F_REQUEST;
	request->nlmsg_seq = ++sequence;
	if (send(fd, request, request->nlmsg_len, 0) < 0)
		return -errno;
	for (;;) {
		const struct nlmsghdr *head = (void *)answer;
		ssize_t len = recv(fd, answer, sizeof(answer), 0);

		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0)
			return -errno;
		for (; NLMSG_OK(head, len); head = NLMSG_NEXT(head, len)) {
			if (head->nlmsg_seq != request->nlmsg_seq)
				continue; /* the rest of a dump that failed */
			if (head->nlmsg_type == NLMSG_DONE)
				return 0;
			if (head->nlmsg_type == NLMSG_ERROR)
				return ((const struct nlmsgerr *)NLMSG_DATA(head))->error;
			take(head, context);
			if (!(head->nlmsg_flags & NLM_F_MULTI))
				return 0;
		}
	}
}

const struct rtattr *netlink_find(const struct rtattr *attr, int bytes, int type)
{
	for (; RTA_OK(attr, bytes); attr = RTA_NEXT(attr, bytes)) {
		if ((attr->rta_type & NLA_TYPE_MASK) == type)
			return attr;
	}
	return NULL;
}

const struct rtattr *netlink_inner(const struct rtattr *nest, int type)
{
	return nest ? netlink_find(RTA_DATA(nest), RTA_PAYLOAD(nest), type) : NULL;
}

const char *netlink_text(const struct rtattr *attr)
{
	return attr ? RTA_DATA(attr) : "";
}

uint32_t netlink_u32(const struct rtattr *attr)
{
	uint32_t value = 0;

	if (attr && RTA_PAYLOAD(attr) >= sizeof(value))
		memcpy(&value, RTA_DATA(attr), sizeof(value));
	return value;
}
