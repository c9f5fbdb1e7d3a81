// SPDX-License-Identifier: GPL-2.0-only
/* The module's commands: see netfilter.h. */
#include "netfilter.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "genl.h"
#include "kb_prog.h"

static int fd = -1;
static int family;
static struct genl_request request;
static char why[256];

const char *control_why(int err)
{
	return why[0] ? why : strerror(-err);
}

int control_open(void)
{
	why[0] = '\0';
	if (fd < 0)
		fd = genl_open();
	if (fd < 0)
		return fd;
	family = genl_resolve(fd, KBENCH_NF_GENL_NAME);
	return family < 0 ? family : 0;
}

void control_close(void)
{
	if (fd >= 0)
		close(fd);
	fd = -1;
}

static void begin(enum kbench_nf_command command)
{
	genl_begin(&request, family, command, KBENCH_NF_GENL_VERSION);
}

static void put_u32(uint16_t type, uint32_t value)
{
	genl_put(&request, type, &value, sizeof(value));
}

static void put_u64(uint16_t type, uint64_t value)
{
	genl_put(&request, type, &value, sizeof(value));
}

static int call(void)
{
	return genl_call(fd, &request, NULL, NULL, why, sizeof(why));
}

int control_begin(uint64_t size)
{
	begin(KBENCH_NF_CMD_BEGIN);
	put_u64(KBENCH_NF_A_SIZE, size);
	return call();
}

int control_chunk(uint64_t offset, const void *data, size_t len)
{
	begin(KBENCH_NF_CMD_CHUNK);
	put_u64(KBENCH_NF_A_OFFSET, offset);
	genl_put(&request, KBENCH_NF_A_DATA, data, len);
	return call();
}

int control_activate(uint32_t rx, uint32_t tx, uint32_t function)
{
	begin(KBENCH_NF_CMD_ACTIVATE);
	put_u32(KBENCH_NF_A_RX_IFINDEX, rx);
	put_u32(KBENCH_NF_A_TX_IFINDEX, tx);
	put_u32(KBENCH_NF_A_FUNCTION, function);
	return call();
}

int control_deactivate(void)
{
	begin(KBENCH_NF_CMD_DEACTIVATE);
	return call();
}

int control_reset(void)
{
	begin(KBENCH_NF_CMD_RESET);
	return call();
}

static void read_counter(const struct nlattr *nest, struct nf_counter *counter)
{
	const struct nlattr *attr;

	for (attr = genl_first(genl_data(nest), genl_len(nest)); attr;
	     attr = genl_next(attr, genl_data(nest), genl_len(nest))) {
		switch (genl_type(attr)) {
		case KBENCH_NF_A_NAME:
			genl_string(attr, counter->name, sizeof(counter->name));
			break;
		case KBENCH_NF_A_VALUE:
			counter->value = genl_u64(attr);
			break;
		case KBENCH_NF_A_KIND:
			counter->kind = genl_u32(attr);
			break;
		}
	}
}

static void read_counters(const void *attributes, size_t len, void *arg)
{
	struct nf_counters *counters = arg;
	const struct nlattr *attr, *one;

	for (attr = genl_first(attributes, len); attr; attr = genl_next(attr, attributes, len)) {
		if (genl_type(attr) == KBENCH_NF_A_ACTIVE)
			counters->active = true;
		if (genl_type(attr) != KBENCH_NF_A_COUNTERS)
			continue;
		for (one = genl_first(genl_data(attr), genl_len(attr)); one;
		     one = genl_next(one, genl_data(attr), genl_len(attr))) {
			if (counters->count == KB_NF_COUNTERS_MAX)
				kb_die(KB_EXIT_FAILED, "the module has more than %d counters",
				       KB_NF_COUNTERS_MAX);
			read_counter(one, &counters->counter[counters->count++]);
		}
	}
}

int control_get(struct nf_counters *counters)
{
	int err;

	memset(counters, 0, sizeof(*counters));
	begin(KBENCH_NF_CMD_GET);
	err = genl_call(fd, &request, read_counters, counters, why, sizeof(why));
	return err || counters->count ? err : -EPROTO;
}
