/* SPDX-License-Identifier: GPL-2.0-only */
/* What the module's files share. */
#ifndef KBENCH_NF_INTERNAL_H
#define KBENCH_NF_INTERNAL_H

#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <linux/percpu.h>
#include <linux/u64_stats_sync.h>

#include "function.h"
#include "kbench_nf.h"

/*
 * Largest image that is taken, whatever the format allows: it lies in kernel
 * memory. A million routes need less than half of it.
 */
#define KBENCH_NF_IMAGE_BYTES_MAX (512ULL << 20)

/* The reasons of core/function.h come first, under their own numbers. */
enum {
	KBENCH_NF_RECEIVED = KB_REASON_COUNT,
	KBENCH_NF_LOST_TX,     /* the port did not take it */
	KBENCH_NF_LOST_MEMORY, /* no memory for a writable copy of its headers */
	KBENCH_NF_COUNTERS
};

/* Written by its CPU only, with bottom halves off; read by anyone. */
struct kbench_nf_counters {
	u64_stats_t value[KBENCH_NF_COUNTERS];
	struct u64_stats_sync syncp;
};

/*
 * What the packet path reads: an image that was checked, and its ports.
 * Immutable once published in kbench_nf_session::table.
 */
struct kbench_nf_table {
	struct kb_image image;
	struct net_device *ports[KB_PORTS];
	netdevice_tracker trackers[KB_PORTS];
	void *blob; /* what image points into */
};

/*
 * What one socket does in its network namespace, from BEGIN until it closes.
 * Holds a reference to the module. All fields are protected by
 * kbench_nf_net::lock, except that the packet path reads `table` under RCU
 * and counts in `counters`; both outlive the hooks by a grace period.
 */
struct kbench_nf_session {
	u32 portid; /* of the socket that owns it; constant */

	/* The image that is being uploaded, or NULL. */
	void *upload;
	u64 upload_size;
	u64 upload_filled;

	struct kbench_nf_table __rcu *table; /* NULL: not active */
	struct nf_hook_ops ops[2];	     /* registered if table */

	struct kbench_nf_counters __percpu *counters;
	u64 base[KBENCH_NF_COUNTERS]; /* their values at the last reset */
};

/*
 * The module's share of a network namespace. An unused namespace has no more
 * than this: no hook, no counters. `lock` nests inside the RTNL (device
 * notifier), so the RTNL must not be taken under it.
 */
struct kbench_nf_net {
	struct mutex lock;		   /* serialises commands, device and socket events */
	struct kbench_nf_session *session; /* protected by lock */
};

struct kbench_nf_net *kbench_nf_net(const struct net *net);

/* session.c: all with kbench_nf_net::lock held. 0 or -errno; *why: what to tell the user. */
int kbench_nf_begin(struct kbench_nf_net *kn, u32 portid, u64 size, const char **why);
int kbench_nf_chunk(struct kbench_nf_session *session, u64 offset, const void *data, u32 len,
		    const char **why);
int kbench_nf_activate(struct net *net, struct kbench_nf_session *session, u32 rx, u32 tx,
		       u32 function, const char **why);
void kbench_nf_deactivate(struct net *net, struct kbench_nf_session *session);
void kbench_nf_end(struct net *net, struct kbench_nf_net *kn);
void kbench_nf_read_counters(const struct kbench_nf_session *session, u64 *values);
void kbench_nf_reset_counters(struct kbench_nf_session *session);

/* hook.c */
void kbench_nf_fill_ops(struct nf_hook_ops *ops, struct kbench_nf_session *session, u32 function);

/* genl.c */
int kbench_nf_genl_init(void);
void kbench_nf_genl_exit(void);

#endif
