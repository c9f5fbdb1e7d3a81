# SPDX-License-Identifier: GPL-2.0-only
"""Two runs side by side: what changed from BASE to HEAD, and what else differs between them.

Runs share no round, so nothing is paired: drift between them is in the figures, and is said with them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kbench.explain.grade import Letter
from kbench.explain.stats import Claim, Estimate
from kbench.model import Kind


@dataclass(frozen=True)
class Difference:
    """A fact, setting or version that is not the same in both runs; None: not recorded."""

    part: str
    what: str
    base: str | None
    head: str | None


@dataclass(frozen=True)
class Change:
    """One figure in both runs: HEAD over BASE."""

    part: str
    kind: Kind
    case_id: str
    generator: str
    load_pps: float | None
    datapath: str
    base: Estimate
    head: Estimate
    ratio: Estimate
    """HEAD's figure over BASE's: above 1 is faster (wall clock) or more instructions (exact)."""
    claim: Claim
    grades: tuple[Letter, Letter]
    better: bool | None
    """For a change that is claimed: whether it is one for the better."""


@dataclass
class AcrossResult:
    """What `compare_runs` found."""

    base_id: str
    head_id: str
    forced: list[str] = field(default_factory=list)
    """What speaks against the comparison and was overruled by force; empty if nothing does."""
    differences: list[Difference] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    only_base: list[str] = field(default_factory=list)
    """Figures that HEAD does not have, in words."""
    only_head: list[str] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)
