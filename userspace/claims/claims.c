// SPDX-License-Identifier: GPL-2.0-only
/*
 * kb-claims - says what uses the ports of this network namespace, as far as `ip` does not: qdiscs
 * that somebody set, their filters, BPF programs without a qdisc (tcx, netkit), packet and AF_XDP
 * sockets, hooks of nftables, and the links of all other network namespaces. It reads, once, and
 * changes nothing.
 */
#include "claims.h"
#include "kb_prog.h"

#include <stdio.h>
#include <string.h>

void process_json(int pid)
{
	char path[64], name[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	file = pid ? fopen(path, "re") : NULL;
	if (file) {
		if (fgets(name, sizeof(name), file))
			name[strcspn(name, "\n")] = '\0';
		fclose(file);
	}
	kb_json_u64("pid", pid);
	kb_json_str("process", name);
}

int main(int argc, char **argv)
{
	kb_prog_init("kb-claims");
	if (argc > 1)
		kb_die(KB_EXIT_USAGE, "%s: there are no arguments", argv[1]);
	kb_json_begin("claims");
	tc_json();
	nft_json();
	sockets_json();
	kb_json_end();
	namespaces_print();
	return KB_EXIT_OK;
}
