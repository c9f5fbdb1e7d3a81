/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of kb-agent share. The protocol is in docs/programs.md. */
#ifndef KB_AGENT_H
#define KB_AGENT_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define AGENT_PROTOCOL 2
#define AGENT_LINE_MAX (1 << 20) /* bytes of a request's line */
#define AGENT_PAYLOAD_MAX                                                                          \
	(512UL << 20)		   /* bytes that follow a line, and of a file that get returns */
#define AGENT_FRAME_MAX (64 << 10) /* bytes of one out or err frame */
#define AGENT_OUT_HIGH (1 << 20)   /* above this nothing is read that would make more output */
#define AGENT_STDIN_MAX (1 << 20)  /* bytes that wait for a program to read its stdin */

/* buffer.c: bytes in flight; data starts at bytes + start. */
struct buffer {
	char *bytes;
	size_t start, len, room;
};

char *buffer_space(struct buffer *b, size_t len);
void buffer_add(struct buffer *b, const void *bytes, size_t len);
void buffer_take(struct buffer *b, size_t len);

/* A request: words that are decoded in place, and the payload that followed them. */
struct request {
	char **word;
	int words;
	const char *payload;
	size_t payload_len;
};

/* agent.c */
void reply(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void reply_bytes(const char *kind, const char *id, const void *bytes, size_t len);
void reply_fail(const char *id, int error, const char *what);
bool parse_number(const char *text, long min, long max, long *value);
bool output_is_full(void);
int serve(int in, int out, long silence_s);

/* child.c */
void child_spawn(const struct request *req);
void child_write(const struct request *req);
void child_kill(const struct request *req);
void child_reap(void);
int child_pollfds(struct pollfd **fds, int used);
void child_transfer(const struct pollfd *fds, bool discard);
void child_drain(bool discard);
bool child_any(void);
void child_signal_all(int sig);
void child_end_input_all(void);

/* descendants.c */
void child_kill_descendants(void);

/* netns.c */
int netns_enter(const char *name);
void netns_leave(void);
int netns_sysfs(void);
int netns_own_view(void);

/* file.c */
void file_get(const struct request *req);
void file_put(const struct request *req);
void file_list(const struct request *req);
void file_stat(const struct request *req);
void file_mkdir(const struct request *req);
void file_remove(const struct request *req);

/* init.c */
int init_main(void);

#endif
