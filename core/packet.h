/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bounds-checked parsing and rewriting of packets.
 *
 * Compiled unchanged into the kernel module, the BPF programs (hence no
 * unbounded loop and no access that the verifier can't follow) and the
 * userspace programs. Nothing here allocates, blocks or keeps state.
 */
#ifndef KB_PACKET_H
#define KB_PACKET_H

#include <linux/types.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "kbench images and look-ups are little-endian"
#endif

#define KB_INLINE static inline __attribute__((always_inline))

#define KB_ETH_LEN 14
#define KB_ETH_P_IPV4 0x0800
#define KB_ETH_P_IPV6 0x86dd
#define KB_IPV4_LEN 20
#define KB_IPV6_LEN 40

/*
 * How far into a packet, from its IP header, headers are looked for. Bounds
 * the work per packet and what a socket buffer must hold in one piece; a
 * chain of IPv6 extension headers that reaches further is malformed to us.
 */
#define KB_HEADER_MAX 256

/* IPv6 extension headers followed before the chain counts as malformed. */
#define KB_EXTENSIONS_MAX 6

enum {
	KB_PROTO_HOPOPTS = 0,
	KB_PROTO_TCP = 6,
	KB_PROTO_UDP = 17,
	KB_PROTO_ROUTING = 43,
	KB_PROTO_FRAGMENT = 44,
	KB_PROTO_AH = 51,
	KB_PROTO_DSTOPTS = 60,
	KB_PROTO_SCTP = 132,
};

/*
 * Headers lie at 2-byte boundaries. The BPF backend reads what it takes for unaligned byte by byte
 * or in halves, although the verifier allows unaligned accesses where the CPU does; so it isn't
 * told.
 */
#ifdef __bpf__
#define KB_WIRE
#else
#define KB_WIRE __attribute__((packed, aligned(2)))
#endif

/* 32 bits of a header, whatever else it is declared as. */
struct kb_word {
	__u32 v;
} KB_WIRE __attribute__((may_alias));

/* A MAC address is three 16-bit words, in the byte order of the wire. */
struct kb_eth {
	__u16 dst[3];
	__u16 src[3];
	__u16 ethertype; /* network order */
};

struct kb_ipv4 {
	__u8 version_ihl;
	__u8 tos;
	__u16 total_len;
	__u16 id;
	__u16 fragment;
	__u8 ttl;
	__u8 protocol;
	__u16 checksum;
	__u32 src;
	__u32 dst;
} KB_WIRE;

struct kb_ipv6 {
	__u32 version_class_flow;
	__u16 payload_len;
	__u8 next_header;
	__u8 hop_limit;
	__u64 src[2];
	__u64 dst[2];
} KB_WIRE;

/* An address in host order: IPv4 in lo's low half, IPv6 as two halves. */
struct kb_addr {
	__u64 hi;
	__u64 lo;
};

KB_INLINE __u16 kb_swap16(__u16 v)
{
	return __builtin_bswap16(v);
}

KB_INLINE __u32 kb_swap32(__u32 v)
{
	return __builtin_bswap32(v);
}

KB_INLINE __u64 kb_swap64(__u64 v)
{
	return __builtin_bswap64(v);
}

/* Pointers to const volatile also take BPF's read-only data. */
KB_INLINE int kb_mac_differs(const volatile __u16 *a, const volatile __u16 *b)
{
	return ((const volatile struct kb_word *)a)->v != ((const volatile struct kb_word *)b)->v ||
	       a[2] != b[2];
}

KB_INLINE void kb_mac_copy(__u16 *to, const volatile __u16 *from)
{
	((struct kb_word *)to)->v = ((const volatile struct kb_word *)from)->v;
	to[2] = from[2];
}

/*
 * Keeps the compiler from merging or reordering what was learnt about a value,
 * so that the verifier sees the bound check right before the access.
 */
#ifdef __bpf__
#define KB_OPAQUE(var) asm volatile("" : "+r"(var))
#else
#define KB_OPAQUE(var)                                                                             \
	do {                                                                                       \
	} while (0)
#endif

/*
 * Linux 6.1 takes only jumps for the ends of loops, and the compiler may lay one out so that its
 * end falls through to its beginning: a short loop is safer unrolled.
 */
#ifdef __bpf__
#define KB_UNROLL _Pragma("clang loop unroll(full)")
#else
#define KB_UNROLL
#endif

/*
 * Is the IPv4 header checksum right? RFC 1071; RFC 1812 5.2.2 asks routers to
 * check it. The caller has made sure that `words` (5..15) 32-bit words of the
 * header lie before `end`.
 */
KB_INLINE int kb_ipv4_checksum_ok(const void *header, const void *end, __u32 words)
{
	const struct kb_word *word = (const struct kb_word *)header;
	const __u16 *option;
	__u64 sum;
	__u32 i;

	sum = (__u64)word[0].v + word[1].v + word[2].v + word[3].v + word[4].v;
	if (words > 5) {
		for (i = 10; i < 30; i++) {
			if (i >= words * 2)
				break;
			option = (const __u16 *)header + i;
			KB_OPAQUE(option);
			if ((const void *)(option + 1) > end)
				return 0;
			sum += *option;
		}
	}
	/*
	 * RFC 1071's sum s, its three 16-bit limbs folded by a multiplication: the top limb becomes
	 * their sum and the carry of it, which is 0xffff only for limbs that add up to 0xffff or
	 * 0x1fffe.
	 */
	return sum * 0x0001000100010001ULL >> 48 == 0xffff;
}

/*
 * One hop less. The checksum is updated incrementally (RFC 1624, in the form
 * of the kernel's ip_decrease_ttl()).
 */
KB_INLINE void kb_ipv4_decrease_ttl(struct kb_ipv4 *ip)
{
	__u32 sum = ip->checksum;

	sum += 0x0001; /* 0x0100 in network order */
	ip->checksum = (__u16)(sum + (sum >= 0xffff));
	ip->ttl--;
}

/*
 * RFC 1812 5.3.7: sources that no router may forward. Host order. As in the
 * kernel since commit 96125bf9985a, the rest of 0.0.0.0/8 is not among them.
 */
KB_INLINE int kb_ipv4_source_is_martian(__u32 addr)
{
	__u32 top = addr >> 24;

	if (top < 224)
		return top == 127 || !addr;
	return top < 240 || addr == 0xffffffff;
}

/* RFC 4291 2.5: unspecified, loopback, link-local and multicast sources. */
KB_INLINE int kb_ipv6_source_is_martian(const struct kb_addr *addr)
{
	if ((addr->hi >> 56) == 0xff || (addr->hi >> 54) == 0x3fa)
		return 1;
	return !addr->hi && addr->lo <= 1;
}

KB_INLINE int kb_has_ports(__u8 protocol)
{
	return protocol == KB_PROTO_UDP || protocol == KB_PROTO_TCP || protocol == KB_PROTO_SCTP;
}

/* Where a packet's transport header is, as far as the IP headers tell. */
struct kb_transport {
	__u32 offset; /* from the IP header; meaningless if !ports */
	__u8 protocol;
	__u8 ports; /* a first fragment of a protocol that has ports */
};

/*
 * Follows the chain of IPv6 extension headers (RFC 8200 section 4).
 * `len` is the packet's length from its IP header. 0, or -1 if malformed.
 */
KB_INLINE int kb_ipv6_transport(const void *l3, const void *end, __u32 len,
				struct kb_transport *out)
{
	const __u8 *p;
	__u32 offset = KB_IPV6_LEN, i, next_len;
	__u8 next = ((const struct kb_ipv6 *)l3)->next_header;

	out->ports = 0;
	KB_UNROLL
	for (i = 0; i <= KB_EXTENSIONS_MAX; i++) {
		if (next != KB_PROTO_HOPOPTS && next != KB_PROTO_ROUTING &&
		    next != KB_PROTO_DSTOPTS && next != KB_PROTO_FRAGMENT && next != KB_PROTO_AH)
			break;
		if (i == KB_EXTENSIONS_MAX)
			return -1;
		KB_OPAQUE(offset);
		if (offset > KB_HEADER_MAX - 8)
			return -1;
		p = (const __u8 *)l3 + offset;
		if ((const void *)(p + 8) > end || offset + 8 > len)
			return -1;
		if (next == KB_PROTO_FRAGMENT) {
			next = p[0];
			if ((p[2] << 8 | p[3]) & 0xfff8) {
				out->protocol = next;
				return 0;
			}
			offset += 8;
			continue;
		}
		/* RFC 4302 2.2: AH counts in 4-byte words, less 2. */
		next_len = next == KB_PROTO_AH ? (p[1] + 2u) * 4 : (p[1] + 1u) * 8;
		next = p[0];
		offset += next_len;
		if (offset > len)
			return -1;
	}
	out->protocol = next;
	out->ports = kb_has_ports(next);
	out->offset = offset;
	return 0;
}

#endif
