/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The functions: what is decided about a packet, and what is changed in it.
 *
 * A datapath calls kb_decide() (or kb_decide_frame() when it starts at the Ethernet
 * header), makes the headers writable if it has to, then calls
 * kb_rewrite_ip() and kb_rewrite_eth(). kbench/functions/reference.py says
 * the same in Python and is what verification compares against.
 */
#ifndef KB_FUNCTION_H
#define KB_FUNCTION_H

#include "image.h"
#include "slowdown.h"

/* Why a packet went where it went: enumerator, name in output. */
#define KB_REASONS(X)                                                                              \
	X(FORWARDED, "forwarded") /* leaves by a port */                                           \
	X(PASSED, "passed")	  /* not for this router: left to the kernel */                    \
	X(POLICY, "policy")	  /* dropped by a rule, the default, or `drop` */                  \
	X(NO_ROUTE, "no_route")                                                                    \
	X(DISCARD, "discard") /* the route says so, or a martian destination */                    \
	X(TTL, "ttl")	      /* TTL or hop limit used up */                                       \
	X(MALFORMED, "malformed")                                                                  \
	X(CHECKSUM, "checksum") /* wrong IPv4 header checksum */                                   \
	X(MARTIAN, "martian")	/* source that may not be forwarded */

enum kb_reason {
#define X(id, name) KB_##id,
	KB_REASONS(X)
#undef X
		KB_REASON_COUNT
};

/* What the caller already knows about a packet. */
#define KB_IP_VALIDATED 1u /* the kernel's ip_rcv() checked length and checksum */

/* A verdict is a reason and, if forwarded, the port it leaves by. */
#define KB_VERDICT(reason, port) ((__u32)(reason) | (__u32)(port) << 8)
#define KB_VERDICT_REASON(v) ((v)&0xff)
#define KB_VERDICT_PORT(v) ((v) >> 8 & 0xff)

KB_INLINE __u32 kb_route_verdict(__u32 route)
{
	__u32 port = route - KB_ROUTE_PORT0;

	if (port < KB_PORTS)
		return KB_VERDICT(KB_FORWARDED, port);
	return route == KB_ROUTE_DISCARD ? KB_DISCARD : KB_NO_ROUTE;
}

/*
 * Reads the ports at `offset` into the key. -1 if the packet ends before them:
 * RFC 1858 has filters drop such first fragments.
 */
KB_INLINE int kb_read_ports(const void *l3, const void *end, __u32 len, __u32 offset,
			    struct kb_key *key)
{
	const __u8 *p;

	KB_OPAQUE(offset);
	if (offset > KB_HEADER_MAX - 4)
		return -1;
	p = (const __u8 *)l3 + offset;
	if ((const void *)(p + 4) > end || offset + 4 > len)
		return -1;
	key->sport = (__u16)(p[0] << 8 | p[1]);
	key->dport = (__u16)(p[2] << 8 | p[3]);
	return 0;
}

KB_INLINE __u32 kb_decide_ipv4(const struct kb_image *image, KB_PARAMS *params, __u32 function,
			       const void *l3, const void *end, __u32 len, __u32 known)
{
	const struct kb_ipv4 *ip = (const struct kb_ipv4 *)l3;
	struct kb_key key;
	__u32 header_len, total_len, src;

	if ((const void *)(ip + 1) > end)
		return KB_MALFORMED;
	header_len = KB_IPV4_LEN;
	if (ip->version_ihl != 0x45) { /* most headers have no options */
		header_len = (ip->version_ihl & 0xf) * 4u;
		if (ip->version_ihl >> 4 != 4 || header_len < KB_IPV4_LEN)
			return KB_MALFORMED;
	}
	total_len = kb_swap16(ip->total_len);
	if (header_len > total_len || total_len > len)
		return KB_MALFORMED;
	if (!(known & KB_IP_VALIDATED) && !kb_ipv4_checksum_ok(ip, end, header_len / 4))
		return KB_CHECKSUM;
	src = kb_swap32(ip->src);
	if (kb_ipv4_source_is_martian(src))
		return KB_MARTIAN;

	if (function == KB_FILTER) {
		key.family = 4;
		key.src.hi = key.dst.hi = 0;
		key.src.lo = src;
		key.dst.lo = kb_swap32(ip->dst);
		key.protocol = ip->protocol;
		key.sport = key.dport = 0;
		/* Only a packet's first fragment carries its ports. */
		key.has_ports = kb_has_ports(ip->protocol) && !(ip->fragment & kb_swap16(0x1fff));
		if (key.has_ports && kb_read_ports(l3, end, total_len, header_len, &key))
			return KB_MALFORMED;
		if (!kb_accepts(image, params, &key))
			return KB_POLICY;
	}
	if (ip->ttl <= 1)
		return KB_TTL;
	return kb_route_verdict(kb_lookup_ipv4(image, params->route4, kb_swap32(ip->dst)));
}

KB_INLINE __u32 kb_decide_ipv6(const struct kb_image *image, KB_PARAMS *params, __u32 function,
			       const void *l3, const void *end, __u32 len)
{
	const struct kb_ipv6 *ip = (const struct kb_ipv6 *)l3;
	struct kb_transport transport;
	struct kb_key key;
	__u32 total_len;

	if ((const void *)(ip + 1) > end)
		return KB_MALFORMED;
	total_len = KB_IPV6_LEN + kb_swap16(ip->payload_len);
	if ((*(const __u8 *)l3 >> 4) != 6 || total_len > len)
		return KB_MALFORMED;
	key.src.hi = kb_swap64(ip->src[0]);
	key.src.lo = kb_swap64(ip->src[1]);
	key.dst.hi = kb_swap64(ip->dst[0]);
	key.dst.lo = kb_swap64(ip->dst[1]);
	if (kb_ipv6_source_is_martian(&key.src))
		return KB_MARTIAN;

	if (function == KB_FILTER) {
		if (kb_ipv6_transport(l3, end, total_len, &transport))
			return KB_MALFORMED;
		key.family = 6;
		key.protocol = transport.protocol;
		key.has_ports = transport.ports;
		key.sport = key.dport = 0;
		if (key.has_ports && kb_read_ports(l3, end, total_len, transport.offset, &key))
			return KB_MALFORMED;
		if (!kb_accepts(image, params, &key))
			return KB_POLICY;
	}
	if (ip->hop_limit <= 1)
		return KB_TTL;
	return kb_route_verdict(kb_lookup_ipv6(image, params->route6, &key.dst));
}

/*
 * Decides about a packet that is addressed to this router's port.
 *
 * @function: a constant where the compiler is to drop the other functions
 * @l3: its IP header; @end: the end of the bytes that may be read
 * @len: its length from the IP header on, Ethernet padding included
 * @ethertype: host order
 */
KB_INLINE __u32 kb_decide(const struct kb_image *image, KB_PARAMS *params, __u32 function,
			  const void *l3, const void *end, __u32 len, __u16 ethertype, __u32 known)
{
	kb_slow_down(ethertype);
	if (ethertype == KB_ETH_P_IPV4)
		return function == KB_DROP
			       ? (__u32)KB_POLICY
			       : kb_decide_ipv4(image, params, function, l3, end, len, known);
	if (ethertype == KB_ETH_P_IPV6)
		return function == KB_DROP ? (__u32)KB_POLICY
					   : kb_decide_ipv6(image, params, function, l3, end, len);
	return KB_PASSED;
}

/*
 * The same from the Ethernet header on. Frames to another address, broadcasts
 * (RFC 1812 5.3.4) and tagged frames are not for us.
 */
KB_INLINE __u32 kb_decide_frame(const struct kb_image *image, KB_PARAMS *params, __u32 function,
				const void *frame, const void *end, __u32 frame_len)
{
	const struct kb_eth *eth = (const struct kb_eth *)frame;
	KB_PARAMS_PORT *own = &params->ports[0];

	if ((const void *)(eth + 1) > end)
		return KB_MALFORMED;
	if (kb_mac_differs(eth->dst, own->mac))
		return KB_PASSED;
	return kb_decide(image, params, function, eth + 1, end, frame_len - KB_ETH_LEN,
			 kb_swap16(eth->ethertype), 0);
}

/* One hop less. The IP header was checked by kb_decide() and is writable. */
KB_INLINE void kb_rewrite_ip(void *l3, __u16 ethertype)
{
	if (ethertype == KB_ETH_P_IPV4)
		kb_ipv4_decrease_ttl((struct kb_ipv4 *)l3);
	else
		((struct kb_ipv6 *)l3)->hop_limit--;
}

/* To the port's next hop, from the port's own address. */
KB_INLINE void kb_rewrite_eth(void *frame, KB_PARAMS *params, __u32 port)
{
	struct kb_eth *eth = (struct kb_eth *)frame;
	KB_PARAMS_PORT *out = &params->ports[port ? 1 : 0];

	kb_mac_copy(eth->dst, out->next_hop);
	kb_mac_copy(eth->src, out->mac);
}

#endif
