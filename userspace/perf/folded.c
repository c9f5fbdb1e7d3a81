// SPDX-License-Identifier: GPL-2.0-only
/* Samples with names in place of addresses, alike ones counted together: see perf.h. */
#include "perf.h"
#include "kb_prog.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct chain {
	char *text;
	size_t name; /* of the thread */
	uint64_t count;
};

static int by_text(const void *a, const void *b)
{
	const struct chain *one = a, *other = b;

	return strcmp(one->text, other->text);
}

static int by_count(const void *a, const void *b)
{
	const struct chain *one = a, *other = b;

	if (one->count != other->count)
		return one->count < other->count ? 1 : -1;
	return by_text(a, b);
}

/* "thread;outermost function;...;function that was running". */
static char *folded(const struct sample *sample)
{
	const uint64_t *chain = &samples.words[sample->first];
	char *text = NULL;
	size_t len, i;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		kb_die(KB_EXIT_FAILED, "out of memory");
	fputs(samples.names[sample->name], out);
	for (i = sample->depth; i--;) {
		fputc(';', out);
		/* Callers are known by where their callee returns to, which may be the next one's
		 * first byte. */
		symbol_write(out, i ? chain[i] - 1 : chain[i]);
	}
	if (fclose(out))
		kb_die(KB_EXIT_FAILED, "out of memory");
	return text;
}

/* Chains of one CPU, alike ones together, the most frequent first. */
static struct chain *chains_of(size_t watched, size_t *count)
{
	struct chain *all = calloc(samples.count + 1, sizeof(*all));
	size_t made = 0, kept = 0, i;

	if (!all)
		kb_die(KB_EXIT_FAILED, "out of memory");
	for (i = 0; i < samples.count; i++)
		if (samples.at[i].watched == watched && !samples.at[i].user)
			all[made++] =
				(struct chain){ folded(&samples.at[i]), samples.at[i].name, 1 };
	qsort(all, made, sizeof(*all), by_text);
	for (i = 0; i < made; i++) {
		if (kept && !strcmp(all[kept - 1].text, all[i].text)) {
			all[kept - 1].count++;
			free(all[i].text);
		} else {
			all[kept++] = all[i];
		}
	}
	qsort(all, kept, sizeof(*all), by_count);
	*count = kept;
	return all;
}

/* An object of the threads' names with their counts, without zeros. */
static void names_json(const char *key, const uint64_t *by_name)
{
	size_t i;

	kb_json_obj_begin(key);
	for (i = 0; i < samples.name_count; i++)
		if (by_name[i])
			kb_json_u64(samples.names[i], by_name[i]);
	kb_json_obj_end();
}

static void cpu_json(size_t watched)
{
	uint64_t *user = calloc(samples.name_count + 1, sizeof(*user));
	uint64_t *other = calloc(samples.name_count + 1, sizeof(*other));
	uint64_t taken = 0;
	struct chain *chains;
	size_t count, i;

	if (!user || !other)
		kb_die(KB_EXIT_FAILED, "out of memory");
	for (i = 0; i < samples.count; i++) {
		if (samples.at[i].watched != watched)
			continue;
		taken++;
		user[samples.at[i].name] += samples.at[i].user;
	}
	kb_json_obj_begin(NULL);
	kb_json_u64("cpu", (uint64_t)samples.cpus->cpu[watched]);
	kb_json_u64("samples", taken);
	kb_json_u64("lost", samples.lost[watched]);
	names_json("user", user);
	chains = chains_of(watched, &count);
	kb_json_arr_begin("chains");
	for (i = 0; i < count; i++) {
		if (i < MAX_CHAINS) {
			kb_json_arr_begin(NULL);
			kb_json_str(NULL, chains[i].text);
			kb_json_u64(NULL, chains[i].count);
			kb_json_arr_end();
		} else {
			other[chains[i].name] += chains[i].count;
		}
		free(chains[i].text);
	}
	kb_json_arr_end();
	names_json("other", other);
	kb_json_obj_end();
	free(chains);
	free(user);
	free(other);
}

void samples_json(void)
{
	size_t i;

	/* Only now: also programs that came meanwhile have a name then. */
	symbols_load();
	kb_json_str("sampled", samples.event);
	kb_json_u64("hz", samples.hz);
	kb_json_arr_begin("cpus");
	for (i = 0; i < samples.cpus->count; i++)
		cpu_json(i);
	kb_json_arr_end();
}
