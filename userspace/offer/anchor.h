/* SPDX-License-Identifier: GPL-2.0-only */
/* anchor.h - keeps the generator's program in the kernel's dispatcher between test runs. */
#ifndef KB_OFFER_ANCHOR_H
#define KB_OFFER_ANCHOR_H

/* Attaches the program where no packet ever comes. Returns 0 or a negative errno; it ends with this
 * process. */
int anchor_program(int prog);

#endif
