// SPDX-License-Identifier: GPL-2.0-only
/*
 * Other network namespaces and their links. A macvlan or VLAN that a container got, and the other
 * end of a veth, can't be seen from the namespace of the port that they are made on.
 */
#include "claims.h"
#include "kb_prog.h"
#include "netlink.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/net_namespace.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where iproute2 and container engines keep namespaces that they give names. */
static const char *const named[] = { "/run/netns", "/run/docker/netns" };

struct namespace
{
	ino_t inode;
	char path[320], name[256]; /* name "": none */
	int pid;		   /* a process in it; 0: none was found */
};

static struct namespace *namespaces;
static size_t count;
static int own_fd;
static ino_t own_inode;

static struct namespace *find(ino_t inode)
{
	for (size_t i = 0; i < count; i++) {
		if (namespaces[i].inode == inode)
			return &namespaces[i];
	}
	return NULL;
}

/* The namespace at `path`, noted if it is new; NULL if it is our own or none. */
static struct namespace *note(const char *path)
{
	struct namespace *found;
	struct stat st;

	if (stat(path, &st) || st.st_ino == own_inode)
		return NULL;
	found = find(st.st_ino);
	if (found)
		return found;
	namespaces = realloc(namespaces, (count + 1) * sizeof(*namespaces));
	if (!namespaces)
		kb_die(KB_EXIT_FAILED, "out of memory");
	found = &namespaces[count++];
	memset(found, 0, sizeof(*found));
	found->inode = st.st_ino;
	snprintf(found->path, sizeof(found->path), "%s", path);
	return found;
}

static void note_named(const char *directory)
{
	DIR *names = opendir(directory);
	struct namespace *found;
	struct dirent *entry;
	char path[320];

	if (!names)
		return;
	while ((entry = readdir(names))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		found = note(path);
		if (found && !found->name[0])
			snprintf(found->name, sizeof(found->name), "%s", entry->d_name);
	}
	closedir(names);
}

static void note_processes(void)
{
	DIR *processes = opendir("/proc");
	struct namespace *found;
	struct dirent *entry;
	char path[64];

	if (!processes)
		kb_die(KB_EXIT_LACKS, "/proc: %s", strerror(errno));
	while ((entry = readdir(processes))) {
		int pid = atoi(entry->d_name);

		if (pid <= 0)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
		found = note(path);
		if (found && !found->pid)
			found->pid = pid;
	}
	closedir(processes);
}

static void take_nsid(const struct nlmsghdr *head, void *context)
{
	const struct rtgenmsg *message = NLMSG_DATA(head);
	const struct rtattr *attrs = (const void *)((const char *)message + NLMSG_ALIGN(1));

	*(int *)context = (int)netlink_u32(
		netlink_find(attrs, head->nlmsg_len - NLMSG_SPACE(1), NETNSA_NSID));
}

/* What the namespace of `fd` calls our own; -1: it has no name for it, so no link of it to us. */
static int own_nsid(int fd)
{
	struct {
		struct nlmsghdr head;
		struct rtgenmsg message;
		char pad[3];
		struct rtattr attr;
		int32_t value;
	} ask = { .head = { .nlmsg_len = sizeof(ask), .nlmsg_type = RTM_GETNSID },
		  .attr = { .rta_len = RTA_LENGTH(sizeof(int32_t)), .rta_type = NETNSA_FD },
		  .value = own_fd };
	int nsid = -1;

	netlink_ask(fd, &ask.head, take_nsid, &nsid);
	return nsid;
}

static void ignore_link(const struct nlmsghdr *head, void *context)
{
	(void)head;
	(void)context;
}

static void take_link(const struct nlmsghdr *head, void *context)
{
	const struct ifinfomsg *message = NLMSG_DATA(head);
	const struct rtattr *attrs = IFLA_RTA(message), *nsid;
	int bytes = IFLA_PAYLOAD(head), ours = *(int *)context;

	if (head->nlmsg_type != RTM_NEWLINK)
		return;
	nsid = netlink_find(attrs, bytes, IFLA_LINK_NETNSID);
	kb_json_obj_begin(NULL);
	kb_json_str("name", netlink_text(netlink_find(attrs, bytes, IFLA_IFNAME)));
	kb_json_str("kind", netlink_text(netlink_inner(netlink_find(attrs, bytes, IFLA_LINKINFO),
						       IFLA_INFO_KIND)));
	/* The port of our namespace that it is made on, or that is its other end. */
	kb_json_u64("on", nsid && ours >= 0 && (int)netlink_u32(nsid) == ours
				  ? netlink_u32(netlink_find(attrs, bytes, IFLA_LINK))
				  : 0);
	kb_json_obj_end();
}

static void print(const struct namespace *namespace)
{
	struct {
		struct nlmsghdr head;
		struct ifinfomsg info;
	} ask = { .head = { .nlmsg_len = sizeof(ask),
			    .nlmsg_type = RTM_GETLINK,
			    .nlmsg_flags = NLM_F_DUMP } };
	int fd, ours, there = open(namespace->path, O_RDONLY | O_CLOEXEC);

	if (there < 0)
		return; /* its last process has ended */
	if (setns(there, CLONE_NEWNET)) {
		kb_warn("network namespace %s: %s", namespace->path, strerror(errno));
		close(there);
		return;
	}
	close(there);
	fd = netlink_open(NETLINK_ROUTE);
	if (fd < 0)
		kb_die(KB_EXIT_LACKS, "rtnetlink: %s", strerror(errno));
	/* The kernel gives us a number there when it first has to name us in a dump. */
	netlink_ask(fd, &ask.head, ignore_link, NULL);
	ours = own_nsid(fd);
	kb_json_begin("namespace");
	kb_json_str("name", namespace->name);
	process_json(namespace->pid);
	kb_json_arr_begin("links");
	netlink_ask(fd, &ask.head, take_link, &ours);
	kb_json_arr_end();
	kb_json_end();
	close(fd);
}

void namespaces_print(void)
{
	struct stat st;

	own_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (own_fd < 0 || fstat(own_fd, &st))
		kb_die(KB_EXIT_FAILED, "own network namespace: %s", strerror(errno));
	own_inode = st.st_ino;
	for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++)
		note_named(named[i]);
	note_processes();
	for (size_t i = 0; i < count; i++)
		print(&namespaces[i]);
}
