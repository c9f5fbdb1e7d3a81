// SPDX-License-Identifier: GPL-2.0-only
/* kb-offer-xdp --resident: see resident.h. Lines that arrive during a load wait for its end. */
#include "resident.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "kb_prog.h"

#define LINE_MAX_BYTES 80 /* three numbers of 20 digits fit */

static char bytes[LINE_MAX_BYTES];
static size_t have;

/* Waits for more of stdin; false at its end, or when the program is to end. */
static bool read_more(struct generator *gen)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	ssize_t got;

	while (!kb_stop) {
		if (kb_poll(&in, 1, -1) <= 0) {
			live_answer(gen);
			continue;
		}
		got = read(STDIN_FILENO, bytes + have, sizeof(bytes) - have);
		if (got < 0 && errno != EINTR && errno != EAGAIN)
			kb_die(KB_EXIT_FAILED, "stdin: %s", strerror(errno));
		if (!got && have)
			kb_die(KB_EXIT_USAGE, "stdin: the last line has no end");
		if (got >= 0) {
			have += got;
			return got > 0;
		}
	}
	return false;
}

/* The next line, without its end; false when there is none. */
static bool next_line(struct generator *gen, char line[LINE_MAX_BYTES])
{
	size_t length;
	char *end;

	while (!(end = memchr(bytes, '\n', have))) {
		if (have == sizeof(bytes))
			kb_die(KB_EXIT_USAGE, "stdin: a line is longer than %d bytes",
			       LINE_MAX_BYTES - 1);
		if (!read_more(gen))
			return false;
	}
	length = end - bytes;
	memcpy(line, bytes, length);
	line[length] = '\0';
	have -= length + 1;
	memmove(bytes, end + 1, have);
	return true;
}

static void parse_load(char *line, struct load *load)
{
	char *word[3], *rest = line;

	for (int i = 0; i < 3; i++) {
		word[i] = strsep(&rest, " ");
		if (!word[i] || (i == 2 && rest))
			kb_die(KB_EXIT_USAGE,
			       "stdin: %s than the three numbers RATE_PPS DURATION_MS COUNT",
			       rest ? "more" : "less");
	}
	load->rate_pps = kb_parse_u64("stdin: rate", word[0], 0, RATE_PPS_MAX);
	load->duration_ms = kb_parse_u64("stdin: duration", word[1], 0, DURATION_MS_MAX);
	load->count = kb_parse_u64("stdin: count", word[2], 0, UINT64_MAX);
}

void resident_serve(struct generator *gen)
{
	char line[LINE_MAX_BYTES];

	while (!kb_stop && next_line(gen, line)) {
		parse_load(line, &gen->load);
		load_check(gen, &gen->load, "stdin");
		live_offer(gen);
	}
}
