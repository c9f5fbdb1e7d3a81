// SPDX-License-Identifier: GPL-2.0-only
/*
 * kb-listen: prints every frame that arrives at a port, until it is stopped.
 *
 * With it and kb-inject on the two ends of a cable it is known what the cable itself, with the
 * adapters at its ends, does to frames.
 */
#include "kb_prog.h"
#include "port.h"

#include <getopt.h>
#include <stdio.h>

static struct port port = { .name = "in" };
static uint64_t received;

static void report_waiting(void)
{
	const uint8_t *frame;
	ssize_t len;

	while ((len = port_receive(&port, &frame)) >= 0) {
		received++;
		kb_json_begin("frame");
		kb_json_str("port", port.name);
		kb_json_hex("hex", frame, len);
		kb_json_end();
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "in", required_argument, NULL, 'i' },
		{},
	};
	const char *in = NULL;
	int option;

	kb_prog_init("kb-listen");
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option != 'i')
			return KB_EXIT_USAGE; /* getopt has said why */
		in = optarg;
	}
	if (optind < argc)
		kb_die(KB_EXIT_USAGE, "\"%s\": this is no option", argv[optind]);
	kb_require("--in", in);
	port_open(&port, in, NULL);
	kb_json_begin("ready");
	kb_json_end();
	while (!kb_stop) {
		struct pollfd readable = { .fd = port.fd, .events = POLLIN };

		kb_poll(&readable, 1, -1);
		kb_snapshot = kb_reset = 0; /* nothing to count */
		report_waiting();
	}
	report_waiting();
	kb_json_begin("counters");
	kb_json_u64("received", received);
	kb_json_end();
	return KB_EXIT_OK;
}
