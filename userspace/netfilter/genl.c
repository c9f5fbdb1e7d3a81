// SPDX-License-Identifier: GPL-2.0-only
/* Generic netlink: see genl.h. */
#include "genl.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kb_prog.h"

#define REPLY_BYTES_MAX 16384

int genl_open(void)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC), on = 1, err;

	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&kernel, sizeof(kernel))) {
		err = -errno;
		close(fd);
		return err;
	}
	/* Refusals in words, and without the refused request. Best effort: errno says it, too. */
	setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	return fd;
}

void genl_begin(struct genl_request *request, uint16_t family, uint8_t command, uint8_t version)
{
	static uint32_t sequence;

	memset(request, 0, NLMSG_HDRLEN + GENL_HDRLEN);
	request->nl.nlmsg_len = NLMSG_HDRLEN + GENL_HDRLEN;
	request->nl.nlmsg_type = family;
	request->nl.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	request->nl.nlmsg_seq = ++sequence;
	request->genl.cmd = command;
	request->genl.version = version;
}

void genl_put(struct genl_request *request, uint16_t type, const void *data, size_t len)
{
	struct nlattr attr = { .nla_len = NLA_HDRLEN + len, .nla_type = type };
	uint8_t *at = (uint8_t *)request + request->nl.nlmsg_len;

	if (len > UINT16_MAX - NLA_HDRLEN ||
	    request->nl.nlmsg_len + NLA_HDRLEN + NLA_ALIGN(len) > sizeof(*request))
		kb_die(KB_EXIT_FAILED, "netlink request is too long");
	memcpy(at, &attr, sizeof(attr));
	memcpy(at + NLA_HDRLEN, data, len);
	memset(at + NLA_HDRLEN + len, 0, NLA_ALIGN(len) - len);
	request->nl.nlmsg_len += NLA_HDRLEN + NLA_ALIGN(len);
}

const struct nlattr *genl_first(const void *attributes, size_t len)
{
	const struct nlattr *attr = attributes;

	if (len < NLA_HDRLEN || attr->nla_len < NLA_HDRLEN || attr->nla_len > len)
		return NULL;
	return attr;
}

const struct nlattr *genl_next(const struct nlattr *attr, const void *attributes, size_t len)
{
	size_t at = (const char *)attr - (const char *)attributes + NLA_ALIGN(attr->nla_len);

	return at < len ? genl_first((const char *)attributes + at, len - at) : NULL;
}

uint32_t genl_u32(const struct nlattr *attr)
{
	uint32_t value = 0;

	if (genl_len(attr) >= sizeof(value))
		memcpy(&value, genl_data(attr), sizeof(value));
	return value;
}

uint64_t genl_u64(const struct nlattr *attr)
{
	uint64_t value = 0;

	if (genl_len(attr) >= sizeof(value))
		memcpy(&value, genl_data(attr), sizeof(value));
	return value;
}

void genl_string(const struct nlattr *attr, char *text, size_t room)
{
	size_t len = strnlen(genl_data(attr), genl_len(attr));

	if (len > room - 1)
		len = room - 1;
	memcpy(text, genl_data(attr), len);
	text[len] = '\0';
}

/* What the kernel adds to its errno; the request itself is left out (NETLINK_CAP_ACK). */
static void read_reason(const struct nlmsghdr *nl, char *why, size_t room)
{
	const size_t head = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct nlmsgerr));
	const void *attributes = (const char *)nl + head;
	const struct nlattr *attr;

	if (!(nl->nlmsg_flags & NLM_F_ACK_TLVS) || !(nl->nlmsg_flags & NLM_F_CAPPED) ||
	    nl->nlmsg_len <= head)
		return;
	for (attr = genl_first(attributes, nl->nlmsg_len - head); attr;
	     attr = genl_next(attr, attributes, nl->nlmsg_len - head))
		if (genl_type(attr) == NLMSGERR_ATTR_MSG)
			genl_string(attr, why, room);
}

int genl_call(int fd, struct genl_request *request, genl_reply_fn on_reply, void *arg, char *why,
	      size_t room)
{
	static union {
		struct nlmsghdr nl;
		uint8_t bytes[REPLY_BYTES_MAX];
	} reply;
	const size_t head = NLMSG_HDRLEN + GENL_HDRLEN;
	const struct nlmsgerr *error;
	const struct nlmsghdr *nl;
	ssize_t got;
	int left;

	why[0] = '\0';
	while (send(fd, request, request->nl.nlmsg_len, 0) < 0)
		if (errno != EINTR)
			return -errno;
	for (;;) {
		got = recv(fd, &reply, sizeof(reply), 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		left = got;
		for (nl = &reply.nl; NLMSG_OK(nl, left); nl = NLMSG_NEXT(nl, left)) {
			if (nl->nlmsg_seq != request->nl.nlmsg_seq)
				continue;
			if (nl->nlmsg_type != NLMSG_ERROR) {
				if (on_reply && nl->nlmsg_len > head)
					on_reply((const char *)nl + head, nl->nlmsg_len - head,
						 arg);
				continue;
			}
			error = NLMSG_DATA(nl);
			if (error->error)
				read_reason(nl, why, room);
			return error->error;
		}
	}
}

static void read_family(const void *attributes, size_t len, void *arg)
{
	const struct nlattr *attr;

	for (attr = genl_first(attributes, len); attr; attr = genl_next(attr, attributes, len))
		if (genl_type(attr) == CTRL_ATTR_FAMILY_ID && genl_len(attr) >= sizeof(uint16_t))
			memcpy(arg, genl_data(attr), sizeof(uint16_t));
}

int genl_resolve(int fd, const char *name)
{
	struct genl_request request;
	uint16_t family = 0;
	char why[128];
	int err;

	genl_begin(&request, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);
	genl_put(&request, CTRL_ATTR_FAMILY_NAME, name, strlen(name) + 1);
	err = genl_call(fd, &request, read_family, &family, why, sizeof(why));
	if (err)
		return err;
	return family ? family : -ENOENT;
}
