/* SPDX-License-Identifier: GPL-2.0-only */
/* What offer.bpf.c and its program, kb-offer-xdp, share. */
#ifndef KB_OFFER_H
#define KB_OFFER_H

#include "hist.h"

#define KB_OFFER_GROUPS_MAX 64
#define KB_OFFER_HEADER_MAX 64
/* Payload: time stamp (8 bytes, 0 without), then sequence number (4). */
#define KB_OFFER_PAYLOAD_MIN 12
#define KB_OFFER_IPV4_PAYLOAD 42
#define KB_OFFER_IPV6_PAYLOAD 62
/* Upper half of the time stamp in packets of kb-stamp: as a time it is 192 years after boot. */
#define KB_STAMP_MAGIC 0x5453424bu
/* Without a rate the clock is read at each packet whose number is a multiple of this. */
#define KB_OFFER_CLOCK_EVERY 512
/* Nanoseconds are kept with this many fractional bits: a step is right to 1e-5 ns, and 78 hours
 * fit. */
#define KB_OFFER_FRACTION 16
/* So far behind, the generator starts anew instead of sending a burst. */
#define KB_OFFER_LATE_NS 1000000

/* One traffic group: headers as they are sent, but for the source port. */
struct kb_offer_group {
	__u64 header[KB_OFFER_HEADER_MAX / 8];
	__u32 checksum; /* IPv6: sum of all 16-bit words of pseudo-header, UDP header and payload
			   that don't vary */
	__u32 next_flow;
	__u32 flows;
	__u16 sport_lo; /* host order */
	__u8 ipv6;
	__u8 pad;
};

/* Does not change as long as the program is loaded. */
struct kb_offer_config {
	__u32 groups;
	__u32 timestamp;
	__u32 marks; /* frames have room for time stamp and sequence number */
	__u32 gaps;
};

/* Written by user space before each load. */
struct kb_offer_load {
	__u64 count;	   /* 0: no limit */
	__u64 duration_ns; /* 0: no limit */
	__u64 step;	   /* between bursts, fixed point; 0: as fast as it goes */
	__u32 burst;	   /* packets that are due together, when the first of them is */
	__u32 pad;
};

/* Zeroed by user space before each load. */
struct kb_offer_state {
	__u64 sent;
	__u64 clocked; /* packets sent up to and with the one at last_ns */
	__u64 first_ns, last_ns;
	__u64 end_ns; /* when `done` was set, but no later than the duration's end */
	__u64 due;    /* next burst, since first_ns, fixed point */
	__u32 credit; /* packets of the present burst that are not sent yet */
	__u32 group;
	__u32 stop;    /* set by user space: send one packet more at most */
	__u32 done;    /* set by the program: nothing more will be sent */
	__u64 late;    /* how often KB_OFFER_LATE_NS was exceeded */
	__u64 skipped; /* time given up by that, fixed point */
	__u64 max_late_ns;
};

#endif
