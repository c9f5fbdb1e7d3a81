// SPDX-License-Identifier: GPL-2.0-only
/* Queueing disciplines that somebody set, their filters, and BPF programs without a qdisc. */
#include "claims.h"
#include "kb_prog.h"
#include "netlink.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* enum bpf_attach_type of Linux 6.6 (commit e420bed02507) and 6.7 (35dfaad7188c). */
#define KB_TCX_INGRESS 46
#define KB_TCX_EGRESS 47
#define KB_NETKIT_PRIMARY 54
#define KB_NETKIT_PEER 55

#define PROGRAMS_MAX 64

struct qdisc {
	int ifindex;
	uint32_t handle, parent;
	char kind[IFNAMSIZ];
};

struct qdiscs {
	struct qdisc *list;
	size_t count;
};

/* The kernel's own default ones have no handle. */
static void take_qdisc(const struct nlmsghdr *head, void *context)
{
	const struct tcmsg *tc = NLMSG_DATA(head);
	struct qdiscs *found = context;
	struct qdisc *qdisc;

	if (head->nlmsg_type != RTM_NEWQDISC || !TC_H_MAJ(tc->tcm_handle) ||
	    (tc->tcm_parent != TC_H_ROOT && tc->tcm_parent != TC_H_INGRESS))
		return;
	found->list = realloc(found->list, (found->count + 1) * sizeof(*found->list));
	if (!found->list)
		kb_die(KB_EXIT_FAILED, "out of memory");
	qdisc = &found->list[found->count++];
	memset(qdisc, 0, sizeof(*qdisc));
	qdisc->ifindex = tc->tcm_ifindex;
	qdisc->handle = tc->tcm_handle;
	qdisc->parent = tc->tcm_parent;
	strncpy(qdisc->kind, netlink_text(netlink_find(TCA_RTA(tc), TCA_PAYLOAD(head), TCA_KIND)),
		sizeof(qdisc->kind) - 1);
}

static void take_filter(const struct nlmsghdr *head, void *context)
{
	const struct tcmsg *tc = NLMSG_DATA(head);
	const struct rtattr *attrs = TCA_RTA(tc), *options;

	options = netlink_find(attrs, TCA_PAYLOAD(head), TCA_OPTIONS);
	/* A dump names each classifier once more, without handle, before its filters. */
	if (head->nlmsg_type != RTM_NEWTFILTER || !options || !tc->tcm_handle)
		return;
	kb_json_obj_begin(NULL);
	kb_json_i64("index", tc->tcm_ifindex);
	kb_json_str("hook", context);
	kb_json_str("kind", netlink_text(netlink_find(attrs, TCA_PAYLOAD(head), TCA_KIND)));
	kb_json_str("name", netlink_text(netlink_inner(options, TCA_BPF_NAME)));
	kb_json_u64("id", netlink_u32(netlink_inner(options, TCA_BPF_ID)));
	kb_json_obj_end();
}

static void filters_of(int fd, int ifindex, uint32_t parent, char *hook)
{
	struct {
		struct nlmsghdr head;
		struct tcmsg tc;
	} ask = { .head = { .nlmsg_len = sizeof(ask),
			    .nlmsg_type = RTM_GETTFILTER,
			    .nlmsg_flags = NLM_F_DUMP },
		  .tc = { .tcm_ifindex = ifindex, .tcm_parent = parent } };

	netlink_ask(fd, &ask.head, take_filter, hook);
}

static void qdisc_filters(int fd, const struct qdisc *qdisc)
{
	if (qdisc->parent == TC_H_ROOT) {
		filters_of(fd, qdisc->ifindex, qdisc->handle, "root");
		return;
	}
	filters_of(fd, qdisc->ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS), "ingress");
	if (!strcmp(qdisc->kind, "clsact"))
		filters_of(fd, qdisc->ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS), "egress");
}

static void program_json(int ifindex, const char *hook, uint32_t id)
{
	struct bpf_prog_info info = { 0 };
	uint32_t bytes = sizeof(info);
	int fd = bpf_prog_get_fd_by_id(id);

	if (fd >= 0) {
		bpf_obj_get_info_by_fd(fd, &info, &bytes);
		close(fd);
	}
	kb_json_obj_begin(NULL);
	kb_json_i64("index", ifindex);
	kb_json_str("hook", hook);
	kb_json_str("name", info.name);
	kb_json_u64("id", id);
	kb_json_obj_end();
}

/* A kernel or port without such a hook refuses the question: then nothing is attached. */
static void programs_of(int ifindex)
{
	static const struct {
		int type;
		const char *hook;
	} hooks[] = { { KB_TCX_INGRESS, "tcx ingress" },
		      { KB_TCX_EGRESS, "tcx egress" },
		      { KB_NETKIT_PRIMARY, "netkit primary" },
		      { KB_NETKIT_PEER, "netkit peer" } };

	for (size_t i = 0; i < sizeof(hooks) / sizeof(hooks[0]); i++) {
		uint32_t ids[PROGRAMS_MAX], count = PROGRAMS_MAX;

		if (bpf_prog_query(ifindex, hooks[i].type, 0, NULL, ids, &count))
			continue;
		for (uint32_t at = 0; at < count; at++)
			program_json(ifindex, hooks[i].hook, ids[at]);
	}
}

void tc_json(void)
{
	struct {
		struct nlmsghdr head;
		struct tcmsg tc;
	} ask = { .head = { .nlmsg_len = sizeof(ask),
			    .nlmsg_type = RTM_GETQDISC,
			    .nlmsg_flags = NLM_F_DUMP } };
	struct if_nameindex *ports = if_nameindex();
	struct qdiscs found = { 0 };
	int fd = netlink_open(NETLINK_ROUTE), err;

	if (fd < 0 || !ports)
		kb_die(KB_EXIT_LACKS, "rtnetlink: %s", strerror(errno));
	err = netlink_ask(fd, &ask.head, take_qdisc, &found);
	if (err)
		kb_die(KB_EXIT_FAILED, "queueing disciplines: %s", strerror(-err));
	kb_json_arr_begin("qdiscs");
	for (size_t i = 0; i < found.count; i++) {
		kb_json_obj_begin(NULL);
		kb_json_i64("index", found.list[i].ifindex);
		kb_json_str("kind", found.list[i].kind);
		kb_json_obj_end();
	}
	kb_json_arr_end();
	kb_json_arr_begin("filters");
	for (size_t i = 0; i < found.count; i++)
		qdisc_filters(fd, &found.list[i]);
	kb_json_arr_end();
	kb_json_arr_begin("programs");
	for (size_t i = 0; ports[i].if_index; i++)
		programs_of(ports[i].if_index);
	kb_json_arr_end();
	if_freenameindex(ports);
	free(found.list);
	close(fd);
}
