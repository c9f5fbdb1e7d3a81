// SPDX-License-Identifier: GPL-2.0-only
/* Sessions: upload of an image, activation, and the end of both. */
#include <linux/etherdevice.h>
#include <linux/if_arp.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <net/net_namespace.h>

#include "internal.h"

/* kbench_nf_net::lock is held by whoever gets here; see internal.h. */
#define kbench_nf_table_of(session) rcu_dereference_protected((session)->table, true)

static void kbench_nf_drop_upload(struct kbench_nf_session *session)
{
	kvfree(session->upload);
	session->upload = NULL;
	session->upload_size = 0;
	session->upload_filled = 0;
}

static struct kbench_nf_session *kbench_nf_session_create(u32 portid)
{
	struct kbench_nf_session *session;
	int cpu;

	session = kzalloc(sizeof(*session), GFP_KERNEL_ACCOUNT);
	if (!session)
		return NULL;
	session->portid = portid;
	session->counters = alloc_percpu_gfp(struct kbench_nf_counters, GFP_KERNEL_ACCOUNT);
	if (!session->counters) {
		kfree(session);
		return NULL;
	}
	for_each_possible_cpu (cpu)
		u64_stats_init(&per_cpu_ptr(session->counters, cpu)->syncp);
	return session;
}

int kbench_nf_begin(struct kbench_nf_net *kn, u32 portid, u64 size, const char **why)
{
	struct kbench_nf_session *session = kn->session;
	u64 quarter = (u64)totalram_pages() << PAGE_SHIFT >> 2;
	void *upload;

	if (session && session->portid != portid) {
		*why = "another program uses the netfilter datapath in this network namespace";
		return -EBUSY;
	}
	if (size < sizeof(struct kb_image_header)) {
		*why = "truncated: shorter than an image header";
		return -EINVAL;
	}
	if (size > KB_IMAGE_BYTES_MAX || size > KBENCH_NF_IMAGE_BYTES_MAX || size > quarter) {
		*why = "image is larger than 512 MiB or a quarter of this machine's memory";
		return -EFBIG;
	}
	upload = kvmalloc(size, GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);
	if (!upload)
		return -ENOMEM;

	if (!session) {
		if (!try_module_get(THIS_MODULE)) {
			kvfree(upload);
			return -ENODEV;
		}
		session = kbench_nf_session_create(portid);
		if (!session) {
			module_put(THIS_MODULE);
			kvfree(upload);
			return -ENOMEM;
		}
		kn->session = session;
	}
	kbench_nf_drop_upload(session);
	session->upload = upload;
	session->upload_size = size;
	return 0;
}

/* In order, so that no byte of the buffer is left as the allocator gave it. */
int kbench_nf_chunk(struct kbench_nf_session *session, u64 offset, const void *data, u32 len,
		    const char **why)
{
	if (!session->upload) {
		*why = "no upload was begun";
		return -EINVAL;
	}
	if (offset != session->upload_filled) {
		*why = "chunks of the image must follow each other";
		return -EINVAL;
	}
	if (len > session->upload_size - offset) {
		*why = "chunk reaches beyond the size of the image";
		return -EINVAL;
	}
	memcpy((u8 *)session->upload + offset, data, len);
	session->upload_filled += len;
	return 0;
}

/* After a grace period, or if never published. */
static void kbench_nf_table_free(struct kbench_nf_table *table)
{
	int i;

	for (i = 0; i < KB_PORTS; i++)
		netdev_put(table->ports[i], &table->trackers[i]);
	kvfree(table->blob);
	kfree(table);
}

static int kbench_nf_take_port(struct net *net, struct kbench_nf_table *table, int port,
			       u32 ifindex, const char **why)
{
	struct net_device *dev;
	int err = 0;

	rcu_read_lock();
	dev = dev_get_by_index_rcu(net, ifindex);
	if (!dev) {
		*why = "no such interface in this network namespace";
		err = -ENODEV;
	} else if (dev->type != ARPHRD_ETHER || dev->addr_len != ETH_ALEN) {
		*why = "not an Ethernet interface";
		err = -EOPNOTSUPP;
	} else {
		netdev_hold(dev, &table->trackers[port], GFP_ATOMIC);
		table->ports[port] = dev;
	}
	rcu_read_unlock();
	return err;
}

/* The upload becomes a table if it holds a good image; otherwise it stays. */
static struct kbench_nf_table *kbench_nf_table_create(struct net *net,
						      struct kbench_nf_session *session, u32 rx,
						      u32 tx, u32 function, const char **why)
{
	struct kbench_nf_table *table;
	int err;

	if (!session->upload) {
		*why = "no image was uploaded";
		return ERR_PTR(-EINVAL);
	}
	if (session->upload_filled != session->upload_size) {
		*why = "truncated: not all of the image was uploaded";
		return ERR_PTR(-EINVAL);
	}
	table = kzalloc(sizeof(*table), GFP_KERNEL_ACCOUNT);
	if (!table)
		return ERR_PTR(-ENOMEM);
	*why = kb_image_check(session->upload, session->upload_size, &table->image);
	err = *why ? -EINVAL : 0;
	if (!err && table->image.params.function != function) {
		*why = "the image was compiled for another function";
		err = -EINVAL;
	}
	if (!err)
		err = kbench_nf_take_port(net, table, 0, rx, why);
	if (!err)
		err = kbench_nf_take_port(net, table, 1, tx, why);
	if (err) {
		kbench_nf_table_free(table);
		return ERR_PTR(err);
	}
	table->blob = session->upload;
	session->upload = NULL;
	kbench_nf_drop_upload(session);
	return table;
}

int kbench_nf_activate(struct net *net, struct kbench_nf_session *session, u32 rx, u32 tx,
		       u32 function, const char **why)
{
	struct kbench_nf_table *old = kbench_nf_table_of(session), *table;
	int err;

	/* The hooks are compiled for a function each. */
	if (old && old->image.params.function != function) {
		*why = "active with another function: deactivate it first";
		return -EBUSY;
	}
	table = kbench_nf_table_create(net, session, rx, tx, function, why);
	if (IS_ERR(table))
		return PTR_ERR(table);
	rcu_assign_pointer(session->table, table);
	if (old) {
		synchronize_net();
		kbench_nf_table_free(old);
		return 0;
	}
	kbench_nf_fill_ops(session->ops, session, function);
	err = nf_register_net_hooks(net, session->ops, ARRAY_SIZE(session->ops));
	if (err) {
		RCU_INIT_POINTER(session->table, NULL);
		synchronize_net(); /* the first of the two may have been in place */
		kbench_nf_table_free(table);
	}
	return err;
}

void kbench_nf_deactivate(struct net *net, struct kbench_nf_session *session)
{
	struct kbench_nf_table *table = kbench_nf_table_of(session);

	if (!table)
		return;
	nf_unregister_net_hooks(net, session->ops, ARRAY_SIZE(session->ops));
	RCU_INIT_POINTER(session->table, NULL);
	/* Unregistering does not wait for hooks that run: they use the table and the session. */
	synchronize_net();
	kbench_nf_table_free(table);
}

void kbench_nf_end(struct net *net, struct kbench_nf_net *kn)
{
	struct kbench_nf_session *session = kn->session;

	if (!session)
		return;
	kn->session = NULL;
	kbench_nf_deactivate(net, session);
	kbench_nf_drop_upload(session);
	free_percpu(session->counters);
	kfree(session);
	module_put(THIS_MODULE);
}

static void kbench_nf_sum_counters(const struct kbench_nf_session *session, u64 *values)
{
	u64 snapshot[KBENCH_NF_COUNTERS];
	unsigned int start;
	int cpu, i;

	memset(values, 0, sizeof(snapshot));
	for_each_possible_cpu (cpu) {
		const struct kbench_nf_counters *c = per_cpu_ptr(session->counters, cpu);

		do {
			start = u64_stats_fetch_begin(&c->syncp);
			for (i = 0; i < KBENCH_NF_COUNTERS; i++)
				snapshot[i] = u64_stats_read(&c->value[i]);
		} while (u64_stats_fetch_retry(&c->syncp, start));
		for (i = 0; i < KBENCH_NF_COUNTERS; i++)
			values[i] += snapshot[i];
	}
}

void kbench_nf_read_counters(const struct kbench_nf_session *session, u64 *values)
{
	int i;

	kbench_nf_sum_counters(session, values);
	for (i = 0; i < KBENCH_NF_COUNTERS; i++)
		values[i] -= session->base[i];
}

/* The counters belong to their CPUs, so zero is only moved. */
void kbench_nf_reset_counters(struct kbench_nf_session *session)
{
	kbench_nf_sum_counters(session, session->base);
}
