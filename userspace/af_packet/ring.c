// SPDX-License-Identifier: GPL-2.0-only
/* The receive ring: see af_packet.h. */
#include "af_packet.h"
#include "kb_prog.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define V3_BLOCK_BYTES (1u << 16)
#define V3_BLOCKS 256
#define V3_TIMEOUT_MS 1
#define V2_BLOCK_BYTES (1u << 18)
#define V2_BLOCKS 64
#define CACHE_LINE 64u

static uint32_t mtu_of(int fd, const char *ifname)
{
	struct ifreq request;

	memset(&request, 0, sizeof(request));
	strncpy(request.ifr_name, ifname, IFNAMSIZ - 1);
	if (ioctl(fd, SIOCGIFMTU, &request))
		kb_die(KB_EXIT_FAILED, "MTU of %s: %s", ifname, strerror(errno));
	return request.ifr_mtu;
}

/*
 * A whole frame and its headers. An odd number of cache lines: with a power of two all slots' heads
 * would share a few sets of the cache.
 */
static uint32_t slot_bytes_for(uint32_t mtu)
{
	uint32_t lines = (TPACKET2_HDRLEN + 16 + ETH_HLEN + mtu + CACHE_LINE - 1) / CACHE_LINE;

	return (lines | 1) * CACHE_LINE;
}

static void geometry(struct ring *ring, const char *ifname)
{
	bool v3 = ring->version == 3;
	long page = sysconf(_SC_PAGESIZE);

	if (!ring->block_bytes)
		ring->block_bytes = v3 ? V3_BLOCK_BYTES : V2_BLOCK_BYTES;
	if (!ring->blocks)
		ring->blocks = v3 ? V3_BLOCKS : V2_BLOCKS;
	if (v3 && !ring->timeout_ms)
		ring->timeout_ms = V3_TIMEOUT_MS;
	ring->slot_bytes = v3 ? ring->block_bytes : slot_bytes_for(mtu_of(ring->fd, ifname));
	if (ring->block_bytes % page || ring->slot_bytes > ring->block_bytes)
		kb_die(KB_EXIT_USAGE,
		       "--block-bytes: %u is not a multiple of %ld that holds a frame of %u",
		       ring->block_bytes, page, ring->slot_bytes);
	if ((uint64_t)ring->block_bytes * ring->blocks > 1u << 30)
		kb_die(KB_EXIT_USAGE, "--blocks: a ring of more than 1 GiB");
}

void ring_open(struct ring *ring, const char *ifname)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	int version = ring->version == 3 ? TPACKET_V3 : TPACKET_V2;
	struct tpacket_req3 request = { 0 };
	int one = 1;
	size_t bytes;

	address.sll_ifindex = kb_ifindex(ifname);
	/* Protocol 0: nothing arrives, from no interface, before bind(). */
	ring->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (ring->fd < 0)
		kb_die(KB_EXIT_LACKS, "packet socket: %s", strerror(errno));
	geometry(ring, ifname);
	if (setsockopt(ring->fd, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)))
		kb_die(KB_EXIT_LACKS, "TPACKET_V%d: %s", ring->version, strerror(errno));
	/* What leaves by this port is no input. */
	if (setsockopt(ring->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)))
		kb_die(KB_EXIT_LACKS, "PACKET_IGNORE_OUTGOING: %s", strerror(errno));
	request.tp_block_size = ring->block_bytes;
	request.tp_block_nr = ring->blocks;
	request.tp_frame_size = ring->slot_bytes;
	request.tp_frame_nr = ring->block_bytes / ring->slot_bytes * ring->blocks;
	request.tp_retire_blk_tov = ring->timeout_ms;
	if (setsockopt(ring->fd, SOL_PACKET, PACKET_RX_RING, &request,
		       ring->version == 3 ? sizeof(request) : sizeof(struct tpacket_req)))
		kb_die(KB_EXIT_LACKS, "ring of %u blocks of %u bytes: %s", ring->blocks,
		       ring->block_bytes, strerror(errno));
	bytes = (size_t)ring->block_bytes * ring->blocks;
	ring->memory =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, 0);
	if (ring->memory == MAP_FAILED)
		kb_die(KB_EXIT_FAILED, "mmap of the ring: %s", strerror(errno));
	if (bind(ring->fd, (struct sockaddr *)&address, sizeof(address)))
		kb_die(KB_EXIT_LACKS, "packet socket on %s: %s", ifname, strerror(errno));
}

void ring_read_lost(struct ring *ring)
{
	struct tpacket_stats_v3 stats = { 0 };
	socklen_t len = sizeof(stats);

	if (getsockopt(ring->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len))
		kb_die(KB_EXIT_FAILED, "PACKET_STATISTICS: %s", strerror(errno));
	ring->lost += stats.tp_drops; /* at the same place in all versions */
}

void ring_stop(struct ring *ring)
{
	struct sock_filter nothing = { .code = BPF_RET | BPF_K, .k = 0 };
	struct sock_fprog program = { .len = 1, .filter = &nothing };

	if (setsockopt(ring->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)))
		kb_warn("packets may still arrive while stopping: %s", strerror(errno));
}
