// SPDX-License-Identifier: GPL-2.0-only
/* Samples of what CPUs are at, with the kernel's callers, from the kernel's rings: see perf.h. */
#include "perf.h"
#include "kb_prog.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Room for half a second of the deepest chains at 4 kHz. */
#define RING_BYTES (2UL << 20)
#define MAX_RECORD 65536
/* What is kept between two readings, 200 bytes a sample as a rule; what comes beyond is lost. */
#define MAX_KEPT_WORDS (32UL << 20)
#define SAMPLED (PERF_SAMPLE_IP | PERF_SAMPLE_TID | PERF_SAMPLE_CPU | PERF_SAMPLE_CALLCHAIN)

struct ring {
	int fd;
	struct perf_event_mmap_page *page;
};

/* A thread's name as it is now, as an index into `names`. */
struct thread {
	uint32_t tid;
	size_t name;
};

struct samples samples;

static struct ring *rings;
static struct thread *threads;
static size_t thread_count, name_room, thread_room, sample_room, word_room;

/* Grows an array, so that one more fits. */
static void *grown(void *at, size_t count, size_t *room, size_t bytes)
{
	if (count < *room)
		return at;
	*room = *room ? *room * 2 : 64;
	at = realloc(at, *room * bytes);
	if (!at)
		kb_die(KB_EXIT_FAILED, "out of memory");
	return at;
}

/* Threads call themselves what they like; it is to stay a line of text, and a part of a chain. */
static size_t name_index(const char *given)
{
	char name[THREAD_NAME_BYTES];
	size_t i;

	snprintf(name, sizeof(name), "%s", given);
	for (i = 0; name[i]; i++)
		if (name[i] < ' ' || name[i] > '~' || name[i] == ';')
			name[i] = '?';
	for (i = 0; i < samples.name_count; i++)
		if (!strcmp(samples.names[i], name))
			return i;
	samples.names = grown(samples.names, samples.name_count, &name_room, THREAD_NAME_BYTES);
	memcpy(samples.names[samples.name_count], name, sizeof(name));
	return samples.name_count++;
}

static struct thread *thread_of(uint32_t tid)
{
	char path[64], name[THREAD_NAME_BYTES] = "[ended]";
	size_t i;
	FILE *f;

	for (i = 0; i < thread_count; i++)
		if (threads[i].tid == tid)
			return &threads[i];
	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/comm", tid);
	f = tid ? fopen(path, "r") : NULL;
	if (f) {
		if (fgets(name, sizeof(name), f))
			name[strcspn(name, "\n")] = '\0';
		fclose(f);
	}
	threads = grown(threads, thread_count, &thread_room, sizeof(*threads));
	threads[thread_count] = (struct thread){ tid, name_index(tid ? name : "[idle]") };
	return &threads[thread_count++];
}

static void keep(size_t watched, const struct perf_event_header *header)
{
	const struct {
		struct perf_event_header header;
		uint64_t ip;
		uint32_t pid, tid, cpu, reserved;
		uint64_t depth, chain[];
	} *record = (const void *)header;
	struct sample *sample;
	uint64_t i;

	if (samples.word_count + record->depth + 1 > MAX_KEPT_WORDS) {
		samples.lost[watched]++;
		return;
	}
	samples.at = grown(samples.at, samples.count, &sample_room, sizeof(*samples.at));
	sample = &samples.at[samples.count++];
	*sample = (struct sample){
		.watched = watched,
		.name = thread_of(record->tid)->name,
		.user = (header->misc & PERF_RECORD_MISC_CPUMODE_MASK) == PERF_RECORD_MISC_USER,
		.first = samples.word_count,
	};
	for (i = 0; i < record->depth; i++) {
		/* Those are marks of the context that follows, no addresses. */
		if (record->chain[i] >= (uint64_t)PERF_CONTEXT_MAX)
			continue;
		samples.words = grown(samples.words, samples.word_count, &word_room,
				      sizeof(*samples.words));
		samples.words[samples.word_count++] = record->chain[i];
		sample->depth++;
	}
}

static void take(size_t watched, const struct perf_event_header *header)
{
	const struct {
		struct perf_event_header header;
		uint64_t id, lost;
	} *lost = (const void *)header;
	const struct {
		struct perf_event_header header;
		uint32_t pid, tid;
		char name[THREAD_NAME_BYTES];
	} *named = (const void *)header;

	switch (header->type) {
	case PERF_RECORD_SAMPLE:
		keep(watched, header);
		break;
	case PERF_RECORD_LOST:
		samples.lost[watched] += lost->lost;
		break;
	case PERF_RECORD_COMM:
		/* A thread takes another name, by exec() as a rule. */
		thread_of(named->tid)->name = name_index(named->name);
		break;
	}
}

static void drain_ring(size_t watched)
{
	static _Alignas(8) char record[MAX_RECORD];
	struct perf_event_mmap_page *page = rings[watched].page;
	const char *data = (const char *)page + page->data_offset;
	uint64_t size = page->data_size, tail = page->data_tail;
	uint64_t head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);

	while (tail < head) {
		/* Records are aligned to 8 bytes, so their headers are never cut; the rest may be.
		 */
		const struct perf_event_header *header = (const void *)(data + tail % size);
		size_t bytes = header->size, to_end = size - tail % size;

		memcpy(record, header, bytes < to_end ? bytes : to_end);
		if (bytes > to_end)
			memcpy(record + to_end, data, bytes - to_end);
		take(watched, (const void *)record);
		tail += bytes;
	}
	__atomic_store_n(&page->data_tail, tail, __ATOMIC_RELEASE);
}

void samples_drain(void)
{
	size_t i;

	for (i = 0; i < samples.cpus->count; i++)
		drain_ring(i);
}

void samples_reset(void)
{
	samples_drain();
	samples.count = samples.word_count = 0;
	memset(samples.lost, 0, samples.cpus->count * sizeof(*samples.lost));
}

void samples_end(void)
{
	size_t i;

	for (i = 0; i < samples.cpus->count; i++)
		ioctl(rings[i].fd, PERF_EVENT_IOC_DISABLE, 0);
}

static uint64_t highest_hz(void)
{
	FILE *f = fopen("/proc/sys/kernel/perf_event_max_sample_rate", "r");
	uint64_t hz = UINT64_MAX;

	if (f) {
		if (fscanf(f, "%" SCNu64, &hz) != 1)
			hz = UINT64_MAX;
		fclose(f);
	}
	return hz;
}

/* On all CPUs, or on none; then errno and `cpu` say why. */
static bool open_rings(uint32_t type, uint64_t config, int *cpu)
{
	struct perf_event_attr attr = {
		.type = type,
		.size = sizeof(attr),
		.config = config,
		.freq = 1,
		.sample_freq = samples.hz,
		.sample_type = SAMPLED,
		.exclude_callchain_user = 1,
		.comm = 1,
	};
	size_t i;

	for (i = 0; i < samples.cpus->count; i++) {
		*cpu = samples.cpus->cpu[i];
		rings[i].fd = (int)syscall(SYS_perf_event_open, &attr, -1, *cpu, -1,
					   PERF_FLAG_FD_CLOEXEC);
		if (rings[i].fd < 0) {
			int why = errno;

			while (i--)
				close(rings[i].fd);
			errno = why;
			return false;
		}
	}
	return true;
}

void samples_open(const struct cpu_list *cpus, uint64_t hz)
{
	uint64_t highest = highest_hz();
	long page_bytes = sysconf(_SC_PAGESIZE);
	int cpu = 0;
	size_t i;

	symbols_require();
	samples.cpus = cpus;
	samples.hz = hz < highest ? hz : highest;
	rings = calloc(cpus->count, sizeof(*rings));
	samples.lost = calloc(cpus->count, sizeof(*samples.lost));
	if (!rings || !samples.lost)
		kb_die(KB_EXIT_FAILED, "out of memory");
	samples.event = "cycles";
	if (!open_rings(PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES, &cpu)) {
		perf_why(samples.no_cycles, sizeof(samples.no_cycles), errno, cpu);
		samples.event = "cpu-clock";
		if (!open_rings(PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK, &cpu)) {
			perf_why(samples.no_cycles, sizeof(samples.no_cycles), errno, cpu);
			kb_die(KB_EXIT_LACKS, "can't sample: %s", samples.no_cycles);
		}
	}
	for (i = 0; i < cpus->count; i++) {
		rings[i].page = mmap(NULL, page_bytes + RING_BYTES, PROT_READ | PROT_WRITE,
				     MAP_SHARED, rings[i].fd, 0);
		if (rings[i].page == MAP_FAILED)
			kb_die(KB_EXIT_LACKS, "no memory for a ring of samples: %s",
			       strerror(errno));
	}
}
