# SPDX-License-Identifier: GPL-2.0-only
"""Which load a goal of an MLRsearch wants measured next."""

from __future__ import annotations

import math

from kbench.errors import UsageError
from kbench.measure.methods.bounds import Records
from kbench.measure.methods.goals import Goal, Target, chain

STEPS_PER_WIDTH = 8
"""How finely loads are told apart: steps of the grid within the narrowest width."""


class Grid:
    """The loads of a search: a geometric series, so that goals meet at the same loads and share their trials.

    Raises UsageError unless 0 < min_pps < max_pps.
    """

    def __init__(self, min_pps: float, max_pps: float, narrowest: float) -> None:
        if not 0 < min_pps < max_pps:
            raise UsageError(f"a search needs 0 < minimum < maximum load, not {min_pps:g} and {max_pps:g}")
        self.min_pps, self.max_pps = min_pps, max_pps
        span = math.log(max_pps / min_pps)
        self.last = math.ceil(span / (-math.log1p(-narrowest) / STEPS_PER_WIDTH))
        self._step = span / self.last

    def pps(self, index: int) -> float:
        """Load of an index, in packets/s; 0 is the minimum and `last` the maximum, exactly."""
        return self.max_pps if index == self.last else self.min_pps * math.exp(index * self._step)

    def below(self, pps: float) -> int:
        """Index of the highest load of the grid that is not above `pps`; 0 if there is none."""
        if pps <= self.min_pps:
            return 0
        return min(self.last, math.floor(math.log(pps / self.min_pps) / self._step + 1e-9))

    def steps(self, width: float) -> int:
        """Number of steps that a relative width holds."""
        return max(1, math.floor(-math.log1p(-width) / self._step + 1e-9))


class Seeker:
    """Leads one goal through its chain of targets. It holds no trials: it looks at the records anew each
    time, because trials made for another goal may move the bounds of this one."""

    def __init__(self, goal: Goal, grid: Grid, records: Records, start: tuple[int, int]) -> None:
        self.goal = goal
        self._grid, self._records = grid, records
        self._targets = list(chain(goal))
        self._begin(*start)

    @property
    def target(self) -> Target:
        """The target that is sought at present."""
        return self._targets[0]

    def _begin(self, low: int | None, high: int | None) -> None:
        """Starts the current target from what the one before it found (or the first trials, for the
        first)."""
        self._low, self._high = low, high
        self._width = self._grid.steps(self.target.width)
        known = high - low if low is not None and high is not None else 0
        self._stride = max(self._width, known)
        self._reached: int | None = None

    def nominate(self) -> tuple[int, float] | None:
        """Load (index) and duration in seconds of the trial wanted next; None when the goal has its
        bounds."""
        while True:
            lower, upper = self._records.bounds(self.target)
            load = self._choose(lower, upper)
            if load is not None:
                return load, self.target.trial_s
            if len(self._targets) == 1:
                return None
            self._targets.pop(0)
            self._begin(lower, upper)

    def _choose(self, lower: int | None, upper: int | None) -> int | None:
        if self.done(lower, upper):
            return None
        floor = -1 if lower is None else lower
        ceiling = self._grid.last + 1 if upper is None else upper
        # What the target before this one settled on is the best guess: its middle if that is all that is missing.
        guesses = [self._low, self._high]
        if (
            self._low is not None
            and self._high is not None
            and self._width < self._high - self._low <= 2 * self._width
        ):
            guesses.insert(0, (self._low + self._high) // 2)
        for guess in guesses:
            if guess is not None and floor < guess < ceiling:
                return guess
        if lower is None or upper is None:
            return self._reach(lower, upper)
        middle = (lower + upper) // 2
        # One bound lies on the wrong side of the guesses: the goal is near it, and the other bound may be far.
        if self._low is not None and upper <= self._low:
            return max(middle, self._reach(None, upper))
        if self._high is not None and lower >= self._high:
            return min(middle, self._reach(lower, None))
        return middle

    def done(self, lower: int | None, upper: int | None) -> bool:
        """Whether these bounds are all that the current target can want."""
        if lower is not None and upper is not None:
            return upper - lower <= self._width
        return upper == 0 or lower == self._grid.last

    def _reach(self, lower: int | None, upper: int | None) -> int:
        """A load beyond the only bound that is known; each failure to find the other makes the next stride
        longer."""
        bound = upper if lower is None else lower
        assert bound is not None
        if bound == self._reached:
            self._stride *= self.goal.expansion
        if lower is None:
            load = bound - self._stride
            load = 0 if load < self._width else load
        else:
            load = bound + self._stride
            load = self._grid.last if load > self._grid.last - self._width else load
        self._reached = load
        return load
