/* SPDX-License-Identifier: GPL-2.0-only */
/* claims.h - the parts of kb-claims; each writes its keys into the JSON line that is open. */
#ifndef KB_CLAIMS_H
#define KB_CLAIMS_H

/* "qdiscs", "filters" and "programs" (tcx, netkit) of this network namespace. */
void tc_json(void);

/* "nftables": chains and flowtables that hook into ports of this network namespace. */
void nft_json(void);

/* "sockets": packet and AF_XDP sockets that are bound to a port of this network namespace. */
void sockets_json(void);

/* A line of its own for each other network namespace that can be found. */
void namespaces_print(void);

/* "pid" and "process", its name; 0 and "" if none was found. */
void process_json(int pid);

#endif
