# SPDX-License-Identifier: GPL-2.0-only
"""How far a result can be trusted: a grade from A to F by a table of rules, each with what it saw."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Letter = Literal["A", "B", "C", "D", "E", "F"]
MEANING: dict[Letter, str] = {
    "A": "can be quoted as this machine's figure",
    "B": "can be quoted with the conditions named",
    "C": "ratios within this run hold; absolute figures do not carry elsewhere",
    "D": "only large differences within this run hold",
    "E": "an indication, nothing to decide by",
    "F": "no figure",
}
"""What each grade lets a reader do."""


@dataclass(frozen=True)
class Reason:
    """A rule that fired: its name, what it saw, and the best grade that it leaves."""

    rule: str
    """Short and stable, for example ``virtual-machine``; docs/method.md lists them."""
    saw: str
    """A clause without full stop, for people."""
    worst: Letter
    """The result can't be graded better than this. A: noted, without a consequence."""


@dataclass(frozen=True)
class Grade:
    """The worst that any rule leaves; `reasons` holds all that fired, worst first."""

    letter: Letter = "F"
    reasons: list[Reason] = field(default_factory=list)

    @property
    def meaning(self) -> str:
        """What a reader may do with a result of this grade."""
        return MEANING[self.letter]

    @property
    def deciding(self) -> list[Reason]:
        """The reasons that made it this grade and no better; none for an A."""
        return [r for r in self.reasons if r.worst == self.letter and r.worst != "A"]
