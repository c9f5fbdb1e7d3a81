// SPDX-License-Identifier: GPL-2.0-only
/* The programs that the agent runs: starting, listening to, signalling and reaping them. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kb_prog.h"

struct child {
	struct child *next;
	char id[33];
	pid_t pid;
	bool reaped;
	int status;
	int fd[2];    /* stdout and stderr; -1 once drained */
	int in;	      /* stdin, if that was left open; -1 otherwise, and once it is closed */
	bool in_ends; /* closed as soon as `pending` is written */
	struct buffer pending; /* what its stdin did not take yet */
	int slot[3];	       /* places of fd and in in the array of poll() */
};

static const char *const stream_name[2] = { "out", "err" };
static struct child *children;

static struct child *child_find(const char *id)
{
	struct child *c;

	for (c = children; c; c = c->next)
		if (!strcmp(c->id, id))
			return c;
	return NULL;
}

/* What a child that could not start tells the agent through a pipe that execve() closes. */
struct start_failure {
	int error;
	char what[300];
};

static void __attribute__((noreturn)) child_fail(int report, int error, const char *what)
{
	struct start_failure failure = { .error = error };

	snprintf(failure.what, sizeof(failure.what), "%s", what);
	if (write(report, &failure, sizeof(failure)) < 0)
		_exit(127);
	_exit(126);
}

/* In the new process: become what the request asks for. `files` are stdin, stdout and stderr. */
static void __attribute__((noreturn))
child_run(const struct request *req, int envs, const int files[3], int report, pid_t agent)
{
	char **argv = req->word + 6 + envs;
	const char *netns = req->word[2];
	char what[300];
	int i, error;
	sigset_t none;
	long cpu;

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != agent)
		_exit(127);
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (i = 0; i < 3; i++)
		if (dup2(files[i], i) < 0)
			child_fail(report, errno, "dup2");
	if (strcmp(netns, "-")) {
		error = netns_enter(netns);
		if (error) {
			snprintf(what, sizeof(what), "network namespace %s", netns);
			child_fail(report, error, what);
		}
		error = netns_own_view();
		if (error)
			child_fail(report, error, "mounting /sys of the namespace");
	}
	if (parse_number(req->word[3], 0, CPU_SETSIZE - 1, &cpu)) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		if (sched_setaffinity(0, sizeof(set), &set))
			child_fail(report, errno, "pinning to the CPU");
	}
	for (i = 0; i < envs; i++)
		putenv(req->word[6 + i]);
	execvp(argv[0], argv);
	child_fail(report, errno, argv[0]);
}

static int payload_file(const struct request *req)
{
	size_t at = 0;
	int fd;

	if (!req->payload_len)
		return open("/dev/null", O_RDONLY | O_CLOEXEC);
	fd = memfd_create("stdin", MFD_CLOEXEC);
	while (fd >= 0 && at < req->payload_len) {
		ssize_t done = write(fd, req->payload + at, req->payload_len - at);

		if (done < 0) {
			close(fd);
			return -1;
		}
		at += done;
	}
	if (fd >= 0)
		lseek(fd, 0, SEEK_SET);
	return fd;
}

/* A pipe if stdin is to stay open, whose other end is `keep`. */
static int open_stdin(const struct request *req, int *keep)
{
	int pair[2];

	if (strcmp(req->word[4], "-"))
		return payload_file(req);
	if (pipe2(pair, O_CLOEXEC))
		return -1;
	fcntl(pair[1], F_SETFL, O_NONBLOCK);
	*keep = pair[1];
	return pair[0];
}

static void close_all(int *fds, int count)
{
	while (count--)
		if (fds[count] >= 0)
			close(fds[count]);
}

void child_spawn(const struct request *req)
{
	/* 0..2 the child's ends; 3, 4 ours of 1 and 2; 5, 6 the report's pipe; 7 ours of 0 */
	int fds[8] = { -1, -1, -1, -1, -1, -1, -1, -1 }, pair[2], i;
	struct start_failure failure;
	const char *id = req->word[1];
	pid_t agent = getpid(), pid;
	struct child *c;
	long envs, cpu;

	if (!parse_number(req->word[5], 0, req->words - 7, &envs) ||
	    (strcmp(req->word[3], "-") && !parse_number(req->word[3], 0, CPU_SETSIZE - 1, &cpu)) ||
	    child_find(id))
		return reply_fail(id, EINVAL, "spawn");
	fds[0] = open_stdin(req, &fds[7]);
	for (i = 1; i <= 2; i++) {
		if (pipe2(pair, O_CLOEXEC))
			goto fail;
		fds[i + 2] = pair[0];
		fds[i] = pair[1];
		fcntl(pair[0], F_SETFL, O_NONBLOCK);
	}
	if (fds[0] < 0 || pipe2(&fds[5], O_CLOEXEC))
		goto fail;
	pid = fork();
	if (!pid)
		child_run(req, envs, fds, fds[6], agent);
	if (pid < 0)
		goto fail;
	/* In both processes: whoever comes first, a signal to the group finds it. */
	setpgid(pid, pid);
	close(fds[6]);
	fds[6] = -1;
	if (read(fds[5], &failure, sizeof(failure)) == sizeof(failure)) {
		waitpid(pid, NULL, 0);
		close_all(fds, 8);
		return reply_fail(id, failure.error, failure.what);
	}
	close_all(fds, 3);
	close(fds[5]);
	c = calloc(1, sizeof(*c));
	if (!c)
		kb_die(KB_EXIT_FAILED, "out of memory");
	strcpy(c->id, id); /* the parser limits its length */
	c->pid = pid;
	c->fd[0] = fds[3];
	c->fd[1] = fds[4];
	c->in = fds[7];
	c->next = children;
	children = c;
	return reply("started %s %d", id, pid);
fail:
	i = errno;
	close_all(fds, 8);
	reply_fail(id, i, "starting a program");
}

static void end_input(struct child *c)
{
	if (c->in >= 0)
		close(c->in);
	c->in = -1;
	buffer_take(&c->pending, c->pending.len);
}

/* As much as the program's stdin takes now. */
static void write_pending(struct child *c)
{
	while (c->in >= 0 && c->pending.len) {
		ssize_t done = write(c->in, c->pending.bytes + c->pending.start, c->pending.len);

		if (done > 0)
			buffer_take(&c->pending, done);
		else if (errno == EAGAIN)
			return;
		else if (errno != EINTR)
			end_input(c); /* EPIPE: it has closed its stdin, or has ended */
	}
	if (c->in_ends)
		end_input(c);
}

/* Takes all bytes or none: what the pipe has no room for waits here, up to a limit. */
void child_write(const struct request *req)
{
	struct child *c = child_find(req->word[2]);

	if (!c || c->reaped)
		return reply_fail(req->word[1], ESRCH, "write");
	if (c->in < 0 || c->in_ends)
		return reply_fail(req->word[1], EPIPE, "write");
	if (c->pending.len + req->payload_len > AGENT_STDIN_MAX)
		return reply_fail(req->word[1], ENOBUFS, "write");
	buffer_add(&c->pending, req->payload, req->payload_len);
	c->in_ends = !req->payload_len;
	write_pending(c);
	if (c->in < 0 && !c->in_ends)
		return reply_fail(req->word[1], EPIPE, "write");
	reply("ok %s", req->word[1]);
}

void child_kill(const struct request *req)
{
	struct child *c = child_find(req->word[2]);
	long sig;

	if (!parse_number(req->word[3], 1, SIGRTMAX, &sig))
		return reply_fail(req->word[1], EINVAL, "kill");
	if (!c || c->reaped || kill(sig == SIGKILL ? -c->pid : c->pid, sig))
		return reply_fail(req->word[1], c && !c->reaped ? errno : ESRCH, "kill");
	reply("ok %s", req->word[1]);
}

/* Collect whoever has ended: our children, and orphans that we adopted as their subreaper. */
void child_reap(void)
{
	siginfo_t info;

	for (;;) {
		struct child *c;

		info.si_pid = 0;
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) || !info.si_pid)
			return;
		for (c = children; c; c = c->next)
			if (c->pid == info.si_pid && !c->reaped)
				break;
		/* While its leader is a zombie the group's number can't be anyone else's. */
		if (c)
			kill(-c->pid, SIGKILL);
		waitpid(info.si_pid, NULL, 0);
		if (c) {
			c->reaped = true;
			c->status = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
		}
	}
}

/* Read once from a child's pipe; false when there was nothing (left) to read. */
static bool read_stream(struct child *c, int stream, bool discard)
{
	char bytes[AGENT_FRAME_MAX];
	ssize_t got = read(c->fd[stream], bytes, sizeof(bytes));

	if (got > 0 && !discard)
		reply_bytes(stream_name[stream], c->id, bytes, got);
	if (got > 0 || (got < 0 && errno == EINTR))
		return true;
	if (!got || errno != EAGAIN) {
		close(c->fd[stream]);
		c->fd[stream] = -1;
	}
	return false;
}

/* Entries for poll() behind `used` ones of the caller. Returns the number of all. */
int child_pollfds(struct pollfd **fds, int used)
{
	static struct pollfd *all;
	static int room;
	int need = used, i;
	struct child *c;

	for (c = children; c; c = c->next)
		need += 3;
	if (need > room) {
		room = need * 2;
		all = realloc(all, room * sizeof(*all));
		if (!all)
			kb_die(KB_EXIT_FAILED, "out of memory");
	}
	for (c = children; c; c = c->next) {
		for (i = 0; i < 2; i++) {
			c->slot[i] = used++;
			all[c->slot[i]] = (struct pollfd){ .fd = c->fd[i], .events = POLLIN };
		}
		c->slot[2] = used++;
		all[c->slot[2]] =
			(struct pollfd){ .fd = c->pending.len ? c->in : -1, .events = POLLOUT };
	}
	*fds = all;
	return used;
}

/* After poll(), and before any child is added or removed. */
void child_transfer(const struct pollfd *fds, bool discard)
{
	struct child *c;
	int i;

	for (c = children; c; c = c->next) {
		for (i = 0; i < 2; i++)
			if (c->fd[i] >= 0 && fds[c->slot[i]].revents)
				read_stream(c, i, discard);
		if (c->in >= 0 && fds[c->slot[2]].revents)
			write_pending(c);
	}
}

/*
 * Finish with children that were reaped: what they wrote is in their pipes by now, so read until
 * there is nothing, even if an orphan that left the group keeps the pipe open, and report the exit.
 */
void child_drain(bool discard)
{
	struct child **link = &children, *c;
	int i;

	while ((c = *link)) {
		bool drained = c->reaped;

		for (i = 0; i < 2 && c->reaped; i++) {
			while (c->fd[i] >= 0 && (discard || !output_is_full()))
				if (!read_stream(c, i, discard))
					break;
			if (c->fd[i] >= 0 && !discard && output_is_full())
				drained = false;
		}
		if (!drained) {
			link = &c->next;
			continue;
		}
		close_all(c->fd, 2);
		end_input(c);
		free(c->pending.bytes);
		reply("exit %s %d", c->id, c->status);
		*link = c->next;
		free(c);
	}
}

bool child_any(void)
{
	return children;
}

void child_signal_all(int sig)
{
	struct child *c;

	for (c = children; c; c = c->next)
		if (!c->reaped)
			kill(-c->pid, sig);
}

void child_end_input_all(void)
{
	struct child *c;

	for (c = children; c; c = c->next)
		end_input(c);
}
