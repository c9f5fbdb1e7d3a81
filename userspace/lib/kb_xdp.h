/* SPDX-License-Identifier: GPL-2.0-only */
/* kb_xdp.h - what the programs that load BPF do the same way. */
#ifndef KB_XDP_PROG_H
#define KB_XDP_PROG_H

#include <stdbool.h>
#include <stddef.h>

struct bpf_map;
struct kb_image;

/* In the driver; on top of socket buffers; in the driver where that has XDP, else on top. */
enum kb_xdp_mode { KB_XDP_NATIVE, KB_XDP_GENERIC, KB_XDP_AUTO };

extern const char *const kb_xdp_modes[]; /* their names, NULL at the end */

/* An attached program; zero: none. */
struct kb_xdp_link {
	const char *ifname;
	int fd;
	bool attached, generic;
	unsigned int wait_ms; /* until the device had its link again */
};

/*
 * Attaches a program to a device's XDP hook by a bpf_link, which the kernel takes down when its
 * descriptor goes, so also after SIGKILL. Many adapters reset themselves for that: comes back once
 * the link is there again, if it was there before. Dies with a line that says what to do if it
 * can't.
 */
void kb_xdp_attach(struct kb_xdp_link *link, int prog_fd, const char *ifname,
		   enum kb_xdp_mode mode);

/* Takes the program away, and waits for the link in the same way; nothing to do if there is none.
 */
void kb_xdp_detach(struct kb_xdp_link *link);

/*
 * Makes a device take redirected frames: many drivers do only while a program of its own is
 * attached to it. One that passes everything is, unless another is there already, or the device is
 * a veth, where it is the peer that needs one. Dies if the driver has no native XDP.
 */
void kb_xdp_open_way_out(struct kb_xdp_link *link, const char *ifname);

/* "native" or "generic" or, without a program of ours, "none". */
const char *kb_xdp_link_mode(const struct kb_xdp_link *link);

/* Dies with the reason that loading failed: err is libbpf's negative error. */
void kb_xdp_load_failed(int err) __attribute__((noreturn));

/* The contents of a BPF_F_MMAPABLE array, readable and writable; `bytes` gets its length. */
void *kb_xdp_map_memory(const struct bpf_map *map, size_t *bytes);

/* Reads an image, checks it, and dies (code 2) unless it is for the function that was asked for. */
void kb_xdp_read_image(const char *path, const char *function, struct kb_image *image);

#endif
