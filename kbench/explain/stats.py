# SPDX-License-Identifier: GPL-2.0-only
"""What explaining computes with: the estimates that both wings share, percentiles of latency histograms, outliers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from kbench.estimate import (
    CONFIDENCE,
    MIN_BLOCKS,
    MIN_PAIRS,
    Claim,
    Estimate,
    claim,
    median_ci,
    more_for,
    paired_ratio,
    unpaired_ratio,
)
from kbench.model import Histogram

__all__ = [
    "CONFIDENCE", "MIN_BLOCKS", "MIN_PAIRS", "Claim", "Estimate", "claim", "median_ci", "more_for", "paired_ratio",
    "unpaired_ratio",
]  # fmt: skip

MIN_BEYOND = 10
"""A percentile is printed only when at least this many samples lie beyond it."""
MIN_JUDGED = 8
"""Of fewer values the MAD is too often small by chance to call one of them an outlier."""
LEAST_DEVIATION = 0.005
"""Floor of the scaled MAD of log values: what lies within 1.75 % is no outlier however well the others agree."""


def deviations(values: Mapping[int, float]) -> dict[int, tuple[float, float]]:
    """Per round its ratio to the median, and how far off it is in scaled MADs of the logs (signed).

    Values must be positive; fewer than 8 give nothing. 1.4826 MAD is the standard deviation of normal values.
    """
    if len(values) < MIN_JUDGED:
        return {}
    logs = np.log(np.asarray(list(values.values()), dtype=np.float64))
    off = logs - np.median(logs)
    scale = max(1.4826 * float(np.median(np.abs(off))), LEAST_DEVIATION)
    return {r: (math.exp(o), float(o) / scale) for r, o in zip(values, off.tolist(), strict=True)}


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
