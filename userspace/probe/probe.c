// SPDX-License-Identifier: GPL-2.0-only
/*
 * kb-probe - asks this machine by trying what kbench can do on it, and prints one line:
 *
 *	{"event":"probe","namespace":{"ok":true},"xdp_native":{"ok":false,"errno":95,"error":"Operation
 *not supported"},...}
 *
 * Everything is tried in a network namespace without a name, which ends with the program, however
 *it ends. What was not tried, because what it needs is missing already, is not in the line.
 */
#include "probe.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/kvm.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kb_prog.h"

#define PORT "kbprobe0"
#define PEER "kbprobe1"

/* `err` is 0 or a negative errno. Returns true when it worked. */
static bool answer(const char *name, int err)
{
	kb_json_obj_begin(name);
	kb_json_bool("ok", !err);
	if (err) {
		kb_json_i64("errno", -err);
		kb_json_str("error", strerror(-err));
	}
	kb_json_obj_end();
	return !err;
}

/*
 * A kernel that loads modules says that this is not a file descriptor; one built without modules
 * has no such call; one that was locked (kernel.modules_disabled) or a caller without
 * CAP_SYS_MODULE gets EPERM first.
 */
static int try_modules(void)
{
	syscall(SYS_finit_module, -1, "", 0);
	return errno == EBADF ? 0 : -errno;
}

static int try_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* Says only that the device answers: whether guests run on it is for the lab's trial boot. */
static int try_kvm(void)
{
	int err = 0, fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (ioctl(fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		err = -ENODEV;
	close(fd);
	return err;
}

/* Forwarding is switched on in this program's own namespace. */
static int try_forwarding(void)
{
	int err = 0, fd = open("/proc/sys/net/ipv4/ip_forward", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (write(fd, "1", 1) != 1)
		err = -errno;
	close(fd);
	return err;
}

static int try_ring(int version)
{
	struct tpacket_req3 req = {
		.tp_block_size = 1 << 16,
		.tp_block_nr = 2,
		.tp_frame_size = 1 << 11,
		.tp_frame_nr = 64,
		.tp_retire_blk_tov = version == TPACKET_V3 ? 1 : 0,
	};
	socklen_t len =
		version == TPACKET_V3 ? sizeof(struct tpacket_req3) : sizeof(struct tpacket_req);
	int err = 0, fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	size_t bytes = (size_t)req.tp_block_size * req.tp_block_nr;
	void *ring;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) ||
	    setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &req, len)) {
		err = -errno;
	} else {
		ring = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (ring == MAP_FAILED)
			err = -errno;
		else
			munmap(ring, bytes);
	}
	close(fd);
	return err;
}

/* A program of two instructions: return XDP_DROP. */
static int load_drop(void)
{
	struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_DROP },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "kb_probe", "GPL", insns, 2, NULL);

	return fd < 0 ? -errno : fd;
}

static int try_attach(int prog, unsigned int flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = flags);
	int fd = bpf_link_create(prog, if_nametoindex(PORT), BPF_XDP, &opts);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* Frames made by bpf_prog_test_run go through the driver's receive path (v5.18, commit
 * b530e9e1063e). */
static int try_live_frames(int prog)
{
	char frame[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame),
		    .repeat = 64, .flags = BPF_F_TEST_XDP_LIVE_FRAMES);

	return bpf_prog_test_run_opts(prog, &opts) ? -errno : 0;
}

static void try_bpf(bool veth)
{
	int prog = load_drop();

	if (!answer("bpf", prog < 0 ? prog : 0))
		return;
	answer("live_frames", try_live_frames(prog));
	if (veth) {
		answer("xdp_native", try_attach(prog, XDP_FLAGS_DRV_MODE));
		answer("xdp_generic", try_attach(prog, XDP_FLAGS_SKB_MODE));
	}
	close(prog);
}

int main(int argc, char **argv)
{
	/* Kernels before v5.11 charge BPF memory to this limit. */
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	bool own;

	kb_prog_init("kb-probe");
	if (argc > 1)
		kb_die(KB_EXIT_USAGE, "%s: there are no arguments", argv[1]);
	setrlimit(RLIMIT_MEMLOCK, &unlimited);

	kb_json_begin("probe");
	kb_json_u64("uid", geteuid());
	answer("modules", try_modules());
	answer("pktgen", try_open("/proc/net/pktgen/pgctrl", O_WRONLY));
	answer("btf", try_open("/sys/kernel/btf/vmlinux", O_RDONLY));
	answer("kvm", try_kvm());
	own = answer("namespace", unshare(CLONE_NEWNET) ? -errno : 0);
	if (own) {
		answer("forwarding", try_forwarding());
		answer("af_packet_v2", try_ring(TPACKET_V2));
		answer("af_packet_v3", try_ring(TPACKET_V3));
		try_bpf(answer("veth", link_make_veth(PORT, PEER)));
	}
	kb_json_end();
	return KB_EXIT_OK;
}
