# SPDX-License-Identifier: GPL-2.0-only
"""What the methods found, per part and case: repeats put together, each figure with its interval and grade.

A repeat is a block (its topology was built anew), so intervals are over repeats.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from kbench.explain import stats
from kbench.explain.comparison import PERCENTS, USERSPACE
from kbench.explain.grade import Evidence, Grade
from kbench.explain.grade_rules import grade
from kbench.explain.stats import Estimate
from kbench.explain.throughput import Bound, bounds
from kbench.model import Finding, Histogram, Kind, Trial
from kbench.store import Run

COMMON = "common"


@dataclass(frozen=True)
class Curve:
    """Loss by load of one datapath (RFC 2544, 26.3)."""

    datapath: str
    trial_s: float | None
    repeats: int
    outcomes: dict[str, int]
    points: list[tuple[int, float, float, float]]
    """Repeat, load in packets/s, its share of the maximum, loss ratio."""
    grade: Grade

    def by_share(self) -> dict[float, tuple[float, list[float]]]:
        """Load share -> (median load in packets/s, loss ratios of the repeats), highest first."""
        shares = sorted({share for _, _, share, _ in self.points}, reverse=True)
        found = {}
        for share in shares:
            mine = [(load, loss) for _, load, at, loss in self.points if at == share]
            found[share] = (median(load for load, _ in mine), [loss for _, loss in mine])
        return found


@dataclass(frozen=True)
class LatencyAt:
    """Latency of one datapath at one load, over all repeats."""

    datapath: str
    load: str
    """`0`, `10`, `50`, `90` (percent of its own PDR) or `common`."""
    load_share: float
    load_pps: float
    """Median over repeats, as each has its own PDR."""
    samples: int
    percentiles_ns: dict[str, float | None]
    """None where fewer than 10 samples lie beyond."""
    max_ns: int
    wake_up_included: bool
    histogram: Histogram
    grade: Grade


@dataclass(frozen=True)
class Bursts:
    """Longest burst without loss of one datapath (RFC 9004)."""

    datapath: str
    outcomes: dict[str, int]
    searches: int
    without_loss: int
    """Searches that met no loss up to `max_frames`."""
    frames: Estimate | None
    """None where some search met no loss: an average has no meaning then."""
    least_frames: int | None
    most_frames: int | None
    max_frames: int
    max_rate_pps: float
    implied_buffer_s: float | None
    corrected_buffer_s: float | None
    """None without an NDR below the burst's rate."""
    grade: Grade


@dataclass(frozen=True)
class CpuAtLoad:
    """What one datapath takes of the CPU at a load that is the same for all."""

    datapath: str
    load_pps: float
    dut_ns: Estimate | None
    cycles: Estimate | None
    idle_cpu_share: Estimate | None
    absent: dict[str, str]
    """Key without a value -> why."""
    grade: Grade


@dataclass(frozen=True)
class Generator:
    """What the generator and the clocks can do here. None and empty: not measured."""

    rate: Estimate | None = None
    paced: Estimate | None = None
    pacing: list[dict[str, Any]] = field(default_factory=list)
    """Medians over repeats by load, keys as in docs/results.md."""
    latency_cost: dict[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.rate or self.paced or self.pacing or self.latency_cost)


@dataclass
class Found:
    """All that the methods found in one part about one case."""

    part: str
    case_id: str
    bounds: list[Bound] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    latencies: list[LatencyAt] = field(default_factory=list)
    bursts: list[Bursts] = field(default_factory=list)
    cpu: list[CpuAtLoad] = field(default_factory=list)
    generator: Generator = field(default_factory=Generator)
    failed: list[str] = field(default_factory=list)
    """Methods that could give no answer, in words."""


def findings(run: Run) -> list[Found]:
    """What each part's methods found, in the order of the run's findings. Empty for runs without findings."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for item in run.findings:
        groups.setdefault((item.part, item.case_id), []).append(item)
    return [_found(run, part, case_id, items) for (part, case_id), items in groups.items()]


def _found(run: Run, part: str, case_id: str, items: list[Finding]) -> Found:
    judge = Judge(run, part, case_id)
    by_method: dict[str, dict[str, list[Finding]]] = {}
    why: dict[tuple[str, str, str], int] = {}
    for item in items:
        if "failed" in item.values:
            key = (item.method, item.datapath, str(item.values["failed"]))
            why[key] = why.get(key, 0) + 1
        # A search that failed counts as one: its repeat gave no rate.
        if "failed" not in item.values or item.method == "throughput":
            by_method.setdefault(item.method, {}).setdefault(item.datapath, []).append(item)

    def each(method: str) -> Iterable[tuple[str, list[Finding]]]:
        return by_method.get(method, {}).items()

    everything = [item for mine in by_method.values() for found in mine.values() for item in found]
    times = {key: f"{count} times: " if count > 1 else "" for key, count in why.items()}
    return Found(
        part,
        case_id,
        bounds=bounds(dict(each("throughput")), judge),
        curves=[_curve(name, mine, judge) for name, mine in each("loss-curve")],
        latencies=_latencies(run, part, case_id, by_method.get("latency", {}), judge),
        bursts=[_bursts(name, mine, judge) for name, mine in each("back-to-back")],
        cpu=[at for name, mine in each("cpu-at-load") for at in _cpu(name, mine, judge)],
        generator=_generator([i for i in everything if i.method in ("ceiling", "pacing", "latency-cost")]),
        failed=[f"{key[1]}: {key[0]} gave no answer: {times[key]}{key[2]}" for key in why],
    )


@dataclass(frozen=True)
class Judge:
    """Grades what the methods found, by the rules and facts that the comparison's rates are graded by."""

    run: Run
    part: str
    case_id: str

    def __call__(
        self,
        datapath: str,
        purpose: str,
        figure: Estimate | None,
        ratio: Estimate | None = None,
        ceiling_share: float | None = None,
    ) -> Grade:
        """The grade of a figure that rests on this datapath's trials of a purpose."""
        run = self.run
        mine = [
            t for t in run.trials
            if (t.part, t.case_id, t.datapath, t.purpose) == (self.part, self.case_id, datapath, purpose)
            and not t.warm_up
        ]  # fmt: skip
        proofs = [
            v.passed for v in run.verifications
            if (v.part, v.case_id, v.datapath) == (self.part, self.case_id, datapath)
        ]  # fmt: skip
        kind: Kind = mine[0].kind if mine else "wall"
        return grade(
            Evidence(
                kind=kind,
                userspace=datapath in USERSPACE,
                facts=run.facts.get(self.part, {}),
                scored=[t for t in mine if t.valid and not t.contaminated],
                contaminated=sum(t.valid and bool(t.contaminated) for t in mine),
                invalid=sum(not t.valid for t in mine),
                figure=figure,
                ratio=ratio,
                ceiling_share=ceiling_share,
                verified=proofs[-1] if proofs else None,
            )
        )


def over_repeats(values: Mapping[int, float | None], noun: str) -> Estimate | None:
    """The middle of one value per repeat, with its interval over repeats; repeats without a value are left out."""
    known = {repeat: value for repeat, value in values.items() if value is not None}
    estimate = stats.median_ci(list(known.values()), noun, list(known))
    if estimate is not None and len(known) == 1:
        lacking = stats.MIN_BLOCKS - 1
        why = f"1 {noun}: an interval needs {stats.MIN_BLOCKS}"
        estimate = dataclasses.replace(estimate, reason=why, needed=lacking)
    return estimate


def _by_repeat(
    items: list[Finding], pick: Callable[[dict[str, Any]], float | None]
) -> dict[int, float | None]:
    return {item.repeat: pick(item.values) for item in items}


def counted(words: Iterable[str]) -> dict[str, int]:
    """How often each word occurs, in the order of their first."""
    found: dict[str, int] = {}
    for word in words:
        found[word] = found.get(word, 0) + 1
    return found


def _curve(datapath: str, items: list[Finding], judge: Judge) -> Curve:
    points = [
        (item.repeat, float(p["load_pps"]), float(p["load_share"]), float(p["loss_ratio"]))
        for item in items for p in item.values["points"]
    ]  # fmt: skip
    carried = {repeat: 1 - loss for repeat, _, share, loss in points if share == 1 and loss < 1}
    return Curve(
        datapath,
        items[0].values.get("trial_s"),
        len(items),
        counted(item.values["outcome"] for item in items),
        points,
        judge(datapath, "loss", over_repeats(carried, "repeat")),
    )


def _latencies(
    run: Run, part: str, case_id: str, items: Mapping[str, list[Finding]], judge: Judge
) -> list[LatencyAt]:
    found = []
    for datapath, mine in items.items():
        labels: dict[str, list[Finding]] = {}
        for item in mine:
            labels.setdefault(str(item.values["load"]), []).append(item)
        trials = [
            t for t in run.trials
            if (t.part, t.case_id, t.datapath, t.purpose) == (part, case_id, datapath, "latency")
            and t.valid and not t.contaminated and not t.warm_up
        ]  # fmt: skip
        for label, group in labels.items():
            loads = [float(item.values["load_pps"]) for item in group]
            at = _latency_at(datapath, label, group[0], loads, trials, judge)
            if at is not None:
                found.append(at)
    return sorted(found, key=lambda at: (at.load == COMMON, at.load_share))


def _latency_at(
    datapath: str, label: str, item: Finding, loads: list[float], trials: list[Trial], judge: Judge
) -> LatencyAt | None:
    # A generator may round its load to whole packets per second.
    mine = [
        t for t in trials if t.load_pps is not None and any(abs(t.load_pps - load) <= 0.5 for load in loads)
    ]
    merged = stats.merge([t.latency for t in mine if t.latency is not None])
    if merged is None:
        return None
    medians: dict[int, list[float]] = {}
    for trial in mine:
        middle = trial.latency.percentile_ns(50) if trial.latency else None
        if middle:
            medians.setdefault(trial.block, []).append(middle)
    figure = over_repeats({block: median(values) for block, values in medians.items()}, "repeat")
    return LatencyAt(
        datapath,
        label,
        float(item.values["load_share"]),
        median(loads),
        merged.count,
        {f"{p:g}": stats.percentile_ns(merged, p) for p in PERCENTS},
        merged.max_ns,
        datapath in USERSPACE or any(t.placement == "split" for t in mine),
        merged,
        judge(datapath, "latency", figure),
    )


def _bursts(datapath: str, items: list[Finding], judge: Judge) -> Bursts:
    first = items[0].values
    longest = [int(n) for item in items for n in item.values["longest_frames"]]
    without_loss = sum(
        n >= item.values["max_frames"] for item in items for n in item.values["longest_frames"]
    )
    frames = None
    if longest and not without_loss:
        searches = [float(n) for n in longest]
        repeats = [item.repeat for item in items for _ in item.values["longest_frames"]]
        frames = stats.median_ci(searches, "repeat", repeats if len(items) > 1 else None)
    buffers = {
        key: [item.values[key] for item in items if item.values.get(key) is not None]
        for key in ("implied_buffer_s", "corrected_buffer_s")
    }
    return Bursts(
        datapath,
        counted(item.values["outcome"] for item in items),
        len(longest),
        without_loss,
        frames,
        min(longest) if longest else None,
        max(longest) if longest else None,
        int(first["max_frames"]),
        float(first["max_rate_pps"]),
        median(buffers["implied_buffer_s"]) if buffers["implied_buffer_s"] else None,
        median(buffers["corrected_buffer_s"]) if buffers["corrected_buffer_s"] else None,
        judge(datapath, "burst", frames),
    )


def _cpu(datapath: str, items: list[Finding], judge: Judge) -> list[CpuAtLoad]:
    """One per load, as rounded; a load that is found anew in each repeat differs by little, and is one."""
    dut = over_repeats(_by_repeat(items, lambda v: v.get("dut_cpu_ns_per_packet")), "repeat")
    absent: dict[str, str] = {}
    for item in items:
        absent |= item.values.get("absent") or {}
    return [
        CpuAtLoad(
            datapath,
            median(float(item.values["load_pps"]) for item in items),
            dut,
            over_repeats(_by_repeat(items, lambda v: v.get("cycles_per_packet")), "repeat"),
            over_repeats(_by_repeat(items, lambda v: v.get("idle_cpu_share")), "repeat"),
            absent,
            judge(datapath, "load", dut),
        )
    ]


def _generator(items: list[Finding]) -> Generator:
    ceilings = [i for i in items if i.method == "ceiling"]
    # Each method measures the ceiling anew on each of its blocks: the same repeat can come more than once.
    blocks = list(range(len(ceilings)))

    def ceiling(key: str) -> Estimate | None:
        return over_repeats({n: i.values.get(key) for n, i in zip(blocks, ceilings, strict=True)}, "repeat")

    by_load: dict[float, list[dict[str, Any]]] = {}
    for item in items:
        if item.method == "pacing":
            by_load.setdefault(float(item.values["load_pps"]), []).append(item.values)
    costs = [item.values for item in items if item.method == "latency-cost"]
    return Generator(
        ceiling("rate_pps"),
        ceiling("paced_pps"),
        [_medians(values) for _, values in sorted(by_load.items())],
        _medians(costs) if costs else {},
    )


def _medians(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Dicts of numbers, alike in shape, put together by their medians; what is not a number is left out."""
    found: dict[str, Any] = {}
    for key in dict.fromkeys(k for item in items for k in item):
        values = [item[key] for item in items if item.get(key) is not None]
        if values and all(isinstance(v, dict) for v in values):
            found[key] = _medians(values)
        elif values and all(isinstance(v, (int, float)) for v in values):
            found[key] = median(values)
    return found
