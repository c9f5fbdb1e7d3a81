/* SPDX-License-Identifier: GPL-2.0-only */
/* kb_xdp.h - what the programs that load BPF do the same way. */
#ifndef KB_XDP_PROG_H
#define KB_XDP_PROG_H

#include <stdbool.h>
#include <stddef.h>

struct bpf_map;
struct kb_image;

/*
 * Attaches a program to a device's XDP hook by a bpf_link, which the kernel takes down when the
 * returned descriptor goes, so also after SIGKILL. Dies with a line that says what to do if it
 * can't.
 */
int kb_xdp_attach(int prog_fd, const char *ifname, int ifindex, bool generic);

/* Dies with the reason that loading failed: err is libbpf's negative error. */
void kb_xdp_load_failed(int err) __attribute__((noreturn));

/* The contents of a BPF_F_MMAPABLE array, readable and writable; `bytes` gets its length. */
void *kb_xdp_map_memory(const struct bpf_map *map, size_t *bytes);

/* Reads an image, checks it, and dies (code 2) unless it is for the function that was asked for. */
void kb_xdp_read_image(const char *path, const char *function, struct kb_image *image);

#endif
