# SPDX-License-Identifier: GPL-2.0-only
"""What measuring latency costs by itself: the clock that stamps, the sink that takes the difference, and the floor.

On the baseline bench, so without a datapath. A latency figure is to be read with the floor beside it, and a load near
the maximum with the cost per packet. The cost is CPU time of the generator's thread, in whose softirq the sink runs
(--placement same): unlike the rate it is not changed by what others take of the CPU.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from kbench.errors import EnvironmentProblem
from kbench.measure.bench import Bench, SinkMode
from kbench.measure.generators.base import Load
from kbench.measure.observe import Setting
from kbench.measure.trial import run_trial
from kbench.model import Finding, Histogram, Trial

SLICES = 20
SLICE_S = 0.1
FLOOR_PPS = 50_000.0
FLOOR_S = 2.0
PERCENTILES = (50.0, 90.0, 99.0, 99.9, 99.99)
BEYOND = 10
"""A percentile is given only with this many samples beyond it (docs/method.md)."""

ARMS: tuple[tuple[bool, SinkMode], ...] = ((False, "count"), (True, "count"), (True, "latency"))
"""Plain packets; stamped ones; stamped ones whose latency the sink takes."""


def latency_cost(
    bench: Bench,
    setting: Setting,
    *,
    slices: int = SLICES,
    slice_s: float = SLICE_S,
    keep: Callable[[Trial], object] = lambda _: None,
) -> Finding:
    """Measures on the baseline `bench` with a generator that stamps packets; `keep` gets every trial.

    Values: ``stamp_ns`` and ``sink_ns`` per packet at the maximum load, as medians of differences within a round of
    three slices, ``plain_ns`` what they come on top of, ``rounds`` and in how many the machine was ``contaminated``;
    ``floor`` is the latency of stamped packets from the generator to the sink at a low load: ``load_pps``, ``count``,
    ``min_ns`` and percentiles by ``p50``...; that is wall-clock time, so mind its ``contaminated``.

    Raises EnvironmentProblem where the CPU time can't be told.
    """
    if bench.testbed.placement != "same":
        raise EnvironmentProblem("the sink's cost is in the generator's CPU time only with --placement same")
    rounds: list[list[float]] = []
    contaminated = 0
    for round_ in range(slices + 1):
        trials = {}
        # Forwards and backwards in turn, so that drift within a round hits all arms alike.
        for stamped, mode in ARMS if round_ % 2 else ARMS[::-1]:
            load = Load(None, slice_s, timestamp=stamped)
            trial = run_trial(bench, setting, load, purpose="baseline", round_=round_, sink=mode)
            trial.warm_up = round_ == 0  # starts the generators
            keep(trial)
            trials[stamped, mode] = trial
        if round_ and all(trial.valid for trial in trials.values()):
            rounds.append([_cpu_ns(trials[arm]) for arm in ARMS])
            contaminated += any(trial.contaminated for trial in trials.values())
    load = Load(FLOOR_PPS, FLOOR_S, timestamp=True)
    floor = run_trial(bench, setting, load, purpose="baseline", round_=slices + 1, sink="latency")
    keep(floor)
    values = {
        "slice_s": slice_s,
        "rounds": len(rounds),
        "contaminated": contaminated,
        "plain_ns": _median([plain for plain, _, _ in rounds]),
        "stamp_ns": _median([stamped - plain for plain, stamped, _ in rounds]),
        "sink_ns": _median([taken - stamped for _, stamped, taken in rounds]),
        "floor": floor_values(floor),
    }
    return Finding(setting.part, "latency-cost", setting.case.case_id, bench.name, 0, values)


def floor_values(trial: Trial) -> dict[str, Any]:
    """The latency histogram of a trial in a few numbers."""
    assert trial.latency is not None, "the sink was in latency mode"
    return {
        "load_pps": trial.load_pps,
        "count": trial.latency.count,
        "min_ns": trial.latency.min_ns,
        "contaminated": trial.contaminated,
        **percentiles(trial.latency),
    }


def percentiles(histogram: Histogram) -> dict[str, float | None]:
    """Nanoseconds by ``p50``, ``p99.9``, ...; None where too few samples lie beyond it."""
    return {
        f"p{percent:g}": histogram.percentile_ns(percent)
        if histogram.count * (1 - percent / 100) >= BEYOND
        else None
        for percent in PERCENTILES
    }


def _cpu_ns(trial: Trial) -> float:
    offered = trial.raw["offered"]
    if "ran_ns" not in offered:
        raise EnvironmentProblem("this kernel does not tell a thread's CPU time (CONFIG_SCHED_INFO)")
    return float(offered["ran_ns"]) / trial.counters.offered


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None
