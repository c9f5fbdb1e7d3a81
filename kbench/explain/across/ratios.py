# SPDX-License-Identifier: GPL-2.0-only
"""HEAD's figure over BASE's, with an interval that holds together with those of all other figures compared.

Bonferroni: of m intervals each is of level 1 - (1 - FAMILY) / m, so that all hold with at least FAMILY, however they
depend on each other. docs/compare.md says why, and what it costs.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from dataclasses import dataclass
from statistics import median, variance

import numpy as np

from kbench.estimate import MIN_BLOCKS, MIN_PAIRS, MORE_LIMIT, RESAMPLES, SEED, t_quantile, too_few
from kbench.explain import stats
from kbench.explain.across.metrics import Figure, Values
from kbench.explain.stats import Estimate

FAMILY = 0.95
"""Probability that all intervals of a comparison hold, and so that nothing is claimed falsely."""
TOPOLOGY_SD = 0.01
"""Standard deviation of what one topology differs by from the next, where a figure has only one and can't tell: the
upper end of what was seen (two differ by up to 1.2 %)."""
CERTAIN = 10_000
"""Degrees of freedom from which on a t quantile is a normal one."""
EXACT_BOOT = 0.001
"""Instruction counts of one boot repeat within this in another."""


def level_of(figures: int) -> float:
    """The level of each of so many intervals."""
    return 1 - (1 - FAMILY) / max(1, figures)


def ratio(head: Figure, base: Figure, level: float) -> tuple[Estimate, int | None]:
    """The ratio, and about how many more blocks each run needs to narrow it to the resolution (None: out of reach).

    Values must be positive. What is known of each value only to lie between two edges is in the interval.
    """
    if head.metric == "instructions":
        return _of_counts(head, base), None
    middle = _unpaired(head, base, head.values, base.values, level)
    edges = 0.0
    if middle.low is not None and head.lower and head.upper and base.lower and base.upper:
        low = _unpaired(head, base, head.lower, base.upper, level)
        high = _unpaired(head, base, head.upper, base.lower, level)
        assert low.low is not None and high.high is not None and middle.high is not None
        edges = math.log(high.high / low.low) / 2 - math.log(middle.high / middle.low) / 2
        middle = dataclasses.replace(middle, low=low.low, high=high.high)
    resolution = max(head.resolution, base.resolution)
    return middle, _more(head, base, level, math.log1p(resolution) - max(0.0, edges))


def _of_counts(head: Figure, base: Figure) -> Estimate:
    """Exact: the range that smallest and largest counts span, and what another boot changes in them."""
    ends = [n / w for n in head.values.values() for w in base.values.values()]
    return Estimate(
        head.estimate.value / base.estimate.value,
        min(ends) * (1 - EXACT_BOOT),
        max(ends) * (1 + EXACT_BOOT),
        min(head.estimate.n, base.estimate.n),
        "smallest and largest, and 0.1 % for another boot",
        noun="round",
    )


@dataclass(frozen=True)
class _Side:
    """One run's middle log value and how far chance moves it."""

    middle: float
    errors: tuple[tuple[float, float], ...]
    """Variances of the middle, each with its degrees of freedom."""


def _unpaired(head: Figure, base: Figure, now: Values, was: Values, level: float) -> Estimate:
    """Over blocks: Welch's t. Where a run has a single one: over its values and what topologies differ by."""
    blocks = min(len(set(figure.block_of.values())) for figure in (head, base))
    if blocks > 1:
        made = stats.unpaired_ratio(now, was, head.block_of, base.block_of, level)
        assert made is not None
        return dataclasses.replace(made, noun=head.noun)
    sides = [_side(figure, values) for figure, values in ((head, now), (base, was))]
    n = min(len(now), len(was))
    if sides[0] is None or sides[1] is None:
        middle = math.exp(median(map(math.log, now.values())) - median(map(math.log, was.values())))
        # Of a search each repeat is a block; else a single block needs values enough to tell how far they vary.
        why = too_few(n, head.noun, MIN_BLOCKS if head.noun == "repeat" else MIN_PAIRS)
        if n >= MIN_PAIRS:
            why = too_few(2, "block", MIN_BLOCKS)
        return Estimate(middle, None, None, n, why, 1, level, noun=head.noun)
    off = sides[0].middle - sides[1].middle
    errors = [error for side in sides if side for error in side.errors]
    total = sum(size for size, _ in errors)
    parts = sum(size**2 / free for size, free in errors)
    freedom = max(1, math.floor(min(CERTAIN, total**2 / parts))) if parts else CERTAIN
    width = t_quantile(0.5 + level / 2, freedom) * math.sqrt(total)
    return Estimate(
        math.exp(off),
        math.exp(off - width),
        math.exp(off + width),
        n,
        "one topology",
        1,
        level,
        noun=head.noun,
    )


def _side(figure: Figure, values: Values) -> _Side | None:
    """None with too few values of one block, or with two blocks."""
    medians = _block_medians(figure, values)
    count = len(medians)
    if count >= MIN_BLOCKS:
        middle = sum(medians) / count
        return _Side(middle, ((variance(medians) / count, count - 1),))
    if count > 1 or len(values) < MIN_PAIRS:
        return None
    return _Side(medians[0], ((_median_variance(values), len(values) - 1), (TOPOLOGY_SD**2, math.inf)))


def _median_variance(values: Values) -> float:
    """Of the median of log values of one block, by the bootstrap (Efron 1979)."""
    logs = np.log(np.asarray(list(values.values()), dtype=np.float64))
    picks = np.random.default_rng(SEED).integers(0, len(logs), size=(RESAMPLES // 10, len(logs)))
    return float(np.var(np.median(logs[picks], axis=1)))


def _block_medians(figure: Figure, values: Values) -> list[float]:
    by_block: dict[int, list[float]] = {}
    for unit, value in values.items():
        by_block.setdefault(figure.block_of[unit], []).append(math.log(value))
    return [median(logs) for logs in by_block.values()]


def _more(head: Figure, base: Figure, level: float, target: float) -> int | None:
    """About how many more blocks of both narrow the interval to +- `target` on the log scale: at least one."""
    if target <= 0:
        return None
    spread, fewest = 0.0, MORE_LIMIT
    for figure in (head, base):
        medians = _block_medians(figure, figure.values)
        fewest = min(fewest, len(medians))
        if len(medians) > 1:
            spread += variance(medians)
        else:
            known = _median_variance(figure.values) if len(figure.values) >= MIN_PAIRS else 0.0
            spread += TOPOLOGY_SD**2 + known
    counts = range(max(MIN_BLOCKS, fewest + 1), MORE_LIMIT + 2)

    def narrow(count: int) -> bool:
        return t_quantile(0.5 + level / 2, 2 * (count - 1)) * math.sqrt(spread / count) <= target

    found = bisect.bisect_left(counts, True, key=narrow)
    return counts[found] - fewest if found < len(counts) else None
