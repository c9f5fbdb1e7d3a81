# SPDX-License-Identifier: GPL-2.0-only
"""Repeats of a method put together: which trials count, the interval over repeats, and the grade."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from kbench.explain import stats
from kbench.explain.comparison import USERSPACE
from kbench.explain.grade import Evidence, Grade
from kbench.explain.grade_rules import grade
from kbench.explain.nic import topology
from kbench.explain.stats import Estimate
from kbench.model import Kind, Trial
from kbench.store import Run


@dataclass(frozen=True)
class Judge:
    """Grades what the methods found, by the rules and facts that the comparison's rates are graded by."""

    run: Run
    part: str
    case_id: str

    @property
    def claims(self) -> bool:
        """Whether figures are set against each other here: not so by an emulated clock."""
        return all(p.kind != "emulated" for p in self.run.parts if p.name == self.part)

    def __call__(
        self,
        datapath: str,
        purpose: str,
        figure: Estimate | None,
        ratio: Estimate | None = None,
        ceiling_share: float | None = None,
    ) -> Grade:
        """The grade of a figure that rests on this datapath's trials of a purpose."""
        run = self.run
        mine = [
            t for t in run.trials
            if (t.part, t.case_id, t.datapath, t.purpose) == (self.part, self.case_id, datapath, purpose)
            and not t.warm_up
        ]  # fmt: skip
        proofs = [
            v.passed for v in run.verifications
            if (v.part, v.case_id, v.datapath) == (self.part, self.case_id, datapath)
        ]  # fmt: skip
        scored = usable_or_all(mine)
        disturbed = any(t.contaminated for t in scored)
        kind: Kind = mine[0].kind if mine else "wall"
        wired = next((topology(p) for p in run.parts if p.name == self.part), None)
        line_share = None
        if wired is not None and figure is not None and mine and purpose == "search":
            line = wired.line_rate_pps(mine[0].function, mine[0].frame_bytes)
            line_share = figure.value / line if line else None
        return grade(
            Evidence(
                kind=kind,
                userspace=datapath in USERSPACE,
                facts=run.facts.get(self.part, {}),
                scored=scored,
                disturbed=disturbed,
                contaminated=0 if disturbed else sum(t.valid and bool(t.contaminated) for t in mine),
                invalid=sum(not t.valid for t in mine),
                figure=figure,
                ratio=ratio,
                ceiling_share=ceiling_share,
                line_share=line_share,
                nic=wired,
                verified=proofs[-1] if proofs else None,
            )
        )


def usable_or_all(trials: list[Trial]) -> list[Trial]:
    """The trials that a figure rests on: those without disturbance, or all valid ones if that leaves less than half.

    Methods that can't get an undisturbed trial take what they get, and count it.
    """
    valid = [t for t in trials if t.valid and not t.warm_up]
    clean = [t for t in valid if not t.contaminated]
    return clean if len(clean) * 2 >= len(valid) else valid


def over_repeats(values: Mapping[int, float | None], noun: str = "repeat") -> Estimate | None:
    """The middle of one value per repeat, with its interval over repeats; repeats without a value are left out."""
    known = {repeat: value for repeat, value in values.items() if value is not None}
    return one_repeat(stats.median_ci(list(known.values()), noun, list(known)), noun)


def one_repeat(estimate: Estimate | None, noun: str = "repeat") -> Estimate | None:
    """Of a single repeat there is no interval: it takes more of them, but not as many as trials of one block."""
    if estimate is None or estimate.blocks > 1:
        return estimate
    why = f"1 {noun}: an interval needs {stats.MIN_BLOCKS}"
    needed = stats.MIN_BLOCKS - 1
    return dataclasses.replace(estimate, low=None, high=None, reason=why, needed=needed, noun=noun)
