// SPDX-License-Identifier: GPL-2.0-only
/*
 * Chains and flowtables of nftables that hook into ports. The kernel takes them away for good when
 * a port leaves its namespace.
 */
#include "claims.h"
#include "kb_prog.h"
#include "netlink.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * A question to nftables would load its module. Where it isn't, there are no chains; a kernel
 * without modules has no /proc/modules.
 */
static bool may_be_there(void)
{
	bool found = true;
	char *text;
	size_t len;

	if (access("/proc/modules", R_OK))
		return true;
	text = kb_read_file("/proc/modules", &len);
	found = strstr(text, "\nnf_tables ") || !strncmp(text, "nf_tables ", 10);
	free(text);
	return found;
}

static void port_json(const char *port, const char *what, const char *table, const char *name)
{
	kb_json_obj_begin(NULL);
	kb_json_str("port", port);
	kb_json_str("what", what);
	kb_json_str("table", table);
	kb_json_str("name", name);
	kb_json_obj_end();
}

/* Each name in a nest of NFTA_DEVICE_NAME. */
static void ports_json(const struct rtattr *nest, const char *what, const char *table,
		       const char *name)
{
	const struct rtattr *attr;
	int bytes;

	if (!nest)
		return;
	bytes = RTA_PAYLOAD(nest);
	for (attr = RTA_DATA(nest); RTA_OK(attr, bytes); attr = RTA_NEXT(attr, bytes))
		port_json(netlink_text(attr), what, table, name);
}

static const struct rtattr *attribute(const struct nlmsghdr *head, int type)
{
	const struct nfgenmsg *message = NLMSG_DATA(head);

	return netlink_find((const void *)(message + 1),
			    head->nlmsg_len - NLMSG_LENGTH(sizeof(*message)), type);
}

static void take_chain(const struct nlmsghdr *head, void *context)
{
	const struct rtattr *hook = attribute(head, NFTA_CHAIN_HOOK), *one;
	const char *table = netlink_text(attribute(head, NFTA_CHAIN_TABLE));
	const char *name = netlink_text(attribute(head, NFTA_CHAIN_NAME));

	(void)context;
	one = netlink_inner(hook, NFTA_HOOK_DEV);
	if (one)
		port_json(netlink_text(one), "chain", table, name);
	else
		ports_json(netlink_inner(hook, NFTA_HOOK_DEVS), "chain", table, name);
}

static void take_flowtable(const struct nlmsghdr *head, void *context)
{
	const struct rtattr *hook = attribute(head, NFTA_FLOWTABLE_HOOK);

	(void)context;
	ports_json(netlink_inner(hook, NFTA_FLOWTABLE_HOOK_DEVS), "flowtable",
		   netlink_text(attribute(head, NFTA_FLOWTABLE_TABLE)),
		   netlink_text(attribute(head, NFTA_FLOWTABLE_NAME)));
}

static void dump(int fd, int type, void (*take)(const struct nlmsghdr *message, void *context))
{
	struct {
		struct nlmsghdr head;
		struct nfgenmsg message;
	} ask = { .head = { .nlmsg_len = sizeof(ask),
			    .nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | type,
			    .nlmsg_flags = NLM_F_DUMP },
		  .message = { .nfgen_family = NFPROTO_UNSPEC } };

	/* A kernel without nftables refuses: then it has none of these. */
	netlink_ask(fd, &ask.head, take, NULL);
}

void nft_json(void)
{
	int fd = may_be_there() ? netlink_open(NETLINK_NETFILTER) : -1;

	kb_json_arr_begin("nftables");
	if (fd >= 0) {
		dump(fd, NFT_MSG_GETCHAIN, take_chain);
		dump(fd, NFT_MSG_GETFLOWTABLE, take_flowtable);
		close(fd);
	}
	kb_json_arr_end();
}
