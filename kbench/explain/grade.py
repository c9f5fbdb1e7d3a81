# SPDX-License-Identifier: GPL-2.0-only
"""How far a result can be trusted: a grade from A to F with reasons, and the evidence that it is judged by.

The rules themselves are in kbench.explain.grade_rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

from kbench.explain.nic import Topology
from kbench.explain.stats import Estimate
from kbench.model import Kind, Trial

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


@dataclass
class Evidence:
    """All that the rules look at, for one datapath of one comparison."""

    kind: Kind
    userspace: bool = False
    """The datapath is a program with a CPU of its own."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Of the part's machine, as kbench.host.facts gathers them."""
    scored: Sequence[Trial] = ()
    """The trials that the figure rests on."""
    contaminated: int = 0
    disturbed: bool = False
    """Contaminated trials were scored as well, because too few others were left."""
    invalid: int = 0
    """Trials that would have been scored but for this."""
    figure: Estimate | None = None
    ratio: Estimate | None = None
    """To the reference; None for the reference itself."""
    ceiling_share: float | None = None
    line_share: float | None = None
    """The figure as a share of what the links carry; None where that is unknown, and on veth."""
    nic: Topology | None = None
    """The NICs that were measured on; None on veth."""
    verified: bool | None = None

    def fact(self, *path: str) -> Any:
        """A fact by its path; None where it was not recorded or could not be read."""
        found: Any = self.facts
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    def middle(self, name: str) -> float | None:
        """Median over the scored trials of one of their fields."""
        known = [value for t in self.scored if (value := getattr(t, name)) is not None]
        return median(known) if known else None

    def cpus(self) -> set[int]:
        """CPUs of the DUT's machine that the testbed gave work to, as the trials recorded them."""
        given = [cpus for t in self.scored if (cpus := t.raw.get("cpus"))]
        elsewhere = self.nic is not None and not self.nic.one_machine
        names = (
            *(() if elsewhere else ("generator",)),
            "receive",
            *(("application",) if self.userspace else ()),
        )
        found = {cpus[name] for cpus in given for name in names if name in cpus}
        if self.nic is not None:
            found |= {cpu for cpus in given for cpu in cpus.get("receive_all", ())}
        return found
