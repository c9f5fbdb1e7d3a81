// SPDX-License-Identifier: GPL-2.0-only
/* The end of what the agent's programs started and left behind. */
#include "agent.h"

#include <ctype.h>
#include <dirent.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kb_prog.h"

/* Kill and reap all that is still below us: programs that left their group and were orphaned. */
void child_kill_descendants(void)
{
	uint64_t deadline = kb_now_ns() + 2000000000ULL;
	struct timespec pause = { .tv_nsec = 1000000 };
	char path[288], stat[512];

	while (waitpid(-1, NULL, WNOHANG) >= 0 && kb_now_ns() < deadline) {
		DIR *proc = opendir("/proc");
		struct dirent *entry;

		while (proc && (entry = readdir(proc))) {
			FILE *file;
			size_t got;
			char *after;
			int ppid;

			if (!isdigit(entry->d_name[0]))
				continue;
			snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
			file = fopen(path, "re");
			if (!file)
				continue;
			got = fread(stat, 1, sizeof(stat) - 1, file);
			fclose(file);
			stat[got] = '\0';
			after = strrchr(stat, ')'); /* the name before it may hold anything */
			if (after && sscanf(after, ") %*c %d", &ppid) == 1 && ppid == getpid())
				kill(atoi(entry->d_name), SIGKILL);
		}
		if (proc)
			closedir(proc);
		nanosleep(&pause, NULL);
	}
}
