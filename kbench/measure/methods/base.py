# SPDX-License-Identifier: GPL-2.0-only
"""What all methods share: how they ask for a trial, which trials they accept, and what they may spend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from kbench.errors import MeasureError
from kbench.model import Trial

ATTEMPTS = 3
"""Trials made in a row before a disturbed one is taken as it is, or an invalid one ends the method."""


class Measure(Protocol):
    """Makes one trial: offers `load_pps` for `duration_s` and returns when the ledger is closed."""

    def __call__(self, load_pps: float, duration_s: float, /) -> Trial: ...


class Burst(Protocol):
    """Makes one trial of that many back-to-back frames at the generator's maximum rate, from an idle DUT."""

    def __call__(self, frames: int, /) -> Trial: ...


class MethodFailed(MeasureError):
    """A method can't give an answer: no valid trial could be made, or there is nothing to derive it from."""


class BudgetSpent(Exception):
    """The next trial would exceed the budget. Methods catch it and return what they know, with this as the
    reason."""


@dataclass(frozen=True)
class Budget:
    """The most that one method may spend on one datapath; seconds are those of the trials, without set-up."""

    trials: int = 500
    measured_s: float = 600.0


@dataclass
class Effort:
    """Makes usable trials within a budget, and keeps account of what that took.

    A trial is unusable when it is invalid, when nothing was offered, or when the machine was disturbed
    during it (contaminated). It is repeated at once, `ATTEMPTS` trials in a row at most. If all were
    unusable, the last one that was merely contaminated is taken as it is and counted; if there was none,
    the method fails.
    """

    budget: Budget = field(default_factory=Budget)
    trials: int = 0
    measured_s: float = 0.0
    repeated: int = 0
    contaminated: int = 0

    def trial(self, measure: Measure, load_pps: float, duration_s: float) -> tuple[Trial, float]:
        """A usable trial at that load, and its loss ratio. Raises BudgetSpent, MethodFailed."""
        return self.usable(lambda: measure(load_pps, duration_s), duration_s, f"{load_pps:.0f} packets/s")

    def usable(self, make: Callable[[], Trial], duration_s: float, what: str) -> tuple[Trial, float]:
        """The first usable trial that `make` returns, and its loss ratio. Raises BudgetSpent,
        MethodFailed."""
        disturbed: Trial | None = None
        problems: list[str] = []
        for attempt in range(ATTEMPTS):
            self._spend(duration_s)
            if attempt:
                self.repeated += 1
            trial = make()
            loss_ratio = trial.counters.loss_ratio
            if trial.valid and loss_ratio is not None:
                if not trial.contaminated:
                    return trial, loss_ratio
                disturbed = trial
            else:
                problems = trial.problems or ["nothing was offered" if loss_ratio is None else "invalid"]
        if disturbed is None:
            raise MethodFailed(f"{ATTEMPTS} trials in a row at {what} were invalid: {'; '.join(problems)}")
        self.contaminated += 1
        loss_ratio = disturbed.counters.loss_ratio
        assert loss_ratio is not None
        return disturbed, loss_ratio

    def _spend(self, duration_s: float) -> None:
        if self.trials >= self.budget.trials:
            raise BudgetSpent(f"the limit of {self.budget.trials} trials was reached")
        if self.measured_s + duration_s > self.budget.measured_s:
            raise BudgetSpent(f"the limit of {self.budget.measured_s:g} measured seconds was reached")
        self.trials += 1
        self.measured_s += duration_s

    def values(self) -> dict[str, Any]:
        """For the `values` of a finding.

        trials: trials made, with repeated ones. measured_s: their durations' sum, without set-up.
        repeated_trials: how many of them replaced an invalid or contaminated one. contaminated_trials: how
        many contaminated ones had to be taken as they were.
        """
        return {
            "trials": self.trials,
            "measured_s": round(self.measured_s, 6),
            "repeated_trials": self.repeated,
            "contaminated_trials": self.contaminated,
        }
