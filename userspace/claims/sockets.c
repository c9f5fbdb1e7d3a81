// SPDX-License-Identifier: GPL-2.0-only
/* Sockets that are bound to a port below IP, and the processes that hold them. */
#include "claims.h"
#include "kb_prog.h"
#include "netlink.h"

#include <dirent.h>
#include <errno.h>
#include <linux/sock_diag.h>
#include <linux/xdp_diag.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct bound {
	const char *kind;
	unsigned int ifindex;
	unsigned long inode;
	int pid; /* 0: nobody found */
};

static struct bound *sockets;
static size_t count;

static void add(const char *kind, unsigned int ifindex, unsigned long inode)
{
	sockets = realloc(sockets, (count + 1) * sizeof(*sockets));
	if (!sockets)
		kb_die(KB_EXIT_FAILED, "out of memory");
	sockets[count++] = (struct bound){ .kind = kind, .ifindex = ifindex, .inode = inode };
}

static void packet_sockets(void)
{
	size_t len;
	char *text = kb_read_file("/proc/self/net/packet", &len), *rest = text, *line;
	unsigned long inode;
	unsigned int ifindex;

	while ((line = strsep(&rest, "\n"))) {
		if (sscanf(line, "%*s %*d %*d %*x %u %*d %*u %*u %lu", &ifindex, &inode) == 2 &&
		    ifindex)
			add("packet", ifindex, inode);
	}
	free(text);
}

static void take_xdp(const struct nlmsghdr *head, void *context)
{
	const struct xdp_diag_msg *message = NLMSG_DATA(head);
	const struct rtattr *attr;
	struct xdp_diag_info info;

	(void)context;
	attr = netlink_find((const void *)(message + 1),
			    head->nlmsg_len - NLMSG_LENGTH(sizeof(*message)), XDP_DIAG_INFO);
	if (!attr || RTA_PAYLOAD(attr) < sizeof(info))
		return;
	memcpy(&info, RTA_DATA(attr), sizeof(info));
	if (info.ifindex)
		add("AF_XDP", info.ifindex, message->xdiag_ino);
}

/* Whether this namespace has any: the question to xsk_diag would load that module. */
static bool any_xdp(void)
{
	size_t len;
	char *text = kb_read_file("/proc/self/net/protocols", &len), *line = strstr(text, "\nXDP ");
	long count = 0;

	if (line)
		sscanf(line, " XDP %*u %ld", &count);
	free(text);
	return count > 0;
}

/* A kernel that can't tell (CONFIG_XDP_SOCKETS_DIAG) refuses: their XDP program still shows. */
static void xdp_sockets(void)
{
	struct {
		struct nlmsghdr head;
		struct xdp_diag_req xdp;
	} ask = { .head = { .nlmsg_len = sizeof(ask),
			    .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			    .nlmsg_flags = NLM_F_DUMP },
		  .xdp = { .sdiag_family = AF_XDP, .xdiag_show = XDP_SHOW_INFO } };
	int fd = any_xdp() ? netlink_open(NETLINK_SOCK_DIAG) : -1;

	if (fd < 0)
		return;
	netlink_ask(fd, &ask.head, take_xdp, NULL);
	close(fd);
}

/* Looks into all files that process `pid` has open for one of the sockets. */
static void look_into(int pid)
{
	char path[64], target[64];
	struct dirent *entry;
	unsigned long inode;
	ssize_t len;
	DIR *files;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	files = opendir(path);
	if (!files)
		return; /* it has ended */
	while ((entry = readdir(files))) {
		len = readlinkat(dirfd(files), entry->d_name, target, sizeof(target) - 1);
		if (len < 0)
			continue;
		target[len] = '\0';
		if (sscanf(target, "socket:[%lu]", &inode) != 1)
			continue;
		for (size_t i = 0; i < count; i++) {
			if (sockets[i].inode == inode)
				sockets[i].pid = pid;
		}
	}
	closedir(files);
}

static void find_holders(void)
{
	DIR *processes = opendir("/proc");
	struct dirent *entry;

	if (!processes)
		kb_die(KB_EXIT_LACKS, "/proc: %s", strerror(errno));
	while ((entry = readdir(processes))) {
		if (atoi(entry->d_name) > 0)
			look_into(atoi(entry->d_name));
	}
	closedir(processes);
}

void sockets_json(void)
{
	packet_sockets();
	xdp_sockets();
	if (count)
		find_holders();
	kb_json_arr_begin("sockets");
	for (size_t i = 0; i < count; i++) {
		kb_json_obj_begin(NULL);
		kb_json_str("kind", sockets[i].kind);
		kb_json_u64("index", sockets[i].ifindex);
		process_json(sockets[i].pid);
		kb_json_obj_end();
	}
	kb_json_arr_end();
}
