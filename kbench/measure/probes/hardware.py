# SPDX-License-Identifier: GPL-2.0-only
"""Cycles, instructions, cache and branch misses per packet on the DUT's CPUs, by kb-perf.

One kb-perf for each CPU stays for as long as its host is connected; which CPUs are the DUT's differs between
datapaths, and two programs that watched the same CPU would take counters of the PMU from each other.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from kbench.errors import EnvironmentProblem
from kbench.host.base import Host, Process
from kbench.measure.observe import Observed
from kbench.measure.probes.base import Absent, Probe, per_packet
from kbench.model import Counters

_resident: WeakKeyDictionary[Host, dict[int, Process]] = WeakKeyDictionary()


class Hardware(Probe):
    """The counts enclose all that these CPUs did from before the first packet until the traffic had drained."""

    name = "hardware"

    def before(self) -> None:
        """Sets the counts to zero; asks nothing of a machine that has none."""
        cpus = self.bench.testbed.cpus
        userspace = self.bench.datapath is not None and self.bench.datapath.userspace
        self._cpus = sorted({cpus.receive, cpus.application} if userspace else {cpus.receive})
        self._programs = [_kb_perf(self.bench.host, cpu) for cpu in self._cpus]
        for program in self._programs:
            if not program.ready["events"]:
                raise Absent(_reasons(program.ready["absent"]))
        for program in self._programs:
            program.reset()

    def after(self, observed: Observed, counters: Counters) -> dict[str, Any]:
        """Counts and counts per packet, summed over the DUT's CPUs."""
        return summed(
            [program.snapshot() for program in self._programs],
            counters,
            cpus=self._cpus,
            includes_generator=self.bench.testbed.cpus.generator in self._cpus,
        )


def summed(
    events: list[dict[str, Any]], counters: Counters, *, cpus: list[int], includes_generator: bool
) -> dict[str, Any]:
    """One dict of `counters` events of kb-perf, one event per CPU.

    A count that the PMU did not hold all the time was scaled by kb-perf and is named in ``scaled``; one that some CPU
    never counted is in ``not_counted`` with the reason, and has no value.
    """
    counts: dict[str, int] = {}
    not_counted: dict[str, str] = {name: why for event in events for name, why in event["absent"].items()}
    scaled = set()
    for event in events:
        for name, count in event["counters"].items():
            if "value" not in count:
                not_counted[name] = "the PMU had no counter free for it during the trial"
            else:
                counts[name] = counts.get(name, 0) + count["value"]
                if count["multiplexed"]:
                    scaled.add(name)
    counts = {name: count for name, count in counts.items() if name not in not_counted}
    return {
        "cpus": cpus,
        "includes_generator": includes_generator,
        "counts": counts,
        "per_packet": {name: per_packet(count, counters) for name, count in counts.items()},
        "scaled": sorted(scaled & set(counts)),
        "not_counted": not_counted,
    }


def _kb_perf(host: Host, cpu: int) -> Process:
    programs = _resident.setdefault(host, {})
    if cpu not in programs:
        try:
            programs[cpu] = host.start([host.program("kb-perf"), "--cpu", str(cpu)])
        except EnvironmentProblem as problem:
            raise Absent(str(problem)) from problem
    return programs[cpu]


def _reasons(absent: dict[str, str]) -> str:
    """Each reason once, with the events that it is about."""
    by_reason: dict[str, list[str]] = {}
    for name, why in absent.items():
        by_reason.setdefault(why, []).append(name)
    return "; ".join(f"{', '.join(names)}: {why}" for why, names in by_reason.items())
