// SPDX-License-Identifier: GPL-2.0-only
/* Bytes in flight between the agent, its client and its children. */
#include "agent.h"

#include <stdlib.h>
#include <string.h>

#include "kb_prog.h"

/* Room for `len` more bytes behind the data; the caller raises b->len by what it used. */
char *buffer_space(struct buffer *b, size_t len)
{
	if (b->start && b->start + b->len + len > b->room) {
		memmove(b->bytes, b->bytes + b->start, b->len);
		b->start = 0;
	}
	if (b->len + len > b->room) {
		b->room = (b->len + len) * 2;
		b->bytes = realloc(b->bytes, b->room);
		if (!b->bytes)
			kb_die(KB_EXIT_FAILED, "out of memory");
	}
	return b->bytes + b->start + b->len;
}

void buffer_add(struct buffer *b, const void *bytes, size_t len)
{
	if (!len)
		return;
	memcpy(buffer_space(b, len), bytes, len);
	b->len += len;
}

/* Drop `len` bytes from the front; a buffer that was large for one file gives its memory back. */
void buffer_take(struct buffer *b, size_t len)
{
	b->start += len;
	b->len -= len;
	if (b->len)
		return;
	b->start = 0;
	if (b->room > 4 * AGENT_OUT_HIGH) {
		free(b->bytes);
		b->bytes = NULL;
		b->room = 0;
	}
}
