# SPDX-License-Identifier: GPL-2.0-only
"""CPU time that others took on this machine while kbench measured."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

import psutil


@dataclass(frozen=True)
class ForeignReading:
    """CPU seconds per process that is neither kbench, a descendant of it, nor a kernel thread."""

    at_s: float
    seconds: dict[tuple[int, float], float] = field(default_factory=dict)


def read_foreign() -> ForeignReading:
    """Takes a reading. Kernel threads are left out: softirqs run in them on kbench's behalf."""
    parents: dict[int, int] = {}
    seconds: dict[int, tuple[float, float]] = {}
    for process in psutil.process_iter(["ppid", "cpu_times", "create_time"]):
        info = process.info
        if info["cpu_times"] is None:
            continue
        parents[process.pid] = info["ppid"]
        times = info["cpu_times"]
        seconds[process.pid] = (info["create_time"], times.user + times.system)
    own = os.getpid()
    return ForeignReading(
        time.monotonic(),
        {
            (pid, created): spent
            for pid, (created, spent) in seconds.items()
            if not _descends(pid, own, parents) and not _descends(pid, 2, parents)
        },
    )


def _descends(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    while pid:
        if pid == ancestor:
            return True
        pid = parents.get(pid, 0)
    return False


def foreign_share(before: ForeignReading, after: ForeignReading) -> float:
    """Foreign CPU time as a share of one CPU; 0.5 is half a CPU."""
    spent = sum(max(0.0, late - before.seconds.get(process, 0.0)) for process, late in after.seconds.items())
    return spent / max(after.at_s - before.at_s, 1e-9)
