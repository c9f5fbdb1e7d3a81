# SPDX-License-Identifier: GPL-2.0-only
"""How well the paced generator keeps its rate, and how even the gaps between its packets are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kbench.measure.bench import Bench
from kbench.measure.generators.base import Load
from kbench.measure.latency_cost import percentiles
from kbench.measure.observe import Setting
from kbench.measure.trial import run_trial
from kbench.model import Finding, Histogram, Trial

TRIAL_S = 1.0
RATES_PPS = (10_000.0, 100_000.0, 1_000_000.0)


def pacing(
    bench: Bench,
    setting: Setting,
    *,
    rates_pps: Sequence[float] = RATES_PPS,
    duration_s: float = TRIAL_S,
    keep: Callable[[Trial], object] = lambda _: None,
) -> Finding:
    """Measures on the baseline `bench` with a generator that counts gaps; `keep` gets every trial.

    Values: ``rates``, a list in the order of `rates_pps`; see `pacing_values`.
    """
    rates = []
    for number, rate_pps in enumerate(rates_pps):
        load = Load(rate_pps, duration_s, gaps=True)
        trial = run_trial(bench, setting, load, purpose="baseline", round_=number)
        keep(trial)
        rates.append(pacing_values(trial))
    return Finding(setting.part, "pacing", setting.case.case_id, bench.name, 0, {"rates": rates})


def pacing_values(trial: Trial) -> dict[str, Any]:
    """What one paced trial says of its generator.

    ``rate_error`` is the offered rate over the requested one, less 1; ``gap_ns`` holds percentiles of the times between
    packets, beside ``ideal_gap_ns``; ``late`` and ``max_late_ns`` say how often it fell more than 1 ms behind and gave
    packets up instead of sending a burst.
    """
    assert trial.load_pps is not None and trial.offered_pps is not None
    raw = trial.raw["offered"]
    gaps = raw["gaps"]
    histogram = Histogram(
        gaps["sub_bits"], dict(gaps["buckets"]), gaps["count"], gaps["min_ns"], gaps["max_ns"]
    )
    return {
        "rate_pps": trial.load_pps,
        "offered_pps": trial.offered_pps,
        "rate_error": trial.offered_pps / trial.load_pps - 1,
        "ideal_gap_ns": 1e9 / trial.load_pps,
        "gap_ns": {"p1": histogram.percentile_ns(1.0), **percentiles(histogram)},
        "gaps": histogram.count,
        "late": raw["late"],
        "skipped": raw["skipped"],
        "max_late_ns": raw["max_late_ns"],
        "contaminated": trial.contaminated,
    }
