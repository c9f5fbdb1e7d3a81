// SPDX-License-Identifier: GPL-2.0-only
/* Printing of histograms: see hist.h. */
#include "hist.h"

#include "../../kmods/bpf/hist.h"
#include "kb_prog.h"

uint64_t hist_low_ns(uint32_t index)
{
	const uint32_t sub = 1 << KB_HIST_SUB_BITS;

	if (index < sub)
		return index;
	return (uint64_t)(sub + index % sub) << (index / sub - 1);
}

void hist_json(const char *key, const uint64_t *buckets, uint64_t min_ns, uint64_t max_ns)
{
	uint64_t count = 0;

	kb_json_obj_begin(key);
	kb_json_u64("sub_bits", KB_HIST_SUB_BITS);
	kb_json_arr_begin("buckets");
	for (uint32_t i = 0; i < KB_HIST_BUCKETS; i++) {
		if (!buckets[i])
			continue;
		count += buckets[i];
		kb_json_arr_begin(NULL);
		kb_json_u64(NULL, i);
		kb_json_u64(NULL, buckets[i]);
		kb_json_arr_end();
	}
	kb_json_arr_end();
	kb_json_u64("count", count);
	kb_json_u64("min_ns", count ? min_ns : 0);
	kb_json_u64("max_ns", count ? max_ns : 0);
	kb_json_obj_end();
}
