// SPDX-License-Identifier: GPL-2.0-only
/* From the traffic file to pktgen devices: see pktgen.h. */
#include "pktgen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kb_prog.h"

#define ETH_BYTES 14
#define FCS_BYTES 4
#define STAMP_BYTES 16 /* struct pktgen_hdr, which pktgen puts into every payload */
#define IPV4_MIN (ETH_BYTES + 20 + 8 + STAMP_BYTES + FCS_BYTES)
#define IPV6_MIN (ETH_BYTES + 40 + 8 + STAMP_BYTES + FCS_BYTES)

/* Of each device, times their number: keeps them in step, and allows 20 M packets/s. */
#define STEP_NS 50

/* The kernel reads ten digits, and takes 2^31-1 for "never". */
#define DELAY_NS_MAX 9999999999ULL
#define DELAY_NS_NEVER 0x7fffffffULL

static void check_frame(const struct generator *gen)
{
	struct ifreq request = { 0 };
	uint32_t i, min;
	int fd;

	for (i = 0; i < gen->traffic.count; i++) {
		const struct traffic_group *group = &gen->traffic.groups[i];

		min = group->family == 4 ? IPV4_MIN : IPV6_MIN;
		if (gen->frame_bytes < min)
			kb_die(KB_EXIT_USAGE,
			       "--frame-bytes %u: pktgen's IPv%u frames have at least %u bytes",
			       gen->frame_bytes, group->family, min);
		if (group->sport_hi == UINT16_MAX && group->sport_lo != group->sport_hi)
			kb_die(KB_EXIT_USAGE, "%s: group %u: pktgen can't count up to port 65535",
			       gen->traffic_path, i);
	}
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	strncpy(request.ifr_name, gen->ifname, IFNAMSIZ - 1);
	if (fd < 0 || ioctl(fd, SIOCGIFMTU, &request))
		kb_die(KB_EXIT_FAILED, "MTU of %s: %s", gen->ifname, strerror(errno));
	close(fd);
	if (gen->frame_bytes > request.ifr_mtu + ETH_BYTES + FCS_BYTES + 0u)
		kb_die(KB_EXIT_USAGE, "--frame-bytes %u: %s takes at most %d (MTU %d)",
		       gen->frame_bytes, gen->ifname, request.ifr_mtu + ETH_BYTES + FCS_BYTES,
		       request.ifr_mtu);
}

/* Nanoseconds between two packets of a device. */
static uint64_t choose_delay(const struct generator *gen)
{
	uint64_t delay;

	if (!gen->rate_pps)
		return gen->devices == 1 ? 0 : (uint64_t)STEP_NS * gen->devices;
	delay = (gen->devices * 1000000000ULL + gen->rate_pps / 2) / gen->rate_pps;
	if (delay > DELAY_NS_MAX)
		kb_die(KB_EXIT_USAGE,
		       "--rate-pps %" PRIu64 ": pktgen's least for %u groups is %llu",
		       gen->rate_pps, gen->devices,
		       gen->devices * 1000000000ULL / DELAY_NS_MAX + 1);
	return delay == DELAY_NS_NEVER ? delay + 1 : delay;
}

static void set_mac(const char *device, const char *key, const uint8_t mac[6])
{
	pktgen_set(device, "%s %02x:%02x:%02x:%02x:%02x:%02x", key, mac[0], mac[1], mac[2], mac[3],
		   mac[4], mac[5]);
}

static bool refuses_clones(const char *device, uint32_t clones)
{
	char command[32];

	snprintf(command, sizeof(command), "clone_skb %u", clones);
	return pktgen_try(device, command);
}

/* pktgen's upper limits of ports are exclusive; equal limits are one port. */
static void set_group(const struct generator *gen, uint32_t index, const char *device)
{
	const struct traffic_group *group = &gen->traffic.groups[index];
	bool v4 = group->family == 4;
	uint32_t flows = group->sport_hi - group->sport_lo + 1u;
	char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];

	inet_ntop(v4 ? AF_INET : AF_INET6, group->src, src, sizeof(src));
	inet_ntop(v4 ? AF_INET : AF_INET6, group->dst, dst, sizeof(dst));
	pktgen_set(device, "pkt_size %u", gen->frame_bytes - FCS_BYTES);
	pktgen_set(device, "delay %" PRIu64, gen->delay_ns);
	/* 0 is no limit; otherwise every device has at least one. */
	pktgen_set(device, "count %" PRIu64,
		   gen->count / gen->devices + (index < gen->count % gen->devices));
	if (gen->clone_skb && refuses_clones(device, gen->clone_skb))
		kb_die(KB_EXIT_LACKS,
		       "--clone-skb: the driver of %s writes into packets, so that each is sent "
		       "once",
		       gen->ifname);
	set_mac(device, "src_mac", gen->traffic.src_mac);
	set_mac(device, "dst_mac", gen->traffic.dst_mac);
	pktgen_set(device, v4 ? "src_min %s" : "src6 %s", src);
	pktgen_set(device, v4 ? "dst_min %s" : "dst6 %s", dst);
	pktgen_set(device, "udp_src_min %u", group->sport_lo);
	pktgen_set(device, "udp_src_max %u", group->sport_lo + (flows > 1 ? flows : 0));
	pktgen_set(device, "udp_dst_min %u", group->dport);
	pktgen_set(device, "udp_dst_max %u", group->dport);
}

void pktgen_configure(struct generator *gen)
{
	struct pktgen_state state;
	uint32_t i;

	check_frame(gen);
	gen->devices = gen->traffic.count;
	if (gen->count && gen->count < gen->devices)
		gen->devices = gen->count;
	gen->delay_ns = choose_delay(gen);
	pktgen_clear();
	/* A new device goes to the head of the thread's list: the last one starts first. */
	for (i = gen->devices; i-- > 0;) {
		snprintf(gen->names[i], PKTGEN_NAME_MAX, "%.16s@%u", gen->ifname, i);
		pktgen_add(gen->cpu, gen->names[i]);
		set_group(gen, i, gen->names[i]);
		pktgen_read(gen->names[i], &state);
		gen->shared = true;
		if (!gen->no_shared)
			continue;
		if (!state.can_share)
			kb_die(KB_EXIT_LACKS,
			       "this kernel's pktgen can't give its buffers away (it "
			       "has no flag SHARED)");
		pktgen_set(gen->names[i], "flag !SHARED");
		pktgen_read(gen->names[i], &state);
		gen->shared = state.can_share;
	}
}
