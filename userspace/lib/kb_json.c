// SPDX-License-Identifier: GPL-2.0-only
/* The JSON lines that programs print on stdout: see kb_prog.h. */
#include "kb_prog.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_DEPTH 16

static struct {
	char *text;
	size_t len, room;
	int depth;
	char closer[MAX_DEPTH];
	bool comma;
} line;

static void add(const char *bytes, size_t len)
{
	if (line.len + len + 1 > line.room) {
		line.room = (line.len + len + 1) * 2;
		line.text = realloc(line.text, line.room);
		if (!line.text)
			kb_die(KB_EXIT_FAILED, "out of memory");
	}
	memcpy(line.text + line.len, bytes, len);
	line.len += len;
}

__attribute__((format(printf, 1, 2))) static void addf(const char *fmt, ...)
{
	char text[64];
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	add(text, len);
}

static void add_quoted(const char *text)
{
	add("\"", 1);
	for (; *text; text++) {
		unsigned char c = *text;

		if (c == '"' || c == '\\')
			addf("\\%c", c);
		else if (c < 0x20)
			addf("\\u%04x", c);
		else
			add(text, 1);
	}
	add("\"", 1);
}

static void add_key(const char *key)
{
	if (line.comma)
		add(",", 1);
	line.comma = true;
	if (key) {
		add_quoted(key);
		add(":", 1);
	}
}

static void open_level(const char *opener, char closer)
{
	if (line.depth == MAX_DEPTH)
		kb_die(KB_EXIT_FAILED, "JSON is nested deeper than %d", MAX_DEPTH);
	add(opener, 1);
	line.closer[line.depth++] = closer;
	line.comma = false;
}

static void close_level(void)
{
	add(&line.closer[--line.depth], 1);
	line.comma = true;
}

void kb_json_begin(const char *event)
{
	line.len = 0;
	line.depth = 0;
	line.comma = false;
	open_level("{", '}');
	kb_json_str("event", event);
}

void kb_json_u64(const char *key, uint64_t value)
{
	add_key(key);
	addf("%" PRIu64, value);
}

void kb_json_i64(const char *key, int64_t value)
{
	add_key(key);
	addf("%" PRId64, value);
}

void kb_json_f64(const char *key, double value)
{
	add_key(key);
	if (isfinite(value))
		addf("%.17g", value);
	else
		add("null", 4);
}

void kb_json_bool(const char *key, bool value)
{
	add_key(key);
	addf("%s", value ? "true" : "false");
}

void kb_json_str(const char *key, const char *value)
{
	add_key(key);
	add_quoted(value);
}

void kb_json_hex(const char *key, const void *bytes, size_t len)
{
	const unsigned char *byte = bytes;

	add_key(key);
	add("\"", 1);
	while (len--)
		addf("%02x", *byte++);
	add("\"", 1);
}

void kb_json_obj_begin(const char *key)
{
	add_key(key);
	open_level("{", '}');
}

void kb_json_obj_end(void)
{
	close_level();
}

void kb_json_arr_begin(const char *key)
{
	add_key(key);
	open_level("[", ']');
}

void kb_json_arr_end(void)
{
	close_level();
}

void kb_json_end(void)
{
	size_t at = 0;

	while (line.depth)
		close_level();
	add("\n", 1);
	while (at < line.len) {
		ssize_t done = write(STDOUT_FILENO, line.text + at, line.len - at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			kb_die(KB_EXIT_FAILED, "stdout: %s", strerror(errno));
		at += done;
	}
}
