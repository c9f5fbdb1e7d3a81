# SPDX-License-Identifier: GPL-2.0-only
"""What a comparison of two runs says in sentences: for the terminal and for the page."""

from __future__ import annotations

from kbench.explain.across.metrics import shown
from kbench.explain.across.result import WORDS, AcrossResult, Change, Work
from kbench.explain.answer import join

STATES = ("worse", "better", "no change", "not enough data")


def headline(result: AcrossResult) -> str:
    """The answer: how many figures changed, and which way."""
    counts, total = result.counts, len(result.changes)
    if not total:
        return "Not one figure of the two runs can be judged."
    said = [f"{_are(counts[state])} {state}" for state in ("worse", "better") if counts[state]]
    if counts["no change"]:
        beyond = max(c.claim.beyond or 0.0 for c in result.changes if c.claim.outcome == "no change")
        said.append(f"{_are(counts['no change'])} unchanged (none beyond {beyond * 100:.2g} %)")
    if counts["not enough data"]:
        said.append(f"of {counts['not enough data']} nothing can be said yet")
    return f"{total} figure{'' if total == 1 else 's'} compared: {join(said)}."


def _are(count: int) -> str:
    return f"{count} {'is' if count == 1 else 'are'}"


def causes(result: AcrossResult) -> str:
    """What else than the code under test may be behind a change."""
    names = list(dict.fromkeys(d.cause for d in result.differences))
    claimed = any(c.better is not None for c in result.changes)
    if result.same_sources:
        so = ", so what changed is not their code" if claimed else ""
        return f"{_differ(names, claimed)} The datapaths' sources are the same in both{so}."
    return _differ(names, claimed)


def _differ(names: list[str], claimed: bool) -> str:
    if not names:
        return "Nothing else that is recorded differs between the runs."
    end = "each a possible cause of what changed" if claimed else "each could hide or make a change"
    return f"The runs differ in more than their figures: {join(names)}; {end}."


def how_sure(result: AcrossResult) -> str:
    """What the intervals are, in words."""
    return (
        f"Intervals hold all together at {result.family_level * 100:.3g} % ({result.level * 100:.4g} % each,"
        f" {result.family} figures), and are what is judged. Changes below what a figure resolves"
        " (2 % wall clock, 0.2 % instructions, more where it says so) are not claimed."
    )


def by_work(result: AcrossResult) -> dict[Work, list[Change]]:
    """Changes in their order, by what was done where."""
    found: dict[Work, list[Change]] = {}
    for item in result.changes:
        found.setdefault(item.work, []).append(item)
    return found


def metric(item: Change) -> str:
    """The metric's name, with its load where that is the method's choice."""
    return f"{WORDS[item.metric].name} {item.at}".strip()


def sides(item: Change) -> tuple[str, str]:
    """The figure in BASE and in HEAD."""
    return shown(item.metric, item.base.value), shown(item.metric, item.head.value)


def interval(item: Change) -> str:
    """``0.812 [0.790, 0.835]``, with the digits that it can carry."""
    ratio = item.ratio
    digits = 4 if item.metric == "instructions" else 3
    if ratio.low is None or ratio.high is None:
        return f"{ratio.value:.{digits}f}"
    return f"{ratio.value:.{digits}f} [{ratio.low:.{digits}f}, {ratio.high:.{digits}f}]"


def state(item: Change) -> str:
    """One of STATES."""
    if item.better is None:
        return item.claim.outcome
    return "better" if item.better else "worse"


def spoken(item: Change) -> str:
    """A change in a clause: for text alternatives."""
    base, head = sides(item)
    return f"{item.datapath} {metric(item)} {base} to {head}, ratio {interval(item)}: {item.verdict}"
