# SPDX-License-Identifier: GPL-2.0-only
"""What trials say about a load: MLRsearch's load classification, relevant bounds and conditional throughput.

Sources: draft-ietf-bmwg-mlrsearch, appendix A (Load Classification) and appendix B (Conditional Throughput).
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from typing import Literal

from kbench.measure.methods.goals import Target

Verdict = Literal["lower", "upper", "undecided"]

TINY_S = 1e-9
"""Sums of durations that differ by less are equal: five times 0.2 s is 1 s."""


@dataclass
class Tally:
    """The trials made at one load, seen by one target: seconds of good and bad, of long and short ones.

    A trial is good when it lost no more than the target allows, and long when it lasted at least as long as
    its trials.
    """

    target: Target
    good_long_s: float = 0.0
    bad_long_s: float = 0.0
    good_short_s: float = 0.0
    bad_short_s: float = 0.0
    long_losses: list[tuple[float, float]] = field(default_factory=list)
    """Loss ratio and seconds of each long trial, by rising loss."""
    verdict: Verdict = "undecided"

    def add(self, duration_s: float, loss_ratio: float) -> None:
        """Takes one more trial into account."""
        good = loss_ratio <= self.target.loss_ratio
        if duration_s >= self.target.trial_s - TINY_S:
            bisect.insort(self.long_losses, (loss_ratio, duration_s))
            if good:
                self.good_long_s += duration_s
            else:
                self.bad_long_s += duration_s
        elif good:
            self.good_short_s += duration_s
        else:
            self.bad_short_s += duration_s
        self.verdict = self._classify()

    def _classify(self) -> Verdict:
        """Decided as soon as no outcome of the trials that are still due could change it.

        Short trials count against a load only, and only as far as they are worse than the exceed ratio
        allows: a short trial can't show that a long one would be loss-free.
        """
        exceed = self.target.exceed_ratio
        excess_short_s = max(0.0, self.bad_short_s - self.good_short_s * exceed / (1 - exceed))
        bad_s = self.bad_long_s + excess_short_s
        whole_s = max(self.good_long_s + bad_s, self.target.duration_sum_s)
        allowed_s = whole_s * exceed + TINY_S
        if whole_s - self.good_long_s <= allowed_s:
            return "lower"  # even if all that is due turned out bad
        if bad_s > allowed_s:
            return "upper"  # even if all that is due turned out good
        return "undecided"

    def quantile_loss_ratio(self) -> float:
        """Loss ratio that the long trials kept to, but for the exceed ratio's share of the time.

        What was not measured counts as lost altogether: the search stops measuring a load once it is decided.
        """
        whole_s = max(self.target.duration_sum_s, self.good_long_s + self.bad_long_s)
        due_s = whole_s * (1 - self.target.exceed_ratio)
        for loss_ratio, duration_s in self.long_losses:
            due_s -= duration_s
            if due_s <= TINY_S:
                return loss_ratio
        return 1.0


class Records:
    """All trials of a search by load (an index of the search's grid), as each of its targets sees them."""

    def __init__(self, targets: set[Target]) -> None:
        self._targets = targets
        self._loads: list[int] = []
        self._tallies: dict[int, dict[Target, Tally]] = {}

    def add(self, load: int, duration_s: float, loss_ratio: float) -> None:
        """Takes one more trial into account, for all targets."""
        if load not in self._tallies:
            bisect.insort(self._loads, load)
            self._tallies[load] = {target: Tally(target) for target in self._targets}
        for tally in self._tallies[load].values():
            tally.add(duration_s, loss_ratio)

    def tally(self, load: int, target: Target) -> Tally:
        """What a target makes of the trials at a load that was measured."""
        return self._tallies[load][target]

    def bounds(self, target: Target) -> tuple[int | None, int | None]:
        """Relevant lower and upper bound: the lowest load that is an upper bound, and the highest lower
        bound below it.

        Loads above an upper bound don't count, whatever they carried (loss inversion).
        """
        lower: int | None = None
        for load in self._loads:
            verdict = self._tallies[load][target].verdict
            if verdict == "upper":
                return lower, load
            if verdict == "lower":
                lower = load
        return lower, None
