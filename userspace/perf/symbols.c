// SPDX-License-Identifier: GPL-2.0-only
/* Names of kernel addresses, with those of modules and of compiled BPF programs: see perf.h. */
#include "perf.h"
#include "kb_prog.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KALLSYMS "/proc/kallsyms"
/* An address this far behind the last name before it lies in no function: in a gap between text and
 * modules, or in a BPF program that is gone. */
#define FUNCTION_BYTES_MAX (1 << 16)

struct symbol {
	uint64_t address;
	const char *name, *module; /* the module's with its brackets, or empty */
};

static struct symbol *symbols;
static size_t symbol_count;
static char *text; /* of KALLSYMS; names point into it */

void symbols_require(void)
{
	FILE *f = fopen(KALLSYMS, "r");
	uint64_t address = 0;
	int got;

	if (!f)
		kb_die(KB_EXIT_LACKS,
		       "no names of kernel functions: no " KALLSYMS " (CONFIG_KALLSYMS)");
	got = fscanf(f, "%" SCNx64, &address);
	fclose(f);
	if (got != 1 || !address)
		kb_die(KB_EXIT_LACKS,
		       "names of kernel functions are hidden: all addresses in " KALLSYMS
		       " are 0 (kernel.kptr_restrict, or not root)");
}

static int by_address(const void *a, const void *b)
{
	const struct symbol *one = a, *other = b;

	return one->address < other->address ? -1 : one->address > other->address;
}

/* A line is ADDRESS TYPE NAME, and behind a tab the [MODULE] if it is of one. Functions only. */
static void add_line(char *line)
{
	char *name, *module;
	uint64_t address = strtoull(line, &name, 16);

	if (name[0] != ' ' || !name[1] || !strchr("tTwW", name[1]) || name[2] != ' ')
		return;
	name += 3;
	module = strchr(name, '\t');
	if (module)
		*module++ = '\0';
	/* All of [bpf] say so in their names already. */
	if (!module || !strcmp(module, "[bpf]"))
		module = name + strlen(name);
	symbols[symbol_count++] = (struct symbol){ address, name, module };
}

void symbols_load(void)
{
	size_t len, lines = 0, i;
	char *line, *rest;

	free(text);
	free(symbols);
	text = rest = kb_read_file(KALLSYMS, &len);
	for (i = 0; i < len; i++)
		lines += text[i] == '\n';
	symbols = calloc(lines + 1, sizeof(*symbols));
	if (!symbols)
		kb_die(KB_EXIT_FAILED, "out of memory");
	symbol_count = 0;
	while ((line = strsep(&rest, "\n")))
		add_line(line);
	qsort(symbols, symbol_count, sizeof(*symbols), by_address);
}

void symbol_write(FILE *out, uint64_t address)
{
	size_t low = 0, high = symbol_count;

	/* The last one that does not start behind `address` is at low - 1 in the end. */
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (symbols[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low || address - symbols[low - 1].address > FUNCTION_BYTES_MAX)
		fputs("[unknown]", out);
	else
		fprintf(out, "%s%s", symbols[low - 1].name, symbols[low - 1].module);
}
