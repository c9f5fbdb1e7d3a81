# SPDX-License-Identifier: GPL-2.0-only
"""What the methods found, per part and case.

A repeat is a block (its topology was built anew), so intervals are over repeats.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kbench.explain.method_results import (
    Bursts,
    CpuAtLoad,
    Curve,
    Generator,
    LatencyAt,
    bursts,
    cpu,
    curve,
    generator,
    latencies,
)  # fmt: skip
from kbench.explain.repeats import Judge
from kbench.explain.throughput import Bound, bounds
from kbench.model import Finding
from kbench.store import Run


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
        curves=[curve(name, mine, judge) for name, mine in each("loss-curve")],
        latencies=latencies(run, part, case_id, by_method.get("latency", {}), judge),
        bursts=[bursts(name, mine, judge) for name, mine in each("back-to-back")],
        cpu=[cpu(name, mine, judge) for name, mine in each("cpu-at-load")],
        generator=generator([i for i in everything if i.method in ("ceiling", "pacing", "latency-cost")]),
        failed=[f"{key[1]}: {key[0]} gave no answer: {times[key]}{key[2]}" for key in why],
    )
