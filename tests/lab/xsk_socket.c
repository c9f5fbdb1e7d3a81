// SPDX-License-Identifier: GPL-2.0-only
/*
 * xsk_socket IF - holds an AF_XDP socket on queue 0 of a port, without an XDP program, as those do
 * that only send; prints a line once it does, and waits to be killed.
 */
#include <errno.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SOL_XDP
#define SOL_XDP 283
#endif
#define UMEM_BYTES (1 << 16)

static int set(int fd, int option, const void *value, socklen_t bytes)
{
	return setsockopt(fd, SOL_XDP, option, value, bytes);
}

int main(int argc, char **argv)
{
	struct xdp_umem_reg umem = { .len = UMEM_BYTES, .chunk_size = 2048 };
	struct sockaddr_xdp name = { .sxdp_family = PF_XDP, .sxdp_flags = XDP_COPY };
	int entries = 16, fd = socket(PF_XDP, SOCK_RAW, 0);

	if (argc != 2)
		return 2;
	name.sxdp_ifindex = if_nametoindex(argv[1]);
	umem.addr = (uintptr_t)mmap(NULL, UMEM_BYTES, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (set(fd, XDP_UMEM_REG, &umem, sizeof(umem)) ||
	    set(fd, XDP_UMEM_FILL_RING, &entries, sizeof(entries)) ||
	    set(fd, XDP_UMEM_COMPLETION_RING, &entries, sizeof(entries)) ||
	    set(fd, XDP_TX_RING, &entries, sizeof(entries)) ||
	    bind(fd, (struct sockaddr *)&name, sizeof(name))) {
		fprintf(stderr, "%s\n", strerror(errno));
		return 1;
	}
	puts("{\"event\":\"ready\"}");
	fflush(stdout);
	pause();
	return 0;
}
