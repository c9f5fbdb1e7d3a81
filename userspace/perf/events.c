// SPDX-License-Identifier: GPL-2.0-only
/* Perf events, counted per CPU for kernel and user space alike: see perf.h. */
#include "perf.h"
#include "kb_prog.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_EVENTS 16

/*
 * Events of a pair are opened as one group, so that their ratio is of the same instants also when
 * the PMU has to take turns. One group of all would not be counted at all by a PMU with too few
 * counters. Pair 0: alone.
 */
static const struct kind {
	const char *name;
	uint32_t type;
	uint64_t config;
	int pair;
} kinds[] = {
	{ "cycles", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES, 1 },
	{ "instructions", PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS, 1 },
	{ "cache-references", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_REFERENCES, 2 },
	{ "cache-misses", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_MISSES, 2 },
	{ "branches", PERF_TYPE_HARDWARE, PERF_COUNT_HW_BRANCH_INSTRUCTIONS, 3 },
	{ "branch-misses", PERF_TYPE_HARDWARE, PERF_COUNT_HW_BRANCH_MISSES, 3 },
	{ "cpu-clock", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK, 0 },
	{ "context-switches", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CONTEXT_SWITCHES, 0 },
	{ "cpu-migrations", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_MIGRATIONS, 0 },
	{ "page-faults", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS, 0 },
};

/* What read() gives with the read_format below. */
struct reading {
	uint64_t value, enabled, running;
};

static struct event {
	const struct kind *kind;
	int *fds;
	struct reading *base;
	char absent[128]; /* empty: it is open on all CPUs */
} events[MAX_EVENTS];

static size_t event_count, cpu_count;

void perf_why(char *text, size_t room, int error, int cpu)
{
	char paranoid[16] = "?\n";
	FILE *f;

	switch (error) {
	case ENOENT:
	case EOPNOTSUPP:
	case ENXIO:
		snprintf(text, room, "no PMU that the kernel can use here counts this event (%s)",
			 strerrorname_np(error));
		break;
	case EACCES:
	case EPERM:
		f = fopen("/proc/sys/kernel/perf_event_paranoid", "r");
		if (f) {
			if (!fgets(paranoid, sizeof(paranoid), f))
				strcpy(paranoid, "?");
			fclose(f);
		}
		paranoid[strcspn(paranoid, "\n")] = '\0';
		snprintf(text, room,
			 "not allowed (%s): needs CAP_PERFMON; kernel.perf_event_paranoid is %s",
			 strerrorname_np(error), paranoid);
		break;
	case ENODEV:
		snprintf(text, room, "CPU %d is offline (ENODEV)", cpu);
		break;
	default:
		snprintf(text, room, "CPU %d: %s", cpu, strerror(error));
	}
}

static void open_event(struct event *event, const struct event *leader, const struct cpu_list *cpus)
{
	struct perf_event_attr attr = {
		.type = event->kind->type,
		.size = sizeof(attr),
		.config = event->kind->config,
		.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING,
	};
	size_t i;

	for (i = 0; i < cpus->count; i++) {
		int group = leader ? leader->fds[i] : -1;

		event->fds[i] = (int)syscall(SYS_perf_event_open, &attr, -1, cpus->cpu[i], group,
					     PERF_FLAG_FD_CLOEXEC);
		if (event->fds[i] < 0) {
			perf_why(event->absent, sizeof(event->absent), errno, cpus->cpu[i]);
			while (i--)
				close(event->fds[i]);
			return;
		}
	}
}

static const struct kind *kind_of(const char *name)
{
	const char *choices[sizeof(kinds) / sizeof(kinds[0]) + 1] = {};
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		choices[i] = kinds[i].name;
	return &kinds[kb_parse_choice("--events", name, choices)];
}

static void *allocate(size_t count, size_t bytes)
{
	void *memory = calloc(count, bytes);

	if (!memory)
		kb_die(KB_EXIT_FAILED, "out of memory");
	return memory;
}

void events_open(const char *list, const struct cpu_list *cpus)
{
	char *names = strdup(list), *name, *rest = names;

	if (!names)
		kb_die(KB_EXIT_FAILED, "out of memory");
	cpu_count = cpus->count;
	while ((name = strsep(&rest, ","))) {
		const struct event *leader = NULL;
		struct event *event = &events[event_count];

		if (event_count == MAX_EVENTS)
			kb_die(KB_EXIT_USAGE, "--events: more than %d events", MAX_EVENTS);
		event->kind = kind_of(name);
		event->fds = allocate(cpu_count, sizeof(*event->fds));
		event->base = allocate(cpu_count, sizeof(*event->base));
		if (event_count && event->kind->pair == event[-1].kind->pair && event->kind->pair &&
		    !event[-1].absent[0])
			leader = &event[-1];
		open_event(event, leader, cpus);
		event_count++;
	}
	free(names);
	events_reset();
}

static struct reading read_one(const struct event *event, size_t i)
{
	struct reading now;
	ssize_t got = read(event->fds[i], &now, sizeof(now));

	if (got != sizeof(now))
		kb_die(KB_EXIT_FAILED, "can't read event %s: %s", event->kind->name,
		       got < 0 ? strerror(errno) : "short read");
	return now;
}

void events_reset(void)
{
	size_t i, j;

	/* PERF_EVENT_IOC_RESET would leave the times as they are, and the share counted with them.
	 */
	for (i = 0; i < event_count; i++)
		for (j = 0; j < cpu_count && !events[i].absent[0]; j++)
			events[i].base[j] = read_one(&events[i], j);
}

static void absent_json(void)
{
	size_t i;

	kb_json_obj_begin("absent");
	for (i = 0; i < event_count; i++)
		if (events[i].absent[0])
			kb_json_str(events[i].kind->name, events[i].absent);
	kb_json_obj_end();
}

void events_json_ready(void)
{
	size_t i;

	kb_json_arr_begin("events");
	for (i = 0; i < event_count; i++)
		if (!events[i].absent[0])
			kb_json_str(NULL, events[i].kind->name);
	kb_json_arr_end();
	absent_json();
}

static void counter_json(const struct event *event)
{
	uint64_t enabled = 0, running = 0;
	double value = 0;
	bool starved = false;
	size_t i;

	for (i = 0; i < cpu_count; i++) {
		struct reading now = read_one(event, i);
		uint64_t was_enabled = now.enabled - event->base[i].enabled;
		uint64_t was_running = now.running - event->base[i].running;
		uint64_t counted = now.value - event->base[i].value;

		enabled += was_enabled;
		running += was_running;
		if (was_running)
			value += (double)counted * ((double)was_enabled / (double)was_running);
		else
			starved = true;
	}
	kb_json_obj_begin(event->kind->name);
	/* Never on the PMU on some CPU: there is no value, which is not a value of zero. */
	if (!starved)
		kb_json_u64("value", (uint64_t)(value + 0.5));
	kb_json_u64("time_enabled_ns", enabled);
	kb_json_u64("time_running_ns", running);
	kb_json_bool("multiplexed", running < enabled);
	kb_json_obj_end();
}

void events_json_counters(void)
{
	size_t i;

	kb_json_obj_begin("counters");
	for (i = 0; i < event_count; i++)
		if (!events[i].absent[0])
			counter_json(&events[i]);
	kb_json_obj_end();
	absent_json();
}
