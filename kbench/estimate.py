# SPDX-License-Identifier: GPL-2.0-only
"""Medians, and ratios of paired rounds, with honest intervals: over blocks, or over the rounds of a single one.

Both wings need it: measuring to know when it has seen enough (``--until-ci``), explaining to say what was seen.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

MIN_PAIRS = 5
"""Fewer values of one block give no interval: the bootstrap of a median of 4 can't reach 95 % coverage."""
MIN_BLOCKS = 3
"""Fewer blocks give no interval: two say next to nothing about how far blocks differ."""
CONFIDENCE = 0.95
RESAMPLES = 10_000
MANY = 100
"""Of more values than this the medians of resamples are drawn from their distribution."""
SEED = 20_240_101
"""Fixed, so that the same run always gives the same report."""
MORE_LIMIT = 999
"""Where "about this many more" is no longer worth telling apart from "out of reach"."""


@dataclass(frozen=True)
class Estimate:
    """A middle value, its interval, and what it rests on.

    `low` and `high` are None when no interval can be given; `reason` then says why.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    """Values (paired rounds, trials) that went in."""
    reason: str | None = None
    blocks: int = 1
    """Blocks that they came from. From 2 on the interval is one over blocks, before that over the values."""
    level: float = CONFIDENCE
    """Confidence level of the interval."""
    needed: int | None = None
    """Without an interval: how many more `unit`s it takes to get one."""
    noun: str = "trial"
    """What is counted by `n`, in the singular."""

    @property
    def unit(self) -> str:
        """What the interval was taken over, and of what more are needed: ``block``, or `noun`."""
        return "block" if self.blocks > 1 else self.noun

    @property
    def half_width(self) -> float | None:
        """The interval's larger side as a share of the value; None without an interval or with a value of 0."""
        if self.low is None or self.high is None or not self.value:
            return None
        return max(self.high - self.value, self.value - self.low) / abs(self.value)

    def overlaps(self, other: Estimate) -> bool | None:
        """Whether the intervals overlap; None when one of them has none."""
        if self.low is None or self.high is None or other.low is None or other.high is None:
            return None
        return self.low <= other.high and other.low <= self.high


def median_ci(
    values: Sequence[float],
    noun: str = "trial",
    blocks: Sequence[int] | None = None,
    confidence: float = CONFIDENCE,
) -> Estimate | None:
    """The middle of `values` with its interval; None when there are no values. ValueError unless all are finite.

    `blocks` names the block of each value. Within one block: the median, with a percentile-bootstrap interval over
    the values. Over several: the mean of the blocks' medians, with Student's t interval over them, because values of a
    block share its topology and are no independent witnesses of anything beyond it.
    """
    if not values:
        return None
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError("a median needs finite values")
    medians = _block_medians(array, blocks)
    n, count = len(array), len(medians)
    if count == 1:
        middle = float(np.median(array))
        if n < MIN_PAIRS:
            why = too_few(n, noun, MIN_PAIRS)
            return Estimate(middle, None, None, n, why, 1, confidence, MIN_PAIRS - n, noun)
        low, high = np.percentile(_resampled_medians(array), _tails(confidence))
        return Estimate(middle, float(low), float(high), n, None, 1, confidence, None, noun)
    middle = float(medians.mean())
    if count < MIN_BLOCKS:
        why = too_few(count, "block", MIN_BLOCKS)
        return Estimate(middle, None, None, n, why, count, confidence, MIN_BLOCKS - count, noun)
    width = t_quantile(0.5 + confidence / 2, count - 1) * float(medians.std(ddof=1)) / math.sqrt(count)
    return Estimate(middle, middle - width, middle + width, n, None, count, confidence, None, noun)


def paired_ratio(
    values: Mapping[int, float],
    reference: Mapping[int, float],
    blocks: Mapping[int, int] | None = None,
    confidence: float = CONFIDENCE,
) -> Estimate | None:
    """Ratio value/reference from the log ratios of the rounds that have both; None without such a round.

    Keys are rounds; `blocks` is round -> block (None: all of one block). Pairing by round cancels drift that hits all
    datapaths of a round alike. The middle is taken as in `median_ci`, on the log scale.
    """
    rounds = sorted(values.keys() & reference.keys())
    if any(values[r] <= 0 or reference[r] <= 0 for r in rounds):
        raise ValueError("ratios need positive values")
    logs = [math.log(values[r] / reference[r]) for r in rounds]
    of = None if blocks is None else [blocks[r] for r in rounds]
    return _from_logs(median_ci(logs, "paired round", of, confidence))


def unpaired_ratio(
    values: Mapping[int, float],
    reference: Mapping[int, float],
    blocks: Mapping[int, int],
    reference_blocks: Mapping[int, int],
    confidence: float = CONFIDENCE,
) -> Estimate | None:
    """Ratio value/reference of figures that share no rounds, such as two runs'; None if one has none.

    From 3 blocks on either side: Welch's t interval over the blocks' log medians. If one has a single block: the
    percentile bootstrap over the rounds of both, which knows nothing of how much topologies differ.
    """
    if not values or not reference:
        return None
    if min(*values.values(), *reference.values()) <= 0:
        raise ValueError("ratios need positive values")
    one, other = (np.log(np.asarray(list(v.values()), dtype=np.float64)) for v in (values, reference))
    medians = _block_medians(one, [blocks[r] for r in values])
    others = _block_medians(other, [reference_blocks[r] for r in reference])
    n, count = min(len(one), len(other)), min(len(medians), len(others))
    if count == 1:
        middle = float(np.median(one) - np.median(other))
        if n < MIN_PAIRS:
            why = too_few(n, "round", MIN_PAIRS)
            return _from_logs(Estimate(middle, None, None, n, why, 1, confidence, MIN_PAIRS - n, "round"))
        gaps = _resampled_medians(one, SEED) - _resampled_medians(other, SEED + 1)
        low, high = np.percentile(gaps, _tails(confidence))
        return _from_logs(Estimate(middle, float(low), float(high), n, None, 1, confidence, None, "round"))
    middle = float(medians.mean() - others.mean())
    if count < MIN_BLOCKS:
        why = too_few(count, "block", MIN_BLOCKS)
        lacking = MIN_BLOCKS - count
        return _from_logs(Estimate(middle, None, None, n, why, count, confidence, lacking, "round"))
    errors = [float(m.var(ddof=1)) / len(m) for m in (medians, others)]
    width = 0.0
    if sum(errors) > 0:
        parts = [e**2 / (len(m) - 1) for e, m in zip(errors, (medians, others), strict=True)]
        freedom = max(1, math.floor(sum(errors) ** 2 / sum(parts)))
        width = t_quantile(0.5 + confidence / 2, freedom) * math.sqrt(sum(errors))
    return _from_logs(
        Estimate(middle, middle - width, middle + width, n, None, count, confidence, None, "round")
    )


def too_few(count: int, noun: str, needed: int) -> str:
    """Why `count` values give no interval."""
    return f"{count} {noun}{'' if count == 1 else 's'}: an interval needs {needed}"


def more_for(estimate: Estimate, half_width: float) -> int | None:
    """About how many more of `estimate.unit` narrow its interval to +- `half_width` (0.02: 2 %); 0 if it is.

    Without an interval: how many it takes to have one. None where more than MORE_LIMIT would be needed.
    """
    if estimate.low is None or estimate.high is None:
        return estimate.needed
    wide = estimate.half_width
    if wide is None or estimate.low <= 0:
        return None
    have, target = math.log(estimate.high / estimate.low) / 2, math.log1p(half_width)
    if have <= target:
        return 0
    if estimate.blocks == 1:
        more = math.ceil(estimate.n * (have / target) ** 2 - 1e-9) - estimate.n
        return more if more <= MORE_LIMIT else None
    side = 0.5 + estimate.level / 2

    def narrow_enough(count: int) -> bool:
        return width(count) <= width(estimate.blocks) * target / have

    def width(count: int) -> float:
        return t_quantile(side, count - 1) / math.sqrt(count)

    more = (
        bisect.bisect_left(range(1, MORE_LIMIT + 1), True, key=lambda n: narrow_enough(estimate.blocks + n))
        + 1
    )
    return more if more <= MORE_LIMIT else None


@dataclass(frozen=True)
class Claim:
    """What an interval allows to be said of a change."""

    outcome: Literal["changed", "no change", "not enough data"]
    beyond: float | None = None
    """For "no change": a change larger than this share is ruled out at the estimate's level."""
    more: int | None = None
    """For "not enough data": about how many more `unit`s; None: out of reach."""
    unit: str = "block"

    def __str__(self) -> str:
        if self.outcome == "changed":
            return "changed"
        if self.beyond is not None:
            return f"no change beyond {self.beyond * 100:.2g} %"
        if self.more is None:
            return "not enough data, and out of reach at this noise"
        return f"not enough data (need about {self.more} more {self.unit}{'' if self.more == 1 else 's'})"


def claim(ratio: Estimate, resolution: float) -> Claim:
    """What may be said of a ratio of two figures, where the method itself resolves `resolution` (0.02: 2 %).

    changed: the interval does not hold 1, and the difference is not below the resolution. no change: the interval is
    no wider than +- the resolution. Otherwise there is not enough data to say either.
    """
    if ratio.low is not None and ratio.high is not None:
        if not ratio.low <= 1 <= ratio.high and abs(ratio.value - 1) >= resolution:
            return Claim("changed", unit=ratio.unit)
        more = more_for(ratio, resolution)
        if more == 0:
            return Claim("no change", max(1 - ratio.low, ratio.high - 1, resolution), unit=ratio.unit)
        return Claim("not enough data", more=more, unit=ratio.unit)
    return Claim("not enough data", more=ratio.needed, unit=ratio.unit)


@functools.cache
def t_quantile(p: float, freedom: int) -> float:
    """Quantile of Student's t for 0.5 <= p < 1: by bisection of its distribution function, and from 100 degrees of
    freedom on by expansion around the normal one (Abramowitz and Stegun 26.7.5)."""
    if not 0.5 <= p < 1 or freedom < 1:
        raise ValueError("a quantile of t needs 0.5 <= p < 1 and a degree of freedom")
    if freedom >= 100:
        z = NormalDist().inv_cdf(p)
        return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    low, high = 0.0, 1.0
    while _t_below(high, freedom) < p:
        high *= 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_below(middle, freedom) < p else (low, middle)
    return (low + high) / 2


def _t_below(t: float, freedom: int) -> float:
    """P(T <= t) for t >= 0: the finite series for whole degrees of freedom (Abramowitz and Stegun 26.7.3, 26.7.4)."""
    angle = math.atan2(t, math.sqrt(freedom))
    cosine_2, odd = math.cos(angle) ** 2, freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for k in range(freedom // 2):
        total += term
        term *= cosine_2 * (2 * k + 1 + odd) / (2 * k + 2 + odd)
    inside = 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
    return 0.5 + inside / 2


def _tails(confidence: float) -> list[float]:
    tail = (1 - confidence) / 2 * 100
    return [tail, 100 - tail]


def _resampled_medians(values: Array, seed: int = SEED) -> Array:
    """Medians of resamples, for the percentile bootstrap (Efron 1979).

    Many values are not resampled one by one, which would take 8 * RESAMPLES bytes for each: of n picks the m-th
    smallest is the value at floor(n * U), where U is the m-th smallest of n uniforms, which is Beta(m, n + 1 - m).
    """
    random = np.random.default_rng(seed)
    n = len(values)
    if n <= MANY:
        return np.asarray(np.median(values[random.integers(0, n, size=(RESAMPLES, n))], axis=1))
    ascending, middle = np.sort(values), (n + 1) // 2
    lower = random.beta(middle, n + 1 - middle, RESAMPLES)
    medians = ascending[(n * lower).astype(np.intp)]
    if n % 2 == 0:
        # The other of the two in the middle, given the lower one.
        upper = lower + (1 - lower) * random.beta(1, n - middle, RESAMPLES)
        medians = (medians + ascending[np.minimum((n * upper).astype(np.intp), n - 1)]) / 2
    return np.asarray(medians)


def _block_medians(values: Array, blocks: Sequence[int] | None) -> Array:
    """The median of each block's values."""
    if blocks is None:
        return np.array([np.median(values)])
    of = np.asarray(blocks)
    return np.array([np.median(values[of == block]) for block in np.unique(of)])


def _from_logs(logs: Estimate | None) -> Estimate | None:
    if logs is None:
        return None
    low, high = (None if edge is None else math.exp(edge) for edge in (logs.low, logs.high))
    return dataclasses.replace(logs, value=math.exp(logs.value), low=low, high=high)
