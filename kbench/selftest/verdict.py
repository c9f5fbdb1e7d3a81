# SPDX-License-Identifier: GPL-2.0-only
"""What the trials of a self-test say, and whether that passes. No machine is touched here."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from kbench.errors import MeasureError
from kbench.estimate import MIN_BLOCKS, Claim, Estimate, claim, paired_ratio
from kbench.explain.compare import usable
from kbench.explain.comparison import WALL_RESOLUTION
from kbench.model import Trial

FALSE_CLAIMS = 0.02
"""A/A: at most this share of the comparisons may claim a difference."""
FOUND = 0.95
"""A/B: at least this share of them must find the slow-down."""
PROBES_COST = 0.01
"""At most this share of the maximum forwarding rate may go to the probes."""
TOO_SLOW = 1.2
"""A/B: a slow-down beyond this multiple of what was asked for is easier to find, so finding it proves nothing."""

Rates = dict[int, float]


@dataclass(frozen=True)
class Comparison:
    """One answer to "is b as fast as a?"; `ratio` (b to a) is None when no round has a valid trial of both."""

    ratio: Estimate | None
    elapsed_s: float
    left_out: int = 0
    """Trials without a say, because they were contaminated or invalid."""

    @property
    def decided(self) -> bool:
        """Whether there is an interval over blocks. One over the rounds of a single block would be too narrow."""
        return self.ratio is not None and self.ratio.blocks >= MIN_BLOCKS and self.ratio.low is not None

    @property
    def said(self) -> Claim:
        """By the rule of every other comparison, see `kbench.estimate.claim`."""
        if self.ratio is None or not self.decided:
            return Claim("not enough data", more=MIN_BLOCKS)
        return claim(self.ratio, WALL_RESOLUTION)

    @property
    def claimed(self) -> bool:
        """Whether a difference was claimed."""
        return self.said.outcome == "changed"

    @property
    def found_slower(self) -> bool:
        """Whether b was claimed to be slower than a."""
        return self.claimed and self.ratio is not None and self.ratio.value < 1

    @property
    def without_one(self) -> bool:
        """Whether the interval does not hold 1, however small the difference."""
        ratio = self.ratio
        if ratio is None or not self.decided or ratio.low is None or ratio.high is None:
            return False
        return not ratio.low <= 1 <= ratio.high

    def __str__(self) -> str:
        if self.ratio is None or self.ratio.low is None or self.ratio.high is None:
            return f"{self.said}, {self.left_out} trials left out, {self.elapsed_s:.1f} s"
        r = self.ratio
        return f"{r.value:.4f} ({r.low:.4f} to {r.high:.4f}), {self.said}, {self.elapsed_s:.1f} s"


@dataclass(frozen=True)
class Tally:
    """All comparisons of a self-test together."""

    comparisons: int
    decided: int
    claimed: int
    found_slower: int
    without_one: int
    left_out: int
    median_half_width: float | None
    """Of the intervals, as a share of the ratio; None without any."""
    median_s: float
    longest_s: float


def tally(comparisons: Sequence[Comparison]) -> Tally:
    """Counts them. There must be at least one."""
    widths = [c.ratio.half_width for c in comparisons if c.decided and c.ratio is not None]
    known = [width for width in widths if width is not None]
    times = [c.elapsed_s for c in comparisons]
    return Tally(
        comparisons=len(comparisons),
        decided=sum(c.decided for c in comparisons),
        claimed=sum(c.claimed for c in comparisons),
        found_slower=sum(c.found_slower for c in comparisons),
        without_one=sum(c.without_one for c in comparisons),
        left_out=sum(c.left_out for c in comparisons),
        median_half_width=statistics.median(known) if known else None,
        median_s=statistics.median(times),
        longest_s=max(times),
    )


def ratio_of(trials: Sequence[Trial], slow: str, plain: str, confidence: float) -> Estimate | None:
    """Ratio of two contenders' rates over blocks, from the trials on which any figure may rest."""
    rates: dict[str, Rates] = {slow: {}, plain: {}}
    blocks: dict[int, int] = {}
    for trial in trials:
        if trial.datapath in rates and usable(trial) and trial.forwarded_pps:
            rates[trial.datapath][trial.round] = trial.forwarded_pps
            blocks[trial.round] = trial.block
    return paired_ratio(rates[slow], rates[plain], blocks, confidence)


def slow_down(ratio: Estimate) -> tuple[float, float | None, float | None]:
    """By which share a packet takes longer, when the rate is `ratio` of what it was; with the interval's ends."""
    return (
        1 / ratio.value - 1,
        None if not ratio.high else 1 / ratio.high - 1,
        None if not ratio.low else 1 / ratio.low - 1,
    )


def operations_for(wanted: float, pilots: Sequence[tuple[int, Estimate | None]]) -> int:
    """Operations per packet that make it take `wanted` (0.03: 3 %) longer, on the line through two pilots.

    A pilot is a number of operations and the ratio of a build with them to the plain one. The line need not begin at 0,
    as the CPU hides the first few behind other work. Raises MeasureError unless the longer one is clearly slower.
    """
    (few, near), (many, far) = pilots
    for pilot in (near, far):
        if pilot is None or pilot.high is None or pilot.blocks < MIN_BLOCKS:
            raise MeasureError("calibration failed: too few trials were clean; the machine is too busy")
    assert near is not None and far is not None
    if far.high is None or far.high >= 1 or far.value >= near.value:
        raise MeasureError(
            f"calibration failed: {many} operations more per packet do not show in the rate;"
            " the machine is too busy"
        )
    each = (slow_down(far)[0] - slow_down(near)[0]) / (many - few)
    return max(1, round(few + (wanted - slow_down(near)[0]) / each))


def aa_failure(seen: Tally) -> str | None:
    """Why an A/A test does not pass, or None."""
    if not seen.decided:
        return "no comparison came to an interval: the machine is too busy"
    if seen.claimed > FALSE_CLAIMS * seen.decided:
        return (
            f"a difference was claimed in {seen.claimed} of {seen.decided} comparisons of a datapath with itself;"
            f" at most {FALSE_CLAIMS:.0%} may be"
        )
    return None


def ab_failure(seen: Tally, wanted: float, pooled: Estimate | None) -> str | None:
    """Why an A/B test does not pass, or None. `pooled` is the ratio over all comparisons."""
    if seen.found_slower < FOUND * seen.comparisons:
        return (
            f"a slow-down of {wanted:.1%} was found in {seen.found_slower} of {seen.comparisons} comparisons;"
            f" at least {FOUND:.0%} must be"
        )
    if pooled is not None and slow_down(pooled)[0] > TOO_SLOW * wanted:
        return (
            f"the slow-down came out at {slow_down(pooled)[0]:.1%} instead of {wanted:.1%}, which is easier to find:"
            " calibrate again on a quieter machine"
        )
    return None


def probes_cost(trials: Sequence[Trial], confidence: float) -> Estimate:
    """Share of the rate that the probes take, from trials that alternate on the same topology, with and without.

    Without probes nothing says whether a trial is contaminated, so here such trials have a say on both sides.
    Raises MeasureError when there is no interval over blocks.
    """
    on: Rates = {}
    off: Rates = {}
    blocks: dict[int, int] = {}
    for trial in trials:
        if trial.valid and not trial.warm_up and trial.forwarded_pps:
            (on if trial.probes else off)[trial.round] = trial.forwarded_pps
            blocks[trial.round] = trial.block
    ratio = paired_ratio(on, off, blocks, confidence)
    if ratio is None or ratio.low is None or ratio.high is None or ratio.blocks < MIN_BLOCKS:
        raise MeasureError("the probes' cost has no interval: too few trials were valid")
    return Estimate(
        1 - ratio.value,
        1 - ratio.high,
        1 - ratio.low,
        ratio.n,
        None,
        ratio.blocks,
        confidence,
        None,
        ratio.noun,
    )


def overhead_failure(cost: Estimate) -> str | None:
    """Why the probes' cost does not pass, or None: the upper end of its interval counts."""
    if cost.high is None or cost.high > PROBES_COST:
        low, high = cost.low or 0.0, cost.high or 0.0
        return (
            f"the probes cost {cost.value:.2%} of the maximum forwarding rate ({low:.2%} to {high:.2%});"
            f" it is not shown to be at most {PROBES_COST:.0%}"
        )
    return None
