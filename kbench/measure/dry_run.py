# SPDX-License-Identifier: GPL-2.0-only
"""A plan in words: what would be measured, how long it takes, and by which sections of which standard."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from kbench.measure.plan import Options, Plan
from kbench.measure.profile import ASKS, RFC2544, deviations
from kbench.measure.schedule import Step, schedule

WIDTH = 100


def render(plan: Plan, options: Options, given: frozenset[str] = frozenset()) -> list[str]:
    """Lines of at most 100 columns; `given` as for `profile.apply`, whose result `options` is."""
    steps = schedule(plan, options, given)
    lines = _wrapped(f"where: {plan.why}", "")
    for notice in plan.notices:
        lines += _wrapped(notice, "note: ")
    for part in plan.parts:
        mine = [step for step in steps if step.part == part.name]
        lines += [""]
        lines += _wrapped(
            f"{part.name} ({part.kind}): {', '.join(part.datapaths)}; generator {part.generator},"
            f" placement {part.placement}",
            "",
        )
        lines += [*_by_method(mine), "", *_by_case(mine)]
    lines += ["", *_total(steps)]
    if options.profile == RFC2544:
        lines += ["", "what RFC 2544 asks for, by section, and what is done here:"]
        for ask in ASKS:
            lines += _wrapped(f"{ask.what}: {ask.here}", f"  {ask.section:<5} {ask.done:<8}")
        lines += ["", "what these results can't claim:"]
        for text in deviations(options, plan.parts):
            lines += _wrapped(text, "  - ")
    return lines


def duration(seconds: float) -> str:
    """Seconds in words, to about two digits: 45 s, 12 min, 3 h 10 min, 4 d 3 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(minutes / 60)
    return f"{hours // 24} d {hours % 24} h"


def _by_method(steps: Sequence[Step]) -> list[str]:
    """One line for each method and datapath, summed over cases."""
    rows = [("  method", "datapath", "follows", "repeats", "trials", "each", "about", "at most")]
    for what, datapath in dict.fromkeys((s.what, s.datapath) for s in steps if s.trials):
        same = [s for s in steps if (s.what, s.datapath) == (what, datapath)]
        repeats = {s.repeats for s in same}
        counts = (
            str(repeats.pop()) if len(repeats) == 1 else "",
            str(sum(s.trials for s in same)),
            f"{same[0].seconds_each:g} s",
        )
        rows.append((f"  {what}", datapath, same[0].sections, *counts, *_times(same)))
    notes = dict.fromkeys(f"{s.what}: {s.note}" for s in steps if s.note)
    return [*_aligned(rows, left=3), *(line for text in notes for line in _wrapped(text, "  note: "))]


def _by_case(steps: Sequence[Step]) -> list[str]:
    rows = [("  case", "trials", "about", "at most")]
    for case_id in dict.fromkeys(s.case_id for s in steps if s.case_id):
        same = [s for s in steps if s.case_id == case_id]
        rows.append((f"  {case_id}", str(sum(s.trials for s in same)), *_times(same)))
    return _aligned(rows, left=1)


def _total(steps: Sequence[Step]) -> list[str]:
    about, most = _times(steps)
    return _wrapped(
        f"{sum(s.trials for s in steps)} trials, about {about}, at most {most}, without building programs."
        " About: on a quiet machine; at most: if each disturbed trial is made again as often as it may be, and"
        " each search ends at its limit. Nothing was measured.",
        "in all: ",
    )


def _times(steps: Iterable[Step]) -> tuple[str, str]:
    listed = list(steps)
    return duration(sum(s.seconds for s in listed)), duration(sum(s.seconds_at_most for s in listed))


def _aligned(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Columns, the first `left` of them to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        " ".join(
            cell.ljust(w) if i < left else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _wrapped(text: str, head: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head) or "  ")
