# SPDX-License-Identifier: GPL-2.0-only
"""Joins the methods, which only ask for trials, with the blocks on which trials are made.

Each method is repeated on topologies built anew; what it found is stored once per datapath and repeat.
"""

from __future__ import annotations

from collections.abc import Callable

from kbench.measure.drivers.job import Job
from kbench.measure.drivers.loads import cpu_at_load, latency
from kbench.measure.drivers.searches import bursts, curve, throughput

DRIVERS: dict[str, Callable[[Job], None]] = {
    "throughput": throughput,
    "loss-curve": curve,
    "latency": latency,
    "back-to-back": bursts,
    "cpu-at-load": cpu_at_load,
}
"""By method; `max` is wall.py's."""
