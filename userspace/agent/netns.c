// SPDX-License-Identifier: GPL-2.0-only
/* Network namespaces: entering one, and the view of /sys that belongs to it. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "kb_prog.h"

/* Mounts below /sys that a fresh sysfs would hide, and that programs and tracing need as they were.
 */
static const char *const below_sys[] = { "/sys/fs/bpf", "/sys/fs/cgroup", "/sys/kernel/tracing",
					 "/sys/kernel/debug", "/sys/kernel/security" };
#define BELOW_SYS (sizeof(below_sys) / sizeof(below_sys[0]))

static int own_netns = -1;

/* glibc 2.36 has wrappers for these, older ones don't; the numbers are the same on every
 * architecture. */
static int sys_open_tree(const char *path, unsigned int flags)
{
	return syscall(SYS_open_tree, AT_FDCWD, path, flags);
}

static int sys_move_mount(int from, const char *to)
{
	return syscall(SYS_move_mount, from, "", AT_FDCWD, to, MOVE_MOUNT_F_EMPTY_PATH);
}

/* Enter the namespace `name` of /run/netns. Returns 0 or an errno. */
int netns_enter(const char *name)
{
	char path[300];
	int fd, error = 0;

	if (own_netns < 0)
		own_netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (own_netns < 0)
		return errno;
	if (!*name || strchr(name, '/') || strlen(name) > 255)
		return EINVAL;
	snprintf(path, sizeof(path), "/run/netns/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	if (setns(fd, CLONE_NEWNET))
		error = errno;
	close(fd);
	return error;
}

void netns_leave(void)
{
	/* To stay in a foreign namespace would make every later answer wrong. */
	if (setns(own_netns, CLONE_NEWNET))
		kb_die(KB_EXIT_FAILED, "can't return to the own network namespace: %s",
		       strerror(errno));
}

/* A sysfs of the current network namespace that is mounted nowhere: a directory descriptor, or -1
 * with errno. */
int netns_sysfs(void)
{
	int fs = syscall(SYS_fsopen, "sysfs", FSOPEN_CLOEXEC), mount = -1;

	if (fs < 0)
		return -1;
	if (!syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		mount = syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	close(fs);
	return mount;
}

/*
 * In a child that entered a namespace: give it mounts of its own where /sys is that of the
 * namespace, while bpffs and the other mounts below /sys stay the machine's. Returns 0 or an errno.
 */
int netns_own_view(void)
{
	int keep[BELOW_SYS], sysfs;
	struct stat sys, below;
	struct statfs bpf;
	size_t i;

	if (unshare(CLONE_NEWNS) || mount("", "/", NULL, MS_REC | MS_SLAVE, NULL) ||
	    stat("/sys", &sys))
		return errno;
	for (i = 0; i < BELOW_SYS; i++) {
		keep[i] = -1;
		if (!stat(below_sys[i], &below) && below.st_dev != sys.st_dev)
			keep[i] = sys_open_tree(below_sys[i],
						OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	}
	sysfs = netns_sysfs();
	if (sysfs < 0 || sys_move_mount(sysfs, "/sys"))
		return errno;
	close(sysfs);
	for (i = 0; i < BELOW_SYS; i++) {
		if (keep[i] < 0)
			continue;
		if (sys_move_mount(keep[i], below_sys[i]))
			return errno;
		close(keep[i]);
	}
	if (statfs("/sys/fs/bpf", &bpf) || bpf.f_type != BPF_FS_MAGIC)
		mount("bpf", "/sys/fs/bpf", "bpf", 0,
		      NULL); /* a kernel without BPF is the program's to report */
	return 0;
}
