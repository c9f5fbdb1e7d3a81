// SPDX-License-Identifier: GPL-2.0-only
/* Signals, arguments, files and clocks: see kb_prog.h. */
#include "kb_prog.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

volatile sig_atomic_t kb_stop;
volatile sig_atomic_t kb_snapshot;
volatile sig_atomic_t kb_reset;

static const char *prog_name = "kb";

static void on_signal(int sig)
{
	switch (sig) {
	case SIGUSR1:
		kb_snapshot = 1;
		break;
	case SIGUSR2:
		kb_reset = 1;
		break;
	default:
		kb_stop = 1;
	}
}

static void our_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGUSR1);
	sigaddset(set, SIGUSR2);
}

void kb_prog_init(const char *name)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGUSR1, SIGUSR2 };
	struct sigaction action = { .sa_handler = on_signal };
	pid_t parent = getppid();
	sigset_t ours;
	size_t i;

	prog_name = name;
	our_signals(&ours);
	action.sa_mask = ours;
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &action, NULL);
	sigprocmask(SIG_UNBLOCK, &ours, NULL);
	/* A reader that went away shows as EPIPE from write(), which ends the program in order. */
	signal(SIGPIPE, SIG_IGN);

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		kb_stop = 1; /* it died before the line above */
}

static void vmessage(const char *fmt, va_list args)
{
	char line[1024];
	int at = snprintf(line, sizeof(line), "%s: ", prog_name);
	int more = vsnprintf(line + at, sizeof(line) - at - 1, fmt, args);
	size_t len;

	if (more < 0)
		more = 0;
	len = at + more;
	if (len > sizeof(line) - 2)
		len = sizeof(line) - 2;
	line[len++] = '\n';
	if (write(STDERR_FILENO, line, len) < 0)
		return; /* nobody is left to tell */
}

void kb_die(int code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vmessage(fmt, args);
	va_end(args);
	exit(code);
}

void kb_warn(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vmessage(fmt, args);
	va_end(args);
}

int kb_poll(struct pollfd *fds, unsigned int nfds, int timeout_ms)
{
	struct timespec timeout = { .tv_sec = timeout_ms / 1000,
				    .tv_nsec = (timeout_ms % 1000) * 1000000L };
	sigset_t ours, before;
	int ready = 0;

	/* Blocked from the look at the flags until ppoll() waits: no signal falls in between. */
	our_signals(&ours);
	sigprocmask(SIG_BLOCK, &ours, &before);
	if (!kb_stop && !kb_snapshot && !kb_reset)
		ready = ppoll(fds, nfds, timeout_ms < 0 ? NULL : &timeout, &before);
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (ready < 0 && errno == EINTR)
		ready = 0;
	return ready;
}

int kb_pin_cpu(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return -1;
	if (cpu >= CPU_SETSIZE)
		kb_die(KB_EXIT_USAGE, "--cpu %d: highest possible CPU is %d", cpu, CPU_SETSIZE - 1);
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		kb_die(KB_EXIT_LACKS, "can't run on CPU %d: %s", cpu, strerror(errno));
	if (sched_getaffinity(0, sizeof(set), &set) || CPU_COUNT(&set) != 1 ||
	    !CPU_ISSET(cpu, &set))
		kb_die(KB_EXIT_LACKS, "the kernel did not pin this program to CPU %d", cpu);
	return cpu;
}

uint64_t kb_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

void *kb_read_file(const char *path, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t have = 0, room;
	struct stat st;
	char *data;

	if (fd < 0 || fstat(fd, &st))
		kb_die(KB_EXIT_USAGE, "%s: %s", path, strerror(errno));
	/* The size is a hint only: files under /proc and /sys say 0. */
	room = st.st_size > 0 ? (size_t)st.st_size + 1 : 4096;
	data = malloc(room);
	while (data) {
		ssize_t got = read(fd, data + have, room - 1 - have);

		if (got < 0 && errno == EINTR && !kb_stop)
			continue;
		if (got < 0)
			kb_die(KB_EXIT_USAGE, "%s: %s", path, strerror(errno));
		if (!got)
			break;
		have += got;
		if (have == room - 1) {
			room *= 2;
			data = realloc(data, room);
		}
	}
	if (!data)
		kb_die(KB_EXIT_FAILED, "%s: out of memory", path);
	close(fd);
	data[have] = '\0';
	*len = have;
	return data;
}

int kb_ifindex(const char *name)
{
	unsigned int index = if_nametoindex(name);

	if (!index)
		kb_die(KB_EXIT_USAGE, "no interface \"%s\" in this network namespace", name);
	return index;
}

void kb_if_mac(const char *name, uint8_t mac[6])
{
	struct ifreq request;
	int fd;

	memset(&request, 0, sizeof(request));
	if (strlen(name) >= IFNAMSIZ)
		kb_die(KB_EXIT_USAGE, "interface name \"%s\" is too long", name);
	strcpy(request.ifr_name, name);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		kb_die(KB_EXIT_LACKS, "socket: %s", strerror(errno));
	if (ioctl(fd, SIOCGIFHWADDR, &request))
		kb_die(KB_EXIT_USAGE, "no hardware address of interface \"%s\": %s", name,
		       strerror(errno));
	close(fd);
	memcpy(mac, request.ifr_hwaddr.sa_data, 6);
}

uint64_t kb_parse_u64(const char *option, const char *text, uint64_t min, uint64_t max)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 0);
	/* strtoull() takes signs and leading blanks; a count does not. */
	if (text[0] < '0' || text[0] > '9' || *end || errno)
		kb_die(KB_EXIT_USAGE, "%s: \"%s\" is not a number", option, text);
	if (value < min || value > max)
		kb_die(KB_EXIT_USAGE, "%s: %llu is not in %llu..%llu", option, value,
		       (unsigned long long)min, (unsigned long long)max);
	return value;
}

int kb_parse_choice(const char *option, const char *text, const char *const *choices)
{
	char list[256] = "";
	int i;

	for (i = 0; choices[i]; i++) {
		size_t at = strlen(list);

		if (!strcmp(text, choices[i]))
			return i;
		snprintf(list + at, sizeof(list) - at, "%s%s", i ? ", " : "", choices[i]);
	}
	kb_die(KB_EXIT_USAGE, "%s: \"%s\" is not one of %s", option, text, list);
}

void kb_require(const char *option, const char *value)
{
	if (!value)
		kb_die(KB_EXIT_USAGE, "%s is missing", option);
}
