// SPDX-License-Identifier: GPL-2.0-only
/* Files of the machine: ordinary ones, and those of /proc and /sys as a network namespace sees
 * them. */
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kb_prog.h"

/* Where a path is to be looked up: plain, or in a namespace that was entered for the time being. */
struct place {
	bool entered;
	int sysfs; /* of that namespace, or -1 */
};

static int place_begin(struct place *at, const char *netns, const char **path)
{
	int error;

	at->entered = false;
	at->sysfs = -1;
	if (!strcmp(netns, "-"))
		return 0;
	error = netns_enter(netns);
	if (error)
		return error;
	at->entered = true;
	if (!strncmp(*path, "/sys/", 5)) {
		at->sysfs = netns_sysfs();
		if (at->sysfs < 0)
			return errno;
		*path += 5;
	}
	return 0;
}

static void place_end(const struct place *at)
{
	if (at->sysfs >= 0)
		close(at->sysfs);
	if (at->entered)
		netns_leave();
}

static int place_fd(const struct place *at)
{
	return at->sysfs >= 0 ? at->sysfs : AT_FDCWD;
}

/* Read all of `fd` into `data`; returns 0 or an errno. */
static int read_all(int fd, struct buffer *data)
{
	struct stat st;

	if (fstat(fd, &st))
		return errno;
	if (S_ISDIR(st.st_mode))
		return EISDIR;
	if (!S_ISREG(st.st_mode))
		return EINVAL;
	while (data->len <= AGENT_PAYLOAD_MAX) {
		ssize_t got = read(fd, buffer_space(data, AGENT_FRAME_MAX), AGENT_FRAME_MAX);

		if (got < 0)
			return errno;
		if (!got)
			return 0;
		data->len += got;
	}
	return EFBIG;
}

void file_get(const struct request *req)
{
	const char *id = req->word[1], *path = req->word[3];
	struct buffer data = { 0 };
	struct place at;
	int error, fd = -1;

	error = place_begin(&at, req->word[2], &path);
	if (!error) {
		/* O_NONBLOCK: a fifo or an empty trace_pipe must not stop the agent. */
		fd = openat(place_fd(&at), path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		error = fd < 0 ? errno : read_all(fd, &data);
	}
	if (fd >= 0)
		close(fd);
	place_end(&at);
	if (error)
		reply_fail(id, error, req->word[3]);
	else
		reply_bytes("data", id, data.bytes, data.len);
	free(data.bytes);
}

static int make_parents(const char *path)
{
	char *copy = strdup(path), *slash;
	int error = copy ? 0 : ENOMEM;

	for (slash = copy ? strchr(copy + 1, '/') : NULL; slash && !error;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(copy, 0755) && errno != EEXIST)
			error = errno;
		*slash = '/';
	}
	free(copy);
	return error;
}

static int write_all(int fd, const char *bytes, size_t len)
{
	struct stat st;

	if (fstat(fd, &st))
		return errno;
	for (;;) {
		ssize_t done = write(fd, bytes, len);

		if (done < 0)
			return errno;
		bytes += done;
		len -= done;
		if (!len)
			return 0;
		/* A second write() would mean something else to /proc and /sys; those say size 0
		 * and never grow. */
		if (!done || !S_ISREG(st.st_mode))
			return EIO;
	}
}

void file_put(const struct request *req)
{
	const char *id = req->word[1], *path = req->word[3], *letter = req->word[5];
	int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_TRUNC, error = 0,
	    fd = -1;
	bool parents = false;
	struct place at;
	char *end;
	mode_t mode = strtoul(req->word[4], &end, 8);

	if (*end || mode > 07777)
		return reply_fail(id, EINVAL, "the file's mode");
	for (; *letter; letter++) {
		if (*letter == 'a')
			flags = (flags & ~O_TRUNC) | O_APPEND;
		else if (*letter == 'x')
			flags |= O_EXCL;
		else if (*letter == 'p')
			parents = true;
		else if (strcmp(letter, "-"))
			return reply_fail(id, EINVAL, "flags of put");
	}
	error = place_begin(&at, req->word[2], &path);
	if (!error && parents)
		error = make_parents(path);
	if (!error) {
		/* Files of /proc and /sys can't be made: EACCES or ENOENT comes back. */
		fd = openat(place_fd(&at), path, flags, mode);
		error = fd < 0 ? errno : write_all(fd, req->payload, req->payload_len);
	}
	if (fd >= 0 && close(fd) && !error)
		error = errno;
	place_end(&at);
	if (error)
		reply_fail(id, error, req->word[3]);
	else
		reply("ok %s", id);
}

void file_list(const struct request *req)
{
	const char *id = req->word[1], *path = req->word[3];
	struct buffer names = { 0 };
	struct dirent *entry;
	struct place at;
	DIR *dir = NULL;
	int error, fd;

	error = place_begin(&at, req->word[2], &path);
	if (!error) {
		fd = openat(place_fd(&at), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		dir = fd < 0 ? NULL : fdopendir(fd);
		error = dir ? 0 : errno;
	}
	while (dir && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			buffer_add(&names, entry->d_name, strlen(entry->d_name) + 1);
	if (dir)
		closedir(dir);
	place_end(&at);
	if (error)
		reply_fail(id, error, req->word[3]);
	else
		reply_bytes("data", id, names.bytes, names.len);
	free(names.bytes);
}

void file_stat(const struct request *req)
{
	const char *path = req->word[3];
	struct place at;
	struct stat st;
	int error;

	error = place_begin(&at, req->word[2], &path);
	if (!error && fstatat(place_fd(&at), path, &st, AT_SYMLINK_NOFOLLOW))
		error = errno;
	place_end(&at);
	if (error)
		reply_fail(req->word[1], error, req->word[3]);
	else
		reply("stat %s %o %lld", req->word[1], st.st_mode, (long long)st.st_size);
}

void file_mkdir(const struct request *req)
{
	char *end;
	mode_t mode = strtoul(req->word[3], &end, 8);
	int error = 0;

	if (*end || mode > 07777)
		error = EINVAL;
	else if (mkdir(req->word[2], mode))
		error = errno;
	if (error)
		reply_fail(req->word[1], error, req->word[2]);
	else
		reply("ok %s", req->word[1]);
}

void file_remove(const struct request *req)
{
	if (unlink(req->word[2]) && (errno != EISDIR || rmdir(req->word[2])))
		reply_fail(req->word[1], errno, req->word[2]);
	else
		reply("ok %s", req->word[1]);
}
