# SPDX-License-Identifier: GPL-2.0-only
"""What each method found about one datapath: its repeats put together, with interval and grade. See docs/results.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from kbench.explain import stats
from kbench.explain.comparison import PERCENTS, USERSPACE
from kbench.explain.grade import Grade
from kbench.explain.repeats import Judge, over_repeats, usable_or_all
from kbench.explain.stats import Estimate
from kbench.model import Finding, Histogram, Trial
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
    """CPU time per packet of the DUT's threads; the receive side is in it."""
    receive_ns: Estimate | None
    """The same into a bare drop: what receiving alone takes."""
    cycles: Estimate | None
    idle_cpu_share: Estimate | None
    """Share of one CPU that is taken while no packet comes."""
    idle_reason: str | None
    """Why that is nothing."""
    loss_ratio: float | None
    absent: dict[str, str]
    """What has no value -> why."""
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


def curve(datapath: str, items: list[Finding], judge: Judge) -> Curve:
    """From the findings of one datapath; its grade is that of what was carried at the maximum load."""
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
        judge(datapath, "loss", over_repeats(carried)),
    )


def latencies(
    run: Run, part: str, case_id: str, items: Mapping[str, list[Finding]], judge: Judge
) -> list[LatencyAt]:
    """From the findings of all datapaths, which say what each load is, and the latency trials."""
    found = []
    for datapath, mine in items.items():
        labels: dict[str, dict[int, dict[str, Any]]] = {}
        for item in mine:
            for load in item.values["loads"]:
                labels.setdefault(str(load["load"]), {})[item.repeat] = load
        timed = [
            t for t in run.trials
            if (t.part, t.case_id, t.datapath, t.purpose) == (part, case_id, datapath, "latency")
        ]  # fmt: skip
        fit = usable_or_all(timed)
        for label, loads in labels.items():
            at = _latency_at(datapath, label, loads, fit, judge)
            if at is not None:
                found.append(at)
    return sorted(found, key=lambda at: (at.load == COMMON, at.load_share))


def _latency_at(
    datapath: str, label: str, loads: Mapping[int, dict[str, Any]], trials: list[Trial], judge: Judge
) -> LatencyAt | None:
    """From the trials of each repeat at its own load, which was rounded to whole packets per second."""
    mine = [
        t for t in trials
        if t.load_pps is not None and t.block in loads and abs(t.load_pps - loads[t.block]["load_pps"]) <= 0.5
    ]  # fmt: skip
    merged = stats.merge([t.latency for t in mine if t.latency is not None])
    if merged is None:
        return None
    medians: dict[int, list[float]] = {}
    for trial in mine:
        middle = trial.latency.percentile_ns(50) if trial.latency else None
        if middle:
            medians.setdefault(trial.block, []).append(middle)
    figure = over_repeats({block: median(values) for block, values in medians.items()})
    return LatencyAt(
        datapath,
        label,
        float(next(iter(loads.values()))["load_share"]),
        median(float(load["load_pps"]) for load in loads.values()),
        merged.count,
        {f"{p:g}": stats.percentile_ns(merged, p) for p in PERCENTS},
        merged.max_ns,
        datapath in USERSPACE or any(t.placement == "split" for t in mine),
        merged,
        judge(datapath, "latency", figure),
    )


def bursts(datapath: str, items: list[Finding], judge: Judge) -> Bursts:
    """From the findings of one datapath, each of several searches."""
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


def cpu(datapath: str, items: list[Finding], judge: Judge) -> CpuAtLoad:
    """From the findings of one datapath, one per repeat."""
    dut = over_repeats(_by_repeat(items, lambda v: v.get("dut_cpu_ns_per_packet")))
    hardware = [item.values.get("hardware", {}) for item in items]
    cycles = over_repeats(
        _by_repeat(items, lambda v: v.get("hardware", {}).get("per_packet", {}).get("cycles"))
    )
    absent = {}
    if cycles is None and hardware:
        read = hardware[-1]
        absent["cycles"] = str(read.get("absent") or read.get("not_counted", {}).get("cycles", "not counted"))
    if dut is None:
        absent["CPU time"] = "its work is not all done by threads, whose time the kernel tells"
    reasons = [str(item.values["idle_reason"]) for item in items if item.values.get("idle_reason")]
    return CpuAtLoad(
        datapath,
        median(float(item.values["load_pps"]) for item in items),
        dut,
        over_repeats(_by_repeat(items, lambda v: v.get("receive_cpu_ns_per_packet"))),
        cycles,
        over_repeats(_by_repeat(items, lambda v: v.get("idle_cpu_share"))),
        reasons[0] if reasons else None,
        _middle([item.values.get("loss_ratio") for item in items]),
        absent,
        judge(datapath, "load", dut),
    )


def _middle(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def generator(items: list[Finding]) -> Generator:
    """From the findings of the baseline."""
    ceilings = [i for i in items if i.method == "ceiling"]
    # Each method measures the ceiling anew on each of its blocks: the same repeat can come more than once.
    blocks = list(range(len(ceilings)))

    def ceiling(key: str) -> Estimate | None:
        return over_repeats({n: i.values.get(key) for n, i in zip(blocks, ceilings, strict=True)})

    by_load: dict[float, list[dict[str, Any]]] = {}
    for item in items:
        for rate in item.values["rates"] if item.method == "pacing" else ():
            by_load.setdefault(float(rate["rate_pps"]), []).append(rate)
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
