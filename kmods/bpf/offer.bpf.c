// SPDX-License-Identifier: GPL-2.0-only
/*
 * The xdp generator: runs on frames that BPF_F_TEST_XDP_LIVE_FRAMES makes, fills them in and
 * redirects them to a device. Pages come back as the datapath left them, so that each header is
 * written anew for each packet.
 *
 * To send nothing the program returns XDP_DROP, which gives the frame back: that is how it waits
 * for a packet's time, and what it does once it is done, until user space ends the test run. It
 * runs on one CPU at a time.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "offer.h"

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} port SEC(".maps");

const volatile struct kb_offer_config config;

struct kb_offer_load load;
struct kb_offer_state state;
struct kb_offer_group groups[KB_OFFER_GROUPS_MAX];
__u64 gap_buckets[KB_HIST_BUCKETS];

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)sum;
}

/* May the next burst of packets be sent now? With a rate, each has its time. */
static __always_inline int is_due(__u64 now)
{
	__u64 elapsed, behind, gap;
	__u32 index;

	if (!state.sent) {
		state.first_ns = now;
		state.due = load.step;
		return 1;
	}
	elapsed = now - state.first_ns;
	if (load.duration_ns && elapsed >= load.duration_ns) {
		state.end_ns = state.first_ns + load.duration_ns;
		state.done = 1;
		return 0;
	}
	elapsed <<= KB_OFFER_FRACTION;
	if (elapsed < state.due)
		return 0;
	behind = elapsed - state.due;
	if (behind >> KB_OFFER_FRACTION > state.max_late_ns)
		state.max_late_ns = behind >> KB_OFFER_FRACTION;
	if (behind > (__u64)KB_OFFER_LATE_NS << KB_OFFER_FRACTION) {
		state.late++;
		state.skipped += behind;
		state.due = elapsed;
	}
	state.due += load.step;
	if (config.gaps) {
		gap = now - state.last_ns;
		index = kb_hist_index(gap);
		if (index < KB_HIST_BUCKETS)
			gap_buckets[index]++;
	}
	return 1;
}

static __always_inline int write_frame(struct xdp_md *ctx, struct kb_offer_group *group,
				       __u64 stamp, __u32 sequence)
{
	__u8 *frame = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 *to = (__u64 *)frame;
	__u32 flow = group->next_flow;
	__u16 sport = __builtin_bswap16(group->sport_lo + flow), checksum;
	__u64 sum;

	group->next_flow = flow + 1 < group->flows ? flow + 1 : 0;
	if (!group->ipv6) {
		if (frame + KB_OFFER_IPV4_PAYLOAD + KB_OFFER_PAYLOAD_MIN > end)
			return -1;
		to[0] = group->header[0];
		to[1] = group->header[1];
		to[2] = group->header[2];
		to[3] = group->header[3];
		to[4] = group->header[4];
		*(__u16 *)(frame + 34) = sport;
		*(__u16 *)(frame + 40) = 0; /* no UDP checksum */
		*(__u64 *)(frame + KB_OFFER_IPV4_PAYLOAD) = stamp;
		*(__u32 *)(frame + KB_OFFER_IPV4_PAYLOAD + 8) = sequence;
		return 0;
	}
	if (frame + KB_OFFER_IPV6_PAYLOAD > end)
		return -1;
	to[0] = group->header[0];
	to[1] = group->header[1];
	to[2] = group->header[2];
	to[3] = group->header[3];
	to[4] = group->header[4];
	to[5] = group->header[5];
	to[6] = group->header[6];
	*(__u16 *)(frame + 54) = sport;
	*(__u32 *)(frame + 56) = (__u32)group->header[7];
	sum = group->checksum + sport;
	if (config.marks) {
		if (frame + KB_OFFER_IPV6_PAYLOAD + KB_OFFER_PAYLOAD_MIN > end)
			return -1;
		*(__u64 *)(frame + KB_OFFER_IPV6_PAYLOAD) = stamp;
		*(__u32 *)(frame + KB_OFFER_IPV6_PAYLOAD + 8) = sequence;
		sum += (stamp & 0xffffffff) + (stamp >> 32) + sequence;
	}
	/* RFC 8200 8.1: it must be there, and a result of 0 is sent as 0xffff. */
	checksum = ~fold(sum);
	*(__u16 *)(frame + 60) = checksum ? checksum : 0xffff;
	return 0;
}

SEC("xdp")
int offer(struct xdp_md *ctx)
{
	__u64 number = state.sent, now = 0;
	struct kb_offer_group *group;
	__u32 index = state.group;
	int last;

	if (state.done)
		return XDP_DROP;
	last = *(volatile __u32 *)&state.stop || number + 1 == load.count;
	if (load.step) {
		if (!state.credit) {
			now = bpf_ktime_get_ns();
			if (!is_due(now)) {
				if (*(volatile __u32 *)&state.stop && !state.done) {
					state.end_ns = now;
					state.done = 1;
				}
				return XDP_DROP;
			}
			state.credit = load.burst;
		}
		state.credit--;
		/* The last packet of a burst may be the last of all, whose time is told. */
		if (!now && (last || !state.credit))
			now = bpf_ktime_get_ns();
	} else if (config.timestamp || last || !(number % KB_OFFER_CLOCK_EVERY)) {
		now = bpf_ktime_get_ns();
		if (!number)
			state.first_ns = now;
		else if (load.duration_ns && now - state.first_ns >= load.duration_ns)
			last = 1;
	}
	if (index >= KB_OFFER_GROUPS_MAX)
		return XDP_ABORTED;
	group = &groups[index];
	state.group = index + 1 < config.groups ? index + 1 : 0;
	if (write_frame(ctx, group, config.timestamp ? now : 0, (__u32)number))
		return XDP_ABORTED;
	if (last) {
		state.end_ns = now;
		state.done = 1;
	}
	state.sent = number + 1;
	if (now) {
		state.last_ns = now;
		state.clocked = number + 1;
	}
	return (int)bpf_redirect_map(&port, 0, 0);
}

char _license[] SEC("license") = "GPL";
