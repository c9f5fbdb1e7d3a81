# SPDX-License-Identifier: GPL-2.0-only
"""CPU time of the testbed's own threads, and how long they waited for a CPU, to the nanosecond.

With --placement split the DUT's receive side is a kernel thread (threaded NAPI), so what it used is the datapath's cost
whether or not the CPU is saturated. From /proc/PID/schedstat: time on a CPU, time runnable but waiting
(Documentation/scheduler/sched-stats.rst). Interrupts that hit the thread are in its time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from kbench.errors import MeasureError
from kbench.host.base import Host, HostFileError
from kbench.measure.bench import Bench
from kbench.measure.observe import Observed, Setting
from kbench.measure.probes.base import Absent, Probe, per_packet
from kbench.measure.testbeds.base import Testbed
from kbench.model import Counters

GENERATOR = "generator"
IN_SOFTIRQ = "receive runs in the generator's softirq, which is not a thread: use --placement split"

_napi: WeakKeyDictionary[Testbed, tuple[int, ...]] = WeakKeyDictionary()
"""Which kernel threads a testbed has, looked for once: they live as long as its ports."""


@dataclass(frozen=True)
class Times:
    """Nanoseconds that a thread ran, and that it waited for a CPU."""

    ran_ns: int
    waited_ns: int


def read_schedstat(host: Host, pid: int) -> Times | None:
    """Times of a process's first thread; None when it has ended."""
    try:
        ran, waited, _ = host.read_text(f"/proc/{pid}/schedstat").split()
    except HostFileError:
        return None
    except ValueError:
        raise MeasureError(f"/proc/{pid}/schedstat is not what the kernel's documentation says") from None
    return Times(int(ran), int(waited))


def napi_threads(testbed: Testbed) -> tuple[int, ...]:
    """Pids of the NAPI threads of the DUT's ports; none without --placement split.

    Nothing tells which of several ports of the same name (in other namespaces) a thread belongs to, so all are taken:
    those of testbeds that are idle add nothing.
    """
    if testbed.placement != "split":
        return ()
    if testbed not in _napi:
        host = testbed.host
        starts = tuple(f"napi/{port.name}-" for port in (testbed.rx, testbed.tx))
        pids = [int(name) for name in host.list_dir("/proc") if name.isdigit()]
        _napi[testbed] = tuple(pid for pid in pids if _name(host, pid).startswith(starts))
    return _napi[testbed]


def _name(host: Host, pid: int) -> str:
    try:
        return host.read_text(f"/proc/{pid}/comm")
    except HostFileError:
        return ""  # ended meanwhile


def read_threads(bench: Bench) -> dict[str, Times]:
    """Times of the DUT's threads: ``napi/PID``, and ``datapath`` for one in userspace."""
    pids = {f"napi/{pid}": pid for pid in napi_threads(bench.testbed)}
    if bench.datapath is not None and bench.datapath.userspace and bench.datapath.pid is not None:
        pids["datapath"] = bench.datapath.pid
    times = {label: read_schedstat(bench.host, pid) for label, pid in pids.items()}
    return {label: read for label, read in times.items() if read is not None}


def between(before: dict[str, Times], after: dict[str, Times]) -> dict[str, Times]:
    """Differences of the threads that both readings have."""
    return {
        label: Times(late.ran_ns - before[label].ran_ns, late.waited_ns - before[label].waited_ns)
        for label, late in after.items()
        if label in before
    }


class Threads(Probe):
    """`dut_cpu_ns` is there only when all of the DUT's work is done by threads.

    ``generator`` is the thread that offered the load, if its program tells (`ran_ns` and `waited_ns`).
    """

    name = "threads"

    def __init__(self, bench: Bench, setting: Setting) -> None:
        super().__init__(bench, setting)
        self._before: dict[str, Times] = {}

    def before(self) -> None:
        """Reads the threads' times."""
        self._before = read_threads(self.bench)

    def after(self, observed: Observed, counters: Counters) -> dict[str, Any]:
        """Nanoseconds by thread that ran or waited, and the DUT's sum, per trial and per packet."""
        spent = between(self._before, read_threads(self.bench))
        spent = {label: times for label, times in spent.items() if times.ran_ns}
        dut_ns = sum(times.ran_ns for times in spent.values())
        raw = observed.offered.raw
        if "waited_ns" in raw:
            spent[GENERATOR] = Times(raw["ran_ns"], raw["waited_ns"])
        if not spent:
            raise Absent(IN_SOFTIRQ)
        values: dict[str, Any] = {
            "ran_ns": {label: times.ran_ns for label, times in spent.items()},
            "waited_ns": {label: times.waited_ns for label, times in spent.items()},
        }
        if napi_threads(self.bench.testbed):
            values |= {"dut_cpu_ns": dut_ns, "dut_cpu_ns_per_packet": per_packet(dut_ns, counters)}
        else:
            values["incomplete"] = IN_SOFTIRQ
        return values


def waited_s(values: dict[str, Any]) -> float | None:
    """Seconds that the testbed's threads waited for a CPU, from what `Threads` gave; None without the generator's."""
    waited: dict[str, int] = values.get("waited_ns", {})
    return sum(waited.values()) / 1e9 if GENERATOR in waited else None


def idle_cost(bench: Bench, seconds: float) -> float:
    """CPU time that the DUT's threads take while no packet comes, as a share of one CPU: what busy polling costs.

    Raises Absent when the DUT has no threads: then it costs nothing while idle.
    """
    before, start = read_threads(bench), time.monotonic()
    if not before:
        raise Absent("no threads: the datapath runs only when packets come")
    time.sleep(seconds)
    spent, elapsed_s = between(before, read_threads(bench)), time.monotonic() - start
    return sum(times.ran_ns for times in spent.values()) / 1e9 / elapsed_s
