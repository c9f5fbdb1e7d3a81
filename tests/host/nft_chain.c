// SPDX-License-Identifier: GPL-2.0-only
/*
 * nft_chain IF - makes `table netdev shield { chain inbound { type filter hook ingress device IF
 * priority 0; } }`, as nft does: a batch of messages to nfnetlink.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static char batch[4096];
static size_t used;
static struct nlmsghdr *head;

static void *take(size_t bytes)
{
	void *at = batch + used;

	used += NLMSG_ALIGN(bytes);
	head->nlmsg_len = batch + used - (char *)head;
	return at;
}

static void begin(uint16_t type, uint16_t flags, uint8_t family, uint16_t resource)
{
	struct nfgenmsg message = { .nfgen_family = family, .res_id = htons(resource) };

	head = (void *)(batch + used);
	take(sizeof(*head));
	head->nlmsg_type = type;
	head->nlmsg_flags = NLM_F_REQUEST | flags;
	memcpy(take(sizeof(message)), &message, sizeof(message));
}

static struct nlattr *attribute(uint16_t type, const void *data, size_t bytes)
{
	struct nlattr *attr = take(NLA_HDRLEN + bytes);

	attr->nla_type = type;
	attr->nla_len = NLA_HDRLEN + bytes;
	if (bytes)
		memcpy(attr + 1, data, bytes);
	return attr;
}

static void text(uint16_t type, const char *value)
{
	attribute(type, value, strlen(value) + 1);
}

int main(int argc, char **argv)
{
	uint16_t create = NLM_F_CREATE | NLM_F_ACK;
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
	uint32_t zero = 0, ingress = htonl(NF_NETDEV_INGRESS);
	const struct nlmsghdr *answer;
	char received[8192];
	struct nlattr *hook;
	ssize_t len;

	if (argc != 2)
		return 2;
	begin(NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	begin(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE, create, NFPROTO_NETDEV, 0);
	text(NFTA_TABLE_NAME, "shield");
	begin(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN, create, NFPROTO_NETDEV, 0);
	text(NFTA_CHAIN_TABLE, "shield");
	text(NFTA_CHAIN_NAME, "inbound");
	hook = attribute(NFTA_CHAIN_HOOK | NLA_F_NESTED, NULL, 0);
	attribute(NFTA_HOOK_HOOKNUM, &ingress, sizeof(ingress));
	attribute(NFTA_HOOK_PRIORITY, &zero, sizeof(zero));
	text(NFTA_HOOK_DEV, argv[1]);
	hook->nla_len = batch + used - (char *)hook;
	text(NFTA_CHAIN_TYPE, "filter");
	begin(NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	if (send(fd, batch, used, 0) < 0)
		return 1;
	for (int acknowledged = 0; acknowledged < 2;) {
		len = recv(fd, received, sizeof(received), 0);
		if (len <= 0)
			return 1;
		for (answer = (void *)received; NLMSG_OK(answer, len);
		     answer = NLMSG_NEXT(answer, len)) {
			int error = -((const struct nlmsgerr *)NLMSG_DATA(answer))->error;

			if (answer->nlmsg_type != NLMSG_ERROR)
				continue;
			if (error) {
				fprintf(stderr, "%s\n", strerror(error));
				return 1;
			}
			acknowledged++;
		}
	}
	return 0;
}
