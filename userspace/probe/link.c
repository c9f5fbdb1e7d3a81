// SPDX-License-Identifier: GPL-2.0-only
/* The few words of rtnetlink that kb-probe needs. */
#include "probe.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct request {
	struct nlmsghdr head;
	struct ifinfomsg info;
	char attrs[256];
};

static struct rtattr *put(struct request *req, int type, const void *data, size_t len)
{
	struct rtattr *attr = (void *)((char *)req + NLMSG_ALIGN(req->head.nlmsg_len));

	attr->rta_type = type;
	attr->rta_len = RTA_LENGTH(len);
	if (len)
		memcpy(RTA_DATA(attr), data, len);
	req->head.nlmsg_len = NLMSG_ALIGN(req->head.nlmsg_len) + RTA_ALIGN(attr->rta_len);
	return attr;
}

static void close_nest(struct request *req, struct rtattr *nest)
{
	nest->rta_len = (char *)req + NLMSG_ALIGN(req->head.nlmsg_len) - (char *)nest;
}

/* Send and wait for the acknowledgement: 0 or a negative errno. */
static int talk(struct request *req)
{
	char answer[4096];
	struct nlmsghdr *head = (void *)answer;
	int fd, err = -EPROTO;
	ssize_t len;

	req->head.nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0)
		return -errno;
	if (send(fd, req, req->head.nlmsg_len, 0) < 0) {
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

static int set_up(const char *name)
{
	struct request req = {
		.head = { .nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)),
			  .nlmsg_type = RTM_NEWLINK },
		.info = { .ifi_index = if_nametoindex(name),
			  .ifi_flags = IFF_UP,
			  .ifi_change = IFF_UP },
	};

	return talk(&req);
}

int link_make_veth(const char *name, const char *peer)
{
	struct request req = {
		.head = { .nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)),
			  .nlmsg_type = RTM_NEWLINK,
			  .nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL },
	};
	struct ifinfomsg none = { 0 };
	struct rtattr *info, *data, *other;
	int err;

	put(&req, IFLA_IFNAME, name, strlen(name) + 1);
	info = put(&req, IFLA_LINKINFO, NULL, 0);
	put(&req, IFLA_INFO_KIND, "veth", strlen("veth"));
	data = put(&req, IFLA_INFO_DATA, NULL, 0);
	other = put(&req, VETH_INFO_PEER, &none, sizeof(none));
	put(&req, IFLA_IFNAME, peer, strlen(peer) + 1);
	close_nest(&req, other);
	close_nest(&req, data);
	close_nest(&req, info);
	err = talk(&req);
	if (!err)
		err = set_up(name);
	return err ? err : set_up(peer);
}
