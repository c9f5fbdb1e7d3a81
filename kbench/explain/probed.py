# SPDX-License-Identifier: GPL-2.0-only
"""What probes read around the trials, per datapath: medians over trials, and why others could not be read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from kbench.explain.answer import join, number
from kbench.explain.repeats import usable_or_all
from kbench.explain.sheets import Column, Line, Sheet, grouped
from kbench.model import Trial
from kbench.store import Run

HARDWARE = {
    "cycles": "cycles", "instructions": "instr.", "cache-misses": "cache misses", "branch-misses": "branch misses",
}  # fmt: skip
"""Events of kb-perf that have a column, per packet."""
SCHEDULER = {
    "syscalls": "syscalls", "voluntary_switches": "waits", "involuntary_switches": "preempted",
}  # fmt: skip


PROBES = {
    "hardware": "hardware counters", "scheduler": "system calls or switches", "energy": "energy", "bpf": "BPF run time",
    "threads": "threads' CPU time",
}  # fmt: skip


@dataclass
class Probed:
    """One datapath's readings."""

    datapath: str
    values: dict[str, float] = field(default_factory=dict)
    """Name of the column -> median over trials, per packet unless the name says otherwise."""
    trials: int = 0
    programs: dict[str, float] = field(default_factory=dict)
    """BPF program -> nanoseconds per run."""
    absent: dict[str, str] = field(default_factory=dict)
    """Probe -> why it has no values."""
    remarks: list[str] = field(default_factory=list)


def probed(run: Run, part: str, case_id: str) -> list[Probed]:
    """Readings of each datapath at maximum load (and of its profiled trials); empty without probes."""
    groups: dict[str, list[Trial]] = {}
    for trial in run.trials:
        mine = (trial.part, trial.case_id) == (part, case_id) and trial.purpose in (
            "rate",
            "profile",
            "exact",
        )
        if mine and trial.probes:
            groups.setdefault(trial.datapath, []).append(trial)
    fit = {datapath: usable_or_all(trials) for datapath, trials in groups.items()}
    return [_probed(datapath, trials) for datapath, trials in fit.items() if trials]


def _probed(datapath: str, trials: list[Trial]) -> Probed:
    made = Probed(datapath, trials=len(trials))
    columns: dict[str, list[float]] = {}
    programs: dict[str, list[float]] = {}
    scaled: set[str] = set()
    generator = False
    for trial in trials:
        for probe, read in trial.probes.items():
            if probe == "samples":
                continue  # not per packet, and too many for a table: explain.stages
            if "absent" in read:
                made.absent[probe] = str(read["absent"])
                continue
            for name, value in _columns(probe, read):
                columns.setdefault(name, []).append(value)
            for program in read.get("programs", ()):
                programs.setdefault(str(program.get("name", "?")), []).append(float(program["ns_per_run"]))
            for name, why in read.get("not_counted", {}).items():
                if name in HARDWARE:
                    made.absent[name] = str(why)
            scaled |= set(read.get("scaled", ()))
            generator = generator or bool(read.get("includes_generator"))
    made.values = {name: median(values) for name, values in columns.items()}
    made.programs = {name: median(values) for name, values in programs.items()}
    made.absent = {name: why for name, why in made.absent.items() if not _has(name, made)}
    if generator:
        made.remarks.append("the generator runs on the same CPU, so its share is in these counts")
    if scaled:
        made.remarks.append(f"the PMU's counters were shared: {join(sorted(scaled))} scaled up")
    return made


def _columns(probe: str, read: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    """The columns that a probe's values fill."""
    each = read.get("per_packet", {})
    if probe == "hardware":
        yield from ((label, float(each[name])) for name, label in HARDWARE.items() if name in each)
    elif probe == "scheduler":
        yield from ((label, float(each[name])) for name, label in SCHEDULER.items() if name in each)
    elif probe == "energy" and "joules_per_packet" in read:
        yield "energy, uJ", float(read["joules_per_packet"]) * 1e6
    elif probe == "threads" and "dut_cpu_ns_per_packet" in read:
        yield "threads, ns", float(read["dut_cpu_ns_per_packet"])


def _has(probe: str, made: Probed) -> bool:
    """Whether some trial had what was absent in another."""
    labels = {"hardware": HARDWARE.values(), "scheduler": SCHEDULER.values(), "energy": ("energy, uJ",)}
    if probe == "bpf":
        return bool(made.programs)
    return any(label in made.values for label in labels.get(probe, (HARDWARE.get(probe, probe),)))


def sheet(items: list[Probed]) -> Sheet | None:
    """Counters per packet; what is absent has its reason below, once. Never a zero for what was not read."""
    if not items:
        return None
    names = list(dict.fromkeys(name for item in items for name in item.values))
    lines = [
        Line([i.datapath, *(_small(i.values.get(name)) for name in names), str(i.trials)], i.datapath)
        for i in items
    ]
    columns = [Column("datapath", number=False), *(Column(name) for name in names), Column("n")]
    everyone = [i.datapath for i in items]
    notes = grouped(
        (
            (", ".join(f"BPF program {name}: {number(ns)} ns per run" for name, ns in i.programs.items()), i.datapath)
            for i in items if i.programs
        ),
        everyone,
    )  # fmt: skip
    notes += grouped(((text, i.datapath) for i in items for text in i.remarks), everyone)
    missing = grouped(
        (
            (f"no {PROBES.get(name, name)}: {why}", i.datapath)
            for i in items
            for name, why in i.absent.items()
        ),
        everyone,
    )
    if not names:
        columns, lines = [], []
    return Sheet("Counters per packet", columns, lines, [*notes, *missing])


def _small(value: float | None) -> str:
    """A count per packet; a small one is never rounded to nothing."""
    if value is None:
        return "-"
    if value == 0 or abs(value) >= 0.1:
        return number(value) if value else "0"
    return f"{value:.2g}" if abs(value) >= 1e-4 else "< 0.0001"
