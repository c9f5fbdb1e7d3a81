// SPDX-License-Identifier: GPL-2.0-only
/*
 * The least that forwards IPv4: TTL, checksum, MAC addresses, redirect. No look-up, no check of the
 * header, no counter: the yardstick that the xdp datapath's forwarding is measured against. Written
 * by hand, not from core/.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "minimal.h"

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} port SEC(".maps");

const volatile struct minimal_macs macs;

SEC("xdp")
int minimal(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	__u32 *to = data;
	struct iphdr *ip = data + sizeof(*eth);
	__u32 sum;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if (ip->ttl <= 1)
		return XDP_DROP;
	sum = ip->check + bpf_htons(0x0100);
	ip->check = sum + (sum >= 0xffff);
	ip->ttl--;
	to[0] = macs.words[0];
	to[1] = macs.words[1];
	to[2] = macs.words[2];
	return bpf_redirect_map(&port, 0, 0);
}

char _license[] SEC("license") = "GPL";
