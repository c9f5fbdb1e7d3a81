# SPDX-License-Identifier: GPL-2.0-only
"""CPU time per core, softirqs and softnet counters, as differences of the kernel's own counters.

/proc/stat is sampled at the timer tick, so a short trial's split is coarse; it serves to see who else was
there, not to judge a datapath (docs/method.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from kbench.host.base import Host
from kbench.model import CpuTime

USER_HZ = 100
"""Unit of /proc/stat on every architecture (proc(5))."""

SOFTNET_COLUMNS = {"processed": 0, "dropped": 1, "time_squeeze": 2}
"""Columns of /proc/net/softnet_stat (net/core/net-procfs.c)."""


@dataclass(frozen=True)
class CpuReading:
    """One reading of the counters of all CPUs."""

    ticks: dict[int, tuple[int, ...]]
    softirqs: dict[str, list[int]]
    softnet: list[dict[str, int]]


def read_cpus(host: Host) -> CpuReading:
    """Reads /proc/stat, /proc/softirqs and /proc/net/softnet_stat of `host`."""
    return CpuReading(
        ticks=parse_stat(host.read_text("/proc/stat")),
        softirqs=parse_softirqs(host.read_text("/proc/softirqs")),
        softnet=parse_softnet(host.read_text("/proc/net/softnet_stat")),
    )


def parse_stat(text: str) -> dict[int, tuple[int, ...]]:
    """Ticks (user, nice, system, idle, iowait, irq, softirq, steal) per CPU."""
    ticks = {}
    for line in text.splitlines():
        name, *values = line.split()
        if name.startswith("cpu") and name != "cpu":
            ticks[int(name[3:])] = tuple(map(int, values[:8]))
    return ticks


def parse_softirqs(text: str) -> dict[str, list[int]]:
    """Counts per softirq and CPU."""
    rows = (line.split() for line in text.splitlines()[1:])
    return {name.rstrip(":"): list(map(int, counts)) for name, *counts in rows}


def parse_softnet(text: str) -> list[dict[str, int]]:
    """One dict per online CPU; the file is hexadecimal."""
    rows = (line.split() for line in text.splitlines())
    return [{name: int(row[at], 16) for name, at in SOFTNET_COLUMNS.items()} for row in rows]


def cpu_times(before: CpuReading, after: CpuReading) -> list[CpuTime]:
    """Seconds spent by each CPU between two readings."""
    times = []
    for cpu, ticks in sorted(after.ticks.items()):
        user, nice, system, idle, iowait, irq, softirq, steal = (
            (late - early) / USER_HZ for late, early in zip(ticks, before.ticks[cpu], strict=True)
        )
        times.append(CpuTime(cpu, user + nice, system, irq, softirq, steal, idle + iowait))
    return times


def softirq_counts(before: CpuReading, after: CpuReading) -> dict[str, int]:
    """NET_RX and NET_TX softirqs per CPU, as ``NET_RX/cpu0``."""
    return {
        f"{name}/cpu{cpu}": late - before.softirqs[name][cpu]
        for name in ("NET_RX", "NET_TX")
        for cpu, late in enumerate(after.softirqs[name])
    }


def softnet_counts(before: CpuReading, after: CpuReading) -> dict[str, int]:
    """Softnet differences per CPU, as ``processed/cpu0``."""
    return {
        f"{name}/cpu{cpu}": row[name] - before.softnet[cpu][name]
        for cpu, row in enumerate(after.softnet)
        for name in SOFTNET_COLUMNS
    }
