// SPDX-License-Identifier: GPL-2.0-only
/* Two time stamps of each packet: see match.h. */
#include "match.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../../kmods/bpf/hist.h"
#include "../offer/hist.h"
#include "kb_prog.h"

struct stamps {
	int64_t tx, rx;
	bool received;
};

static struct stamps *all;
static uint32_t room, first, sent; /* `first`: the first after a reset */
static struct match_counts counts;
static uint64_t buckets[KB_HIST_BUCKETS], min_ns, max_ns;

void match_sent(void)
{
	if (sent == room) {
		room = room ? 2 * room : 4096;
		all = realloc(all, room * sizeof(*all));
		if (!all)
			kb_die(KB_EXIT_FAILED, "no memory for %u packets", room);
		memset(all + sent, 0, (room - sent) * sizeof(*all));
	}
	sent++;
	counts.sent++;
}

static void take(const struct stamps *stamps)
{
	uint64_t latency = stamps->rx - stamps->tx;

	if (!stamps->tx || !stamps->rx)
		return;
	if (stamps->rx < stamps->tx) {
		counts.backwards++;
		return;
	}
	if (!counts.taken || latency < min_ns)
		min_ns = latency;
	if (latency > max_ns)
		max_ns = latency;
	buckets[kb_hist_index(latency)]++;
	counts.taken++;
}

void match_tx_stamp(uint32_t number, int64_t ns)
{
	if (number < first || number >= sent || all[number].tx || !ns)
		return;
	all[number].tx = ns;
	counts.tx_stamps++;
	take(&all[number]);
}

void match_received(uint32_t number, int64_t ns)
{
	if (number < first || number >= sent)
		return;
	if (all[number].received) {
		counts.duplicates++;
		return;
	}
	all[number].received = true;
	all[number].rx = ns;
	counts.received++;
	counts.rx_stamps += ns != 0;
	take(&all[number]);
}

void match_reset(void)
{
	first = sent;
	memset(&counts, 0, sizeof(counts));
	memset(buckets, 0, sizeof(buckets));
	min_ns = max_ns = 0;
}

struct match_counts match_counts(void)
{
	return counts;
}

int match_complete(void)
{
	return counts.received == counts.sent && counts.tx_stamps == counts.sent;
}

void match_json(void)
{
	hist_json("latency", buckets, min_ns, max_ns);
}
