/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kb_prog.h - what every kbench program does the same way: arguments, signals,
 * one JSON object per line on stdout, exit codes. The contract is docs/programs.md.
 */
#ifndef KB_PROG_H
#define KB_PROG_H

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit codes of docs/programs.md. */
#define KB_EXIT_OK 0
#define KB_EXIT_FAILED 1 /* the program could not go on */
#define KB_EXIT_USAGE 2	 /* bad argument, refused file, unknown interface */
#define KB_EXIT_LACKS 3	 /* the machine lacks something: a privilege, a kernel feature */

/*
 * Set by signals, which interrupt blocking system calls (no SA_RESTART):
 * SIGTERM and SIGINT set kb_stop, SIGUSR1 kb_snapshot, SIGUSR2 kb_reset.
 * Clear kb_snapshot and kb_reset *before* acting on them.
 */
extern volatile sig_atomic_t kb_stop;
extern volatile sig_atomic_t kb_snapshot;
extern volatile sig_atomic_t kb_reset;

/* Call first. `name` starts messages ("kb-xdp: ..."); the program will get SIGTERM when its parent
 * dies. */
void kb_prog_init(const char *name);

/* One line on stderr, "kb-NAME: message", and exit with `code`. kb_warn() goes on. */
void kb_die(int code, const char *fmt, ...) __attribute__((noreturn, format(printf, 2, 3)));
void kb_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * poll() that can't miss a signal: returns 0 at once when kb_stop, kb_snapshot or kb_reset is set
 * already or gets set while waiting; otherwise what poll() returns. A negative timeout waits for
 * ever; fds may be NULL with nfds 0.
 */
int kb_poll(struct pollfd *fds, unsigned int nfds, int timeout_ms);

/* Pin the calling thread to `cpu` and return the CPU that the kernel confirms. A negative cpu: no
 * pinning, returns -1. */
int kb_pin_cpu(int cpu);

/* CLOCK_MONOTONIC, the clock of bpf_ktime_get_ns(). */
uint64_t kb_now_ns(void);

/* The whole file, malloc()ed (a NUL byte follows the last one, not counted), or exit code 2. */
void *kb_read_file(const char *path, size_t *len);

/* Interface of this network namespace, or exit code 2 with a line that names it. */
int kb_ifindex(const char *name);
void kb_if_mac(const char *name, uint8_t mac[6]);

/* A number in min..max (decimal, or 0x...), or exit code 2 with a line that names the option. */
uint64_t kb_parse_u64(const char *option, const char *text, uint64_t min, uint64_t max);

/* Index of `text` in a NULL-terminated list, or exit code 2 with the choices. */
int kb_parse_choice(const char *option, const char *text, const char *const *choices);

/* Exit code 2 unless `value` was given; for options that must be there. */
void kb_require(const char *option, const char *value);

/*
 * One JSON line at a time. kb_json_begin("ready") opens {"event":"ready"; kb_json_end() closes what
 * is open, writes the line with one write() where the pipe allows, and leaves nothing buffered.
 * Inside arrays key is NULL.
 */
void kb_json_begin(const char *event);
void kb_json_u64(const char *key, uint64_t value);
void kb_json_i64(const char *key, int64_t value);
void kb_json_f64(const char *key, double value);
void kb_json_bool(const char *key, bool value);
void kb_json_str(const char *key, const char *value);
void kb_json_hex(const char *key, const void *bytes, size_t len);
void kb_json_obj_begin(const char *key);
void kb_json_obj_end(void);
void kb_json_arr_begin(const char *key);
void kb_json_arr_end(void);
void kb_json_end(void);

#endif
