# SPDX-License-Identifier: GPL-2.0-only
"""What must be known with a comparison's figures: grades and why, what was set aside, outliers, places of loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kbench.explain.answer import join, number, rate, share
from kbench.explain.compare import resolution
from kbench.explain.comparison import Comparison, Ledger, Row
from kbench.explain.grade import MEANING, Grade, Letter
from kbench.explain.stats import claim
from kbench.places import PLACES

NOT_IN_THE_LIST = "The program that counted it documents this name."


@dataclass(frozen=True)
class Reason:
    """A reason of grades, with the results that it is about."""

    letter: Letter
    """The best grade that it leaves. A: noted, without a consequence."""
    whose: str
    saw: str


@dataclass(frozen=True)
class Result:
    """A graded result. A datapath can have several, of which `name` tells which."""

    datapath: str
    name: str
    grade: Grade


def whose(names: Iterable[str], everyone: Iterable[str]) -> str:
    """The names in words, each once; "all" if they are all of several."""
    mine, every = list(dict.fromkeys(names)), list(dict.fromkeys(everyone))
    return "all" if len(mine) == len(every) > 1 else join(mine)


def reasons(results: Sequence[Result]) -> list[Reason]:
    """Why the grades are what they are, each reason once, worst first."""
    about: dict[tuple[Letter, str], list[Result]] = {}
    for result in results:
        for reason in result.grade.reasons:
            about.setdefault((reason.worst, reason.saw), []).append(result)
    count = Counter(result.datapath for result in results)
    found = []
    for (letter, saw), mine in sorted(about.items(), key=lambda item: item[0][0], reverse=True):
        hit = Counter(result.datapath for result in mine)
        # A datapath stands for all its results.
        names = [r.datapath if hit[r.datapath] == count[r.datapath] else r.name for r in mine]
        found.append(Reason(letter, whose(names, [r.datapath for r in results]), saw))
    return found


def meanings(results: Iterable[Result]) -> list[tuple[Letter, str]]:
    """What the grades that occur let a reader do, best first."""
    return [(letter, MEANING[letter]) for letter in sorted({result.grade.letter for result in results})]


def graded(comparison: Comparison) -> list[Result]:
    """The rows whose figures have a grade."""
    return [Result(r.datapath, r.datapath, r.grade) for r in comparison.rows if r.figure is not None]


def remarks(comparison: Comparison) -> list[str]:
    """Sentences: generator-limited figures, what is not told apart and what that needs, set aside, outliers."""
    rows = comparison.rows
    found = []
    limited = [f"{r.datapath} ({share(r.ceiling_share)})" for r in rows if r.generator_limited]
    if limited and comparison.ceiling is not None:
        found.append(
            f">= generator-limited: {join(limited)} of the {rate(comparison.ceiling.value)} that the generator can"
            " offer here into a bare drop; the datapath may be faster."
        )
    at_line = [f"{r.datapath} ({share(r.line_share)})" for r in rows if r.line_limited]
    if at_line:
        found.append(f">= at line rate: {join(at_line)} of what the link carries.")
    if comparison.disturbed:
        found.append(
            "The machine was hardly ever kbench's alone: contaminated trials are scored as well, for want of others."
        )
    return found + _claims(comparison) + _aside(rows) + _outliers(comparison)


def _claims(comparison: Comparison) -> list[str]:
    found = []
    for row in comparison.rows:
        if row.ratio is None or row.told_apart or row.datapath == comparison.reference:
            continue
        if comparison.kind == "exact":
            continue
        said = claim(row.ratio, resolution(comparison.kind))
        text = str(said)
        if said.beyond is not None:
            text = f"no difference beyond {said.beyond * 100:.2g} %"
        found.append(f"~ {row.datapath} against {comparison.reference}: {text}.")
    return found


def _aside(rows: list[Row]) -> list[str]:
    parts = []
    warm_ups = sum(r.warm_ups for r in rows)
    if warm_ups:
        parts.append(f"{warm_ups} warm-up{'' if warm_ups == 1 else 's'} (the first of each block)")
    contaminated = [r for r in rows if r.contaminated_trials]
    if contaminated:
        count = sum(r.contaminated_trials for r in contaminated)
        why = list(dict.fromkeys(reason for r in contaminated for reason in r.contaminated))
        names = join([f"{r.datapath} {r.contaminated_trials}" for r in contaminated])
        parts.append(f"{count} contaminated ({'; '.join(why)}: {names})")
    invalid = [r for r in rows if r.invalid_scored]
    if invalid:
        names = join([f"{r.datapath} {r.invalid_scored}" for r in invalid])
        parts.append(f"{sum(r.invalid_scored for r in invalid)} invalid ({names})")
    return [f"Trials set aside: {', '.join(parts)}."] if parts else []


OUTLIERS_SHOWN = 4


def _outliers(comparison: Comparison) -> list[str]:
    """One sentence; the report's chart has them all as points."""
    told = []
    for row in comparison.rows:
        for outlier in sorted(row.outliers, key=lambda o: -abs(o.deviations)):
            off = f"{abs(outlier.off - 1) * 100:.2g} % {'low' if outlier.off < 1 else 'high'}"
            value = rate(outlier.value) if comparison.timed else number(outlier.value)
            told.append(f"{row.datapath} round {outlier.round} (block {outlier.block}): {value}, {off}")
    if not told:
        return []
    more = len(told) - OUTLIERS_SHOWN
    text = "; ".join(told[:OUTLIERS_SHOWN]) + (f"; and {more} more" if more > 0 else "")
    return [f"Outliers, kept in all figures: {text}."]


@dataclass(frozen=True)
class LostAt:
    """One place where packets were lost."""

    place: str
    meaning: str
    by_datapath: dict[str, int]
    total: int


def lost_at(ledgers: Iterable[tuple[str, Ledger]]) -> list[LostAt]:
    """Where packets got lost, by named place, most first."""
    found: dict[str, dict[str, int]] = {}
    for datapath, ledger in ledgers:
        for name, count in ledger.lost_by.items():
            if count:
                found.setdefault(name, {})[datapath] = count
    made = [
        LostAt(name, PLACES.get(name, NOT_IN_THE_LIST), counts, sum(counts.values()))
        for name, counts in found.items()
    ]
    return sorted(made, key=lambda lost: -lost.total)
