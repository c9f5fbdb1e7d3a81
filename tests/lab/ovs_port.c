// SPDX-License-Identifier: GPL-2.0-only
/*
 * ovs_port DATAPATH IF - makes an Open vSwitch datapath with one port, as ovs-vswitchd does, by the
 * kernel's generic netlink (Documentation/networking/openvswitch.rst). It ends with the VM.
 */
#include <errno.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/openvswitch.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
	struct nlmsghdr head;
	struct genlmsghdr genl;
	char rest[512];
} message;

static void begin(uint16_t family, uint8_t command, uint8_t version)
{
	memset(&message, 0, sizeof(message));
	message.head.nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN);
	message.head.nlmsg_type = family;
	message.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	message.genl.cmd = command;
	message.genl.version = version;
}

static void put(const void *data, size_t bytes)
{
	memcpy((char *)&message + message.head.nlmsg_len, data, bytes);
	message.head.nlmsg_len += NLMSG_ALIGN(bytes);
}

static void put_attr(uint16_t type, const void *data, size_t bytes)
{
	struct nlattr attr = { .nla_len = NLA_HDRLEN + bytes, .nla_type = type };

	put(&attr, sizeof(attr));
	put(data, bytes);
}

static void die(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(error));
	exit(1);
}

/* Sends, and returns the first answer; the kernel's refusal ends the program. */
static const char *talk(int fd, const char *what)
{
	static char answer[8192];
	const struct nlmsghdr *head = (const void *)answer;

	if (send(fd, &message, message.head.nlmsg_len, 0) < 0 ||
	    recv(fd, answer, sizeof(answer), 0) < (ssize_t)sizeof(*head))
		die(what, EIO);
	if (head->nlmsg_type == NLMSG_ERROR && ((const struct nlmsgerr *)NLMSG_DATA(head))->error)
		die(what, -((const struct nlmsgerr *)NLMSG_DATA(head))->error);
	return answer;
}

static uint16_t family_of(const char *name)
{
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC);
	const struct nlmsghdr *head;
	const struct nlattr *attr;
	uint16_t found = 0;

	begin(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);
	put_attr(CTRL_ATTR_FAMILY_NAME, name, strlen(name) + 1);
	head = (const void *)talk(fd, name);
	attr = (const void *)((const char *)head + NLMSG_LENGTH(GENL_HDRLEN));
	while ((const char *)attr < (const char *)head + head->nlmsg_len) {
		if (attr->nla_type == CTRL_ATTR_FAMILY_ID)
			memcpy(&found, attr + 1, sizeof(found));
		attr = (const void *)((const char *)attr + NLA_ALIGN(attr->nla_len));
	}
	close(fd);
	return found;
}

int main(int argc, char **argv)
{
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC);
	uint32_t none = 0, netdev = OVS_VPORT_TYPE_NETDEV;
	struct ovs_header datapath = { 0 };

	if (argc != 3)
		die("ovs_port DATAPATH IF", EINVAL);
	begin(family_of(OVS_DATAPATH_FAMILY), OVS_DP_CMD_NEW, OVS_DATAPATH_VERSION);
	put(&datapath, sizeof(datapath));
	put_attr(OVS_DP_ATTR_NAME, argv[1], strlen(argv[1]) + 1);
	put_attr(OVS_DP_ATTR_UPCALL_PID, &none, sizeof(none));
	talk(fd, argv[1]);
	datapath.dp_ifindex = if_nametoindex(argv[1]); /* its internal port has its name */
	close(fd);
	fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC);
	begin(family_of(OVS_VPORT_FAMILY), OVS_VPORT_CMD_NEW, OVS_VPORT_VERSION);
	put(&datapath, sizeof(datapath));
	put_attr(OVS_VPORT_ATTR_NAME, argv[2], strlen(argv[2]) + 1);
	put_attr(OVS_VPORT_ATTR_TYPE, &netdev, sizeof(netdev));
	put_attr(OVS_VPORT_ATTR_UPCALL_PID, &none, sizeof(none));
	talk(fd, argv[2]);
	return 0;
}
