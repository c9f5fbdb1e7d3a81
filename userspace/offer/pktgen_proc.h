/* SPDX-License-Identifier: GPL-2.0-only */
/* pktgen_proc.h - the kernel's packet generator behind /proc/net/pktgen of this network namespace.
 */
#ifndef KB_PKTGEN_PROC_H
#define KB_PKTGEN_PROC_H

#include <stdbool.h>
#include <stdint.h>

#define PKTGEN_NAME_MAX 32 /* the kernel's: "add_device" reads 31 characters */

/* What a pktgen device says about itself. Its times are CLOCK_MONOTONIC, in microseconds. */
struct pktgen_state {
	uint64_t sofar, errors;
	uint64_t started_us, stopped_us; /* while it runs, "stopped" is now */
	uint64_t idle_us;		 /* spent waiting: for its turn, or for the CPU */
	bool done;			 /* it has run and has ended */
	bool can_share;			 /* flag SHARED is set: buffers are reused */
};

/* Exits with code 3 and what to do unless pktgen is there and has a thread for `cpu`. */
void pktgen_require(int cpu);

/* Writes one command to /proc/net/pktgen/FILE; 0 or -errno. pktgen_set() exits if it fails. */
int pktgen_try(const char *file, const char *command);
void pktgen_set(const char *file, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Removes all devices of all threads of this namespace, and waits until they are gone. */
void pktgen_clear(void);

/* After pktgen_clear(): adds DEVICE ("veth0@3") to the CPU's thread. */
void pktgen_add(int cpu, const char *device);

void pktgen_read(const char *device, struct pktgen_state *state);

#endif
