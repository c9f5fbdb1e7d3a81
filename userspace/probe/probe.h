/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef KB_PROBE_H
#define KB_PROBE_H

/* Make a veth pair in this network namespace and set both ends up: 0 or a negative errno. */
int link_make_veth(const char *name, const char *peer);

#endif
