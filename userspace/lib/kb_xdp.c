// SPDX-License-Identifier: GPL-2.0-only
/* Loading and attaching BPF: see kb_xdp.h. */
#include "kb_xdp.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "image.h"
#include "kb_netdev.h"
#include "kb_prog.h"

#define LINK_WAIT_MS 15000 /* gigabit negotiation takes 2 to 4 s, slow transceivers more */
#define LINK_STEP_US 2000

const char *const kb_xdp_modes[] = { "native", "generic", "auto", NULL };

static char kernel_said[128];

/* libbpf prints what the kernel says besides an error code; it has no other way to tell. */
static int listen_to_libbpf(enum libbpf_print_level level, const char *fmt, va_list args)
{
	static const char before[] = "libbpf: Kernel error message: ";
	char line[256];

	(void)level;
	vsnprintf(line, sizeof(line), fmt, args);
	if (!strncmp(line, before, strlen(before))) {
		line[strcspn(line, "\n")] = '\0';
		snprintf(kernel_said, sizeof(kernel_said), ": %.120s", line + strlen(before));
	}
	return 0;
}

/*
 * Why a driver refuses a program: only an attachment by netlink tells (a missing feature, too large
 * an MTU, too few queues). ": reason", or "" if it does not say.
 */
static const char *ask_for_reason(int prog_fd, int ifindex)
{
	const __u32 flags = XDP_FLAGS_DRV_MODE | XDP_FLAGS_UPDATE_IF_NOEXIST;
	libbpf_print_fn_t before = libbpf_set_print(listen_to_libbpf);

	kernel_said[0] = '\0';
	if (!bpf_xdp_attach(ifindex, prog_fd, flags, NULL))
		bpf_xdp_detach(ifindex, XDP_FLAGS_DRV_MODE, NULL);
	libbpf_set_print(before);
	return kernel_said;
}

#define NO_NATIVE " (where there is a choice, use generic mode)"
#define NO_WAY_OUT ", so that it can't send XDP frames (use generic mode, or generator pktgen)"

static void refused(int err, int prog_fd, const char *ifname, int ifindex, bool generic,
		    const char *no_native)
{
	switch (err) {
	case EBUSY:
	case EEXIST:
		kb_die(KB_EXIT_FAILED,
		       "another XDP program is attached to %s: detach it (ip link set %s xdp off)",
		       ifname, ifname);
	case EPERM:
		kb_die(KB_EXIT_LACKS, "attaching to %s needs CAP_NET_ADMIN: run as root", ifname);
	case EOPNOTSUPP:
		kb_die(KB_EXIT_LACKS, "the driver of %s has no native XDP%s%s", ifname,
		       generic ? "" : no_native, generic ? "" : ask_for_reason(prog_fd, ifindex));
	default:
		kb_die(KB_EXIT_LACKS, "can't attach XDP to %s: %s%s", ifname, strerror(err),
		       generic ? "" : ask_for_reason(prog_fd, ifindex));
	}
}

/* A file descriptor or a negative errno. */
static int try_attach(int prog_fd, int ifindex, bool generic)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts,
		    .flags = generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE);

	return bpf_link_create(prog_fd, ifindex, BPF_XDP, &opts);
}

/* Milliseconds until the device had its link, LINK_WAIT_MS if it did not get it. */
static unsigned int wait_for_link(const char *ifname)
{
	const struct timespec step = { .tv_nsec = LINK_STEP_US * 1000 };
	uint64_t start_ns = kb_now_ns(), now_ns = start_ns;

	while (!kb_netdev_has_link(ifname)) {
		now_ns = kb_now_ns();
		if (now_ns - start_ns >= LINK_WAIT_MS * 1000000ULL)
			return LINK_WAIT_MS;
		nanosleep(&step, NULL);
	}
	return (now_ns - start_ns) / 1000000;
}

static void attach(struct kb_xdp_link *link, int prog_fd, const char *ifname, enum kb_xdp_mode mode,
		   const char *no_native)
{
	int ifindex = kb_ifindex(ifname);
	bool had_link = kb_netdev_has_link(ifname);

	*link = (struct kb_xdp_link){ .ifname = ifname, .generic = mode == KB_XDP_GENERIC };
	link->fd = try_attach(prog_fd, ifindex, link->generic);
	if (link->fd == -EOPNOTSUPP && mode == KB_XDP_AUTO) {
		link->generic = true;
		link->fd = try_attach(prog_fd, ifindex, true);
	}
	if (link->fd < 0)
		refused(-link->fd, prog_fd, ifname, ifindex, link->generic, no_native);
	link->attached = true;
	if (!had_link)
		return;
	link->wait_ms = wait_for_link(ifname);
	if (link->wait_ms >= LINK_WAIT_MS)
		kb_die(KB_EXIT_FAILED,
		       "%s lost its link when an XDP program was attached, and has none after "
		       "%d s: look at the cable and what is at its other end",
		       ifname, LINK_WAIT_MS / 1000);
}

void kb_xdp_attach(struct kb_xdp_link *link, int prog_fd, const char *ifname, enum kb_xdp_mode mode)
{
	attach(link, prog_fd, ifname, mode, NO_NATIVE);
}

void kb_xdp_detach(struct kb_xdp_link *link)
{
	bool had_link;

	if (!link->attached)
		return;
	link->attached = false;
	had_link = kb_netdev_has_link(link->ifname);
	close(link->fd);
	if (had_link && wait_for_link(link->ifname) >= LINK_WAIT_MS)
		kb_warn("%s lost its link when the XDP program was taken away, and has none after "
			"%d s",
			link->ifname, LINK_WAIT_MS / 1000);
}

void kb_xdp_open_way_out(struct kb_xdp_link *link, const char *ifname)
{
	const struct bpf_insn program[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	LIBBPF_OPTS(bpf_xdp_query_opts, present);
	int fd, ifindex = kb_ifindex(ifname);

	*link = (struct kb_xdp_link){ .ifname = ifname };
	if (kb_netdev_is_veth(ifname))
		return;
	if (bpf_xdp_query(ifindex, 0, &present))
		present.drv_prog_id = present.skb_prog_id = 0;
	if (present.drv_prog_id)
		return;
	if (present.skb_prog_id)
		kb_die(KB_EXIT_LACKS, "%s has an XDP program in generic mode%s", ifname,
		       NO_WAY_OUT);
	fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "kb_pass", "GPL", program, 2, NULL);
	if (fd < 0)
		kb_xdp_load_failed(fd);
	attach(link, fd, ifname, KB_XDP_NATIVE, NO_WAY_OUT);
	close(fd);
}

const char *kb_xdp_link_mode(const struct kb_xdp_link *link)
{
	if (!link->attached)
		return "none";
	return kb_xdp_modes[link->generic ? KB_XDP_GENERIC : KB_XDP_NATIVE];
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
