/* SPDX-License-Identifier: GPL-2.0-only */
/* netlink.h - dumps and single answers, as far as kb-claims needs them. */
#ifndef KB_CLAIMS_NETLINK_H
#define KB_CLAIMS_NETLINK_H

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <stdint.h>

/* A socket of the network namespace that this thread is in now; -1 with errno if there is none. */
int netlink_open(int protocol);

/*
 * Sends `request` and calls `take` for each message that answers it, until the dump's end or, for
 * a request without NLM_F_DUMP, the first one. Returns 0 or a negative errno.
 */
int netlink_ask(int fd, struct nlmsghdr *request,
		void (*take)(const struct nlmsghdr *message, void *context), void *context);

/* The attribute `type` in `bytes` bytes from `attr` on, or NULL. */
const struct rtattr *netlink_find(const struct rtattr *attr, int bytes, int type);
/* The same within a nest; NULL if `nest` is. */
const struct rtattr *netlink_inner(const struct rtattr *nest, int type);

/* An attribute's text or number; "" or 0 if it is NULL. */
const char *netlink_text(const struct rtattr *attr);
uint32_t netlink_u32(const struct rtattr *attr);

#endif
