# SPDX-License-Identifier: GPL-2.0-only
"""Throughput by ETSI GS NFV-TST 009, clause 12.3.3: binary search with loss verification (BSwLV).

A load that fails is tried again before it is given up, so that a passing disturbance does not lower the
result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from kbench.errors import UsageError
from kbench.measure.methods.base import Budget, BudgetSpent, Effort, Measure

Outcome = Literal["found", "not_reached", "at_max_load", "unfinished"]


@dataclass(frozen=True)
class Bswlv:
    """Parameters of the search. RFC 2544 asks for trials of 60 s; shorter ones must be stated.

    Raises UsageError when they make no sense.
    """

    loss_ratio: float = 0.0
    """The goal: a trial passes that loses no more."""
    width: float = 0.005
    """Step between the loads, as a share of the maximum load."""
    trial_s: float = 1.0
    repeats: int = 2
    """How often a failed trial is repeated at most (r of the standard)."""
    hopeless_loss_ratio: float | None = None
    """A loss above this is believed at once (z of the standard); None: never."""

    def __post_init__(self) -> None:
        if not (0 <= self.loss_ratio < 1 and 0 < self.width < 1 and self.trial_s > 0 and self.repeats >= 0):
            raise UsageError(f"a binary search can't be made with {self}")


@dataclass(frozen=True)
class BswlvResult:
    """Rates in packets/s; None where no load passed, or none failed."""

    parameters: Bswlv
    min_load_pps: float
    max_load_pps: float
    outcome: Outcome
    passed_pps: float | None
    failed_pps: float | None
    verified: int
    effort: Effort
    stopped: str | None

    def values(self) -> dict[str, Any]:
        """For the `values` of a finding.

        search: `tst009`. min_load_pps, max_load_pps: the range searched. loss_ratio, step_share, trial_s,
        repeats, hopeless_loss_ratio: the parameters (`Bswlv`; step_share is the step between loads as a
        share of the maximum). outcome: `found`, `not_reached` (even the minimum load fails), `at_max_load`
        (the maximum load passes), `unfinished` (the budget was spent). stopped: why the search ended early,
        else null. passed_pps: highest load that passed; the result. failed_pps: lowest load that failed.
        verifications: trials that repeated a failed one. The rest: see `Effort.values`.
        """
        return {
            "search": "tst009",
            "min_load_pps": self.min_load_pps,
            "max_load_pps": self.max_load_pps,
            "loss_ratio": self.parameters.loss_ratio,
            "step_share": self.parameters.width,
            "trial_s": self.parameters.trial_s,
            "repeats": self.parameters.repeats,
            "hopeless_loss_ratio": self.parameters.hopeless_loss_ratio,
            "outcome": self.outcome,
            "stopped": self.stopped,
            "passed_pps": self.passed_pps,
            "failed_pps": self.failed_pps,
            "verifications": self.verified,
            **self.effort.values(),
        }


def passes_verified(
    loss_ratio_of_trial: Callable[[], float], allowed: float, repeats: int, hopeless: float | None
) -> tuple[bool, int]:
    """Whether one of up to 1 + `repeats` trials lost no more than `allowed`, and how many repeats that
    took."""
    for repeat in range(repeats + 1):
        loss_ratio = loss_ratio_of_trial()
        if loss_ratio <= allowed:
            return True, repeat
        if hopeless is not None and loss_ratio > hopeless:
            return False, repeat
    return False, repeats


def bswlv(
    measure: Measure,
    min_load_pps: float,
    max_load_pps: float,
    parameters: Bswlv | None = None,
    budget: Budget | None = None,
) -> BswlvResult:
    """Searches an array of evenly spaced loads for the highest that passes.

    A budget that is spent gives what is known and says so. Raises MethodFailed when no valid trial can be
    made at a load, UsageError when the range makes no sense.
    """
    if not 0 < min_load_pps < max_load_pps:
        raise UsageError(
            f"a search needs 0 < minimum < maximum load, not {min_load_pps:g} and {max_load_pps:g}"
        )
    ask = parameters or Bswlv()
    effort = Effort(budget or Budget())
    last = max(1, math.ceil((max_load_pps - min_load_pps) / (max_load_pps * ask.width)))
    step_pps = (max_load_pps - min_load_pps) / last
    low, high = 0, last
    verified = 0
    stopped = None

    def pps(index: int) -> float:
        return max_load_pps if index == last else min_load_pps + index * step_pps

    try:
        while low <= high:
            middle = (low + high) // 2
            load_pps = pps(middle)
            passed, repeats = passes_verified(
                lambda at=load_pps: effort.trial(measure, at, ask.trial_s)[1],  # type: ignore[misc]
                ask.loss_ratio,
                ask.repeats,
                ask.hopeless_loss_ratio,
            )
            verified += repeats
            if passed:
                low = middle + 1
            else:
                high = middle - 1
    except BudgetSpent as spent:
        stopped = str(spent)
    outcome: Outcome = "found"
    if stopped:
        outcome = "unfinished"
    elif high < 0:
        outcome = "not_reached"
    elif low > last:
        outcome = "at_max_load"
    passed_pps = pps(low - 1) if low > 0 else None
    failed_pps = pps(high + 1) if high < last else None
    return BswlvResult(
        ask, min_load_pps, max_load_pps, outcome, passed_pps, failed_pps, verified, effort, stopped
    )
