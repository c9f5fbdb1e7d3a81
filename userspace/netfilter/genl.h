/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Just enough generic netlink for kb-netfilter: requests with flat attributes,
 * each acknowledged or refused in words (extended acknowledgement). libmnl has no static library in
 * Debian, and libnl draws in the name resolver, which can't be linked statically.
 */
#ifndef KB_GENL_H
#define KB_GENL_H

#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <stddef.h>
#include <stdint.h>

/* A request that is being written; more than fits is a bug of the caller and ends the program. */
struct genl_request {
	struct nlmsghdr nl;
	struct genlmsghdr genl;
	uint8_t attributes[33 * 1024];
};

/* Attributes of a reply, as they lie in it. */
typedef void (*genl_reply_fn)(const void *attributes, size_t len, void *arg);

int genl_open(void); /* socket, or -errno */
void genl_begin(struct genl_request *request, uint16_t family, uint8_t command, uint8_t version);
void genl_put(struct genl_request *request, uint16_t type, const void *data, size_t len);

/*
 * Sends the request and waits for the kernel's answer: 0 or -errno, in which
 * case why[] gets its explanation, or "". on_reply may be NULL.
 */
int genl_call(int fd, struct genl_request *request, genl_reply_fn on_reply, void *arg, char *why,
	      size_t room);

/* Id of a family, or -ENOENT. */
int genl_resolve(int fd, const char *name);

/* for (attr = genl_first(p, len); attr; attr = genl_next(attr, p, len)) */
const struct nlattr *genl_first(const void *attributes, size_t len);
const struct nlattr *genl_next(const struct nlattr *attr, const void *attributes, size_t len);

static inline uint16_t genl_type(const struct nlattr *attr)
{
	return attr->nla_type & NLA_TYPE_MASK;
}

static inline const void *genl_data(const struct nlattr *attr)
{
	return (const char *)attr + NLA_HDRLEN;
}

static inline size_t genl_len(const struct nlattr *attr)
{
	return attr->nla_len - NLA_HDRLEN;
}

/* The attribute's number; 0 if it is too short to hold one. */
uint32_t genl_u32(const struct nlattr *attr);
uint64_t genl_u64(const struct nlattr *attr);
void genl_string(const struct nlattr *attr, char *text, size_t room);

#endif
