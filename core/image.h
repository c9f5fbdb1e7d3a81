/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The image: the compiled tables of a function, and the look-ups in them.
 *
 * kbench/functions/image.py writes it. One flat little-endian blob: header,
 * then two arrays. Every reader calls kb_image_check() first; look-ups still check each
 * index, so that even a forged image can't make them read outside the arrays.
 *
 * Slots are the nodes of multibit tries. A slot with KB_CHILD set holds the
 * index of the first slot of its child node, otherwise a value. IPv4 goes
 * in strides of 16, 8 and 8 bits, IPv6 of 16 and then 4 bits (a node is a cache
 * line), ports and protocols take one node of 65536 and 256 slots.
 *
 * Rules are classified by aggregated bit vectors (Baboescu and Varghese,
 * SIGCOMM 2001): each field's look-up yields the set of rules that its value
 * satisfies; the first bit that is in all five sets is the first rule that matches.
 * The cost hardly depends on the number of rules, and is bounded.
 */
#ifndef KB_IMAGE_H
#define KB_IMAGE_H

#include "packet.h"

#define KB_IMAGE_MAGIC 0x4d49424b /* "KBIM" */
#define KB_IMAGE_VERSION 1
#define KB_IMAGE_BYTES_MAX (1ULL << 31)

#define KB_CHILD 0x80000000u
#define KB_ROOT_SLOTS 65536
#define KB_SLOT_GROUP 16 /* slots per 64-byte line; arrays are whole lines */
#define KB_RULES_MAX 10000
#define KB_VECTOR_WORDS 157 /* 157 * 64 >= KB_RULES_MAX */
#define KB_SUMMARY_WORDS 3
#define KB_PORTS 2
#define KB_NO_RULE 0xffffffffu

/* Values in the route tries. */
enum { KB_ROUTE_NONE, KB_ROUTE_DISCARD, KB_ROUTE_PORT0 };

enum kb_function { KB_DROP = 1, KB_FORWARD, KB_FILTER };

/* A set of rules; bit n of summary[] says that words[n] is not empty. */
struct kb_vector {
	__u64 summary[KB_SUMMARY_WORDS];
	__u64 words[KB_VECTOR_WORDS];
};

struct kb_port {
	__u16 mac[3];	   /* our own address on this port */
	__u16 next_hop[3]; /* whom packets that leave by it are sent to */
};

/* Slot indices of the roots, and vectors that no look-up yields. */
struct kb_params {
	__u32 function;
	__u32 rules;
	__u32 default_accept;
	__u32 accept_vector; /* the rules whose action is accept */
	__u32 route4, route6;
	__u32 src4, dst4, src6, dst6;
	__u32 sport, dport, protocol;
	__u32 no_sport, no_dport; /* rules that packets without ports satisfy */
	struct kb_port ports[KB_PORTS];
	__u32 reserved;
};

struct kb_section {
	__u64 offset;
	__u64 count;
};

struct kb_image_header {
	__u32 magic;
	__u16 version;
	__u16 header_bytes;
	__u64 total_bytes;
	__u32 crc32; /* IEEE 802.3, of all that follows this field */
	__u32 reserved;
	struct kb_section slots;   /* of __u32 */
	struct kb_section vectors; /* of struct kb_vector */
	struct kb_params params;
};

struct kb_image {
	const __u32 *slots;
	const struct kb_vector *vectors;
	__u32 slot_count;
	__u32 vector_count;
	struct kb_params params;
};

#ifdef __bpf__
/* In BPF the arrays are maps and the parameters read-only data. */
#define KB_PARAMS const volatile struct kb_params
#define KB_PARAMS_PORT const volatile struct kb_port
KB_INLINE __u32 kb_slot(const struct kb_image *image, __u32 index);
KB_INLINE __u32 kb_root_slot(const struct kb_image *image, __u32 root, __u32 index);
KB_INLINE const struct kb_vector *kb_vector(const struct kb_image *image, __u32 id);
#else
#define KB_PARAMS const struct kb_params
#define KB_PARAMS_PORT const struct kb_port

KB_INLINE __u32 kb_slot(const struct kb_image *image, __u32 index)
{
	return index < image->slot_count ? image->slots[index] : 0;
}

/*
 * Slot `index` (< 65536) of a root node. Apart from kb_slot() because BPF can reach a node of a
 * size that is known at compile time with a third of the instructions, and each look-up starts with
 * one.
 */
KB_INLINE __u32 kb_root_slot(const struct kb_image *image, __u32 root, __u32 index)
{
	return kb_slot(image, root + index);
}

KB_INLINE const struct kb_vector *kb_vector(const struct kb_image *image, __u32 id)
{
	return id < image->vector_count ? &image->vectors[id] : (const struct kb_vector *)0;
}
#endif

KB_INLINE __u32 kb_lookup_ipv4(const struct kb_image *image, __u32 root, __u32 addr)
{
	__u32 slot = kb_root_slot(image, root, addr >> 16);

	if (slot & KB_CHILD)
		slot = kb_slot(image, (slot & ~KB_CHILD) + (addr >> 8 & 0xff));
	if (slot & KB_CHILD)
		slot = kb_slot(image, (slot & ~KB_CHILD) + (addr & 0xff));
	return slot;
}

#define KB_IPV6_STEPS 28 /* (128 - 16) / 4 */

KB_INLINE __u32 kb_lookup_ipv6(const struct kb_image *image, __u32 root, const struct kb_addr *addr)
{
	__u64 hi = addr->hi << 16 | addr->lo >> 48, lo = addr->lo << 16;
	__u32 slot = kb_root_slot(image, root, (__u32)(addr->hi >> 48));
	__u32 i;

	for (i = 0; i < KB_IPV6_STEPS; i++) {
		if (!(slot & KB_CHILD))
			break;
		slot = kb_slot(image, (slot & ~KB_CHILD) + (__u32)(hi >> 60));
		hi = hi << 4 | lo >> 60;
		lo <<= 4;
	}
	return slot;
}

#ifdef __bpf__
/* Which bit is set in the power of two that KB_DE_BRUIJN was multiplied by: see kb_lowest_bit(). */
#define KB_DE_BRUIJN 0x03f79d71b4cb0a89ULL
static const __u8 kb_de_bruijn_bits[64] = {
	0,  1,	48, 2,	57, 49, 28, 3,	61, 58, 50, 42, 38, 29, 17, 4,	62, 55, 59, 36, 53, 51,
	43, 22, 45, 39, 33, 30, 24, 18, 12, 5,	63, 47, 56, 27, 60, 41, 37, 16, 54, 35, 52, 21,
	44, 32, 23, 11, 46, 26, 40, 15, 34, 20, 31, 10, 25, 14, 19, 9,	13, 8,	7,  6,
};
#endif

/*
 * Index of the lowest set bit; v is not 0. BPF has no instruction for it, and a search by halves
 * has 64 ways through it, each of which the verifier follows in each round of the caller's loop: a
 * look-up by a de Bruijn sequence (Leiserson, Prokop and Randall, 1998) has one.
 */
KB_INLINE __u32 kb_lowest_bit(__u64 v)
{
#ifdef __bpf__
	return kb_de_bruijn_bits[(v & -v) * KB_DE_BRUIJN >> 58];
#else
	return (__u32)__builtin_ctzll(v);
#endif
}

/* What the rules look at. has_ports is 0 for fragments and other protocols. */
struct kb_key {
	struct kb_addr src, dst;
	__u16 sport, dport; /* host order */
	__u8 protocol;
	__u8 family; /* 4 or 6 */
	__u8 has_ports;
};

/* Does the first matching rule, or else the default policy, accept? */
KB_INLINE int kb_accepts(const struct kb_image *image, KB_PARAMS *params, const struct kb_key *key)
{
	const struct kb_vector *s, *d, *sp, *dp, *pr, *accept;
	__u32 src, dst, i, n, word;
	__u64 some, all;

	if (key->family == 4) {
		src = kb_lookup_ipv4(image, params->src4, (__u32)key->src.lo);
		dst = kb_lookup_ipv4(image, params->dst4, (__u32)key->dst.lo);
	} else {
		src = kb_lookup_ipv6(image, params->src6, &key->src);
		dst = kb_lookup_ipv6(image, params->dst6, &key->dst);
	}
	s = kb_vector(image, src);
	d = kb_vector(image, dst);
	sp = kb_vector(image, key->has_ports ? kb_root_slot(image, params->sport, key->sport)
					     : params->no_sport);
	dp = kb_vector(image, key->has_ports ? kb_root_slot(image, params->dport, key->dport)
					     : params->no_dport);
	pr = kb_vector(image, kb_slot(image, params->protocol + key->protocol));
	accept = kb_vector(image, params->accept_vector);
	if (!s || !d || !sp || !dp || !pr || !accept)
		return 0; /* only a forged image gets here: fail closed */

	for (i = 0; i < KB_SUMMARY_WORDS; i++) {
		some = s->summary[i] & d->summary[i] & sp->summary[i] & dp->summary[i] &
		       pr->summary[i];
		for (n = 0; n < 64; n++) {
			if (!some)
				break;
			word = i * 64 + kb_lowest_bit(some);
			KB_OPAQUE(word);
			if (word >= KB_VECTOR_WORDS)
				break;
			all = s->words[word] & d->words[word] & sp->words[word] & dp->words[word] &
			      pr->words[word];
			if (all)
				return !!(accept->words[word] & all & -all);
			some &= some - 1;
		}
	}
	return !!params->default_accept;
}

#ifndef __bpf__
#ifdef __KERNEL__
#include <linux/crc32.h>
#define KB_CRC32(data, len) (crc32_le(~0u, (data), (len)) ^ ~0u)
#else
#include <zlib.h>
#define KB_CRC32(data, len) ((__u32)crc32_z(0, (data), (len)))
#endif

/*
 * Is this blob an image of our version, whole and undamaged? Fills `image`,
 * whose arrays point into the blob. Returns NULL, or what is wrong with it.
 */
static inline const char *kb_image_check(const void *blob, __u64 len, struct kb_image *image)
{
	const struct kb_image_header *h = (const struct kb_image_header *)blob;
	const __u8 *covered = (const __u8 *)&h->reserved;
	const __u64 head = sizeof(*h);

	if (len < head)
		return "truncated: shorter than an image header";
	if (h->magic != KB_IMAGE_MAGIC)
		return "not a kbench image (wrong magic)";
	if (h->version != KB_IMAGE_VERSION || h->header_bytes != head)
		return "image of another version: compile it again";
	if (h->total_bytes != len || len > KB_IMAGE_BYTES_MAX)
		return "truncated: length differs from the header's";
	if (h->slots.offset < head || h->slots.offset % 64 || h->slots.offset > len ||
	    h->slots.count % KB_SLOT_GROUP || h->slots.count >= KB_CHILD ||
	    h->slots.count > (len - h->slots.offset) / sizeof(__u32))
		return "corrupted: slots lie outside the image";
	if (h->vectors.offset < head || h->vectors.offset % 64 || h->vectors.offset > len ||
	    h->vectors.count > (len - h->vectors.offset) / sizeof(struct kb_vector))
		return "corrupted: vectors lie outside the image";
	if (KB_CRC32(covered, len - (__u64)(covered - (const __u8 *)blob)) != h->crc32)
		return "corrupted: wrong checksum";
	if (h->params.function < KB_DROP || h->params.function > KB_FILTER)
		return "corrupted: unknown function";
	if (h->params.rules > KB_RULES_MAX)
		return "corrupted: too many rules";
	image->slots = (const __u32 *)((const __u8 *)blob + h->slots.offset);
	image->vectors = (const struct kb_vector *)((const __u8 *)blob + h->vectors.offset);
	image->slot_count = (__u32)h->slots.count;
	image->vector_count = (__u32)h->vectors.count;
	image->params = h->params;
	return (const char *)0;
}
#endif /* __bpf__ */

#endif
