# SPDX-License-Identifier: GPL-2.0-only
"""The figures of one run that can be set against another run's, with the single values that they rest on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from kbench.explain import stats
from kbench.explain.across.result import Metric, Work
from kbench.explain.answer import number, rate, share, time_ns
from kbench.explain.compare import compare, usable
from kbench.explain.comparison import EXACT_RESOLUTION, WALL_RESOLUTION, Comparison, Row
from kbench.explain.findings import Found, findings
from kbench.explain.grade import Grade, Letter
from kbench.explain.method_results import COMMON
from kbench.explain.repeats import over_repeats, usable_or_all
from kbench.explain.stats import Estimate
from kbench.explain.throughput import Bound
from kbench.model import Histogram, Kind, Trial
from kbench.store import Run

PERCENTILES: dict[Literal["p50", "p99"], float] = {"p50": 50.0, "p99": 99.0}
BUCKETS_RESOLVED = 2
"""Latency is claimed to differ from so many buckets on: one is lost to rounding, which the interval holds; one is left
for noise, or "no change" could never be said."""
OWN_RULES = frozenset({"interval", "blocks", "generator-limited"})
"""Rules of the grade that are about the figure itself and not about how it was made. The ratio's interval and notes
say that already; by the letter two runs that measured the same would be refused by chance, and so would a fall from
the generator's limit."""
Values = dict[int, float]
"""By round, trial or repeat."""


@dataclass(frozen=True)
class Figure:
    """One metric of one datapath: what is compared with the other run's."""

    work: Work
    datapath: str
    metric: Metric
    values: Values
    block_of: dict[int, int]
    estimate: Estimate
    resolution: float
    """The smallest change that is claimed, as a share."""
    letter: Letter
    """The grade of the conditions (OWN_RULES)."""
    noun: str = "trial"
    lower: Values | None = None
    """Where a value is only known to lie between two edges (a search's bounds, a histogram's bucket): these."""
    upper: Values | None = None
    at_pps: float | None = None
    """The load that it belongs to, if that is the method's choice."""
    asked: Mapping[str, str] = field(default_factory=dict)
    """What else must be alike for the question to be the same."""
    at_least: bool = False
    """A lower bound: the generator could offer no more."""
    gap: str | None = None
    """Why its values say less than they seem to: searches without an answer."""
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[Work, str, Metric]:
        """What the other run's must agree in."""
        return self.work, self.datapath, self.metric

    @property
    def at(self) -> str:
        """The load in words."""
        return "" if self.at_pps is None else f"at {rate(self.at_pps)}"


@dataclass(frozen=True)
class Figures:
    """All of a run; with those that it should have and has not, in words by key."""

    found: dict[tuple[Work, str, Metric], Figure]
    missing: dict[tuple[Work, str, Metric], str]
    emulated: list[tuple[str, Work]]
    """Datapaths with figures by an emulated clock, which are not among those found."""


def figures(run: Run) -> Figures:
    """In the order of the plan."""
    found: list[Figure] = []
    missing: dict[tuple[Work, str, Metric], str] = {}
    trials: dict[tuple[str, str, str], list[Trial]] = {}
    for trial in run.trials:
        trials.setdefault((trial.part, trial.case_id, trial.datapath), []).append(trial)
    told = findings(run)
    timed = {(f.part, f.case_id, at.datapath) for f in told for at in f.latencies if at.load == COMMON}
    emulated: list[tuple[str, Work]] = []
    for comparison in compare(run):
        for row in comparison.rows:
            if comparison.kind == "emulated":
                emulated.append((row.datapath, _work(comparison)))
                continue
            place = (comparison.part.name, comparison.case_id, row.datapath)
            mine = trials.get(place, [])
            found += _ranked(comparison, row, mine)
            if place not in timed:
                found += _latency_of_max(comparison, row, mine)
    no_measure = {part.name for part in run.parts if part.kind == "emulated"}
    for item in told:
        if item.part in no_measure:
            continue
        for bound in item.bounds:
            made = _bound(item, bound, trials.get((item.part, item.case_id, bound.datapath), []))
            if isinstance(made, Figure):
                found.append(made)
            else:
                missing[made] = f"none of {bound.searches} searches gave a rate"
        found += _latencies(run, item, trials)
        found += _cpu_at_load(run, item, trials)
    return Figures({figure.key: figure for figure in found}, missing, emulated)


def _work(comparison: Comparison) -> Work:
    part = comparison.part
    return Work(part.name, comparison.kind, comparison.case_id, comparison.generator, comparison.load_pps)


def _work_of(trials: list[Trial], part: str, case_id: str) -> Work:
    """Of a method, which has loads of its own."""
    kind: Kind = trials[0].kind if trials else "wall"
    return Work(part, kind, case_id, trials[0].generator if trials else "-", None)


def _ranked(comparison: Comparison, row: Row, trials: list[Trial]) -> Iterator[Figure]:
    """The ranked figure, and the CPU time of the same trials."""
    if row.figure is None or comparison.kind == "functional":
        return
    work, letter = _work(comparison), _letter(row.grade)
    limited = ("at the generator's limit: a faster datapath would not show",) if row.generator_limited else ()
    if comparison.kind == "exact":
        asked = {"the generator's own instructions": "subtracted" if comparison.dut_only else "in it"}
        yield Figure(
            work, row.datapath, "instructions", row.by_round, row.block_of, row.figure, EXACT_RESOLUTION, letter,
            "round", asked=asked,
        )  # fmt: skip
        return
    yield Figure(
        work, row.datapath, "rate", row.by_round, row.block_of, row.figure, WALL_RESOLUTION, letter, "round",
        notes=limited,
    )  # fmt: skip
    scored = [
        t for t in trials
        if (t.purpose, t.generator, t.load_pps) == ("rate", work.generator, work.load_pps)
        and t.dut_cpu_ns_per_packet is not None
        and (usable(t) or (comparison.disturbed and t.valid and not t.warm_up))
    ]  # fmt: skip
    if row.dut_ns is None or row.gross_ns is None or not scored:
        return
    # What topologies differ by is a share of the whole path's time, of which the DUT's is what is left.
    resolution = (
        WALL_RESOLUTION * max(1.0, row.gross_ns.value / row.dut_ns.value)
        if row.dut_ns.value > 0
        else math.inf
    )
    yield Figure(
        work, row.datapath, "cpu", {n: t.dut_cpu_ns_per_packet or 0.0 for n, t in enumerate(scored)},
        {n: t.block for n, t in enumerate(scored)}, row.dut_ns, resolution, letter,
    )  # fmt: skip


def _latency_of_max(comparison: Comparison, row: Row, trials: list[Trial]) -> Iterator[Figure]:
    """Of the latency trials that ride with the rounds: at one load, on one topology."""
    if row.latency is None or len(row.latency.loads_pps) != 1:
        return
    (load,) = row.latency.loads_pps
    fit = [
        t for t in trials
        if (t.purpose, t.generator, t.load_pps) == ("latency", comparison.generator, load)
        and (usable(t) or (comparison.disturbed and t.valid and not t.warm_up))
    ]  # fmt: skip
    work = Work(comparison.part.name, comparison.kind, comparison.case_id, comparison.generator, None)
    yield from _percentiles(work, row.datapath, fit, load, _letter(row.grade))


def _latencies(run: Run, item: Found, trials: Mapping[tuple[str, str, str], list[Trial]]) -> Iterator[Figure]:
    """Of the latency method, at the load common to all: its own in each repeat."""
    for at in item.latencies:
        if at.load != COMMON:
            continue
        loads = {
            finding.repeat: float(load["load_pps"])
            for finding in run.findings
            if (finding.part, finding.method, finding.case_id, finding.datapath)
            == (item.part, "latency", item.case_id, at.datapath)
            for load in finding.values.get("loads", ())
            if load["load"] == COMMON
        }
        timed = [
            t for t in trials.get((item.part, item.case_id, at.datapath), ())
            if t.purpose == "latency" and t.load_pps is not None
        ]  # fmt: skip
        mine = [
            t for t in usable_or_all(timed)
            if t.block in loads and t.load_pps is not None and abs(t.load_pps - loads[t.block]) <= 0.5
        ]  # fmt: skip
        work = _work_of(timed, item.part, item.case_id)
        yield from _percentiles(work, at.datapath, mine, at.load_pps, _letter(at.grade))


def _percentiles(
    work: Work, datapath: str, trials: list[Trial], load: float | None, letter: Letter
) -> Iterator[Figure]:
    """p50 and p99 of each trial, with the edges of the bucket that holds it."""
    for metric, percent in PERCENTILES.items():
        edges = {n: edge for n, t in enumerate(trials) if t.latency and (edge := _bucket(t.latency, percent))}
        blocks = {n: trials[n].block for n in edges}
        upper = {n: high for n, (_, high) in edges.items()}
        estimate = stats.median_ci(list(upper.values()), "trial", list(blocks.values()))
        if estimate is None:
            continue
        bits = min(trials[n].latency.sub_bits for n in edges)  # type: ignore[union-attr]
        yield Figure(
            work, datapath, metric, upper, blocks, estimate, BUCKETS_RESOLVED * 2.0**-bits, letter,
            lower={n: low for n, (low, _) in edges.items()}, upper=upper, at_pps=load,
        )  # fmt: skip


def _bucket(histogram: Histogram, percent: float) -> tuple[float, float] | None:
    """Edges in ns between which the percentile lies; None with too few samples beyond it, or below 1 ns."""
    high = stats.percentile_ns(histogram, percent)
    if high is None:
        return None
    below = [
        histogram.bucket_low_ns(index) for index in histogram.buckets if histogram.bucket_low_ns(index) < high
    ]
    low = max((*below, histogram.min_ns) if histogram.min_ns < high else below, default=0)
    return (float(low), high) if low > 0 else None


def _bound(item: Found, bound: Bound, trials: list[Trial]) -> Figure | tuple[Work, str, Metric]:
    """A search's rate; its key alone where no search gave any."""
    searched = [t for t in trials if t.purpose == "search"]
    work = _work_of(searched, item.part, item.case_id)
    metric: Metric = "ndr" if bound.goal == "ndr" else "pdr" if bound.goal == "pdr" else "throughput"
    if bound.rate is None or not bound.by_repeat:
        return work, bound.datapath, metric
    lower = {repeat: low for repeat, (low, _) in bound.by_repeat.items()}
    length = "unknown" if bound.trial_s is None else f"{bound.trial_s:g} s"
    return Figure(
        work, bound.datapath, metric, lower, {repeat: repeat for repeat in lower}, bound.rate, WALL_RESOLUTION,
        _letter(bound.grade), "repeat", lower,
        {repeat: high or low for repeat, (low, high) in bound.by_repeat.items()},
        asked={"loss ratio": share(bound.loss_ratio), "search": bound.search, "final trial": length},
        at_least=bound.at_least,
        gap=f"{bound.not_reached} of {bound.searches} searches gave no rate" if bound.not_reached else None,
    )  # fmt: skip


def _cpu_at_load(
    run: Run, item: Found, trials: Mapping[tuple[str, str, str], list[Trial]]
) -> Iterator[Figure]:
    """Of the method `cpu-at-load`, by repeat."""
    for at in item.cpu:
        taken = {
            finding.repeat: finding.values.get("dut_cpu_ns_per_packet")
            for finding in run.findings
            if (finding.part, finding.method, finding.case_id, finding.datapath)
            == (item.part, "cpu-at-load", item.case_id, at.datapath)
        }
        values = {repeat: float(ns) for repeat, ns in taken.items() if ns is not None}
        estimate = over_repeats(dict(values))
        if estimate is None:
            continue
        loaded = [t for t in trials.get((item.part, item.case_id, at.datapath), ()) if t.purpose == "load"]
        yield Figure(
            _work_of(loaded, item.part, item.case_id), at.datapath, "cpu-at-load", values,
            {repeat: repeat for repeat in values}, estimate, WALL_RESOLUTION, _letter(at.grade), "repeat",
            at_pps=at.load_pps,
        )  # fmt: skip


def _letter(grade: Grade) -> Letter:
    """The grade that the conditions leave, whatever the figure itself is."""
    letters: list[Letter] = [reason.worst for reason in grade.reasons if reason.rule not in OWN_RULES]
    return max(letters, default="A")


def shown(figure_of: Metric, value: float) -> str:
    """A figure in its unit."""
    if figure_of in ("rate", "ndr", "pdr", "throughput"):
        return rate(value)
    if figure_of in ("p50", "p99"):
        return time_ns(value)
    return number(value) if figure_of == "instructions" else f"{number(value)} ns"
