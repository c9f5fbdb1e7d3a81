// SPDX-License-Identifier: GPL-2.0-only
/*
 * kb-netfilter - the netfilter datapath: loads kbench_nf.ko if it has to, gives
 * it an image, and prints its counters. The packets are handled in the kernel, on
 * whichever CPU receives them; --cpu pins this program only.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "function.h"
#include "kb_prog.h"
#include "netfilter.h"

#define BEGIN_ATTEMPTS 20
#define BEGIN_WAIT_NS 50000000

static const char *const functions[] = { "drop", "forward", "filter", NULL };

struct arguments {
	const char *rx, *tx, *function, *image, *module;
	int cpu;
	bool no_check, unload;
};

static void parse(int argc, char **argv, struct arguments *args)
{
	static const struct option options[] = {
		{ "rx", required_argument, NULL, 'r' },
		{ "tx", required_argument, NULL, 't' },
		{ "function", required_argument, NULL, 'f' },
		{ "image", required_argument, NULL, 'i' },
		{ "module", required_argument, NULL, 'm' },
		{ "cpu", required_argument, NULL, 'c' },
		{ "no-check", no_argument, NULL, 'n' }, /* tests: leave refusing to the kernel */
		{ "unload", no_argument, NULL, 'u' },	/* remove an idle module, and no more */
		{ 0 },
	};
	int option;

	*args = (struct arguments){ .cpu = -1 };
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'r':
			args->rx = optarg;
			break;
		case 't':
			args->tx = optarg;
			break;
		case 'f':
			args->function = optarg;
			break;
		case 'i':
			args->image = optarg;
			break;
		case 'm':
			args->module = optarg;
			break;
		case 'c':
			args->cpu = kb_parse_u64("--cpu", optarg, 0, 1 << 20);
			break;
		case 'n':
			args->no_check = true;
			break;
		case 'u':
			args->unload = true;
			break;
		default:
			exit(KB_EXIT_USAGE); /* getopt has said why */
		}
	}
	if (optind < argc)
		kb_die(KB_EXIT_USAGE, "unexpected argument \"%s\"", argv[optind]);
	if (args->unload)
		return;
	kb_require("--rx", args->rx);
	kb_require("--tx", args->tx);
	kb_require("--function", args->function);
	kb_require("--image", args->image);
}

static int unload(void)
{
	int err = module_unload();

	if (err == -EAGAIN || err == -EBUSY)
		kb_die(KB_EXIT_FAILED, "kbench_nf is in use");
	if (err == -ENOSYS)
		kb_die(KB_EXIT_LACKS, "this kernel can't load or remove modules");
	if (err && err != -ENOENT)
		kb_die(KB_EXIT_FAILED, "can't remove kbench_nf: %s", strerror(-err));
	return KB_EXIT_OK;
}

/* At every exit: the session ends with its socket, and the module may go. */
static void clean_up(void)
{
	control_close();
	module_release();
}

/*
 * Loads the module and begins a session. Another program may remove the module
 * between the two, so it is tried again; once begun, the session holds it.
 */
static bool begin(const char *module, uint64_t size)
{
	const struct timespec wait = { .tv_nsec = BEGIN_WAIT_NS };
	bool loaded = false;
	int i, err = 0;

	for (i = 0; i < BEGIN_ATTEMPTS && !kb_stop; i++) {
		loaded |= module_ensure(module);
		err = control_open();
		if (!err)
			err = control_begin(size);
		if (!err)
			return loaded;
		if (err == -ENOENT && !module)
			kb_die(KB_EXIT_LACKS, "kbench_nf is not loaded: give --module FILE");
		if (err != -ENOENT && err != -ENODEV && err != -EOPNOTSUPP)
			break;
		nanosleep(&wait, NULL);
	}
	if (kb_stop)
		exit(KB_EXIT_OK);
	if (err == -EINVAL || err == -EFBIG)
		kb_die(KB_EXIT_USAGE, "the kernel refuses the image: %s", control_why(err));
	if (err == -EPERM)
		kb_die(KB_EXIT_LACKS, "not allowed: needs CAP_NET_ADMIN");
	kb_die(KB_EXIT_FAILED, "kbench_nf: %s", control_why(err));
}

static void upload(const uint8_t *blob, size_t len)
{
	size_t at, part;
	int err;

	for (at = 0; at < len && !kb_stop; at += part) {
		part = len - at < KBENCH_NF_CHUNK_MAX ? len - at : KBENCH_NF_CHUNK_MAX;
		err = control_chunk(at, blob + at, part);
		if (err)
			kb_die(KB_EXIT_FAILED, "upload of the image: %s", control_why(err));
	}
	if (kb_stop)
		exit(KB_EXIT_OK);
}

static void print_kind(const struct nf_counters *counters, uint32_t kind)
{
	unsigned int i;

	for (i = 0; i < counters->count; i++)
		if (counters->counter[i].kind == kind)
			kb_json_u64(counters->counter[i].name, counters->counter[i].value);
}

static void print_counters(const struct nf_counters *counters)
{
	kb_json_begin("counters");
	print_kind(counters, KBENCH_NF_KIND_TOTAL);
	kb_json_obj_begin("dropped");
	print_kind(counters, KBENCH_NF_KIND_DROPPED);
	kb_json_obj_end();
	kb_json_obj_begin("lost");
	print_kind(counters, KBENCH_NF_KIND_LOST);
	kb_json_obj_end();
	kb_json_end();
}

static void get(struct nf_counters *counters)
{
	int err = control_get(counters);

	if (err)
		kb_die(KB_EXIT_FAILED, "reading counters: %s", control_why(err));
}

/* Until SIGTERM. */
static void serve(void)
{
	struct nf_counters counters;
	int err;

	while (!kb_stop) {
		kb_poll(NULL, 0, -1);
		if (kb_reset) {
			kb_reset = 0;
			err = control_reset();
			if (err)
				kb_die(KB_EXIT_FAILED, "reset: %s", control_why(err));
			kb_json_begin("reset");
			kb_json_end();
		}
		if (kb_snapshot) {
			kb_snapshot = 0;
			get(&counters);
			print_counters(&counters);
		}
	}
}

int main(int argc, char **argv)
{
	struct nf_counters counters;
	uint32_t rx, tx, function;
	struct arguments args;
	struct kb_image image;
	const char *wrong;
	bool loaded, gone;
	size_t len;
	void *blob;
	int err;

	kb_prog_init("kb-netfilter");
	parse(argc, argv, &args);
	if (args.unload)
		return unload();
	function = kb_parse_choice("--function", args.function, functions) + KB_DROP;
	args.cpu = kb_pin_cpu(args.cpu);
	rx = kb_ifindex(args.rx);
	tx = kb_ifindex(args.tx);
	blob = kb_read_file(args.image, &len);
	if (!args.no_check) {
		wrong = kb_image_check(blob, len, &image);
		if (wrong)
			kb_die(KB_EXIT_USAGE, "%s: %s", args.image, wrong);
		if (image.params.function != function)
			kb_die(KB_EXIT_USAGE, "%s: compiled for another function than %s",
			       args.image, args.function);
	}

	atexit(clean_up);
	loaded = begin(args.module, len);
	upload(blob, len);
	free(blob);
	err = control_activate(rx, tx, function);
	if (err == -ENOMEM)
		kb_die(KB_EXIT_FAILED, "activation: out of memory");
	if (err)
		kb_die(KB_EXIT_USAGE, "the kernel refuses %s: %s", args.image, control_why(err));

	kb_json_begin("ready");
	if (args.cpu >= 0)
		kb_json_i64("cpu", args.cpu);
	kb_json_u64("image_bytes", len);
	kb_json_bool("module_loaded", loaded);
	kb_json_end();

	serve();
	get(&counters);
	gone = !counters.active;
	err = control_deactivate();
	if (err)
		kb_die(KB_EXIT_FAILED, "deactivation: %s", control_why(err));
	get(&counters); /* final: no packet is under way in the hook any more */
	print_counters(&counters);
	if (gone)
		kb_die(KB_EXIT_FAILED, "%s or %s went away while forwarding", args.rx, args.tx);
	return KB_EXIT_OK;
}
