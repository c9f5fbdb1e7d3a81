// SPDX-License-Identifier: GPL-2.0-only
/*
 * kb-af-packet: the packet core behind AF_PACKET, in one thread.
 *
 * Packets come by a TPACKET_V3 or V2 ring, are rewritten in place in the ring, and leave by
 * sendmmsg() from there; only then does the kernel get the memory back. A drop at tc ingress keeps
 * the kernel's stack from working on the same packets (lib/kb_ingress.h).
 *
 * A packet whose sender left the transport checksum to the hardware (a local socket on the other
 * end of a veth pair) is forwarded as it is and counted in "partial_checksums"; generators don't
 * send such.
 */
#include "af_packet.h"
#include "kb_ingress.h"
#include "kb_prog.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A signal between a look at its flag and poll() is acted on after this. */
#define IDLE_POLL_MS 100
#define DEFAULT_BATCH 128
#define DEFAULT_SEND_BUFFER (4 << 20)

static const char *const functions[] = { "drop", "forward", "filter", NULL };
static const char *const rings[] = { "v2", "v3", NULL };
static const char *const waits[] = { "poll", "busy", NULL };

static void wait_for_packets(struct datapath *dp, int timeout_ms)
{
	struct pollfd readable = { .fd = dp->ring.fd, .events = POLLIN };

	dp->syscalls++;
	poll(&readable, 1, timeout_ms);
}

/*
 * Works off what has arrived. A V3 block is handed over when full or when the timer finds it open a
 * second time, so its packets show up to two time-outs late. @until_idle: count anew from the last
 * packet (nothing more may be coming in then).
 */
static void drain(struct datapath *dp, bool until_idle)
{
	uint64_t settle_ns = (dp->ring.timeout_ms * 2 + 1) * 1000000ULL;
	uint64_t end_ns = kb_now_ns() + settle_ns;

	while (kb_now_ns() < end_ns) {
		if (!dp->work(dp))
			wait_for_packets(dp, 1);
		else if (until_idle)
			end_ns = kb_now_ns() + settle_ns;
	}
}

static void load_image(struct datapath *dp, const char *path, uint32_t function)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	const char *wrong;
	struct stat st;
	void *blob = NULL;

	if (fd < 0 || fstat(fd, &st))
		kb_die(KB_EXIT_USAGE, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		kb_die(KB_EXIT_USAGE, "%s: not a file", path);
	if (st.st_size) {
		blob = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
		if (blob == MAP_FAILED)
			kb_die(KB_EXIT_FAILED, "%s: mmap: %s", path, strerror(errno));
	}
	close(fd);
	wrong = kb_image_check(blob, st.st_size, &dp->image);
	if (wrong)
		kb_die(KB_EXIT_USAGE, "%s: %s", path, wrong);
	if (dp->image.params.function != function)
		kb_die(KB_EXIT_USAGE, "%s: image for function %s, not %s", path,
		       functions[dp->image.params.function - KB_DROP],
		       functions[function - KB_DROP]);
}

static void check_mac(struct datapath *dp, const char *rx)
{
	uint8_t mac[6];

	kb_if_mac(rx, mac);
	if (memcmp(mac, dp->image.params.ports[0].mac, sizeof(mac)))
		kb_warn("the image's port 0 has another address than %s: nothing will be forwarded",
			rx);
}

enum {
	OPT_RX = 1,
	OPT_TX,
	OPT_FUNCTION,
	OPT_IMAGE,
	OPT_CPU,
	OPT_RING,
	OPT_WAIT,
	OPT_BATCH,
	OPT_BLOCK_BYTES,
	OPT_BLOCKS,
	OPT_TIMEOUT,
	OPT_SEND_BUFFER
};

static const struct option options[] = {
	{ "rx", required_argument, NULL, OPT_RX },
	{ "tx", required_argument, NULL, OPT_TX },
	{ "function", required_argument, NULL, OPT_FUNCTION },
	{ "image", required_argument, NULL, OPT_IMAGE },
	{ "cpu", required_argument, NULL, OPT_CPU },
	{ "ring", required_argument, NULL, OPT_RING },
	{ "wait", required_argument, NULL, OPT_WAIT },
	{ "batch", required_argument, NULL, OPT_BATCH },
	{ "block-bytes", required_argument, NULL, OPT_BLOCK_BYTES },
	{ "blocks", required_argument, NULL, OPT_BLOCKS },
	{ "timeout-ms", required_argument, NULL, OPT_TIMEOUT },
	{ "send-buffer-bytes", required_argument, NULL, OPT_SEND_BUFFER },
	{ 0 },
};

static void run(struct datapath *dp)
{
	while (!kb_stop) {
		if (kb_reset) {
			kb_reset = 0;
			drain(dp, false);
			reset_counters(dp);
			kb_json_begin("reset");
			kb_json_end();
		}
		if (kb_snapshot) {
			kb_snapshot = 0;
			drain(dp, false);
			print_counters(dp);
		}
		if (!dp->work(dp) && !dp->busy)
			wait_for_packets(dp, IDLE_POLL_MS);
	}
	ring_stop(&dp->ring);
	drain(dp, true);
	kb_ingress_restore();
	print_counters(dp);
}

int main(int argc, char **argv)
{
	static struct datapath dp = { .ring.version = 3, .batch = DEFAULT_BATCH };
	const char *rx = NULL, *tx = NULL, *function_name = NULL, *image = NULL, *ingress;
	int cpu = -1, option;
	uint32_t function, send_buffer = DEFAULT_SEND_BUFFER;

	kb_prog_init("kb-af-packet");
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case OPT_RX:
			rx = optarg;
			break;
		case OPT_TX:
			tx = optarg;
			break;
		case OPT_FUNCTION:
			function_name = optarg;
			break;
		case OPT_IMAGE:
			image = optarg;
			break;
		case OPT_CPU:
			cpu = kb_parse_u64("--cpu", optarg, 0, 1023);
			break;
		case OPT_RING:
			dp.ring.version = 2 + kb_parse_choice("--ring", optarg, rings);
			break;
		case OPT_WAIT:
			dp.busy = kb_parse_choice("--wait", optarg, waits);
			break;
		case OPT_BATCH:
			dp.batch = kb_parse_u64("--batch", optarg, 1, KB_BATCH_MAX);
			break;
		case OPT_BLOCK_BYTES:
			dp.ring.block_bytes = kb_parse_u64("--block-bytes", optarg, 4096, 1 << 24);
			break;
		case OPT_BLOCKS:
			dp.ring.blocks = kb_parse_u64("--blocks", optarg, 2, 1 << 16);
			break;
		case OPT_TIMEOUT:
			dp.ring.timeout_ms = kb_parse_u64("--timeout-ms", optarg, 1, 1000);
			break;
		case OPT_SEND_BUFFER:
			send_buffer = kb_parse_u64("--send-buffer-bytes", optarg, 1, INT32_MAX / 2);
			break;
		default:
			return KB_EXIT_USAGE; /* getopt has said why */
		}
	}
	if (optind < argc)
		kb_die(KB_EXIT_USAGE, "\"%s\": this is no option", argv[optind]);
	kb_require("--rx", rx);
	kb_require("--tx", tx);
	kb_require("--function", function_name);
	kb_require("--image", image);
	if (dp.ring.version == 2 && dp.ring.timeout_ms)
		kb_die(KB_EXIT_USAGE, "--timeout-ms: a v2 ring has no blocks that wait");
	function = KB_DROP + kb_parse_choice("--function", function_name, functions);
	load_image(&dp, image, function);
	kb_ifindex(rx);
	kb_ifindex(tx);
	check_mac(&dp, rx);

	cpu = kb_pin_cpu(cpu);
	dp.work = worker_for(dp.ring.version, function);
	transmit_open(&dp.out[0], rx, dp.batch, send_buffer);
	transmit_open(&dp.out[1], tx, dp.batch, send_buffer);
	ring_open(&dp.ring, rx);
	ingress = kb_ingress_drop(rx);
	reset_counters(&dp);

	kb_json_begin("ready");
	kb_json_i64("cpu", cpu);
	kb_json_str("function", function_name);
	kb_json_str("ring", rings[dp.ring.version - 2]);
	kb_json_u64("block_bytes", dp.ring.block_bytes);
	kb_json_u64("blocks", dp.ring.blocks);
	kb_json_u64("slot_bytes", dp.ring.version == 2 ? dp.ring.slot_bytes : 0);
	kb_json_u64("timeout_ms", dp.ring.timeout_ms);
	kb_json_str("wait", waits[dp.busy]);
	kb_json_str("transmit", "sendmmsg");
	kb_json_u64("batch", dp.batch);
	kb_json_str("ingress", ingress);
	kb_json_end();
	run(&dp);
	return KB_EXIT_OK;
}
