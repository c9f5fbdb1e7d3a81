# SPDX-License-Identifier: GPL-2.0-only
"""What MLRsearch searches for: goals, and the chain of easier targets that leads to each."""

from __future__ import annotations

from dataclasses import dataclass

from kbench.errors import UsageError


@dataclass(frozen=True)
class Goal:
    """A search goal of draft-ietf-bmwg-mlrsearch ("Search Goal Terms").

    A load meets the goal if, over `duration_sum_s` of trials of `final_trial_s`, no more than the share
    `exceed_ratio` of the time lost more than `loss_ratio` of the packets. `width` is the greatest accepted
    distance between the bounds, as a share of the upper one. The other fields change how long the search
    takes, not what it looks for. Raises UsageError when the fields contradict each other.
    """

    name: str
    loss_ratio: float = 0.0
    exceed_ratio: float = 0.5
    width: float = 0.005
    initial_trial_s: float = 0.2
    final_trial_s: float = 0.2
    duration_sum_s: float = 4.2
    preceding_targets: int = 2
    expansion: int = 2

    def __post_init__(self) -> None:
        problems = {
            "a loss ratio is at least 0 and below 1": not 0 <= self.loss_ratio < 1,
            "an exceed ratio is at least 0 and below 1": not 0 <= self.exceed_ratio < 1,
            "a width is above 0 and below 1": not 0 < self.width < 1,
            "an initial trial has some duration": self.initial_trial_s <= 0,
            "a final trial is no shorter than an initial one": self.final_trial_s < self.initial_trial_s,
            "a duration sum is no shorter than a final trial": self.duration_sum_s < self.final_trial_s,
            "the number of preceding targets is not negative": self.preceding_targets < 0,
            "an expansion is at least 2": self.expansion < 2,
        }
        for rule, broken in problems.items():
            if broken:
                raise UsageError(f"search goal {self.name}: {rule}")


@dataclass(frozen=True)
class Target:
    """A goal, or a stage on the way to it: shorter in sum, and content with wider bounds."""

    loss_ratio: float
    exceed_ratio: float
    width: float
    trial_s: float
    duration_sum_s: float


def chain(goal: Goal) -> tuple[Target, ...]:
    """The targets of a goal, the easiest first, the goal itself last.

    Duration sums fall geometrically from the goal's to one initial trial, widths double with each stage.
    """
    targets = [
        Target(goal.loss_ratio, goal.exceed_ratio, goal.width, goal.final_trial_s, goal.duration_sum_s)
    ]
    count = goal.preceding_targets
    shrink = (goal.initial_trial_s / goal.duration_sum_s) ** (1 / count) if count else 1.0
    for stage in range(1, count + 1):
        total = goal.initial_trial_s if stage == count else goal.duration_sum_s * shrink**stage
        # A stage as wide as the whole range would stop before it has begun.
        width = min(goal.width * 2**stage, 0.5)
        trial_s = min(goal.final_trial_s, total)
        targets.append(Target(goal.loss_ratio, goal.exceed_ratio, width, trial_s, total))
    return tuple(reversed(targets))


def ndr_and_pdr(
    final_trial_s: float = 0.2,
    duration_sum_s: float = 4.2,
    width: float = 0.005,
    pdr_loss_ratio: float = 0.005,
) -> tuple[Goal, Goal]:
    """The goals of the `throughput` method: the highest rates that are carried half the time without loss (NDR), or
    with no more than `pdr_loss_ratio` (PDR).

    The default duration sum is 21 trials. On a DUT that is slow in every fifth trial, 5 trials give the right rate in
    4 of 5 searches only, 21 in nearly all (tests/unit/test_methods_search.py).
    """
    initial_trial_s = min(final_trial_s, 0.2)
    return (
        Goal("ndr", 0.0, 0.5, width, initial_trial_s, final_trial_s, duration_sum_s),
        Goal("pdr", pdr_loss_ratio, 0.5, width, initial_trial_s, final_trial_s, duration_sum_s),
    )


def rfc2544_throughput(trial_s: float = 60.0, width: float = 0.005) -> Goal:
    """RFC 2544, sections 24 and 26.1: one trial without any loss, of 60 s when it is to count."""
    return Goal("throughput", 0.0, 0.0, width, min(trial_s, 1.0), trial_s, trial_s)
