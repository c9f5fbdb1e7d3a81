// SPDX-License-Identifier: GPL-2.0-only
/*
 * kb-pin - pins kernel threads by name (--cpu), or lets them go before others (--fifo PRIORITY).
 *
 * A threaded NAPI context is a kernel thread (napi/IF-ID) whose pid nothing in
 * sysfs tells, so it is looked for by the start of its name. Prints how many
 * threads were found; none is an error.
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

struct wish {
	int cpu, priority; /* -1: leave as it is */
};

static void apply(const struct wish *wish, const char *pid)
{
	struct sched_param param = { .sched_priority = wish->priority };
	cpu_set_t set;

	CPU_ZERO(&set);
	if (wish->cpu >= 0) {
		CPU_SET(wish->cpu, &set);
		if (sched_setaffinity(atoi(pid), sizeof(set), &set))
			kb_die(KB_EXIT_FAILED, "can't pin thread %s to CPU %d: %s", pid, wish->cpu,
			       strerror(errno));
	}
	if (wish->priority >= 0 && sched_setscheduler(atoi(pid), SCHED_FIFO, &param))
		kb_die(KB_EXIT_FAILED, "can't give thread %s priority %d: %s", pid, wish->priority,
		       strerror(errno));
}

static unsigned int apply_to_all(const char *start, const struct wish *wish)
{
	unsigned int found = 0;
	struct dirent *entry;
	DIR *proc = opendir("/proc");

	if (!proc)
		kb_die(KB_EXIT_FAILED, "can't read /proc: %s", strerror(errno));
	while ((entry = readdir(proc))) {
		if (!isdigit(entry->d_name[0]) || !name_starts_with(entry->d_name, start))
			continue;
		apply(wish, entry->d_name);
		found++;
	}
	closedir(proc);
	return found;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "comm", required_argument, NULL, 'n' },
		{ "cpu", required_argument, NULL, 'c' },
		{ "fifo", required_argument, NULL, 'f' },
		{},
	};
	struct wish wish = { -1, -1 };
	const char *name = NULL;
	unsigned int found;
	int opt;

	kb_prog_init("kb-pin");
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'n')
			name = optarg;
		else if (opt == 'c')
			wish.cpu = (int)kb_parse_u64("--cpu", optarg, 0, CPU_SETSIZE - 1);
		else if (opt == 'f')
			wish.priority = (int)kb_parse_u64("--fifo", optarg, 1, 99);
		else
			return KB_EXIT_USAGE;
	}
	kb_require("--comm", name);
	if (wish.cpu < 0 && wish.priority < 0)
		kb_die(KB_EXIT_USAGE, "neither --cpu nor --fifo says what to do");
	found = apply_to_all(name, &wish);
	if (!found)
		kb_die(KB_EXIT_FAILED, "no thread's name starts with %s", name);
	kb_json_begin("pinned");
	kb_json_u64("threads", found);
	kb_json_end();
	return KB_EXIT_OK;
}
