// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loads and removes kbench_nf.ko: see netfilter.h. Modules belong to the whole
 * machine, not to a network namespace. After a kill -9 the module stays, idle; the next
 * program to use it removes it at its end, or `kb-netfilter --unload`.
 */
#include "netfilter.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "kb_prog.h"

#define NAME "kbench_nf"
#define SYS "/sys/module/" NAME

static ssize_t read_sys(const char *path, void *buf, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return -1;
	len = read(fd, buf, room);
	close(fd);
	return len;
}

/*
 * Is the loaded module the one in the file? Its build ID, as the kernel shows
 * it, is among the file's bytes then. Unknown (no build IDs): yes.
 */
static bool same_build(const char *file, size_t len)
{
	char note[256];
	ssize_t note_len = read_sys(SYS "/notes/.note.gnu.build-id", note, sizeof(note));

	return note_len <= 0 || memmem(file, len, note, note_len);
}

static bool is_transient(void)
{
	char value = 'N';

	return read_sys(SYS "/parameters/transient", &value, 1) == 1 && value == 'Y';
}

int module_unload(void)
{
	return syscall(SYS_delete_module, NAME, O_NONBLOCK) ? -errno : 0;
}

void module_release(void)
{
	if (is_transient())
		module_unload(); /* another program still uses it: that one will */
}

/* Release that the module was built for, "" if the file says none. */
static void read_vermagic(const char *file, size_t len, char *release, size_t room)
{
	static const char key[] = "vermagic=";
	const char *at = memmem(file, len, key, sizeof(key) - 1), *end = file + len;
	size_t n = 0;

	if (at)
		for (at += sizeof(key) - 1; at < end && *at && *at != ' ' && n + 1 < room; at++)
			release[n++] = *at;
	release[n] = '\0';
}

static void __attribute__((noreturn)) refused(const char *path, const char *release, int err)
{
	struct utsname running;
	char disabled = '0';

	uname(&running);
	switch (err) {
	case ENOEXEC:
		if (strcmp(release, running.release))
			kb_die(KB_EXIT_LACKS,
			       "%s was built for kernel %s, this is %s: build it for this one",
			       path, release, running.release);
		kb_die(KB_EXIT_LACKS,
		       "the kernel (%s) refuses %s, built for %s with other options: see dmesg",
		       running.release, path, release);
	case ENOSYS:
		kb_die(KB_EXIT_LACKS,
		       "this kernel (%s) can't load modules: measure netfilter in the lab",
		       running.release);
	case EPERM:
		read_sys("/proc/sys/kernel/modules_disabled", &disabled, 1);
		if (disabled == '1')
			kb_die(KB_EXIT_LACKS, "module loading is switched off until reboot "
					      "(kernel.modules_disabled)");
		kb_die(KB_EXIT_LACKS, "may not load modules: not root, in a container, or the "
				      "kernel is locked down");
	case ENOKEY:
	case EKEYREJECTED:
		kb_die(KB_EXIT_LACKS,
		       "the kernel takes signed modules only: sign %s, or measure in the lab",
		       path);
	case ENOENT:
		kb_die(KB_EXIT_LACKS, "the kernel (%s) lacks what %s needs: see dmesg",
		       running.release, path);
	default:
		kb_die(KB_EXIT_LACKS, "can't load %s: %s", path, strerror(err));
	}
}

static bool load(const char *path, const char *file, size_t len)
{
	char release[128];
	int fd, err;

	read_vermagic(file, len, release, sizeof(release));
	if (len < 4 || memcmp(file, "\177ELF", 4) || !release[0])
		kb_die(KB_EXIT_USAGE, "%s: not a kernel module", path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		kb_die(KB_EXIT_USAGE, "%s: %s", path, strerror(errno));
	err = syscall(SYS_finit_module, fd, "transient=1", 0) ? errno : 0;
	close(fd);
	if (err && err != EEXIST) /* another program was faster */
		refused(path, release, err);
	return !err;
}

bool module_ensure(const char *path)
{
	bool loaded = !access(SYS, F_OK), ours = false;
	size_t len;
	char *file;

	if (!path)
		return false;
	file = kb_read_file(path, &len);
	if (loaded && !same_build(file, len)) {
		if (!is_transient())
			kb_die(KB_EXIT_LACKS, "another build of " NAME " is loaded: run "
					      "`kb-netfilter --unload`, then try again");
		if (module_unload())
			kb_die(KB_EXIT_LACKS, "another build of " NAME " is loaded and in use: "
					      "end the run that uses it first");
		loaded = false;
	}
	if (!loaded)
		ours = load(path, file, len);
	free(file);
	return ours;
}
