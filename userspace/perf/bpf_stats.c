// SPDX-License-Identifier: GPL-2.0-only
/* Run time of all BPF programs on the machine, by the kernel's own accounting: see perf.h. */
#include "perf.h"
#include "kb_prog.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct program {
	uint32_t id, type;
	char name[BPF_OBJ_NAME_LEN];
	uint64_t run_ns, runs;
};

struct programs {
	struct program *at;
	size_t count;
};

static struct programs base;

void bpf_stats_open(void)
{
	/* Never closed: the accounting is to last as long as the process. */
	if (bpf_enable_stats(BPF_STATS_RUN_TIME) < 0)
		kb_die(KB_EXIT_LACKS, "no accounting of BPF run time (BPF_ENABLE_STATS): %s",
		       strerror(errno));
	bpf_stats_reset();
}

static struct programs read_all(void)
{
	struct programs all = {};
	uint32_t id = 0;

	while (!bpf_prog_get_next_id(id, &id)) {
		struct bpf_prog_info info = {};
		uint32_t len = sizeof(info);
		int fd = bpf_prog_get_fd_by_id(id);

		if (fd < 0)
			continue; /* unloaded meanwhile */
		if (!bpf_obj_get_info_by_fd(fd, &info, &len)) {
			all.at = realloc(all.at, (all.count + 1) * sizeof(*all.at));
			if (!all.at)
				kb_die(KB_EXIT_FAILED, "out of memory");
			all.at[all.count] = (struct program){ .id = id,
							      .type = info.type,
							      .run_ns = info.run_time_ns,
							      .runs = info.run_cnt };
			memcpy(all.at[all.count++].name, info.name, BPF_OBJ_NAME_LEN);
		}
		close(fd);
	}
	return all;
}

void bpf_stats_reset(void)
{
	free(base.at);
	base = read_all();
}

void bpf_stats_json(void)
{
	struct programs now = read_all();
	size_t i, j = 0;

	kb_json_arr_begin("bpf");
	for (i = 0; i < now.count; i++) {
		struct program *program = &now.at[i];

		/* Both lists are in the order of ids, and ids are not used again. */
		while (j < base.count && base.at[j].id < program->id)
			j++;
		if (j < base.count && base.at[j].id == program->id) {
			program->run_ns -= base.at[j].run_ns;
			program->runs -= base.at[j].runs;
		}
		if (!program->runs)
			continue;
		kb_json_obj_begin(NULL);
		kb_json_u64("id", program->id);
		kb_json_str("name", program->name);
		kb_json_u64("type", program->type);
		kb_json_u64("runs", program->runs);
		kb_json_u64("run_ns", program->run_ns);
		kb_json_obj_end();
	}
	kb_json_arr_end();
	free(now.at);
}
