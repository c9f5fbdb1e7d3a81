// SPDX-License-Identifier: GPL-2.0-only
/* The packet path: from the hook at PRE_ROUTING to the outgoing port. */
#include <linux/ip.h>
#include <linux/netdevice.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <linux/skbuff.h>
#include <net/dst.h>
#include <net/ip.h>
#include <net/xfrm.h>
#if __has_include("net/gso.h") /* split off skbuff.h by commit d457a0e329b0 */
#include <net/gso.h>
#endif

#include "internal.h"

/*
 * PRE_ROUTING runs with bottom halves off on the CPU that received the packet.
 * `packets` is above 1 for what GRO has merged: the ledger is in packets of the wire.
 */
static __always_inline void kbench_nf_count(const struct kbench_nf_session *session, u32 counter,
					    u32 packets)
{
	struct kbench_nf_counters *c = this_cpu_ptr(session->counters);

	u64_stats_update_begin(&c->syncp);
	u64_stats_add(&c->value[counter], packets);
	u64_stats_update_end(&c->syncp);
}

/* dev_queue_xmit() would hide a port that is down: its no-op qdisc answers NET_XMIT_CN. */
static bool kbench_nf_port_takes(const struct net_device *out, const struct sk_buff *skb)
{
	if (!netif_running(out) || !netif_carrier_ok(out))
		return false;
	if (skb->len <= READ_ONCE(out->mtu))
		return true;
	return skb_is_gso(skb) && skb_gso_validate_network_len(skb, READ_ONCE(out->mtu));
}

/*
 * Sends a packet whose route was found. As ip_forward() does: a private,
 * writable header, then what was true of the way in only is forgotten (dst,
 * connection, IPsec, time stamp, a checksum over the whole packet). GSO packets go
 * as they are and are cut by dev_queue_xmit() if the port can't.
 */
static __always_inline unsigned int kbench_nf_forward(const struct kbench_nf_session *session,
						      const struct kbench_nf_table *table,
						      struct sk_buff *skb, u32 port, u16 ethertype,
						      u32 packets)
{
	struct net_device *out = table->ports[port];
	int err;

	if (unlikely(!kbench_nf_port_takes(out, skb)) || skb_warn_if_lro(skb)) {
		kbench_nf_count(session, KBENCH_NF_LOST_TX, packets);
		return NF_DROP;
	}
	if (unlikely(skb_cow(skb, LL_RESERVED_SPACE(out)))) {
		kbench_nf_count(session, KBENCH_NF_LOST_MEMORY, packets);
		return NF_DROP;
	}
	kb_rewrite_ip(skb_network_header(skb), ethertype);
	skb_forward_csum(skb);
	skb_clear_tstamp(skb);
	skb_dst_drop(skb);
	nf_reset_ct(skb);
	secpath_reset(skb);

	skb_push(skb, ETH_HLEN);
	skb_reset_mac_header(skb);
	skb_reset_mac_len(skb);
	eth_hdr(skb)->h_proto = skb->protocol;
	kb_rewrite_eth(skb->data, &table->image.params, port);
	skb->dev = out;
	/* The packet is gone after this, whatever comes back. */
	err = dev_queue_xmit(skb); /* not within net_xmit_eval(), which evaluates it twice */
	if (likely(!net_xmit_eval(err)))
		kbench_nf_count(session, KB_FORWARDED, packets);
	else
		kbench_nf_count(session, KBENCH_NF_LOST_TX, packets);
	return NF_STOLEN;
}

/* `function` and `ethertype` are constants: see the hooks below. */
static __always_inline unsigned int kbench_nf_packet(const struct kbench_nf_session *session,
						     struct sk_buff *skb,
						     const struct nf_hook_state *state,
						     u32 function, u16 ethertype)
{
	const struct kbench_nf_table *table = rcu_dereference(session->table);
	u32 verdict, packets;

	if (!table || state->in != table->ports[0])
		return NF_ACCEPT;
	packets = skb_is_gso(skb) ? max_t(u32, skb_shinfo(skb)->gso_segs, 1) : 1;
	kbench_nf_count(session, KBENCH_NF_RECEIVED, packets);
	if (skb->pkt_type != PACKET_HOST) {
		kbench_nf_count(session, KB_PASSED, packets);
		return NF_ACCEPT;
	}
	if (!pskb_may_pull(skb, min_t(u32, skb->len, KB_HEADER_MAX))) {
		kbench_nf_count(session, KBENCH_NF_LOST_MEMORY, packets);
		return NF_DROP;
	}
	verdict = kb_decide(&table->image, &table->image.params, function, skb_network_header(skb),
			    skb_tail_pointer(skb), skb->len, ethertype,
			    ethertype == KB_ETH_P_IPV4 ? KB_IP_VALIDATED : 0);
	if (likely(KB_VERDICT_REASON(verdict) == KB_FORWARDED))
		return kbench_nf_forward(session, table, skb, KB_VERDICT_PORT(verdict), ethertype,
					 packets);
	kbench_nf_count(session, KB_VERDICT_REASON(verdict), packets);
	return KB_VERDICT_REASON(verdict) == KB_PASSED ? NF_ACCEPT : NF_DROP;
}

#define KBENCH_NF_HOOK(name, function, ethertype)                                                  \
	static unsigned int name(void *priv, struct sk_buff *skb,                                  \
				 const struct nf_hook_state *state)                                \
	{                                                                                          \
		return kbench_nf_packet(priv, skb, state, function, ethertype);                    \
	}

KBENCH_NF_HOOK(kbench_nf_drop_ipv4, KB_DROP, KB_ETH_P_IPV4)
KBENCH_NF_HOOK(kbench_nf_drop_ipv6, KB_DROP, KB_ETH_P_IPV6)
KBENCH_NF_HOOK(kbench_nf_forward_ipv4, KB_FORWARD, KB_ETH_P_IPV4)
KBENCH_NF_HOOK(kbench_nf_forward_ipv6, KB_FORWARD, KB_ETH_P_IPV6)
KBENCH_NF_HOOK(kbench_nf_filter_ipv4, KB_FILTER, KB_ETH_P_IPV4)
KBENCH_NF_HOOK(kbench_nf_filter_ipv6, KB_FILTER, KB_ETH_P_IPV6)

/* `function` was checked by kb_image_check(). */
void kbench_nf_fill_ops(struct nf_hook_ops *ops, struct kbench_nf_session *session, u32 function)
{
	static nf_hookfn *const hooks[][2] = {
		[KB_DROP] = { kbench_nf_drop_ipv4, kbench_nf_drop_ipv6 },
		[KB_FORWARD] = { kbench_nf_forward_ipv4, kbench_nf_forward_ipv6 },
		[KB_FILTER] = { kbench_nf_filter_ipv4, kbench_nf_filter_ipv6 },
	};

	ops[0] = (struct nf_hook_ops){
		.hook = hooks[function][0],
		.priv = session,
		.pf = NFPROTO_IPV4,
		.hooknum = NF_INET_PRE_ROUTING,
		.priority = NF_IP_PRI_RAW,
	};
	ops[1] = (struct nf_hook_ops){
		.hook = hooks[function][1],
		.priv = session,
		.pf = NFPROTO_IPV6,
		.hooknum = NF_INET_PRE_ROUTING,
		.priority = NF_IP6_PRI_RAW,
	};
}
