// SPDX-License-Identifier: GPL-2.0-only
/*
 * kb-agent - the one way by which kbench reaches a machine: runs programs, reads and writes files,
 * each in a network namespace or not, for one client at the other end of stdin/stdout, or of a
 * virtio port (--init: as the first process of the lab, see init.c). When the connection ends,
 * everything it started ends; with --silence also when nothing was heard for so many seconds: a
 * server of connections may notice hours late that the cable was cut.
 *
 * The protocol, requests and replies, is in docs/programs.md, section "The agent".
 */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "kb_prog.h"

#define GRACE_NS 2000000000ULL
#define SILENCE_MAX_S 86400
#define ID_MAX 32

static struct buffer input, output;
static bool discard_output, want_end;

/* A reply of words that need no encoding. */
void reply(const char *fmt, ...)
{
	char line[256];
	va_list args;
	int len;

	if (discard_output)
		return;
	va_start(args, fmt);
	len = vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	buffer_add(&output, line, len);
	buffer_add(&output, "\n", 1);
}

void reply_bytes(const char *kind, const char *id, const void *bytes, size_t len)
{
	if (discard_output)
		return;
	reply("%s %s %zu", kind, id, len);
	buffer_add(&output, bytes, len);
}

/* `error` is an errno; `what` names the thing that failed and may be text of others, so it is
 * encoded. */
void reply_fail(const char *id, int error, const char *what)
{
	char text[512], line[sizeof(text) * 3 + 1];
	size_t at = 0;
	char *c;

	snprintf(text, sizeof(text), "%s: %s", what, strerror(error));
	for (c = text; *c; c++) {
		if (*c > ' ' && *c < 0x7f && *c != '%')
			line[at++] = *c;
		else
			at += sprintf(line + at, "%%%02X", (unsigned char)*c);
	}
	line[at] = '\0';
	if (discard_output)
		return;
	reply("fail %s %d ", id, error);
	output.len--; /* the message follows on the same line; it may be longer than reply() takes
		       */
	buffer_add(&output, line, at);
	buffer_add(&output, "\n", 1);
}

bool parse_number(const char *text, long min, long max, long *value)
{
	char *end;

	errno = 0;
	*value = strtol(text, &end, 10);
	return *text && !*end && !errno && *value >= min && *value <= max;
}

bool output_is_full(void)
{
	return output.len >= AGENT_OUT_HIGH;
}

static void do_hello(const struct request *req)
{
	struct utsname name;

	uname(&name);
	reply("hello %s %d %d %s", req->word[1], AGENT_PROTOCOL, getpid(), name.release);
}

static void do_poweroff(const struct request *req)
{
	reply("ok %s", req->word[1]);
	want_end = true;
}

static const struct verb {
	const char *name;
	int min_words;
	int payload_word; /* the word that holds the payload's length; 0: none follows */
	void (*run)(const struct request *req);
} verbs[] = {
	{ "hello", 2, 0, do_hello },	   { "spawn", 7, 4, child_spawn },
	{ "write", 4, 3, child_write },	   { "kill", 4, 0, child_kill },
	{ "get", 4, 0, file_get },	   { "put", 7, 6, file_put },
	{ "list", 4, 0, file_list },	   { "stat", 4, 0, file_stat },
	{ "mkdir", 4, 0, file_mkdir },	   { "remove", 3, 0, file_remove },
	{ "poweroff", 2, 0, do_poweroff },
};

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

static bool decode_word(char *word)
{
	char *to = word;

	for (; *word; word++) {
		if (*word == '%') {
			int high = hex_digit(word[1]);
			int low = high < 0 ? -1 : hex_digit(word[2]);

			if (low < 0 || !(high | low))
				return false; /* a NUL can't be in a path or an argument */
			*to++ = high << 4 | low;
			word += 2;
		} else {
			*to++ = *word;
		}
	}
	*to = '\0';
	return true;
}

static bool good_id(const char *id)
{
	size_t len = strspn(id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");

	return len && !id[len] && len <= ID_MAX;
}

/* Cut `line` into words, in place. The caller frees req->word. */
static bool split_line(char *line, struct request *req)
{
	int room = 16;

	req->words = 0;
	req->word = malloc(room * sizeof(*req->word));
	while (line && req->word) {
		char *word = strsep(&line, " ");

		if (req->words + 2 > room) {
			room *= 2;
			req->word = realloc(req->word, room * sizeof(*req->word));
			if (!req->word)
				break;
		}
		if (!decode_word(word))
			return false;
		req->word[req->words++] = word;
		req->word[req->words] = NULL; /* so that the tail can be argv */
	}
	return req->word && req->words >= 2 && good_id(req->word[1]);
}

/*
 * Serve the first request in the buffer. Returns 0 when it isn't complete yet, 1 when it was taken,
 * -1 when the stream makes no sense.
 */
static int serve_one(void)
{
	char *start = input.bytes + input.start,
	     *end = input.len ? memchr(start, '\n', input.len) : NULL;
	struct request req = { 0 };
	const struct verb *verb;
	size_t i, line_len;
	int result = -1;
	char *line;
	long len;

	if (!end)
		return input.len > AGENT_LINE_MAX ? -1 : 0;
	line_len = end - start + 1;
	line = strndup(start, line_len - 1);
	if (!line || !split_line(line, &req))
		goto out;
	for (i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (!strcmp(req.word[0], verbs[i].name))
			break;
	if (i == sizeof(verbs) / sizeof(verbs[0]))
		goto out;
	verb = &verbs[i];
	if (req.words < verb->min_words)
		goto out;
	if (verb->payload_word && !(verb->run == child_spawn && !strcmp(req.word[4], "-"))) {
		if (!parse_number(req.word[verb->payload_word], 0, AGENT_PAYLOAD_MAX, &len))
			goto out;
		req.payload_len = len;
		req.payload = end + 1;
		if (input.len < line_len + req.payload_len) {
			result = 0;
			goto out;
		}
	}
	verb->run(&req);
	buffer_take(&input, line_len + req.payload_len);
	result = 1;
out:
	free(req.word);
	free(line);
	return result;
}

/* False when nothing more will come. */
static bool read_input(int in)
{
	ssize_t got = read(in, buffer_space(&input, AGENT_FRAME_MAX), AGENT_FRAME_MAX);

	if (got < 0)
		return errno == EAGAIN || errno == EINTR;
	input.len += got;
	return got > 0;
}

static bool write_output(int out)
{
	while (output.len) {
		ssize_t done = write(out, output.bytes + output.start, output.len);

		if (done < 0)
			return errno == EAGAIN || errno == EINTR;
		buffer_take(&output, done);
	}
	return true;
}

/* True when a signal asks for the end. */
static bool read_signals(int fd)
{
	struct signalfd_siginfo info;
	bool end = false;

	while (read(fd, &info, sizeof(info)) == sizeof(info))
		if (info.ssi_signo != SIGCHLD)
			end = true;
	child_reap();
	return end;
}

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/*
 * Serve one connection, then end all children. The client must say something every `silence_s`
 * seconds, if that is not 0. Returns 0 when the client ended it in order.
 */
int serve(int in, int out, long silence_s)
{
	int signals = open_signals(), failed = 0, kills = 0;
	uint64_t deadline = 0, heard = kb_now_ns(), silence_ns = silence_s * 1000000000ULL;
	struct pollfd *fds;

	if (signals < 0)
		kb_die(KB_EXIT_FAILED, "signalfd: %s", strerror(errno));
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	fcntl(in, F_SETFL, fcntl(in, F_GETFL) | O_NONBLOCK);
	fcntl(out, F_SETFL, fcntl(out, F_GETFL) | O_NONBLOCK);

	/* What SIGKILL does not end within three rounds hangs in the kernel, and waiting longer
	 * would only hide that. */
	while (!deadline || (child_any() && kills < 3)) {
		bool end = false, full = !deadline && output_is_full();
		int timeout = -1, nfds, taken = 1;

		/* Children first: child_pollfds() may move the array. */
		nfds = child_pollfds(&fds, 3);
		fds[0] = (struct pollfd){ .fd = signals, .events = POLLIN };
		/* A descriptor that we don't want to hear of must not wake us by its POLLHUP
		 * either. */
		fds[1] = (struct pollfd){ .fd = deadline || full ? -1 : in, .events = POLLIN };
		fds[2] = (struct pollfd){ .fd = output.len && !discard_output ? out : -1,
					  .events = POLLOUT };
		if (deadline) {
			uint64_t now = kb_now_ns();

			if (now >= deadline) {
				child_signal_all(SIGKILL);
				kills++;
				deadline = now + GRACE_NS;
			}
			timeout = (deadline - now) / 1000000 + 1;
		} else if (silence_s) {
			uint64_t silent = kb_now_ns() - heard;

			end = silent >= silence_ns;
			if (end)
				kb_warn("nothing was heard from the client for %ld s", silence_s);
			timeout = end ? 0 : (silence_ns - silent) / 1000000 + 1;
		}
		if (poll(fds, full ? 3 : nfds, timeout) < 0 && errno != EINTR)
			kb_die(KB_EXIT_FAILED, "poll: %s", strerror(errno));

		/* While nothing is read, a client that takes what it asked for is alive. */
		if (fds[1].revents || (full && fds[2].revents))
			heard = kb_now_ns();
		if (fds[2].revents)
			end |= !write_output(out);
		if (fds[0].revents)
			end |= read_signals(signals);
		if (!full)
			child_transfer(fds, discard_output);
		child_drain(discard_output);
		if (fds[1].revents)
			end |= !read_input(in);
		/* Also without new input: a request may have waited for room in the output. */
		while (!deadline && !want_end && !output_is_full() && taken > 0)
			taken = serve_one();
		if (taken < 0) {
			kb_warn("the client sent what is no request");
			failed = 1;
			end = true;
		}
		if ((end || want_end) && !deadline) {
			write_output(out);
			discard_output = true;
			child_end_input_all();
			child_signal_all(SIGTERM);
			deadline = kb_now_ns() + GRACE_NS;
		}
	}
	child_kill_descendants();
	close(signals);
	return failed;
}

int main(int argc, char **argv)
{
	long silence_s = 0;

	if (argc == 2 && !strcmp(argv[1], "--init"))
		return init_main();
	if (argc != 1 && (argc != 3 || strcmp(argv[1], "--silence") ||
			  !parse_number(argv[2], 1, SILENCE_MAX_S, &silence_s))) {
		fprintf(stderr, "kb-agent: usage: kb-agent [--init | --silence SECONDS]\n");
		return KB_EXIT_USAGE;
	}
	return serve(STDIN_FILENO, STDOUT_FILENO, silence_s);
}
