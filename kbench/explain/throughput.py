# SPDX-License-Identifier: GPL-2.0-only
"""NDR and PDR of a case: the searches of all repeats put together, and set against the reference datapath."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from kbench.explain import stats
from kbench.explain.compare import REFERENCES, apart
from kbench.explain.grade import Grade
from kbench.explain.repeats import Judge, one_repeat, over_repeats
from kbench.explain.stats import Estimate
from kbench.model import Finding

Bounds = dict[int, tuple[float, float | None]]
"""Repeat -> lower and upper bound in packets/s; searches without a lower one are not in it."""


@dataclass(frozen=True)
class Bound:
    """One goal of one datapath, over all searches for it."""

    datapath: str
    goal: str
    """`ndr`, `pdr` or `throughput` (RFC 2544)."""
    loss_ratio: float
    search: str
    trial_s: float | None
    """Length of a trial that counts."""
    rate: Estimate | None
    """Relevant lower bound; its interval is over repeats and holds the search's own width. None: not reached."""
    at_least: bool
    """In some search the generator's maximum was carried: the rate is the generator's."""
    conditional_pps: float | None
    """Median of what came through at the lower bound; None where a search does not tell."""
    ratio: Estimate | None
    """To the reference, paired by repeat. None where the reference is only known to reach "at least" its rate."""
    reference: str | None
    told_apart: bool | None
    searches: int
    outcomes: dict[str, int]
    """found, at_max_load, not_reached, unfinished, failed -> how many searches."""
    min_load_pps: float | None
    max_load_pps: float | None
    by_repeat: Bounds
    grade: Grade

    @property
    def not_reached(self) -> int:
        """Searches that gave no rate."""
        return self.searches - len(self.by_repeat)


@dataclass
class _Goal:
    """The searches of one datapath for one goal."""

    name: str
    loss_ratio: float
    values: dict[int, dict[str, Any]]
    """Repeat -> what the search found for this goal, with the search's own keys."""
    failed: int = 0

    @property
    def bounds(self) -> Bounds:
        found: Bounds = {}
        for repeat, value in self.values.items():
            lower = value.get("lower_pps", value.get("passed_pps"))
            if lower is not None and value["outcome"] != "not_reached":
                found[repeat] = (lower, value.get("upper_pps", value.get("failed_pps")))
        return found

    @property
    def searches(self) -> int:
        return len(self.values) + self.failed

    @property
    def at_least(self) -> bool:
        return any(value["outcome"] == "at_max_load" for value in self.values.values())


def bounds(items: Mapping[str, list[Finding]], judge: Judge) -> list[Bound]:
    """All goals of all datapaths, the goals as they were asked for, in each the highest rate first."""
    goals = {datapath: _goals(mine) for datapath, mine in items.items()}
    found: list[Bound] = []
    for name in dict.fromkeys(n for mine in goals.values() for n in mine):
        asked = {datapath: mine[name] for datapath, mine in goals.items() if name in mine}
        rates = {datapath: _rate(goal) for datapath, goal in asked.items()}
        known = [datapath for datapath, rate in rates.items() if rate is not None]
        reference = next((r for r in REFERENCES if r in known), known[0] if known else None)
        reference = reference if judge.claims else None
        rows = []
        for datapath, goal in asked.items():
            base = asked[reference] if reference is not None else None
            rows.append(_bound(datapath, goal, rates[datapath], reference, base, items[datapath], judge))
        found += sorted(rows, key=lambda b: -b.rate.value if b.rate and judge.claims else 0.0)
    return found


def _goals(items: list[Finding]) -> dict[str, _Goal]:
    found: dict[str, _Goal] = {}
    failed = 0
    for item in items:
        if "failed" in item.values:
            failed += 1
            continue
        # tst009 has a single goal, whose keys lie beside the search's.
        for goal in item.values.get("goals", [item.values]):
            loss_ratio = float(goal["loss_ratio"])
            name = str(goal.get("goal", "pdr" if loss_ratio else "ndr"))
            one = found.setdefault(name, _Goal(name, loss_ratio, {}))
            one.values[item.repeat] = {**item.values, **goal}
    for goal in found.values():
        goal.failed = failed
    return found


def _rate(goal: _Goal) -> Estimate | None:
    """The relevant lower bound over all searches; None if most gave none."""
    known = goal.bounds
    missing = goal.searches - len(known)
    if missing:
        # A search without a rate lies below all others: the median stays honest, an interval can't be given.
        middle = sorted([0.0] * missing + [lower for lower, _ in known.values()])[(goal.searches - 1) // 2]
        why = f"{missing} of {goal.searches} searches gave no rate"
        return Estimate(middle, None, None, goal.searches, why, noun="repeat") if middle > 0 else None
    lowest = over_repeats({repeat: lower for repeat, (lower, _) in known.items()})
    highest = over_repeats({repeat: upper or lower for repeat, (lower, upper) in known.items()})
    if lowest is None or highest is None or lowest.low is None or highest.high is None:
        return lowest
    return dataclasses.replace(lowest, low=max(0.0, lowest.low), high=highest.high)


def _ratio(goal: _Goal, base: _Goal) -> Estimate | None:
    """Paired by repeat. The interval holds the widths of both searches."""
    if base.at_least or goal.searches != len(goal.bounds) or base.searches != len(base.bounds):
        return None
    repeats = goal.bounds.keys() & base.bounds.keys()
    blocks = {repeat: repeat for repeat in repeats}
    lower, upper, base_lower, base_upper = (
        {repeat: edge for repeat in repeats if (edge := pair[repeat][side] or pair[repeat][0])}
        for pair in (goal.bounds, base.bounds)
        for side in (0, 1)
    )
    middle = one_repeat(stats.paired_ratio(lower, base_lower, blocks))
    low, high = (
        stats.paired_ratio(one, other, blocks) for one, other in ((lower, base_upper), (upper, base_lower))
    )
    if middle is None or middle.low is None or low is None or high is None:
        return middle
    return dataclasses.replace(middle, low=low.low, high=high.high)


def _bound(
    datapath: str,
    goal: _Goal,
    rate: Estimate | None,
    reference: str | None,
    base: _Goal | None,
    items: list[Finding],
    judge: Judge,
) -> Bound:
    ratio = _ratio(goal, base) if rate is not None and base is not None and datapath != reference else None
    outcomes: dict[str, int] = {}
    for value in goal.values.values():
        outcomes[value["outcome"]] = outcomes.get(value["outcome"], 0) + 1
    if goal.failed:
        outcomes["failed"] = goal.failed
    some = next(iter(goal.values.values()))
    through = [v for value in goal.values.values() if (v := value.get("conditional_pps")) is not None]
    maximum = median(float(value["max_load_pps"]) for value in goal.values.values())
    share = 1.0 if goal.at_least else rate.value / maximum if rate else None
    return Bound(
        datapath,
        goal.name,
        goal.loss_ratio,
        str(some["search"]),
        some.get("final_trial_s", some.get("trial_s")),
        rate,
        goal.at_least,
        median(through) if through else None,
        ratio,
        reference,
        apart(ratio, "wall") if ratio is not None else None,
        goal.searches,
        outcomes,
        float(some["min_load_pps"]),
        maximum,
        goal.bounds,
        judge(datapath, "search", rate, ratio, share),
    )
