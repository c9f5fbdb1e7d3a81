# SPDX-License-Identifier: GPL-2.0-only
"""Medians with bootstrap intervals, ratios of paired rounds, percentiles of latency histograms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kbench.model import Histogram

MIN_PAIRS = 5
"""Fewer values give no interval: the bootstrap of a median of 4 can't reach 95 % coverage."""
CONFIDENCE = 0.95
RESAMPLES = 10_000
SEED = 20_240_101
"""Fixed, so that the same run always gives the same report."""
MIN_BEYOND = 10
"""A percentile is printed only when at least this many samples lie beyond it."""


@dataclass(frozen=True)
class Estimate:
    """A median, its 95 % interval, and how many values it rests on.

    `low` and `high` are None when no interval can be given; `reason` then says why.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    reason: str | None = None

    def overlaps(self, other: Estimate) -> bool | None:
        """Whether the intervals overlap; None when one of them has none."""
        if self.low is None or self.high is None or other.low is None or other.high is None:
            return None
        return self.low <= other.high and other.low <= self.high


def _bootstrap_medians(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Percentile bootstrap interval of the median (Efron 1979)."""
    random = np.random.default_rng(SEED)
    picks = random.integers(0, len(values), size=(RESAMPLES, len(values)))
    medians = np.median(values[picks], axis=1)
    tail = (1 - CONFIDENCE) / 2 * 100
    low, high = np.percentile(medians, [tail, 100 - tail])
    return float(low), float(high)


def median_ci(values: Sequence[float], noun: str = "trial") -> Estimate | None:
    """Median of `values` with its interval; None when there are no values."""
    if not values:
        return None
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError("a median needs finite values")
    middle = float(np.median(array))
    if len(array) < MIN_PAIRS:
        return Estimate(middle, None, None, len(array), too_few(len(array), noun))
    low, high = _bootstrap_medians(array)
    return Estimate(middle, low, high, len(array))


def too_few(count: int, noun: str) -> str:
    """Why `count` values give no interval."""
    return f"{count} {noun}{'' if count == 1 else 's'}: an interval needs {MIN_PAIRS}"


def paired_ratio(values: Mapping[int, float], reference: Mapping[int, float]) -> Estimate | None:
    """Ratio value/reference: exp of the median log ratio over the rounds that have both.

    Pairing by round cancels drift that hits all datapaths of a round alike. None without a pair.
    """
    rounds = sorted(values.keys() & reference.keys())
    if any(values[r] <= 0 or reference[r] <= 0 for r in rounds):
        raise ValueError("ratios need positive values")
    logs = median_ci([math.log(values[r] / reference[r]) for r in rounds], "paired round")
    if logs is None:
        return None
    if logs.low is None or logs.high is None:
        return Estimate(math.exp(logs.value), None, None, logs.n, logs.reason)
    return Estimate(math.exp(logs.value), math.exp(logs.low), math.exp(logs.high), logs.n)


def spread(values: Sequence[float]) -> Estimate | None:
    """For exact figures: the median, with the smallest and largest value in place of an interval."""
    if not values:
        return None
    return Estimate(float(np.median(values)), min(values), max(values), len(values), "smallest and largest")


def merge(histograms: Sequence[Histogram]) -> Histogram | None:
    """One histogram of all samples; None when there are no samples. All need the same buckets."""
    filled = [h for h in histograms if h.count]
    if not filled:
        return None
    if len({h.sub_bits for h in filled}) > 1:
        raise ValueError("histograms with different buckets can't be merged")
    buckets: dict[int, int] = {}
    for histogram in filled:
        for index, count in histogram.buckets.items():
            buckets[index] = buckets.get(index, 0) + count
    return Histogram(
        filled[0].sub_bits,
        buckets,
        sum(h.count for h in filled),
        min(h.min_ns for h in filled),
        max(h.max_ns for h in filled),
    )


def percentile_ns(histogram: Histogram, percent: float) -> float | None:
    """The percentile (upper bucket edge), or None with fewer than MIN_BEYOND samples beyond it."""
    beyond = histogram.count * (100 - percent) / 100
    if beyond < MIN_BEYOND - 1e-6:
        return None
    return histogram.percentile_ns(percent)


def tail(histogram: Histogram) -> tuple[list[float], list[float]]:
    """Latency (ns) and the share of samples above it, ascending: the curve of a latency chart.

    Ends where fewer than MIN_BEYOND samples are left; the maximum is a figure of its own.
    """
    edges: list[float] = [float(histogram.min_ns)]
    shares: list[float] = [1.0]
    left = histogram.count
    for index in sorted(histogram.buckets):
        left -= histogram.buckets[index]
        if left < MIN_BEYOND:
            break
        edges.append(float(min(histogram.bucket_low_ns(index + 1), histogram.max_ns)))
        shares.append(left / histogram.count)
    return edges, shares
