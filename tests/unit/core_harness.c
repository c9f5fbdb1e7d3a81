// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs the packet core on files, for the unit tests. tests/unit/core_tools.py builds
 * it, with and without sanitizers, and speaks to it:
 *
 * layout: offsets of the image's fields, one "name offset" per line
 * decide IMAGE FRAMES OUT: OUT gets, per frame, u32 verdict, u32 bytes, the rewritten frame
 * check IMAGE: for each line of stdin, "offset xor" (hex) or "cut bytes", what
 *	kb_image_check() says of the image so damaged; "ok" if nothing
 * forge IMAGE FRAMES ROUNDS: decides on images with right checksums and random contents
 *
 * FRAMES is a KBPK file. Each frame and each of the image's arrays gets memory of its
 * exact size, so that the address sanitizer sees any access beyond.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "function.h"

struct blob {
	uint8_t *data;
	size_t len;
};

static void die(const char *what)
{
	fprintf(stderr, "core_harness: %s\n", what);
	exit(2);
}

static void *copy_of(const void *data, size_t len)
{
	void *copy = malloc(len ? len : 1);

	if (!copy)
		die("no memory");
	memcpy(copy, data, len);
	return copy;
}

static struct blob read_file(const char *path)
{
	struct blob blob = { NULL, 0 };
	FILE *file = fopen(path, "rb");
	long size;

	if (!file || fseek(file, 0, SEEK_END) || (size = ftell(file)) < 0)
		die(path);
	rewind(file);
	blob.len = (size_t)size;
	blob.data = malloc(blob.len ? blob.len : 1);
	if (!blob.data || fread(blob.data, 1, blob.len, file) != blob.len)
		die(path);
	fclose(file);
	return blob;
}

static uint32_t u32_at(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

/* The arrays in memory of their own: an index beyond them can't land in the neighbour. */
static struct kb_image separate(const struct kb_image *image)
{
	struct kb_image own = *image;

	own.slots = copy_of(image->slots, image->slot_count * sizeof(*own.slots));
	own.vectors = copy_of(image->vectors, image->vector_count * sizeof(*own.vectors));
	return own;
}

static void release(struct kb_image *image)
{
	free((void *)(uintptr_t)image->slots);
	free((void *)(uintptr_t)image->vectors);
}

/*
 * Decides on one frame and rewrites it in place. A socket buffer may hold
 * no more than the first KB_HEADER_MAX bytes of the packet in one piece: the
 * verdict must be the same from those.
 */
static uint32_t decide(const struct kb_image *image, uint32_t function, uint8_t *frame,
		       uint32_t len)
{
	uint32_t verdict, again, head = KB_ETH_LEN + KB_HEADER_MAX;
	uint16_t ethertype;
	uint8_t *linear;

	verdict = kb_decide_frame(image, &image->params, function, frame, frame + len, len);
	if (len > head) {
		linear = copy_of(frame, head);
		again = kb_decide_frame(image, &image->params, function, linear, linear + head,
					len);
		if (again != verdict)
			die("another verdict from the linear part alone");
		free(linear);
	}
	if (KB_VERDICT_REASON(verdict) != KB_FORWARDED)
		return verdict;
	ethertype = (uint16_t)(frame[12] << 8 | frame[13]);
	again = kb_decide(image, &image->params, function, frame + KB_ETH_LEN, frame + len,
			  len - KB_ETH_LEN, ethertype, KB_IP_VALIDATED);
	if (again != verdict)
		die("another verdict for a validated packet");
	kb_rewrite_ip(frame + KB_ETH_LEN, ethertype);
	kb_rewrite_eth(frame, &image->params, KB_VERDICT_PORT(verdict));
	return verdict;
}

static void decide_all(const struct kb_image *image, uint32_t function, const struct blob *frames,
		       FILE *out)
{
	uint32_t count = u32_at(frames->data + 8), i;
	const uint8_t *at = frames->data + 12;

	for (i = 0; i < count; i++) {
		uint32_t len = u32_at(at), verdict;
		uint8_t *frame = copy_of(at + 4, len);

		verdict = decide(image, function, frame, len);
		if (out && (fwrite(&verdict, 4, 1, out) != 1 || fwrite(&len, 4, 1, out) != 1 ||
			    fwrite(frame, 1, len, out) != len))
			die("can't write");
		free(frame);
		at += 4 + len;
	}
}

static void do_decide(const char *image_path, const char *frames_path, const char *out_path)
{
	struct blob blob = read_file(image_path), frames = read_file(frames_path);
	FILE *out = fopen(out_path, "wb");
	struct kb_image image, own;
	const char *error = kb_image_check(blob.data, blob.len, &image);

	if (error || !out)
		die(error ? error : out_path);
	own = separate(&image);
	decide_all(&own, image.params.function, &frames, out);
	release(&own);
	if (fclose(out))
		die(out_path);
	free(blob.data);
	free(frames.data);
}

static void do_check(const char *image_path)
{
	struct blob blob = read_file(image_path);
	unsigned long offset, mask;
	char line[80];

	while (fgets(line, sizeof(line), stdin)) {
		struct kb_image image;
		const char *error;

		if (sscanf(line, "cut %lu", &offset) == 1 && offset <= blob.len) {
			void *cut = copy_of(blob.data, offset);

			error = kb_image_check(cut, offset, &image);
			free(cut);
		} else if (sscanf(line, "%lx %lx", &offset, &mask) == 2 && offset < blob.len) {
			blob.data[offset] ^= (uint8_t)mask;
			error = kb_image_check(blob.data, blob.len, &image);
			blob.data[offset] ^= (uint8_t)mask;
		} else {
			die("bad line");
		}
		puts(error ? error : "ok");
	}
	free(blob.data);
}

static uint64_t random_state = 0x9e3779b97f4a7c15ULL;

static uint32_t random_u32(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 16);
}

/* A value as an attacker would pick it: small, near the limits, with the child bit, or any. */
static uint32_t nasty(uint32_t limit)
{
	uint32_t value = random_u32();

	switch (value & 7) {
	case 0:
		return value >> 28;
	case 1:
		return limit - 1 + (value >> 30);
	case 2:
	case 3:
		return KB_CHILD | (random_u32() % (limit + 2));
	case 4:
		return 0xffffffffu - (value >> 28);
	default:
		return limit ? random_u32() % limit : value;
	}
}

static void forge(struct kb_image_header *h)
{
	uint32_t *slots = (uint32_t *)((uint8_t *)h + h->slots.offset);
	uint64_t *vectors = (uint64_t *)((uint8_t *)h + h->vectors.offset);
	uint32_t slot_count = (uint32_t)h->slots.count, i;
	uint64_t words = h->vectors.count * (sizeof(struct kb_vector) / 8);
	uint32_t *params = &h->params.rules;

	for (i = 0; i < slot_count; i++)
		if (!(random_u32() & 3))
			slots[i] = nasty(slot_count);
	for (i = 0; i < words; i++)
		if (!(random_u32() & 3))
			vectors[i] = (uint64_t)random_u32() << 32 | random_u32();
	/* Everything between the function and the ports. */
	for (i = 0; params + i < (uint32_t *)&h->params.ports[0]; i++)
		if (!(random_u32() & 3))
			params[i] = nasty(slot_count);
	if (!(random_u32() & 3))
		h->params.function = nasty(5);
	if (!(random_u32() & 7))
		h->slots.count = nasty(slot_count) & ~15ULL;
	if (!(random_u32() & 7))
		h->vectors.count = nasty((uint32_t)h->vectors.count);
	if (!(random_u32() & 7))
		h->vectors.offset = h->slots.offset;
	h->crc32 = KB_CRC32((const uint8_t *)&h->reserved,
			    h->total_bytes - offsetof(struct kb_image_header, reserved));
}

static void do_forge(const char *image_path, const char *frames_path, unsigned int rounds)
{
	struct blob blob = read_file(image_path), frames = read_file(frames_path);
	unsigned int accepted = 0, function, i;

	for (i = 0; i < rounds; i++) {
		struct kb_image_header *forged = copy_of(blob.data, blob.len);
		struct kb_image image, own;

		forge(forged);
		if (!kb_image_check(forged, blob.len, &image)) {
			accepted++;
			own = separate(&image);
			for (function = KB_DROP; function <= KB_FILTER; function++)
				decide_all(&own, function, &frames, NULL);
			release(&own);
		}
		free(forged);
	}
	printf("%u\n", accepted);
	free(blob.data);
	free(frames.data);
}

static void do_layout(void)
{
#define FIELD(name) printf(#name " %zu\n", offsetof(struct kb_image_header, name))
	FIELD(magic);
	FIELD(version);
	FIELD(header_bytes);
	FIELD(total_bytes);
	FIELD(crc32);
	FIELD(reserved);
	FIELD(slots.offset);
	FIELD(slots.count);
	FIELD(vectors.offset);
	FIELD(vectors.count);
	FIELD(params.function);
	FIELD(params.rules);
	FIELD(params.default_accept);
	FIELD(params.accept_vector);
	FIELD(params.route4);
	FIELD(params.route6);
	FIELD(params.src4);
	FIELD(params.dst4);
	FIELD(params.src6);
	FIELD(params.dst6);
	FIELD(params.sport);
	FIELD(params.dport);
	FIELD(params.protocol);
	FIELD(params.no_sport);
	FIELD(params.no_dport);
	FIELD(params.ports[0].mac);
	FIELD(params.ports[0].next_hop);
	FIELD(params.ports[1].mac);
	FIELD(params.ports[1].next_hop);
	FIELD(params.reserved);
#undef FIELD
	printf("header %zu\nvector %zu\n", sizeof(struct kb_image_header),
	       sizeof(struct kb_vector));
#define X(id, name) printf("reason " name " %u\n", KB_##id);
	KB_REASONS(X)
#undef X
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "layout"))
		do_layout();
	else if (argc == 5 && !strcmp(argv[1], "decide"))
		do_decide(argv[2], argv[3], argv[4]);
	else if (argc == 3 && !strcmp(argv[1], "check"))
		do_check(argv[2]);
	else if (argc == 5 && !strcmp(argv[1], "forge"))
		do_forge(argv[2], argv[3], (unsigned int)atoi(argv[4]));
	else
		die("usage: see the head of core_harness.c");
	return 0;
}
