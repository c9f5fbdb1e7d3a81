# SPDX-License-Identifier: GPL-2.0-only
"""Where a packet's CPU time goes: samples of the DUT's CPUs (probe `samples`) by stage of a packet's way."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kbench.explain.answer import number
from kbench.explain.chains import GENERATOR, SINK, TITLES, by_stage
from kbench.explain.repeats import usable_or_all
from kbench.explain.sheets import Column, Line, Sheet
from kbench.model import Trial
from kbench.store import Run

Whose = Literal["DUT", "sink", "generator"]

Z95 = 1.96


@dataclass(frozen=True)
class Stage:
    """Nanoseconds of CPU time per packet, with the 95 % interval that the number of samples leaves."""

    key: str
    ns: float
    low_ns: float
    high_ns: float
    samples: int

    @property
    def title(self) -> str:
        """In words."""
        return TITLES[self.key]

    @property
    def whose(self) -> Whose:
        """Who takes this time; what is neither the generator's nor the sink's is the DUT's."""
        return "generator" if self.key == GENERATOR else "sink" if self.key == SINK else "DUT"


@dataclass(frozen=True)
class Stages:
    """One datapath's packet: its stages in the order of TITLES, none without samples."""

    datapath: str
    stages: tuple[Stage, ...]
    event: str
    """What was sampled by: ``cycles`` or ``cpu-clock``."""
    samples: int
    """Those that were put to a stage."""
    left_out: int
    """Those of idle CPUs and of processes that have no part in the packet's way."""
    lost: int
    gross_ns: float
    """All stages together: the trial's CPU time per packet where it has one."""

    @property
    def dut_ns(self) -> float:
        """Without generator and sink."""
        return sum(stage.ns for stage in self.stages if stage.whose == "DUT")


def stages(run: Run, part: str, case_id: str) -> list[Stages]:
    """Of each datapath that was sampled, in the order of the trials. Why others were not says `why_not`."""
    made = (_stages(trial) for trial in _profiled(run, part, case_id).values())
    return [item for item in made if isinstance(item, Stages)]


def why_not(run: Run, part: str, case_id: str) -> dict[str, str]:
    """By datapath why it has no stages; empty if all that were profiled have, or none was profiled."""
    made = {name: _stages(trial) for name, trial in _profiled(run, part, case_id).items()}
    return {name: item for name, item in made.items() if isinstance(item, str)}


def _profiled(run: Run, part: str, case_id: str) -> dict[str, Trial]:
    """By datapath the last of its profiling trials that is fit, one that was sampled if there is one."""
    groups: dict[str, list[Trial]] = {}
    for trial in run.trials:
        mine = (trial.part, trial.case_id, trial.purpose) == (part, case_id, "profile")
        if mine and "samples" in trial.probes:
            groups.setdefault(trial.datapath, []).append(trial)
    chosen = {}
    for datapath, trials in groups.items():
        sampled = [trial for trial in trials if "absent" not in trial.probes["samples"]]
        fit = usable_or_all(sampled) or usable_or_all(trials)
        if fit:
            chosen[datapath] = fit[-1]
    return chosen


def _stages(trial: Trial) -> Stages | str:
    """Of one trial, or why there are none."""
    read = trial.probes["samples"]
    if "absent" in read:
        return str(read["absent"])
    if not trial.counters.handled:
        return "no packet was handled"
    counts = {int(cpu["cpu"]): by_stage(cpu, trial.generator) for cpu in read["cpus"]}
    # A paced generator is always busy, and one with a CPU of its own says nothing of the DUT's.
    saturated = trial.load_pps is None and trial.placement == "same"
    keys = [key for key in TITLES if key != GENERATOR or saturated]
    own = {cpu: sum(found[key] for key in keys) for cpu, found in counts.items()}
    total_ns = {cpu: _cpu_ns(trial, cpu, own[cpu], found.total()) for cpu, found in counts.items()}
    made = []
    for key in keys:
        seen = sum(found[key] for found in counts.values())
        if not seen:
            continue
        ns, below, above = 0.0, 0.0, 0.0
        for cpu, found in counts.items():
            ns += total_ns[cpu] * _share(found[key], own[cpu])
            # Errors of CPUs are independent, so they add up by their squares.
            down, up = _interval(found[key], own[cpu])
            below, above = math.hypot(below, total_ns[cpu] * down), math.hypot(above, total_ns[cpu] * up)
        made.append(Stage(key, ns, ns - below, ns + above, seen))
    return Stages(
        datapath=trial.datapath,
        stages=tuple(made),
        event=str(read["sampled"]),
        samples=sum(own.values()),
        left_out=sum(map(Counter.total, counts.values())) - sum(own.values()),
        lost=sum(int(cpu["lost"]) for cpu in read["cpus"]),
        gross_ns=sum(total_ns.values()),
    )


def _cpu_ns(trial: Trial, cpu: int, own: int, samples: int) -> float:
    """CPU time per packet of one CPU, `own` of its `samples` being on a packet's way.

    By the trial's account where it has one: on the generator's CPU the window over the packets offered, beside it
    a program's thread over those handled (`measure.trial`). It has none at a given load, on two CPUs, and on one
    that was not the testbed's alone; then it is the time of the samples, which leaves idling and others out.
    """
    cpus: dict[str, Any] = trial.raw["cpus"]
    shared = trial.placement == "same" and cpu == cpus["generator"]
    gross_ns, window_ns = trial.cpu_ns_per_packet, trial.duration_s * 1e9 / trial.counters.offered
    if trial.placement == "split" or gross_ns is None:
        packets = trial.counters.offered if shared else trial.counters.handled
        return _share(own, samples) * float(trial.probes["samples"]["elapsed_ns"]) / packets
    if cpus["receive"] == cpus["application"]:
        return gross_ns
    return window_ns if shared else gross_ns - window_ns


def _share(count: int, of: int) -> float:
    return count / of if of else 0.0


def _interval(count: int, of: int) -> tuple[float, float]:
    """How far the share may lie below and above, by Wilson's 95 % interval of a binomial share."""
    if not of:
        return 0.0, 0.0
    share, shrink = count / of, 1 + Z95**2 / of
    centre = (share + Z95**2 / (2 * of)) / shrink
    half = Z95 / shrink * math.sqrt(share * (1 - share) / of + (Z95 / (2 * of)) ** 2)
    return max(0.0, share - centre + half), max(0.0, centre + half - share)


def sheet(items: Sequence[Stages]) -> Sheet | None:
    """Nanoseconds per packet, a row for each datapath and a column for each stage; None if nothing was sampled."""
    if not items:
        return None
    keys = [key for key in TITLES if any(stage.key == key for item in items for stage in item.stages)]
    lines = []
    for item in items:
        ns = {stage.key: stage.ns for stage in item.stages}
        cells = [number(ns[key]) if key in ns else "-" for key in keys]
        lines.append(Line([item.datapath, *cells, number(item.dut_ns), f"{item.samples:,}"], item.datapath))
    columns = [Column("datapath", number=False), *(Column(TITLES[key]) for key in keys)]
    return Sheet("CPU time by stage, ns per packet", [*columns, Column("DUT"), Column("samples")], lines, [])
