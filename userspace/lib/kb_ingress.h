/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kb_ingress.h - keeps the kernel's stack away from packets that a packet socket takes.
 *
 * A packet socket gets a copy; the packet itself goes on to the IP stack, which would do the work
 * of forwarding (or refusing) it a second time. A program of a few instructions at tc ingress,
 * which lies behind the packet sockets of all protocols (ETH_P_ALL), drops it there.
 */
#ifndef KB_INGRESS_H
#define KB_INGRESS_H

/*
 * Drops untagged IPv4 and IPv6 packets that are addressed to `ifname`; everything else goes on to
 * the stack. Returns how it is attached: "tcx" (a BPF link, kernel 6.6 and later: it goes away with
 * the process, however that ends) or "clsact" (removed at exit, but not after SIGKILL: then it
 * stays until the interface or its namespace is removed). Exit code 3 where the kernel has neither.
 */
const char *kb_ingress_drop(const char *ifname);

/* Removes what kb_ingress_drop() made, and only that. Also runs at exit(). */
void kb_ingress_restore(void);

#endif
