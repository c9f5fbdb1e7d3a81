# SPDX-License-Identifier: GPL-2.0-only
"""Statistics: known values, honest coverage, no interval from too little."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbench.explain import stats
from kbench.model import Histogram
from tests.unit.synthetic_runs import histogram


def test_median_of_known_values_and_its_interval() -> None:
    estimate = stats.median_ci([1, 2, 3, 4, 100])
    assert estimate is not None and estimate.low is not None and estimate.high is not None
    assert estimate.value == 3 and estimate.n == 5 and estimate.reason is None
    assert 1 <= estimate.low < 3 < estimate.high <= 100


def test_no_interval_from_fewer_than_five() -> None:
    estimate = stats.median_ci([1, 2, 3, 4])
    assert estimate == stats.Estimate(2.5, None, None, 4, "4 trials: an interval needs 5", needed=1)
    assert stats.median_ci([]) is None


def test_the_same_values_give_the_same_interval() -> None:
    values = [random.Random(3).gauss(10, 1) for _ in range(12)]
    assert stats.median_ci(values) == stats.median_ci(values)


def test_intervals_cover_the_true_median_about_as_often_as_they_say() -> None:
    random_ = np.random.default_rng(5)
    runs = 300
    hits = 0
    for _ in range(runs):
        estimate = stats.median_ci(list(random_.normal(0.0, 1.0, 15)))
        assert estimate is not None and estimate.low is not None and estimate.high is not None
        hits += estimate.low <= 0 <= estimate.high
    assert 0.90 <= hits / runs <= 0.99


def test_a_ratio_of_paired_rounds_is_immune_to_common_drift() -> None:
    random_ = random.Random(1)
    drift = {r: 2.0 ** random_.uniform(-1, 1) for r in range(12)}
    base = {r: 1e6 * d for r, d in drift.items()}
    fast = {r: 4e6 * d * random_.gauss(1, 0.005) for r, d in drift.items()}
    ratio = stats.paired_ratio(fast, base)
    assert ratio is not None and ratio.low is not None and ratio.high is not None
    assert ratio.low < 4 < ratio.high and ratio.high / ratio.low < 1.02
    assert ratio.n == 12


def test_only_rounds_that_both_have_are_paired() -> None:
    ratio = stats.paired_ratio({1: 2.0, 2: 2.0, 9: 500.0}, {1: 1.0, 2: 1.0, 3: 7.0})
    assert ratio is not None
    assert ratio.value == pytest.approx(2.0) and ratio.n == 2
    assert ratio.low is None and "2 paired rounds" in (ratio.reason or "")
    assert stats.paired_ratio({1: 1.0}, {2: 1.0}) is None


def test_values_that_have_no_ratio_are_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        stats.paired_ratio({1: 0.0}, {1: 1.0})
    with pytest.raises(ValueError, match="finite"):
        stats.median_ci([1.0, math.nan])


@given(st.lists(st.floats(1, 1e9), min_size=5, max_size=30))
def test_the_median_lies_in_its_interval_and_the_interval_in_the_values(values: list[float]) -> None:
    estimate = stats.median_ci(values)
    assert estimate is not None and estimate.low is not None and estimate.high is not None
    slack = 1e-9 * max(values)
    assert min(values) - slack <= estimate.low <= estimate.value + slack
    assert estimate.value - slack <= estimate.high <= max(values) + slack


def test_deviations_are_from_the_median_in_scaled_mads() -> None:
    values = {r: math.exp(0.01 * (r - 3)) for r in range(7)} | {7: 0.7 * math.exp(0.0)}
    found = stats.deviations(values)
    assert found[7][1] < -3.5 and found[7][0] == pytest.approx(0.7, rel=0.02)
    assert all(abs(far) < 3.5 for r, (_, far) in found.items() if r != 7)
    assert stats.deviations(dict.fromkeys(range(7), 1.0)) == {}


def test_rounds_that_agree_to_the_digit_have_no_outliers_within_what_is_not_claimed() -> None:
    found = stats.deviations({**dict.fromkeys(range(9), 1000.0), 9: 1015.0, 10: 1030.0})
    assert abs(found[9][1]) < 3.5 < abs(found[10][1])


def test_merged_histograms_hold_all_samples() -> None:
    one, two = histogram(1000, 500, 1), histogram(3000, 700, 2)
    merged = stats.merge([one, Histogram(5, {}, 0, 0, 0), two])
    assert merged is not None
    assert merged.count == sum(merged.buckets.values()) == 1200
    assert (merged.min_ns, merged.max_ns) == (min(one.min_ns, two.min_ns), max(one.max_ns, two.max_ns))
    assert stats.merge([]) is None
    with pytest.raises(ValueError, match="different buckets"):
        stats.merge([one, Histogram(4, {1: 1}, 1, 1, 1)])


def test_a_percentile_needs_ten_samples_beyond_it() -> None:
    full = histogram(1000, 10_000, 1)
    assert stats.percentile_ns(full, 99.9) is not None
    assert stats.percentile_ns(histogram(1000, 9_999, 1), 99.9) is None
    assert stats.percentile_ns(histogram(1000, 19, 1), 50) is None


def test_percentiles_are_within_a_bucket_of_the_samples() -> None:
    random_ = random.Random(9)
    samples = sorted(max(1, int(random_.lognormvariate(math.log(1000), 0.45))) for _ in range(20_000))
    merged = histogram(1000, 20_000, 9)
    for percent in (50, 90, 99, 99.9):
        true = samples[math.ceil(percent / 100 * len(samples)) - 1]
        got = stats.percentile_ns(merged, percent)
        assert got is not None and true <= got <= true * (1 + 1 / 32) + 1


def test_the_tail_falls_and_ends_where_ten_samples_are_left() -> None:
    edges, shares = stats.tail(histogram(1000, 5000, 4))
    assert edges == sorted(edges) and shares == sorted(shares, reverse=True)
    assert shares[0] == 1.0 and shares[-1] >= 10 / 5000
