// SPDX-License-Identifier: GPL-2.0-only
/*
 * The sink: counts what arrives and drops it. One program in three modes, of which the loader picks
 * one before the verifier removes the others' code.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "offer.h"
#include "packet.h"
#include "sink.h"

/*
 * Two banks of one entry per possible CPU: to reset, user space clears the bank that is not in use
 * and then switches. An array instead of a per-CPU one, because its look-up is inlined in all
 * kernels.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct kb_sink_cpu);
} banks SEC(".maps");

const volatile __u32 mode;
const volatile __u32 cpus;
const volatile __u32 pass_stamped;
__u32 bank;

static __always_inline void take_sample(struct kb_sink_cpu *cpu, __u64 now)
{
	__u64 at = cpu->sampled;
	__u32 i;

	if (at >= KB_SINK_SAMPLES) {
		/* Keep every other one: 0, 2, 4... */
		for (i = 1; i < KB_SINK_SAMPLES / 2; i++) {
			cpu->samples[i][0] = cpu->samples[2 * i][0];
			cpu->samples[i][1] = cpu->samples[2 * i][1];
		}
		at = KB_SINK_SAMPLES / 2;
		cpu->sample_every *= 2;
	}
	cpu->samples[at & (KB_SINK_SAMPLES - 1)][0] = now;
	cpu->samples[at & (KB_SINK_SAMPLES - 1)][1] = cpu->packets;
	cpu->sampled = at + 1;
	cpu->next_sample = cpu->packets + cpu->sample_every;
}

/* When the generator sent this frame, or 0. */
static __always_inline __u64 stamp_of(const __u8 *frame, const __u8 *end)
{
	const struct kb_eth *eth = (const void *)frame;

	if (frame + KB_OFFER_IPV4_PAYLOAD + KB_OFFER_PAYLOAD_MIN > end)
		return 0;
	if (eth->ethertype == kb_swap16(KB_ETH_P_IPV4)) {
		const struct kb_ipv4 *ip = (const void *)(eth + 1);

		if (ip->version_ihl != 0x45 || ip->protocol != KB_PROTO_UDP)
			return 0;
		return *(const __u64 *)(frame + KB_OFFER_IPV4_PAYLOAD);
	}
	if (eth->ethertype == kb_swap16(KB_ETH_P_IPV6)) {
		const struct kb_ipv6 *ip = (const void *)(eth + 1);

		if (frame + KB_OFFER_IPV6_PAYLOAD + KB_OFFER_PAYLOAD_MIN > end ||
		    ip->next_header != KB_PROTO_UDP)
			return 0;
		return *(const __u64 *)(frame + KB_OFFER_IPV6_PAYLOAD);
	}
	return 0;
}

static __always_inline void take_latency(struct kb_sink_cpu *cpu, __u64 stamp, __u64 now)
{
	__u64 latency = now - stamp;
	__u32 index;

	/* A stamp from the future is no stamp of this machine's clock. */
	if (!stamp || stamp > now) {
		cpu->unstamped++;
		return;
	}
	if (latency < cpu->min_ns)
		cpu->min_ns = latency;
	if (latency > cpu->max_ns)
		cpu->max_ns = latency;
	index = kb_hist_index(latency);
	if (index < KB_HIST_BUCKETS)
		cpu->latency[index]++;
}

SEC("xdp")
int sink(struct xdp_md *ctx)
{
	const __u8 *frame = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 key = bpf_get_smp_processor_id();
	struct kb_sink_cpu *cpu;
	__u64 now = 0;

	/* kb-stamp's own packets: it takes them from a packet socket, and counts them itself. */
	if (pass_stamped && stamp_of(frame, end) >> 32 == KB_STAMP_MAGIC)
		return XDP_PASS;
	if (*(volatile __u32 *)&bank)
		key += cpus;
	cpu = bpf_map_lookup_elem(&banks, &key);
	if (!cpu)
		return XDP_ABORTED;
	if (mode != KB_SINK_COUNT)
		now = bpf_ktime_get_ns();
	if (mode == KB_SINK_LATENCY)
		take_latency(cpu, stamp_of(frame, end), now);
	cpu->packets++;
	cpu->bytes += end - frame;
	if (cpu->packets == cpu->next_sample) {
		if (mode == KB_SINK_COUNT)
			now = bpf_ktime_get_ns();
		take_sample(cpu, now);
	}
	if (now) {
		if (!cpu->first_ns)
			cpu->first_ns = now;
		cpu->last_ns = now;
	}
	return XDP_DROP;
}

char _license[] SEC("license") = "GPL";
