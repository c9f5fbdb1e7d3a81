// SPDX-License-Identifier: GPL-2.0-only
/*
 * The xdp datapath: the packet core behind a driver's XDP hook, redirecting through a DEVMAP, or
 * sending back (XDP_TX) where there is only one port.
 *
 * One program per function and way out, so that each carries only its own code. Uses nothing but
 * UAPI headers: the same object loads on every kernel from 5.18 on.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "xdp.h"

/* The image's two arrays. kb-xdp sizes them and fills them through mmap(). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct kb_line);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct kb_vector);
} vectors SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, KB_PORTS);
	__type(key, __u32);
	__type(value, __u32);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct kb_xdp_counters);
} counters SEC(".maps");

/* Set before loading: constants to the verifier. The roots of KB_ROOTS are indices into roots[]. */
const volatile struct kb_params kb_params;

__u32 roots[KB_ROOT_COUNT * KB_ROOT_SLOTS];

KB_INLINE __u32 kb_slot(const struct kb_image *image, __u32 index)
{
	__u32 key = index / KB_SLOT_GROUP;
	const struct kb_line *line = bpf_map_lookup_elem(&slots, &key);

	(void)image;
	return line ? line->slots[index % KB_SLOT_GROUP] : 0;
}

KB_INLINE __u32 kb_root_slot(const struct kb_image *image, __u32 root, __u32 index)
{
	(void)image;
	return roots[(root + index) % (KB_ROOT_COUNT * KB_ROOT_SLOTS)];
}

KB_INLINE const struct kb_vector *kb_vector(const struct kb_image *image, __u32 id)
{
	(void)image;
	return bpf_map_lookup_elem(&vectors, &id);
}

/* BACK: all ports are the one that frames come in by. */
enum way { BY_REDIRECT, BACK };

KB_INLINE int run(struct xdp_md *ctx, __u32 function, enum way way)
{
	void *frame = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct kb_xdp_counters *count;
	__u32 verdict, reason, port, zero = 0;
	struct kb_eth *eth = frame;
	int action;

	count = bpf_map_lookup_elem(&counters, &zero);
	if (!count)
		return XDP_ABORTED;
	verdict = kb_decide_frame(0, &kb_params, function, frame, end, (__u32)(end - frame));
	reason = KB_VERDICT_REASON(verdict);
	if (reason != KB_FORWARDED) {
		if (reason < KB_REASON_COUNT)
			count->reasons[reason]++;
		return reason == KB_PASSED ? XDP_PASS : XDP_DROP;
	}
	port = KB_VERDICT_PORT(verdict);
	kb_rewrite_ip(eth + 1, kb_swap16(eth->ethertype));
	kb_rewrite_eth(frame, &kb_params, port);
	count->reasons[KB_FORWARDED]++;
	if (way == BACK)
		return XDP_TX;
	action = (int)bpf_redirect_map(&ports, port, 0);
	if (action != XDP_REDIRECT)
		count->unsent++;
	return action;
}

SEC("xdp")
int xdp_drop(struct xdp_md *ctx)
{
	return run(ctx, KB_DROP, BY_REDIRECT);
}

SEC("xdp")
int xdp_forward(struct xdp_md *ctx)
{
	return run(ctx, KB_FORWARD, BY_REDIRECT);
}

SEC("xdp")
int xdp_forward_back(struct xdp_md *ctx)
{
	return run(ctx, KB_FORWARD, BACK);
}

SEC("xdp")
int xdp_filter(struct xdp_md *ctx)
{
	return run(ctx, KB_FILTER, BY_REDIRECT);
}

SEC("xdp")
int xdp_filter_back(struct xdp_md *ctx)
{
	return run(ctx, KB_FILTER, BACK);
}

char _license[] SEC("license") = "GPL";
