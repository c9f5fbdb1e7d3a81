# SPDX-License-Identifier: GPL-2.0-only
"""System calls and context switches per packet of datapaths that run in userspace, as they count them themselves."""

from __future__ import annotations

from typing import Any

from kbench.measure.observe import Observed
from kbench.measure.probes.base import Absent, Probe, per_packet
from kbench.model import Counters

COUNTED = ("syscalls", "voluntary_switches", "involuntary_switches")


class Scheduler(Probe):
    """Voluntary switches are waits for packets; involuntary ones mean that something else wanted its CPU."""

    name = "scheduler"

    def before(self) -> None:
        """The program's counters run on, so the trial's are a difference."""
        datapath = self.bench.datapath
        if datapath is None or not datapath.userspace:
            raise Absent("the work is done in the kernel's softirq: no system calls, no switches")
        self._before = datapath.seen().raw
        missing = [name for name in COUNTED if name not in self._before]
        if missing:
            raise Absent(f"{datapath.name} does not count {', '.join(missing)}")

    def after(self, observed: Observed, counters: Counters) -> dict[str, Any]:
        """Counts of the trial, and the same per packet."""
        assert observed.seen is not None
        counts = {name: observed.seen.raw[name] - self._before[name] for name in COUNTED}
        return counts | {"per_packet": {name: per_packet(n, counters) for name, n in counts.items()}}
