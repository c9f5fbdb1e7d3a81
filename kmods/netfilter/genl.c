// SPDX-License-Identifier: GPL-2.0-only
/* Control by generic netlink: see kbench_nf.h. */
#include <linux/module.h>
#include <net/genetlink.h>

#include "internal.h"

static struct genl_family kbench_nf_family;

static const struct nla_policy kbench_nf_policy[KBENCH_NF_A_FUNCTION + 1] = {
	[KBENCH_NF_A_SIZE] = { .type = NLA_U64 },
	[KBENCH_NF_A_OFFSET] = { .type = NLA_U64 },
	[KBENCH_NF_A_DATA] = { .type = NLA_BINARY, .len = KBENCH_NF_CHUNK_MAX },
	[KBENCH_NF_A_RX_IFINDEX] = { .type = NLA_U32 },
	[KBENCH_NF_A_TX_IFINDEX] = { .type = NLA_U32 },
	[KBENCH_NF_A_FUNCTION] = { .type = NLA_U32 },
};

static const struct {
	const char *name;
	u32 kind;
} kbench_nf_names[KBENCH_NF_COUNTERS] = {
#define X(id, label) [KB_##id] = { label, KBENCH_NF_KIND_DROPPED },
	KB_REASONS(X)
#undef X
		[KBENCH_NF_RECEIVED] = { "received", KBENCH_NF_KIND_TOTAL },
	[KBENCH_NF_LOST_TX] = { "tx", KBENCH_NF_KIND_LOST },
	[KBENCH_NF_LOST_MEMORY] = { "memory", KBENCH_NF_KIND_LOST },
};

static u32 kbench_nf_kind(int counter)
{
	if (counter == KB_FORWARDED || counter == KB_PASSED)
		return KBENCH_NF_KIND_TOTAL;
	return kbench_nf_names[counter].kind;
}

/* With the namespace's lock held, the session if the sender owns it; otherwise *err. */
static struct kbench_nf_session *kbench_nf_own(struct kbench_nf_net *kn, struct genl_info *info,
					       int *err)
{
	*err = 0;
	if (kn->session && kn->session->portid == info->snd_portid)
		return kn->session;
	NL_SET_ERR_MSG(info->extack, "this socket has not begun a session");
	*err = -EPERM;
	return NULL;
}

/* Reasons come as pointers to constant strings, which NL_SET_ERR_MSG() can't take. */
static int kbench_nf_answer(struct genl_info *info, int err, const char *why)
{
	if (err && why && info->extack)
		info->extack->_msg = why;
	return err;
}

static int kbench_nf_do_begin(struct sk_buff *skb, struct genl_info *info)
{
	struct kbench_nf_net *kn = kbench_nf_net(genl_info_net(info));
	const char *why = NULL;
	int err;

	if (GENL_REQ_ATTR_CHECK(info, KBENCH_NF_A_SIZE))
		return -EINVAL;
	mutex_lock(&kn->lock);
	err = kbench_nf_begin(kn, info->snd_portid, nla_get_u64(info->attrs[KBENCH_NF_A_SIZE]),
			      &why);
	mutex_unlock(&kn->lock);
	return kbench_nf_answer(info, err, why);
}

static int kbench_nf_do_chunk(struct sk_buff *skb, struct genl_info *info)
{
	struct kbench_nf_net *kn = kbench_nf_net(genl_info_net(info));
	struct kbench_nf_session *session;
	const char *why = NULL;
	struct nlattr *data;
	int err;

	if (GENL_REQ_ATTR_CHECK(info, KBENCH_NF_A_OFFSET) ||
	    GENL_REQ_ATTR_CHECK(info, KBENCH_NF_A_DATA))
		return -EINVAL;
	data = info->attrs[KBENCH_NF_A_DATA];
	mutex_lock(&kn->lock);
	session = kbench_nf_own(kn, info, &err);
	if (session)
		err = kbench_nf_chunk(session, nla_get_u64(info->attrs[KBENCH_NF_A_OFFSET]),
				      nla_data(data), nla_len(data), &why);
	mutex_unlock(&kn->lock);
	return kbench_nf_answer(info, err, why);
}

static int kbench_nf_do_activate(struct sk_buff *skb, struct genl_info *info)
{
	struct net *net = genl_info_net(info);
	struct kbench_nf_net *kn = kbench_nf_net(net);
	struct kbench_nf_session *session;
	const char *why = NULL;
	int err;

	if (GENL_REQ_ATTR_CHECK(info, KBENCH_NF_A_RX_IFINDEX) ||
	    GENL_REQ_ATTR_CHECK(info, KBENCH_NF_A_TX_IFINDEX) ||
	    GENL_REQ_ATTR_CHECK(info, KBENCH_NF_A_FUNCTION))
		return -EINVAL;
	mutex_lock(&kn->lock);
	session = kbench_nf_own(kn, info, &err);
	if (session)
		err = kbench_nf_activate(net, session,
					 nla_get_u32(info->attrs[KBENCH_NF_A_RX_IFINDEX]),
					 nla_get_u32(info->attrs[KBENCH_NF_A_TX_IFINDEX]),
					 nla_get_u32(info->attrs[KBENCH_NF_A_FUNCTION]), &why);
	mutex_unlock(&kn->lock);
	return kbench_nf_answer(info, err, why);
}

static int kbench_nf_do_deactivate(struct sk_buff *skb, struct genl_info *info)
{
	struct net *net = genl_info_net(info);
	struct kbench_nf_net *kn = kbench_nf_net(net);
	struct kbench_nf_session *session;
	int err;

	mutex_lock(&kn->lock);
	session = kbench_nf_own(kn, info, &err);
	if (session)
		kbench_nf_deactivate(net, session);
	mutex_unlock(&kn->lock);
	return err;
}

static int kbench_nf_put_counters(struct sk_buff *reply, const u64 *values)
{
	struct nlattr *all, *one;
	int i;

	all = nla_nest_start(reply, KBENCH_NF_A_COUNTERS);
	if (!all)
		return -EMSGSIZE;
	for (i = 0; i < KBENCH_NF_COUNTERS; i++) {
		one = nla_nest_start(reply, KBENCH_NF_A_COUNTER);
		if (!one || nla_put_string(reply, KBENCH_NF_A_NAME, kbench_nf_names[i].name) ||
		    nla_put_u64_64bit(reply, KBENCH_NF_A_VALUE, values[i], KBENCH_NF_A_PAD) ||
		    nla_put_u32(reply, KBENCH_NF_A_KIND, kbench_nf_kind(i)))
			return -EMSGSIZE;
		nla_nest_end(reply, one);
	}
	nla_nest_end(reply, all);
	return 0;
}

static int kbench_nf_do_get(struct sk_buff *skb, struct genl_info *info)
{
	struct kbench_nf_net *kn = kbench_nf_net(genl_info_net(info));
	struct kbench_nf_session *session;
	u64 values[KBENCH_NF_COUNTERS];
	struct sk_buff *reply;
	bool active = false;
	void *header;
	int err;

	mutex_lock(&kn->lock);
	session = kbench_nf_own(kn, info, &err);
	if (session) {
		active = rcu_access_pointer(session->table);
		kbench_nf_read_counters(session, values);
	}
	mutex_unlock(&kn->lock);
	if (err)
		return err;

	reply = genlmsg_new(GENLMSG_DEFAULT_SIZE, GFP_KERNEL);
	if (!reply)
		return -ENOMEM;
	header = genlmsg_put_reply(reply, info, &kbench_nf_family, 0, KBENCH_NF_CMD_GET);
	if (!header || (active && nla_put_flag(reply, KBENCH_NF_A_ACTIVE)) ||
	    kbench_nf_put_counters(reply, values)) {
		nlmsg_free(reply);
		return -EMSGSIZE;
	}
	genlmsg_end(reply, header);
	return genlmsg_reply(reply, info);
}

static int kbench_nf_do_reset(struct sk_buff *skb, struct genl_info *info)
{
	struct kbench_nf_net *kn = kbench_nf_net(genl_info_net(info));
	struct kbench_nf_session *session;
	int err;

	mutex_lock(&kn->lock);
	session = kbench_nf_own(kn, info, &err);
	if (session)
		kbench_nf_reset_counters(session);
	mutex_unlock(&kn->lock);
	return err;
}

#define KBENCH_NF_OP(command, handler)                                                             \
	{                                                                                          \
		.cmd = KBENCH_NF_CMD_##command, .flags = GENL_UNS_ADMIN_PERM, .doit = handler,     \
	}

static const struct genl_small_ops kbench_nf_ops[] = {
	KBENCH_NF_OP(BEGIN, kbench_nf_do_begin),
	KBENCH_NF_OP(CHUNK, kbench_nf_do_chunk),
	KBENCH_NF_OP(ACTIVATE, kbench_nf_do_activate),
	KBENCH_NF_OP(DEACTIVATE, kbench_nf_do_deactivate),
	KBENCH_NF_OP(GET, kbench_nf_do_get),
	KBENCH_NF_OP(RESET, kbench_nf_do_reset),
};

/* parallel_ops: the namespaces' own locks do, and no namespace waits for another's upload. */
static struct genl_family kbench_nf_family __ro_after_init = {
	.name = KBENCH_NF_GENL_NAME,
	.version = KBENCH_NF_GENL_VERSION,
	.maxattr = ARRAY_SIZE(kbench_nf_policy) - 1,
	.policy = kbench_nf_policy,
	.netnsok = true,
	.parallel_ops = true,
	.small_ops = kbench_nf_ops,
	.n_small_ops = ARRAY_SIZE(kbench_nf_ops),
	.resv_start_op = KBENCH_NF_CMD_RESET + 1,
	.module = THIS_MODULE,
};

int __init kbench_nf_genl_init(void)
{
	return genl_register_family(&kbench_nf_family);
}

void kbench_nf_genl_exit(void)
{
	genl_unregister_family(&kbench_nf_family);
}
