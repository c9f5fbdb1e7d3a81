# SPDX-License-Identifier: GPL-2.0-only
"""kbench measures itself: what its probes cost, how often it claims what is not so, and whether it finds what is so."""
