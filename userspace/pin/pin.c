// SPDX-License-Identifier: GPL-2.0-only
/*
 * kb-pin - pins kernel threads by name.
 *
 * A threaded NAPI context is a kernel thread (napi/IF-ID) whose pid nothing in
 * sysfs tells, so it is looked for by the start of its name. Prints how many
 * threads were pinned; none is an error.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kb_prog.h"

static bool name_starts_with(const char *pid, const char *start)
{
	char path[64], name[64] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	f = fopen(path, "r");
	if (!f)
		return false; /* ended meanwhile */
	if (!fgets(name, sizeof(name), f))
		name[0] = '\0';
	fclose(f);
	return !strncmp(name, start, strlen(start));
}

static unsigned int pin_all(const char *start, int cpu)
{
	unsigned int pinned = 0;
	struct dirent *entry;
	cpu_set_t set;
	DIR *proc = opendir("/proc");

	if (!proc)
		kb_die(KB_EXIT_FAILED, "can't read /proc: %s", strerror(errno));
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	while ((entry = readdir(proc))) {
		if (!isdigit(entry->d_name[0]) || !name_starts_with(entry->d_name, start))
			continue;
		if (sched_setaffinity(atoi(entry->d_name), sizeof(set), &set))
			kb_die(KB_EXIT_FAILED, "can't pin thread %s to CPU %d: %s", entry->d_name,
			       cpu, strerror(errno));
		pinned++;
	}
	closedir(proc);
	return pinned;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "comm", required_argument, NULL, 'n' },
		{ "cpu", required_argument, NULL, 'c' },
		{},
	};
	const char *name = NULL, *cpu = NULL;
	unsigned int pinned;
	int opt;

	kb_prog_init("kb-pin");
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'n')
			name = optarg;
		else if (opt == 'c')
			cpu = optarg;
		else
			return KB_EXIT_USAGE;
	}
	kb_require("--comm", name);
	kb_require("--cpu", cpu);
	pinned = pin_all(name, (int)kb_parse_u64("--cpu", cpu, 0, CPU_SETSIZE - 1));
	if (!pinned)
		kb_die(KB_EXIT_FAILED, "no thread's name starts with %s", name);
	kb_json_begin("pinned");
	kb_json_u64("threads", pinned);
	kb_json_end();
	return KB_EXIT_OK;
}
