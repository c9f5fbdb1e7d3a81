// SPDX-License-Identifier: GPL-2.0-only
/*
 * kb-agent --init: the first process of the lab. Mounts what programs expect, loads the modules
 * listed in /etc/kbench/modules (one path of an uncompressed .ko per line, in load order,
 * parameters behind it), and serves the client at the virtio port; the machine is switched off when
 * the connection ends. With kbench.shell on the kernel's command line, a shell on the console
 * instead. Lines for the host go to the console and start with KBENCH-AGENT.
 */
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kb_prog.h"

#define MODULES "/etc/kbench/modules"
#define PORT_WAIT_NS 10000000000ULL

static const struct {
	const char *type, *at, *options;
	bool needed;
} mounts[] = {
	{ "proc", "/proc", NULL, true },
	{ "sysfs", "/sys", NULL, true },
	{ "devtmpfs", "/dev", NULL, true },
	{ "devpts", "/dev/pts", "mode=620,ptmxmode=666", false },
	{ "tmpfs", "/dev/shm", "mode=1777", false },
	{ "tmpfs", "/tmp", "mode=1777", true },
	{ "tmpfs", "/run", "mode=755", true },
	{ "bpf", "/sys/fs/bpf", "mode=700", false },
	{ "tracefs", "/sys/kernel/tracing", NULL, false },
	{ "debugfs", "/sys/kernel/debug", NULL, false },
};

static void mount_all(void)
{
	size_t i;

	for (i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		mkdir(mounts[i].at, 0755);
		/* EBUSY: the kernel mounted it (devtmpfs.mount=1) */
		if (mount(mounts[i].type, mounts[i].at, mounts[i].type, 0, mounts[i].options) &&
		    errno != EBUSY && mounts[i].needed)
			printf("KBENCH-AGENT error mount %s: %s\n", mounts[i].at, strerror(errno));
	}
}

/* The console as stdin, stdout and stderr: the initramfs need not hold a device node. */
static void open_console(void)
{
	int fd = open("/dev/console", O_RDWR | O_NOCTTY), i;

	for (i = 0; fd >= 0 && i < 3; i++)
		dup2(fd, i);
	if (fd > 2)
		close(fd);
	setvbuf(stdout, NULL, _IOLBF, 0);
}

static void load_module(char *line)
{
	char *path = strsep(&line, " \t");
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || (syscall(SYS_finit_module, fd, line ? line : "", 0) && errno != EEXIST))
		printf("KBENCH-AGENT error module %s: %s (errno %d)\n", path, strerror(errno),
		       errno);
	if (fd >= 0)
		close(fd);
}

static void load_modules(void)
{
	char line[1024];
	FILE *list = fopen(MODULES, "re");

	if (!list)
		return; /* a kernel that has everything built in */
	while (fgets(line, sizeof(line), list)) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0] && line[0] != '#')
			load_module(line);
	}
	fclose(list);
}

static void loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request))
		printf("KBENCH-AGENT error lo: %s\n", strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void pause_ms(int ms)
{
	poll(NULL, 0, ms);
}

/* The device node of the first virtio port (/dev/vportNp1); -1 when there is none. */
static int open_port(void)
{
	DIR *dev = opendir("/dev");
	struct dirent *entry;
	int fd = -1;

	while (dev && fd < 0 && (entry = readdir(dev))) {
		const char *name = entry->d_name;
		size_t len = strlen(name);

		if (!strncmp(name, "vport", 5) && len > 7 && !strcmp(name + len - 2, "p1"))
			fd = openat(dirfd(dev), name, O_RDWR | O_CLOEXEC);
	}
	if (dev)
		closedir(dev);
	return fd;
}

/* Wait for the port, and for the host to open its end: until then the port reads as ended. */
static int wait_for_port(void)
{
	uint64_t deadline = kb_now_ns() + PORT_WAIT_NS;
	struct pollfd port = { .fd = -1, .events = POLLOUT };

	while (kb_now_ns() < deadline) {
		if (port.fd < 0)
			port.fd = open_port();
		if (port.fd >= 0 && poll(&port, 1, 0) >= 0 && !(port.revents & POLLHUP))
			return port.fd;
		pause_ms(5);
	}
	printf("KBENCH-AGENT error %s\n",
	       port.fd < 0 ? "no virtio port" : "nobody opened the virtio port's other end");
	return -1;
}

static bool kernel_argument(const char *name)
{
	size_t len;
	char *line = kb_read_file("/proc/cmdline", &len), *rest = line, *word;
	bool found = false;

	while ((word = strsep(&rest, " \n")))
		found |= !strcmp(word, name);
	free(line);
	return found;
}

/* A shell with job control: the real tty behind /dev/console becomes its controlling terminal. */
static void run_shell(void)
{
	static char *const argv[] = { "-sh", NULL };
	char path[64], *name, *tty;
	size_t len;
	pid_t pid = fork();
	int fd;

	if (!pid) {
		setsid();
		tty = kb_read_file("/sys/class/tty/console/active", &len);
		tty[strcspn(tty, "\n")] = '\0';
		name = strrchr(tty, ' ');
		snprintf(path, sizeof(path), "/dev/%s", name ? name + 1 : tty);
		fd = open(path, O_RDWR);
		if (fd >= 0) {
			ioctl(fd, TIOCSCTTY, 1);
			dup2(fd, 0);
			dup2(fd, 1);
			dup2(fd, 2);
		}
		if (chdir("/root") && chdir("/"))
			_exit(127);
		execv("/bin/sh", argv);
		printf("KBENCH-AGENT error /bin/sh: %s\n", strerror(errno));
		_exit(127);
	}
	for (;;) {
		pid_t ended = wait(NULL);

		if (ended == pid || (ended < 0 && errno != EINTR))
			return;
	}
}

int init_main(void)
{
	struct utsname name;
	int port;

	if (getpid() != 1) {
		fprintf(stderr, "kb-agent: --init is for the first process of the lab\n");
		return KB_EXIT_USAGE;
	}
	mount_all();
	open_console();
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
	setenv("LC_ALL", "C", 1);
	setenv("TERM", "vt100", 0);
	if (sethostname("kbench-lab", 10))
		printf("KBENCH-AGENT error sethostname: %s\n", strerror(errno));
	load_modules();
	loopback_up();
	uname(&name);
	if (kernel_argument("kbench.shell")) {
		run_shell();
	} else {
		port = wait_for_port();
		if (port >= 0) {
			printf("KBENCH-AGENT ready %s\n", name.release);
			serve(port, port, 0);
		}
	}
	/* PID 1 never returns: that would be a panic. */
	kill(-1, SIGKILL);
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}
