# SPDX-License-Identifier: GPL-2.0-only
"""A comparison of two runs as a page: HTML, and the same as PDF.

What draws takes a second to load, so it is loaded only here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kbench.explain.across import words
from kbench.explain.across.result import AcrossResult, Change, Work, exit_code

if TYPE_CHECKING:
    from kbench.explain.figures.base import Chart
    from kbench.explain.report.tables import Table

TEMPLATE = "compare.html.j2"
EXIT_CODES = {
    0: "nothing is worse",
    10: "a regression is claimed",
    11: "no regression is claimed, but of some figures nothing can be said",
}


def compare_html(result: AcrossResult) -> str:
    """One self-contained file."""
    return _page(result, paged=False)


def compare_pdf(result: AcrossResult) -> bytes:
    """The same content on A4. EnvironmentProblem without WeasyPrint."""
    from kbench.explain.report.page import page_pdf

    return page_pdf(_page(result, paged=True))


def charts(result: AcrossResult) -> list[Chart]:
    """The forest plots."""
    from kbench.explain.across.forest import charts as forests

    return forests(result)


def _page(result: AcrossResult, *, paged: bool) -> str:
    from kbench.explain.report.page import page_html

    by_work = words.by_work(result)
    context: dict[str, Any] = {
        "result": result,
        "headline": words.headline(result),
        "worse": [f"{words.spoken(item)}, on {item.work}" for item in result.worse],
        "causes": words.causes(result),
        "how_sure": words.how_sure(result),
        "differences": _differences(result) if result.differences else None,
        "tables": [_table(work, changes) for work, changes in by_work.items()],
        "charts": charts(result),
        "exit_code": exit_code(result),
        "exit_words": EXIT_CODES[exit_code(result)],
    }
    return page_html(TEMPLATE, paged=paged, **context)


def _differences(result: AcrossResult) -> Table:
    from kbench.explain.report.tables import Cell, Head, Table

    heads = [Head(name, number=False) for name in ("possible cause", "where", "what", "BASE", "HEAD")]
    rows = [
        [Cell(d.cause), Cell(d.part), Cell(d.what), Cell(d.base or "unknown"), Cell(d.head or "unknown")]
        for d in result.differences
    ]
    return Table("What else differs between the runs", heads, rows)


def _table(work: Work, changes: list[Change]) -> Table:
    from kbench.explain.report.tables import Cell, Head, Table, datapath_cell

    names = ("datapath", "figure", "BASE", "HEAD", "HEAD / BASE", "verdict", "grades")
    heads = [Head(name, number=name in ("BASE", "HEAD", "HEAD / BASE")) for name in names]
    rows = []
    for item in changes:
        base, head = words.sides(item)
        rows.append([
            datapath_cell(item.datapath),
            Cell(words.metric(item)),
            Cell(base, item.base.value),
            Cell(head, item.head.value),
            Cell(words.interval(item), item.ratio.value),
            Cell(item.verdict, bad=item.better is False),
            Cell("/".join(item.grades)),
        ])  # fmt: skip
    notes = [
        f"{', '.join(dict.fromkeys(f'{c.datapath} {words.metric(c)}' for c in changes if note in c.notes))}: {note}."
        for note in dict.fromkeys(note for c in changes for note in c.notes)
    ]
    return Table(str(work), heads, rows, notes)
