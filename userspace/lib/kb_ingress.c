// SPDX-License-Identifier: GPL-2.0-only
/* The drop at tc ingress: see kb_ingress.h. */
#include "kb_ingress.h"
#include "kb_prog.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* enum bpf_attach_type of Linux 6.6 (commit e420bed02507); older headers lack it. */
#define KB_TCX_INGRESS 46

#define FIELD(name) offsetof(struct __sk_buff, name)
#define LOAD(dst, field)                                                                           \
	{                                                                                          \
		.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = (dst), .src_reg = BPF_REG_1,         \
		.off = FIELD(field)                                                                \
	}
#define JUMP_IF(op, reg, value, skip)                                                              \
	{                                                                                          \
		.code = BPF_JMP | (op) | BPF_K, .dst_reg = (reg), .off = (skip), .imm = (value)    \
	}
#define SET(reg, value)                                                                            \
	{                                                                                          \
		.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = (reg), .imm = (value)              \
	}
#define RETURN                                                                                     \
	{                                                                                          \
		.code = BPF_JMP | BPF_EXIT                                                         \
	}

static int link_fd = -1;
static struct bpf_tc_hook hook = { .sz = sizeof(hook), .attach_point = BPF_TC_INGRESS };
static struct bpf_tc_opts filter = { .sz = sizeof(filter) };
static bool made_hook, made_filter;

static int load(void)
{
	const struct bpf_insn program[] = {
		/* What core/function.h leaves to the stack has to get there. */
		LOAD(BPF_REG_2, pkt_type),
		JUMP_IF(BPF_JNE, BPF_REG_2, PACKET_HOST, 5),
		LOAD(BPF_REG_2, vlan_present),
		JUMP_IF(BPF_JNE, BPF_REG_2, 0, 3),
		LOAD(BPF_REG_2, protocol),
		JUMP_IF(BPF_JEQ, BPF_REG_2, htons(ETH_P_IP), 3),
		JUMP_IF(BPF_JEQ, BPF_REG_2, htons(ETH_P_IPV6), 2),
		SET(BPF_REG_0, TC_ACT_UNSPEC), /* also TCX_NEXT */
		RETURN,
		SET(BPF_REG_0, TC_ACT_SHOT), /* also TCX_DROP */
		RETURN,
	};

	return bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "kb_ingress", "GPL", program,
			     sizeof(program) / sizeof(program[0]), NULL);
}

void kb_ingress_restore(void)
{
	if (link_fd >= 0)
		close(link_fd);
	link_fd = -1;
	if (made_filter) {
		filter.flags = filter.prog_fd = filter.prog_id = 0;
		bpf_tc_detach(&hook, &filter);
	}
	if (made_hook) {
		hook.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS; /* the qdisc itself */
		bpf_tc_hook_destroy(&hook);
	}
	made_filter = made_hook = false;
}

const char *kb_ingress_drop(const char *ifname)
{
	int fd, err;

	libbpf_set_print(NULL); /* it is noisy about a qdisc that exists */
	hook.ifindex = kb_ifindex(ifname);
	fd = load();
	if (fd < 0)
		kb_die(KB_EXIT_LACKS, "can't load a BPF program: %s", strerror(errno));
	atexit(kb_ingress_restore);

	link_fd = bpf_link_create(fd, hook.ifindex, (enum bpf_attach_type)KB_TCX_INGRESS, NULL);
	if (link_fd >= 0) {
		close(fd);
		return "tcx";
	}

	err = bpf_tc_hook_create(&hook);
	if (err && err != -EEXIST)
		kb_die(KB_EXIT_LACKS, "no tc ingress on %s (module sch_ingress?): %s", ifname,
		       strerror(-err));
	made_hook = !err;
	filter.prog_fd = fd;
	err = bpf_tc_attach(&hook, &filter);
	if (err)
		kb_die(KB_EXIT_LACKS, "no tc BPF program on %s (module cls_bpf?): %s", ifname,
		       strerror(-err));
	made_filter = true;
	close(fd);
	return "clsact";
}
