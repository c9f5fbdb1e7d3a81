// SPDX-License-Identifier: GPL-2.0-only
/*
 * kbench_nf - kbench's netfilter datapath.
 *
 * Forwards packets by itself at NF_INET_PRE_ROUTING, as the packet core in
 * core/ decides, so that it does the same work as the other datapaths. Driven
 * by generic netlink (kbench_nf.h, genl.c); each network namespace has its own
 * tables and counters.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/netlink.h>
#include <linux/notifier.h>
#include <net/genetlink.h>
#include <net/net_namespace.h>
#include <net/netns/generic.h>

#include "internal.h"

/*
 * Only a mark, that programs read from /sys/module: what was loaded for a
 * measurement goes with its last user, what an administrator loaded stays.
 */
static bool transient;
module_param(transient, bool, 0444);
MODULE_PARM_DESC(transient, "loaded by kb-netfilter: its last user may remove it");

static unsigned int kbench_nf_net_id __read_mostly;

struct kbench_nf_net *kbench_nf_net(const struct net *net)
{
	return net_generic(net, kbench_nf_net_id);
}

static int __net_init kbench_nf_net_init(struct net *net)
{
	mutex_init(&kbench_nf_net(net)->lock);
	return 0;
}

/* A session's socket keeps its namespace, so there is none left by now. */
static void __net_exit kbench_nf_net_exit(struct net *net)
{
	struct kbench_nf_net *kn = kbench_nf_net(net);

	mutex_lock(&kn->lock);
	WARN_ON_ONCE(kn->session);
	kbench_nf_end(net, kn);
	mutex_unlock(&kn->lock);
	mutex_destroy(&kn->lock);
}

static struct pernet_operations kbench_nf_net_ops = {
	.init = kbench_nf_net_init,
	.exit = kbench_nf_net_exit,
	.id = &kbench_nf_net_id,
	.size = sizeof(struct kbench_nf_net),
};

/*
 * A device goes away, or to another namespace. It was taken off the
 * namespace's list before this, so a later ACTIVATE won't find it.
 */
static int kbench_nf_device_event(struct notifier_block *nb, unsigned long event, void *ptr)
{
	const struct net_device *dev = netdev_notifier_info_to_dev(ptr);
	const struct kbench_nf_table *table;
	struct net *net = dev_net(dev);
	struct kbench_nf_net *kn;

	if (event != NETDEV_UNREGISTER)
		return NOTIFY_DONE;
	kn = kbench_nf_net(net);
	mutex_lock(&kn->lock);
	if (kn->session) {
		table = rcu_dereference_protected(kn->session->table, lockdep_is_held(&kn->lock));
		if (table && (table->ports[0] == dev || table->ports[1] == dev))
			kbench_nf_deactivate(net, kn->session);
	}
	mutex_unlock(&kn->lock);
	return NOTIFY_DONE;
}

static struct notifier_block kbench_nf_device_notifier = {
	.notifier_call = kbench_nf_device_event,
};

/* A socket was closed, perhaps by the death of its program. */
static int kbench_nf_socket_event(struct notifier_block *nb, unsigned long event, void *ptr)
{
	const struct netlink_notify *notify = ptr;
	struct kbench_nf_net *kn;

	if (event != NETLINK_URELEASE || notify->protocol != NETLINK_GENERIC)
		return NOTIFY_DONE;
	kn = kbench_nf_net(notify->net);
	mutex_lock(&kn->lock);
	if (kn->session && kn->session->portid == notify->portid)
		kbench_nf_end(notify->net, kn);
	mutex_unlock(&kn->lock);
	return NOTIFY_DONE;
}

static struct notifier_block kbench_nf_socket_notifier = {
	.notifier_call = kbench_nf_socket_event,
};

static int __init kbench_nf_init(void)
{
	int err;

	err = register_pernet_subsys(&kbench_nf_net_ops);
	if (err)
		return err;
	err = register_netdevice_notifier(&kbench_nf_device_notifier);
	if (err)
		goto err_pernet;
	err = netlink_register_notifier(&kbench_nf_socket_notifier);
	if (err)
		goto err_device;
	err = kbench_nf_genl_init();
	if (err)
		goto err_socket;
	return 0;

err_socket:
	netlink_unregister_notifier(&kbench_nf_socket_notifier);
err_device:
	unregister_netdevice_notifier(&kbench_nf_device_notifier);
err_pernet:
	unregister_pernet_subsys(&kbench_nf_net_ops);
	return err;
}

/*
 * Sessions hold a reference to the module, so there are none. All that was
 * freed after a grace period was waited for (session.c), never left to a
 * callback in this module; the notifier that dropped the last reference is
 * waited for by netlink_unregister_notifier().
 */
static void __exit kbench_nf_exit(void)
{
	kbench_nf_genl_exit();
	netlink_unregister_notifier(&kbench_nf_socket_notifier);
	unregister_netdevice_notifier(&kbench_nf_device_notifier);
	unregister_pernet_subsys(&kbench_nf_net_ops);
}

module_init(kbench_nf_init);
module_exit(kbench_nf_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("kbench's netfilter datapath");
MODULE_ALIAS_GENL_FAMILY(KBENCH_NF_GENL_NAME);
