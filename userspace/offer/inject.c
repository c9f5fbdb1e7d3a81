// SPDX-License-Identifier: GPL-2.0-only
/*
 * kb-inject: sends frames one by one into a datapath and prints what comes out of which port.
 *
 * Each frame is followed by a marker, a frame that is known to be forwarded. Datapaths keep the
 * order of packets, so when the marker arrives, all that its predecessor gave has arrived too: no
 * sleeps, and nothing is ascribed to the wrong frame. Runs in the namespace of the port it sends
 * from; the other port may lie in another one (--in-netns), or be the same.
 *
 * A port with several queues may bring the marker before what it follows: --settle-ms.
 */
#include "kb_prog.h"
#include "port.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <getopt.h>
#include <linux/if_ether.h>
#include <string.h>
#include <sys/socket.h>

/* The marker: a frame that is forwarded whatever sequence number stands at this place. */
#define MARKER_SEQUENCE_AT 50
#define MARKER_BYTES_MIN (MARKER_SEQUENCE_AT + 4)
#define MARKER_STABLE_FROM 26 /* source address: what lies before is rewritten on the way */
#define MARKER_ATTEMPTS 2
#define FIRST_SEQUENCE 0x4b420000u

struct packets {
	const uint8_t *at;
	uint32_t count;
};

static struct port out_port = { .name = "out" }, in_port = { .name = "in" };
static bool one_port; /* out_port alone, by the name of the other: all that is heard went through */
static uint64_t settle_ms;
static uint8_t *marker;
static size_t marker_bytes;
static uint32_t sequence = FIRST_SEQUENCE; /* of the marker sent last */
static uint64_t received;

/* Is this a marker of ours, and with which number? */
static bool is_marker(const uint8_t *frame, size_t len, uint32_t *number)
{
	if (!marker || len != marker_bytes)
		return false;
	if (memcmp(frame + MARKER_STABLE_FROM, marker + MARKER_STABLE_FROM,
		   MARKER_SEQUENCE_AT - MARKER_STABLE_FROM) ||
	    memcmp(frame + MARKER_BYTES_MIN, marker + MARKER_BYTES_MIN, len - MARKER_BYTES_MIN))
		return false;
	memcpy(number, frame + MARKER_SEQUENCE_AT, sizeof(*number));
	return *number > FIRST_SEQUENCE && *number <= sequence;
}

/*
 * Prints the frames that wait at the port. @packet: the one sent last, to which they belong if
 * markers are used. Returns whether the marker sent last was among them.
 */
static bool report_waiting(struct port *port, uint32_t packet)
{
	const uint8_t *frame;
	bool arrived = false;
	uint32_t number;
	ssize_t len;

	while ((len = port_receive(port, &frame)) >= 0) {
		if (is_marker(frame, len, &number)) {
			arrived |= number == sequence;
			continue;
		}
		received++;
		kb_json_begin("frame");
		kb_json_u64("packet", packet);
		kb_json_str("port", port->name);
		kb_json_hex("hex", frame, len);
		kb_json_end();
	}
	return arrived;
}

static bool report_all(uint32_t packet)
{
	bool arrived = !one_port && report_waiting(&in_port, packet);

	return report_waiting(&out_port, packet) && one_port ? true : arrived;
}

static void send_frame(const void *frame, size_t len, const char *what, uint32_t packet)
{
	while (send(out_port.fd, frame, len, 0) < 0) {
		struct pollfd writable = { .fd = out_port.fd, .events = POLLOUT };

		if (errno == EAGAIN && !kb_stop)
			kb_poll(&writable, 1, 100);
		else if (errno != EINTR || kb_stop)
			kb_die(KB_EXIT_FAILED, "%s: can't send %s %u of %zu bytes: %s",
			       out_port.ifname, what, packet, len, strerror(errno));
	}
}

/* Reports frames until the marker arrives at the inner port or the time is up. */
static bool listen_for(uint32_t packet, uint64_t timeout_ms, bool until_marker)
{
	uint64_t now_ns = kb_now_ns(), end_ns = now_ns + timeout_ms * 1000000ULL;

	for (; now_ns < end_ns && !kb_stop; now_ns = kb_now_ns()) {
		struct pollfd readable[] = { { .fd = out_port.fd, .events = POLLIN },
					     { .fd = in_port.fd, .events = POLLIN } };
		bool arrived;

		kb_poll(readable, one_port ? 1 : 2, (int)((end_ns - now_ns) / 1000000) + 1);
		kb_snapshot = kb_reset =
			0; /* nothing to count: would keep kb_poll() from waiting */
		arrived = report_all(packet);
		if (arrived && until_marker)
			return true;
	}
	return false;
}

static bool follow_with_marker(uint32_t packet, uint64_t timeout_ms)
{
	int attempt;

	for (attempt = 0; attempt < MARKER_ATTEMPTS && !kb_stop; attempt++) {
		sequence++;
		memcpy(marker + MARKER_SEQUENCE_AT, &sequence, sizeof(sequence));
		send_frame(marker, marker_bytes, "the marker after packet", packet);
		if (listen_for(packet, timeout_ms, true)) {
			listen_for(packet, settle_ms, false);
			return true;
		}
	}
	return false;
}

static uint32_t read_u32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

/* Checks the file (KBPK of docs/programs.md) before anything is sent. */
static struct packets read_packets(const char *path)
{
	struct packets packets;
	const uint8_t *file, *at, *end;
	size_t len;
	uint32_t i;

	file = kb_read_file(path, &len);
	if (len < 12 || memcmp(file, "KBPK", 4))
		kb_die(KB_EXIT_USAGE, "%s: not a file of packets (KBPK)", path);
	if (read_u32(file + 4) != 1)
		kb_die(KB_EXIT_USAGE, "%s: version %u of the file is unknown", path,
		       read_u32(file + 4));
	packets.count = read_u32(file + 8);
	packets.at = at = file + 12;
	end = file + len;
	for (i = 0; i < packets.count; i++) {
		uint32_t bytes;

		if (end - at < 4 || read_u32(at) > end - at - 4)
			kb_die(KB_EXIT_USAGE, "%s: truncated in packet %u", path, i);
		bytes = read_u32(at);
		if (bytes < ETH_HLEN || bytes > FRAME_MAX)
			kb_die(KB_EXIT_USAGE, "%s: packet %u has %u bytes, not %u..%u", path, i,
			       bytes, ETH_HLEN, FRAME_MAX);
		at += 4 + bytes;
	}
	if (at != end)
		kb_die(KB_EXIT_USAGE, "%s: %td bytes too many", path, end - at);
	return packets;
}

static int inject(const struct packets *packets, uint64_t timeout_ms, uint64_t quiet_ms)
{
	uint32_t i, sent = 0, lost_markers = 0;
	const uint8_t *at = packets->at;

	for (i = 0; i < packets->count && !kb_stop; i++) {
		uint32_t bytes = read_u32(at);

		send_frame(at + 4, bytes, "packet", i);
		sent++;
		at += 4 + bytes;
		if (!marker) {
			listen_for(i, settle_ms, false);
			report_all(i);
		} else if (!follow_with_marker(i, timeout_ms) && !kb_stop) {
			/* Nothing gets through any more: each further packet would only wait. */
			lost_markers++;
			kb_json_begin("lost_marker");
			kb_json_u64("packet", i);
			kb_json_end();
			break;
		}
	}
	if (!marker)
		listen_for(sent ? sent - 1 : 0, quiet_ms, false);
	kb_json_begin("done");
	kb_json_u64("sent", sent);
	kb_json_u64("received", received);
	kb_json_u64("lost_markers", lost_markers);
	kb_json_end();
	return lost_markers || kb_stop ? KB_EXIT_FAILED : KB_EXIT_OK;
}

enum {
	OPT_OUT = 1,
	OPT_IN,
	OPT_IN_NETNS,
	OPT_PACKETS,
	OPT_MARKER,
	OPT_TIMEOUT,
	OPT_SETTLE,
	OPT_QUIET,
	OPT_CPU
};

static const struct option options[] = {
	{ "out", required_argument, NULL, OPT_OUT },
	{ "in", required_argument, NULL, OPT_IN },
	{ "in-netns", required_argument, NULL, OPT_IN_NETNS },
	{ "packets", required_argument, NULL, OPT_PACKETS },
	{ "marker-file", required_argument, NULL, OPT_MARKER },
	{ "timeout-ms", required_argument, NULL, OPT_TIMEOUT },
	{ "settle-ms", required_argument, NULL, OPT_SETTLE },
	{ "quiet-ms", required_argument, NULL, OPT_QUIET },
	{ "cpu", required_argument, NULL, OPT_CPU },
	{ 0 },
};

int main(int argc, char **argv)
{
	const char *out = NULL, *in = NULL, *in_netns = NULL, *path = NULL, *marker_path = NULL;
	uint64_t timeout_ms = 1000, quiet_ms = 0;
	struct packets packets;
	int option, cpu = -1;

	kb_prog_init("kb-inject");
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case OPT_OUT:
			out = optarg;
			break;
		case OPT_IN:
			in = optarg;
			break;
		case OPT_IN_NETNS:
			in_netns = optarg;
			break;
		case OPT_PACKETS:
			path = optarg;
			break;
		case OPT_MARKER:
			marker_path = optarg;
			break;
		case OPT_TIMEOUT:
			timeout_ms = kb_parse_u64("--timeout-ms", optarg, 1, 60000);
			break;
		case OPT_SETTLE:
			settle_ms = kb_parse_u64("--settle-ms", optarg, 0, 1000);
			break;
		case OPT_QUIET:
			quiet_ms = kb_parse_u64("--quiet-ms", optarg, 1, 60000);
			break;
		case OPT_CPU:
			cpu = kb_parse_u64("--cpu", optarg, 0, 1023);
			break;
		default:
			return KB_EXIT_USAGE; /* getopt has said why */
		}
	}
	if (optind < argc)
		kb_die(KB_EXIT_USAGE, "\"%s\": this is no option", argv[optind]);
	kb_require("--out", out);
	kb_require("--in", in);
	kb_require("--packets", path);
	if (!marker_path == !quiet_ms)
		kb_die(KB_EXIT_USAGE, "one of --marker-file and --quiet-ms is needed");
	packets = read_packets(path);
	if (marker_path) {
		marker = kb_read_file(marker_path, &marker_bytes);
		if (marker_bytes < MARKER_BYTES_MIN || marker_bytes > FRAME_MAX)
			kb_die(KB_EXIT_USAGE, "%s: a marker has %d to %d bytes, not %zu",
			       marker_path, MARKER_BYTES_MIN, FRAME_MAX, marker_bytes);
	}

	cpu = kb_pin_cpu(cpu);
	libbpf_set_print(NULL);
	port_open(&out_port, out, NULL);
	one_port = port_is(&out_port, in, in_netns);
	if (one_port)
		out_port.name = in_port.name;
	else
		port_open(&in_port, in, in_netns);
	kb_json_begin("ready");
	kb_json_i64("cpu", cpu);
	kb_json_u64("packets", packets.count);
	kb_json_end();
	return inject(&packets, timeout_ms, quiet_ms);
}
