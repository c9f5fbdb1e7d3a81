/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of kb-netfilter share. */
#ifndef KB_NETFILTER_H
#define KB_NETFILTER_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kbench_nf.h"

#define KB_NF_COUNTERS_MAX 32

struct nf_counter {
	char name[32];
	uint32_t kind; /* enum kbench_nf_kind */
	uint64_t value;
};

struct nf_counters {
	bool active;
	unsigned int count;
	struct nf_counter counter[KB_NF_COUNTERS_MAX];
};

/*
 * control.c: the module's commands (kbench_nf.h), from one socket, which owns
 * the session. 0 or -errno; then control_why() is what the kernel said.
 */
int control_open(void); /* -ENOENT: the module is not there */
void control_close(void);
int control_begin(uint64_t size);
int control_chunk(uint64_t offset, const void *data, size_t len);
int control_activate(uint32_t rx, uint32_t tx, uint32_t function);
int control_deactivate(void);
int control_get(struct nf_counters *counters);
int control_reset(void);
const char *control_why(int err);

/*
 * module.c. module_ensure() loads `path` unless kbench_nf is there already, or
 * exits with the reason; `path` may be NULL. module_release() removes it if it is there for
 * the programs only (its parameter `transient`) and nobody uses it. module_unload()
 * removes it whoever loaded it: 0 or -errno, -ENOENT if it was not there.
 */
bool module_ensure(const char *path);
void module_release(void);
int module_unload(void);

#endif
