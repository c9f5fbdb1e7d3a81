// SPDX-License-Identifier: GPL-2.0-only
/* /proc/net/pktgen: see pktgen_proc.h, and net/core/pktgen.c in the kernel. */
#include "pktgen_proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kb_prog.h"

#define DIRECTORY "/proc/net/pktgen"
#define THREAD "kpktgend_"

/* Threads look for orders every 100 ms. */
#define WAIT_NS 20000000
#define WAITS 250

static void path_of(char *path, size_t room, const char *file)
{
	if (snprintf(path, room, DIRECTORY "/%s", file) >= (int)room)
		kb_die(KB_EXIT_FAILED, "name \"%s\" is too long", file);
}

void pktgen_require(int cpu)
{
	char path[128];

	if (access(DIRECTORY, F_OK))
		kb_die(KB_EXIT_LACKS,
		       "pktgen is not loaded: run `modprobe pktgen`, or measure in the lab");
	snprintf(path, sizeof(path), DIRECTORY "/" THREAD "%d", cpu);
	if (access(path, F_OK))
		kb_die(KB_EXIT_LACKS,
		       "pktgen has no thread on CPU %d (it makes one for each CPU that is online "
		       "when it is loaded)",
		       cpu);
	if (access(path, W_OK))
		kb_die(KB_EXIT_LACKS, "not allowed to use pktgen: needs root");
}

int pktgen_try(const char *file, const char *command)
{
	char path[128];
	ssize_t done;
	int fd, err;

	path_of(path, sizeof(path), file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	done = write(fd, command, strlen(command));
	err = done < 0 ? -errno : 0;
	close(fd);
	return err;
}

void pktgen_set(const char *file, const char *fmt, ...)
{
	char command[128];
	va_list args;
	int err;

	va_start(args, fmt);
	vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	err = pktgen_try(file, command);
	if (err)
		kb_die(KB_EXIT_FAILED, "pktgen refuses \"%s\" for %s: %s", command, file,
		       strerror(-err));
}

static char *read_file(const char *file)
{
	char path[128];
	size_t len;

	path_of(path, sizeof(path), file);
	return kb_read_file(path, &len);
}

static bool has_devices(const char *thread)
{
	char *text = read_file(thread);
	bool found = false;
	char *line, *rest = text;

	while ((line = strsep(&rest, "\n"))) {
		if (strncmp(line, "Running: ", 9) && strncmp(line, "Stopped: ", 9))
			continue;
		line += 9;
		found |= line[strspn(line, " ")] != '\0';
	}
	free(text);
	return found;
}

static bool any_devices(void)
{
	DIR *dir = opendir(DIRECTORY);
	bool found = false;
	struct dirent *entry;

	if (!dir)
		kb_die(KB_EXIT_LACKS, "%s: %s", DIRECTORY, strerror(errno));
	while (!found && (entry = readdir(dir)))
		if (!strncmp(entry->d_name, THREAD, strlen(THREAD)))
			found = has_devices(entry->d_name);
	closedir(dir);
	return found;
}

/*
 * "reset" gives each thread the order that "rem_device_all" gives to one, and
 * waits 125 ms once for all. A thread may be later than that, and the next
 * "add_device" would fail (EBUSY), so look. Costs nothing if there are none.
 */
void pktgen_clear(void)
{
	const struct timespec wait = { .tv_nsec = WAIT_NS };
	int i, err;

	for (i = 0; i < WAITS && any_devices(); i++) {
		if (i) {
			nanosleep(&wait, NULL);
			continue;
		}
		err = pktgen_try("pgctrl", "reset\n");
		if (err)
			kb_die(KB_EXIT_FAILED, "pktgen reset: %s", strerror(-err));
	}
	if (i == WAITS)
		kb_die(KB_EXIT_FAILED, "pktgen does not give up its devices");
}

void pktgen_add(int cpu, const char *device)
{
	char thread[32], command[64];
	int err;

	snprintf(thread, sizeof(thread), THREAD "%d", cpu);
	snprintf(command, sizeof(command), "add_device %s", device);
	err = pktgen_try(thread, command);
	if (err == -EBUSY)
		kb_die(KB_EXIT_FAILED, "another program uses pktgen in this network namespace");
	if (err == -ENETDOWN)
		kb_die(KB_EXIT_USAGE, "the interface of %s is down", device);
	if (err)
		kb_die(KB_EXIT_FAILED, "pktgen can't use %s: %s", device, strerror(-err));
}

static uint64_t number_after(const char *device, const char *text, const char *key)
{
	const char *at = strstr(text, key);
	uint64_t value;

	if (!at || sscanf(at + strlen(key), " %" SCNu64, &value) != 1)
		kb_die(KB_EXIT_FAILED, "no \"%s\" in pktgen's report on %s", key, device);
	return value;
}

void pktgen_read(const char *device, struct pktgen_state *state)
{
	char *text = read_file(device);
	char *flags = strstr(text, "Flags:");
	const char *result = strstr(text, "Result: ");

	state->sofar = number_after(device, text, "pkts-sofar:");
	state->errors = number_after(device, text, "errors:");
	state->started_us = number_after(device, text, "started:");
	state->stopped_us = number_after(device, text, "stopped:");
	state->idle_us = number_after(device, text, "idle:");
	state->done = result && !strncmp(result, "Result: OK: ", 12) && strstr(result, " usec, ");
	if (flags)
		flags[strcspn(flags, "\n")] = '\0';
	state->can_share = flags && strstr(flags, "SHARED");
	free(text);
}
