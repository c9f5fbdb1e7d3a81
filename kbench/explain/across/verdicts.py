# SPDX-License-Identifier: GPL-2.0-only
"""What may be said of each figure that both runs have: changed, no change, not enough data; or why nothing is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from kbench.explain.across.metrics import Figure
from kbench.explain.across.ratios import ratio
from kbench.explain.across.result import WORDS, Change, Metric
from kbench.explain.answer import rate
from kbench.explain.stats import Claim, claim

ALIKE_LOADS: Mapping[Metric, float] = {"p50": 0.05, "p99": 0.05, "cpu-at-load": 0.02}
"""Loads that a method chose may differ by this share. At half of what a path carries, latency that is mostly queueing
(M/D/1) changes by 0.7 % for each 1 % of load; CPU time that is mostly wake-ups changes by 1 %."""


def why_unlike(base: Figure, head: Figure) -> str | None:
    """Why two figures of one name are answers to different questions; None if they are not."""
    for what, was in base.asked.items():
        is_ = head.asked.get(what)
        if was != is_:
            return f"{what} is {was} in BASE and {is_} in HEAD"
    limit = ALIKE_LOADS.get(base.metric)
    if limit is not None and base.at_pps and head.at_pps:
        apart = abs(math.log(head.at_pps / base.at_pps))
        if apart > math.log1p(limit):
            return f"it is at {rate(base.at_pps)} in BASE and at {rate(head.at_pps)} in HEAD"
    if min(*base.values.values(), *head.values.values()) <= 0:
        return "not all of its values are above 0, so they have no ratio"
    if base.at_least and head.at_least:
        return "in both runs it is at the generator's limit"
    return None


def named(figure: Figure) -> str:
    """A figure in words."""
    metric = "" if figure.metric in ("rate", "instructions") else f" {WORDS[figure.metric].name}"
    at = f" {figure.at}" if figure.at else ""
    return f"{figure.datapath}{metric}{at} on {figure.work}"


def change(base: Figure, head: Figure, level: float) -> Change | str:
    """The verdict; a clause where the generator's limit leaves none."""
    made, more = ratio(head, base, level)
    resolution = max(base.resolution, head.resolution)
    said = claim(made, resolution)
    gap = next(
        (f"{figure.gap} in {run}" for figure, run in ((base, "BASE"), (head, "HEAD")) if figure.gap), None
    )
    notes = [*dict.fromkeys((*base.notes, *head.notes))]
    if gap is not None:
        # A search without a rate lies below all others: no interval holds it.
        made = dataclasses.replace(made, low=None, high=None, reason=gap)
        said = Claim("not enough data")
        notes.append(gap)
    elif base.at_least or head.at_least:
        limited = "BASE" if base.at_least else "HEAD"
        # The limited run's true rate is higher: a ratio is a bound, and only one direction is shown by it.
        if said.outcome != "changed" or (made.value < 1) != base.at_least:
            return f"{limited} is at the generator's limit"
        notes.append(f"{limited} is at the generator's limit: the change is at least this")
    elif said.outcome == "not enough data":
        said = dataclasses.replace(said, more=more, unit="repeat" if head.noun == "repeat" else "block")
    word = WORDS[base.metric]
    work = head.work
    return Change(
        work.part, work.kind, work.case_id, work.generator, work.load_pps, head.datapath, head.metric,
        base.estimate, head.estimate, made, resolution, said, (base.letter, head.letter),
        (made.value > 1) == word.higher_is_better if said.outcome == "changed" else None,
        head.at, tuple(notes),
    )  # fmt: skip


def other_grades(changes: Sequence[Change]) -> list[str]:
    """Figures that were not made under like conditions: of several with the same two grades, the first."""
    found: dict[tuple[Any, ...], str] = {}
    for c in changes:
        if c.grades[0] != c.grades[1]:
            ranked = c.metric in ("rate", "instructions")
            what = c.datapath if ranked else f"{WORDS[c.metric].name} of {c.datapath}"
            text = (
                f"{what} on {c.case_id} ({c.part}) is graded {c.grades[0]} in BASE and {c.grades[1]} in HEAD"
            )
            found.setdefault((c.datapath, c.case_id, c.part, c.grades), text)
    return list(found.values())
