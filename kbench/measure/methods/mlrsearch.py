# SPDX-License-Identifier: GPL-2.0-only
"""Throughput by MLRsearch (draft-ietf-bmwg-mlrsearch): the bounds of several goals, such as NDR and PDR, in
one search.

Each trial counts for all goals. Short trials and wide targets come first, so that the long ones are spent
near the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kbench.errors import UsageError
from kbench.measure.methods.base import Budget, BudgetSpent, Effort, Measure
from kbench.measure.methods.bounds import Records
from kbench.measure.methods.goals import Goal, chain, ndr_and_pdr
from kbench.measure.methods.seeker import Grid, Seeker

Outcome = Literal["found", "not_reached", "at_max_load", "unfinished"]


@dataclass(frozen=True)
class GoalResult:
    """What a search found out about one goal. Rates are in packets/s; bounds that don't exist are None.

    Only `found` is a regular result in the draft's sense.
    """

    goal: Goal
    outcome: Outcome
    lower_pps: float | None
    """Relevant lower bound: the highest load known to meet the goal, below every load known to fail it."""
    upper_pps: float | None
    """Relevant upper bound: the lowest load known to fail the goal."""
    conditional_pps: float | None
    """Conditional throughput: what a typical trial at the lower bound forwards."""
    lower_good_s: float = 0.0
    lower_bad_s: float = 0.0
    reason: str | None = None

    @property
    def width(self) -> float | None:
        """Distance of the bounds as a share of the upper one."""
        if self.lower_pps is None or self.upper_pps is None:
            return None
        return 1 - self.lower_pps / self.upper_pps

    def values(self) -> dict[str, Any]:
        """For the `goals` of `SearchResult.values`.

        goal: name (ndr, pdr, throughput). loss_ratio, exceed_ratio, goal_width, final_trial_s,
        duration_sum_s: what was asked for. outcome: `found`; `not_reached` (even the minimum load fails the
        goal: no rate); `at_max_load` (the maximum load meets it: the rate is a lower limit); `unfinished`
        (the budget was spent: the best bounds known). reason: why it is not `found`, else null. lower_pps,
        upper_pps: relevant bounds. conditional_pps: conditional throughput at the lower bound. width:
        distance of the bounds as a share of the upper one. lower_good_s, lower_bad_s: seconds of
        full-length trials at the lower bound that met the loss ratio, or not.
        """
        goal = self.goal
        return {
            "goal": goal.name,
            "loss_ratio": goal.loss_ratio,
            "exceed_ratio": goal.exceed_ratio,
            "goal_width": goal.width,
            "final_trial_s": goal.final_trial_s,
            "duration_sum_s": goal.duration_sum_s,
            "outcome": self.outcome,
            "reason": self.reason,
            "lower_pps": self.lower_pps,
            "upper_pps": self.upper_pps,
            "conditional_pps": self.conditional_pps,
            "width": self.width,
            "lower_good_s": round(self.lower_good_s, 6),
            "lower_bad_s": round(self.lower_bad_s, 6),
        }


@dataclass(frozen=True)
class SearchResult:
    """All goals of one search, in the order in which they were given."""

    min_load_pps: float
    max_load_pps: float
    goals: tuple[GoalResult, ...]
    effort: Effort
    stopped: str | None
    """Why the search ended before all goals had their bounds."""

    def goal(self, name: str) -> GoalResult:
        """The result of a goal by its name; KeyError if there is none."""
        for result in self.goals:
            if result.goal.name == name:
                return result
        raise KeyError(name)

    def values(self) -> dict[str, Any]:
        """For the `values` of a finding.

        search: `mlrsearch`. min_load_pps, max_load_pps: the range searched. stopped: why the search ended
        early, else null. goals: list, see `GoalResult.values`. The rest: see `Effort.values`.
        """
        return {
            "search": "mlrsearch",
            "min_load_pps": self.min_load_pps,
            "max_load_pps": self.max_load_pps,
            "stopped": self.stopped,
            "goals": [result.values() for result in self.goals],
            **self.effort.values(),
        }


def mlrsearch(
    measure: Measure,
    min_load_pps: float,
    max_load_pps: float,
    goals: Sequence[Goal] | None = None,
    budget: Budget | None = None,
) -> SearchResult:
    """Searches between two loads for the bounds of the goals (NDR and PDR by default).

    A budget that is spent gives the best bounds known and says so. Raises MethodFailed when no valid trial
    can be made at a load, UsageError when the range or the goals make no sense.
    """
    goals = tuple(goals) if goals is not None else ndr_and_pdr()
    if not goals or len({goal.name for goal in goals}) < len(goals):
        raise UsageError("a search needs at least one goal, and a name of its own for each")
    effort = Effort(budget or Budget())
    grid = Grid(min_load_pps, max_load_pps, min(goal.width for goal in goals))
    records = Records({target for goal in goals for target in chain(goal)})
    stopped = None
    try:
        start = _first_trials(measure, goals, grid, records, effort)
        seekers = [Seeker(goal, grid, records, start) for goal in goals]
        while wanted := [choice for seeker in seekers if (choice := seeker.nominate())]:
            # The lowest first: what fails there fails above, and what is found there is safe.
            load, duration_s = min(wanted, key=lambda choice: (choice[0], -choice[1]))
            _, loss_ratio = effort.trial(measure, grid.pps(load), duration_s)
            records.add(load, duration_s, loss_ratio)
    except BudgetSpent as spent:
        stopped = str(spent)
    results = tuple(_result(goal, grid, records, stopped) for goal in goals)
    return SearchResult(min_load_pps, max_load_pps, results, effort, stopped)


def _first_trials(
    measure: Measure, goals: Sequence[Goal], grid: Grid, records: Records, effort: Effort
) -> tuple[int, int]:
    """Between which loads to start: measures the maximum, then twice what was forwarded, as far as loss is allowed."""
    duration_s = max(chain(goal)[0].trial_s for goal in goals)
    allowed = min(goal.loss_ratio for goal in goals)
    width = max(grid.steps(chain(goal)[0].width) for goal in goals)

    def forwarded(load: int) -> int:
        trial_pps = grid.pps(load)
        _, loss_ratio = effort.trial(measure, trial_pps, duration_s)
        records.add(load, duration_s, loss_ratio)
        return min(load, grid.below(trial_pps * (1 - loss_ratio) / (1 - allowed)))

    first = forwarded(grid.last)
    if first > grid.last - width:
        return grid.last, grid.last
    second = forwarded(first)
    # If it was carried, the knee is above, otherwise at what came through.
    third = min(first + width, grid.last) if second == first else second
    if abs(third - first) < width:
        return min(first, third), max(first, third)
    forwarded(third)
    return min(first, third), max(first, third)


def _result(goal: Goal, grid: Grid, records: Records, stopped: str | None) -> GoalResult:
    target = chain(goal)[-1]
    lower, upper = records.bounds(target)
    outcome: Outcome
    if lower is not None and upper is not None and upper - lower <= grid.steps(target.width):
        outcome, reason = "found", None
    elif upper == 0:
        outcome, reason = "not_reached", f"the minimum load of {grid.min_pps:.0f} packets/s is not carried"
    elif lower == grid.last:
        outcome, reason = "at_max_load", f"the maximum load of {grid.max_pps:.0f} packets/s is carried"
    else:
        outcome, reason = "unfinished", stopped
    upper_pps = None if upper is None else grid.pps(upper)
    if lower is None:
        return GoalResult(goal, outcome, None, upper_pps, None, reason=reason)
    lower_pps = grid.pps(lower)
    tally = records.tally(lower, target)
    conditional_pps = lower_pps * (1 - tally.quantile_loss_ratio())
    return GoalResult(
        goal, outcome, lower_pps, upper_pps, conditional_pps, tally.good_long_s, tally.bad_long_s, reason
    )
