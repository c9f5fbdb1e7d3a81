# SPDX-License-Identifier: GPL-2.0-only
"""Frame loss rate (RFC 2544, section 26.3): the share lost at falling loads, until nothing is lost any
more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from kbench.errors import UsageError
from kbench.measure.methods.base import Budget, BudgetSpent, Effort, Measure

STEP_PERCENT = 10
"""The coarsest step that RFC 2544 allows; finer ones are encouraged."""
LOSS_FREE_TRIALS = 2
"""Successive trials without loss that end the curve."""


@dataclass(frozen=True)
class LossCurve:
    """Loss ratio by load; the loads fall from the maximum."""

    max_load_pps: float
    trial_s: float
    points: tuple[tuple[float, float], ...]
    """Load in packets/s and the share of its packets that was lost."""
    outcome: Literal["loss_free", "always_lossy", "unfinished"]
    effort: Effort
    stopped: str | None

    def values(self) -> dict[str, Any]:
        """For the `values` of a finding.

        max_load_pps: the 100 %. trial_s: duration of a trial. outcome: `loss_free` (two successive trials
        lost nothing), `always_lossy` (the lowest load was reached without that), `unfinished` (the budget
        was spent). stopped: why it ended early, else null. points: list of objects with load_pps,
        load_share (of the maximum) and loss_ratio, by falling load. The rest: see `Effort.values`.
        """
        return {
            "max_load_pps": self.max_load_pps,
            "trial_s": self.trial_s,
            "outcome": self.outcome,
            "stopped": self.stopped,
            "points": [
                {"load_pps": load, "load_share": round(load / self.max_load_pps, 6), "loss_ratio": loss}
                for load, loss in self.points
            ],
            **self.effort.values(),
        }


def loss_curve(
    measure: Measure,
    max_load_pps: float,
    trial_s: float = 1.0,
    step_percent: int = STEP_PERCENT,
    budget: Budget | None = None,
) -> LossCurve:
    """Measures at 100 % of the maximum load, then at `step_percent` less each time.

    Raises UsageError for a load, duration or step out of range, MethodFailed when no valid trial can be made.
    """
    if max_load_pps <= 0 or trial_s <= 0 or not 1 <= step_percent <= STEP_PERCENT:
        raise UsageError(
            f"a loss curve needs a load, a duration and a step of 1 to {STEP_PERCENT} %,"
            f" not {max_load_pps:g} packets/s, {trial_s:g} s and {step_percent} %"
        )
    effort = Effort(budget or Budget())
    points: list[tuple[float, float]] = []
    outcome: Literal["loss_free", "always_lossy", "unfinished"] = "always_lossy"
    stopped = None
    loss_free = 0
    try:
        for percent in range(100, 0, -step_percent):
            load_pps = max_load_pps * percent / 100
            _, loss_ratio = effort.trial(measure, load_pps, trial_s)
            points.append((load_pps, loss_ratio))
            loss_free = loss_free + 1 if loss_ratio == 0 else 0
            if loss_free == LOSS_FREE_TRIALS:
                outcome = "loss_free"
                break
    except BudgetSpent as spent:
        outcome, stopped = "unfinished", str(spent)
    return LossCurve(max_load_pps, trial_s, tuple(points), outcome, effort, stopped)
