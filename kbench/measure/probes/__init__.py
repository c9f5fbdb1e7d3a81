# SPDX-License-Identifier: GPL-2.0-only
"""What is watched during a trial; one file per kind, listed in PROBES."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from kbench.measure.bench import Bench
from kbench.measure.observe import Observed, Setting
from kbench.measure.probes.base import Absent, Probe
from kbench.measure.probes.bpf import BpfRunTime
from kbench.measure.probes.energy import Energy
from kbench.measure.probes.hardware import Hardware
from kbench.measure.probes.samples import Samples
from kbench.measure.probes.scheduler import Scheduler
from kbench.measure.probes.threads import Threads
from kbench.model import Counters

PROBES: tuple[type[Probe], ...] = (Hardware, BpfRunTime, Samples, Scheduler, Energy, Threads)


class Watch:
    """All probes around one trial. Use as a context manager around what is offered, then ask for `values`.

    `profile` names the one costly probe of this trial, if any: two of them would measure each other.

    None in exact and functional parts: an emulated machine has no PMU, its CPU time means nothing, and a program more
    could move exact counts.
    """

    def __init__(self, bench: Bench, setting: Setting, *, profile: str | None) -> None:
        self._values: dict[str, Any] = {}
        self._probes: list[Probe] = []
        for kind in PROBES if setting.kind == "wall" else ():
            if kind.costly and kind.name != profile:
                self._values[kind.name] = {"absent": f"only in profiling trials of its own: {kind.costly}"}
            else:
                self._probes.append(kind(bench, setting))

    def __enter__(self) -> Self:
        try:
            for probe in self._probes:
                try:
                    probe.before()
                except Absent as absent:
                    self._values[probe.name] = {"absent": str(absent)}
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        for probe in self._probes:
            probe.close()

    def values(self, observed: Observed, counters: Counters) -> dict[str, Any]:
        """By probe what it read, or ``{"absent": why}``; to be asked for inside the context."""
        for probe in self._probes:
            if probe.name not in self._values:
                try:
                    self._values[probe.name] = probe.after(observed, counters)
                except Absent as absent:
                    self._values[probe.name] = {"absent": str(absent)}
        return dict(self._values)
