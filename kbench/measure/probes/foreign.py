# SPDX-License-Identifier: GPL-2.0-only
"""CPU time that others took on this machine while kbench measured.

Read from /proc by hand: psutil takes several times as long, and this is read twice for each trial.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
KTHREADD = 2
"""Parent of all kernel threads; softirqs run in them on kbench's behalf, so they are nobody's foreign load."""


@dataclass(frozen=True)
class Spent:
    """CPU time of one process: `ticks_ns` in clock ticks, with its threads that have ended; `exact_ns` only where there
    is one thread; `reaped_ns` of its children that have ended."""

    ticks_ns: int
    exact_ns: int | None
    reaped_ns: int


@dataclass(frozen=True)
class ForeignReading:
    """Processes that are neither kbench, a descendant of it, nor kernel threads, by pid and start time."""

    at_s: float
    spent: dict[tuple[int, int], Spent]


def read_foreign(proc: Path = Path("/proc"), own: int | None = None) -> ForeignReading:
    """Takes a reading; `own` is kbench's pid, by default this process's."""
    at_s = time.monotonic()
    parents: dict[int, int] = {}
    fields: dict[int, list[bytes]] = {}
    for entry in os.scandir(proc):
        if (name := entry.name).isdigit() and (text := _read(f"{entry.path}/stat")):
            # proc(5); counted from the state on, because the name may hold anything.
            values = text[text.rindex(b")") + 2 :].split()
            parents[int(name)] = int(values[1])
            fields[int(name)] = values
    spent = {}
    for pid, values in fields.items():
        if not _descends(pid, os.getpid() if own is None else own, parents) and KTHREADD not in (
            pid,
            parents[pid],
        ):
            utime, stime, cutime, cstime = map(int, values[11:15])
            single = int(values[17]) == 1
            exact = _read(f"{proc}/{pid}/schedstat") if single else b""
            spent[pid, int(values[19])] = Spent(
                (utime + stime) * TICK_NS,
                int(exact.split()[0]) if exact else None,
                (cutime + cstime) * TICK_NS,
            )
    return ForeignReading(at_s, spent)


def _read(path: str) -> bytes:
    """A small file's bytes; nothing when its process has ended, or the kernel has no such file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        return os.read(fd, 4096)
    except ProcessLookupError:
        return b""
    finally:
        os.close(fd)


def _descends(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    while pid:
        if pid == ancestor:
            return True
        pid = parents.get(pid, 0)
    return False


def foreign_s(before: ForeignReading, after: ForeignReading) -> float:
    """Seconds of CPU time that foreign processes took between two readings, those that ended meanwhile included.

    What a child had used before the first reading is handed to its parent when it ends, so it is taken off there. (A
    parent that ignores SIGCHLD gets nothing: then this is too low.)
    """
    grown = sum(_growth(before.spent.get(process), late) for process, late in after.spent.items())
    reaped = sum(
        max(0, late.reaped_ns - (before.spent[process].reaped_ns if process in before.spent else 0))
        for process, late in after.spent.items()
    )
    ended = sum(s.ticks_ns + s.reaped_ns for process, s in before.spent.items() if process not in after.spent)
    return (grown + max(0, reaped - ended)) / 1e9


def _growth(early: Spent | None, late: Spent) -> int:
    if early is None:
        return late.ticks_ns if late.exact_ns is None else late.exact_ns
    ticks = max(0, late.ticks_ns - early.ticks_ns)
    if late.exact_ns is None or early.exact_ns is None:
        return ticks
    # User and system time are each cut to whole ticks; beyond that the exact time has lost a thread's.
    exact = late.exact_ns - early.exact_ns
    return exact if abs(exact - ticks) <= 2 * TICK_NS else ticks


def foreign_share(before: ForeignReading, after: ForeignReading) -> float:
    """Foreign CPU time as a share of one CPU; 0.5 is half a CPU."""
    return foreign_s(before, after) / max(after.at_s - before.at_s, 1e-9)
