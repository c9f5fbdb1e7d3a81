// SPDX-License-Identifier: GPL-2.0-only
/* Loading and attaching BPF: see kb_xdp.h. */
#include "kb_xdp.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image.h"
#include "kb_prog.h"

int kb_xdp_attach(int prog_fd, const char *ifname, int ifindex, bool generic)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts,
		    .flags = generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE);
	int fd = bpf_link_create(prog_fd, ifindex, BPF_XDP, &opts);

	if (fd >= 0)
		return fd;
	switch (-fd) {
	case EBUSY:
	case EEXIST:
		kb_die(KB_EXIT_FAILED,
		       "another XDP program is attached to %s: detach it (ip link set %s xdp off)",
		       ifname, ifname);
	case EOPNOTSUPP:
		kb_die(KB_EXIT_LACKS, "the driver of %s has no native XDP%s", ifname,
		       generic ? "" : ": where there is a choice, use generic mode");
	case EPERM:
		kb_die(KB_EXIT_LACKS, "attaching to %s needs CAP_NET_ADMIN: run as root", ifname);
	default:
		kb_die(KB_EXIT_LACKS,
		       "can't attach XDP to %s: %s (too large an MTU, too few queues?)", ifname,
		       strerror(-fd));
	}
}

void kb_xdp_load_failed(int err)
{
	if (err == -EPERM || err == -EACCES)
		kb_die(KB_EXIT_LACKS, "the kernel refused the BPF program: %s%s", strerror(-err),
		       geteuid() ? " (run as root)" : "");
	kb_die(err == -ENOMEM ? KB_EXIT_FAILED : KB_EXIT_LACKS, "can't load the BPF program: %s",
	       strerror(-err));
}

void *kb_xdp_map_memory(const struct bpf_map *map, size_t *bytes)
{
	size_t page = sysconf(_SC_PAGESIZE), len;
	void *memory;

	len = ((size_t)bpf_map__value_size(map) + 7) / 8 * 8 * bpf_map__max_entries(map);
	memory = mmap(NULL, (len + page - 1) / page * page, PROT_READ | PROT_WRITE, MAP_SHARED,
		      bpf_map__fd(map), 0);
	if (memory == MAP_FAILED)
		kb_die(KB_EXIT_FAILED, "mmap of BPF map %s: %s", bpf_map__name(map),
		       strerror(errno));
	*bytes = len;
	return memory;
}

void kb_xdp_read_image(const char *path, const char *function, struct kb_image *image)
{
	static const char *const names[] = { "drop", "forward", "filter", NULL };
	__u32 asked = kb_parse_choice("--function", function, names) + KB_DROP;
	const char *wrong;
	size_t len;
	void *blob = kb_read_file(path, &len); /* `image` points into it: never freed */

	wrong = kb_image_check(blob, len, image);
	if (wrong)
		kb_die(KB_EXIT_USAGE, "%s: %s", path, wrong);
	if (image->params.function != asked)
		kb_die(KB_EXIT_USAGE, "%s: image is for \"%s\", not for \"%s\"", path,
		       names[image->params.function - KB_DROP], function);
}
