# SPDX-License-Identifier: GPL-2.0-only
"""The comparison in the terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from kbench.explain.answer import answer, case_title, missing, notices_for, number, place, share, time_ns
from kbench.explain.compare import compare
from kbench.explain.comparison import Comparison, Row
from kbench.explain.methods import beside
from kbench.explain.notes import Result, graded, lost_at, meanings, reasons, remarks
from kbench.explain.sheets import Column, Sheet, interval
from kbench.explain.summary import summary
from kbench.store import Run

__all__ = ["figure_cell", "interval", "plain", "print_tables", "ratio_cell", "render", "summary", "table"]

WIDE = 120
"""From this many columns on, the table has its less important columns too."""
WIDER = 140
"""From this many on, intervals that are no one's ranking."""

NOTEWORTHY = "C"
"""The best grade whose reasons the terminal always tells."""


def plain(text: str) -> str:
    """Text for a terminal: control characters (a hostile host name) are shown, never obeyed."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", lambda m: f"\\x{ord(m[0]):02x}", text)


def ratio_cell(row: Row, reference: str | None, digits: int) -> str:
    """The ratio column, with a mark where it says nothing."""
    if row.datapath == reference:
        return "reference"
    text = interval(row.ratio, digits=digits)
    return f"{text} ~" if row.told_apart is False else text


def figure_cell(row: Row, scale: float) -> str:
    """The figure; marked where the generator or the wire may be what was measured."""
    text = interval(row.figure, scale)
    return f">={text}" if row.at_least else text


def table(comparison: Comparison, width: int) -> Table:
    """The comparison as a table for a terminal of `width` columns."""
    wide = width >= WIDE
    kind = comparison.kind
    columns = ["offered", "forwarded", "dropped", "lost"]
    against = [f"x {comparison.reference}"] if comparison.claims else []
    unit, scale = comparison.unit
    if comparison.timed:
        columns = [unit, *against, "DUT ns", "lost"]
        columns += ["p50", "p99", "max"] if wide else []
    elif kind == "exact":
        columns = ["instructions", *against, "lost"]
    graded = [] if kind == "functional" else ["grade"]
    made = _empty([Column("datapath", number=False), *(Column(name) for name in (*columns, *graded, "n"))])
    for row in comparison.rows:
        cells = [row.datapath]
        if row.missing:
            cells += ["-"] * (len(columns) + len(graded))
        elif kind == "functional":
            ledger = row.ledger
            amounts = (ledger.offered, ledger.forwarded, sum(ledger.dropped.values()), ledger.lost)
            cells += [f"{n:,}" for n in amounts]
        else:
            exact = number(row.figure.value) if row.figure else "-"
            cells.append(figure_cell(row, scale) if comparison.timed else exact)
            if comparison.claims:
                cells.append(ratio_cell(row, comparison.reference, 2 if kind == "wall" else 3))
            if comparison.timed:
                short = number(row.dut_ns.value) if row.dut_ns else "-"
                cells.append(interval(row.dut_ns) if width >= WIDER else short)
            cells.append(share(row.loss_share))
            if comparison.timed and wide:
                quick = row.latency
                cells += [time_ns(quick.percentiles_ns[p]) if quick else "-" for p in ("50", "99")]
                cells.append(time_ns(quick.max_ns) if quick else "-")
            cells.append(row.grade.letter)
        made.add_row(*(Text(plain(c)) for c in (*cells, str(row.valid))))
    return made


def _empty(columns: Sequence[Column]) -> Table:
    made = Table(box=box.SIMPLE, pad_edge=False, collapse_padding=True, padding=(0, 1))
    for column in columns:
        if column.number:
            made.add_column(plain(column.name), justify="right", overflow="fold")
        else:
            made.add_column(plain(column.name), no_wrap=True)
    return made


def sheet(item: Sheet, width: int) -> list[RenderableType]:
    """A method's table, or its sentences alone, for a terminal of `width` columns."""
    shown = [n for n, column in enumerate(item.columns) if width >= WIDE or not column.wide]
    parts: list[RenderableType] = [Text(plain(item.title), style="bold")]
    if item.lines:
        made = _empty([item.columns[n] for n in shown])
        for line in item.lines:
            made.add_row(*(Text(plain(line.cells[n])) for n in shown))
        parts.append(made)
    return [*parts, *(Text(plain(note)) for note in item.notes)]


def _reasons(results: Sequence[Result], told: set[str]) -> list[RenderableType]:
    """Why the grades are what they are; `told` are reasons that stand further up already.

    Reasons that leave a better grade than any result has are many and decide nothing: the report has them.
    """
    lines: dict[tuple[str, str], list[str]] = {}
    above = lesser = 0
    best = min((result.grade.letter for result in results), default="A")
    for reason in reasons(results):
        if reason.letter < min(best, NOTEWORTHY):
            lesser += 1
            continue
        text = f"{reason.letter} {reason.whose}: {reason.saw}"
        if text in told:
            above += 1
            continue
        told.add(text)
        lines.setdefault((reason.letter, reason.whose), []).append(reason.saw)
    if not lines and not above:
        return []
    letters = [f"{letter}: {meaning}" for letter, meaning in meanings(results)]
    new = [text for text in letters if text not in told]
    told.update(new)
    start = f"Grade {'; '.join(new)}. Because:" if new else "Grades, because:"
    grid = Table.grid(padding=(0, 1, 0, 1))
    for (letter, whose), saw in lines.items():
        grid.add_row(letter, Text(plain(f"{whose}: {'; '.join(saw)}")))
    for count, where in ((above, "from above"), (lesser, "of less weight, in the report")):
        if count:
            grid.add_row("", Text(f"and {count} reason{'' if count == 1 else 's'} {where}"))
    return [Text(start), grid]


def render(run: Run, width: int) -> RenderableType:
    """All comparisons of a run, answers first, and with each what the methods found about the same work."""
    parts: list[RenderableType] = []
    comparisons = compare(run)
    told: set[str] = set()
    for comparison, methods in zip(comparisons, beside(run, comparisons), strict=True):
        title = case_title(comparison.function, comparison.frame_bytes, comparison.case, comparison.case_id)
        parts.append(Text(plain(f"{place(comparison)} ({comparison.kind}): {title}"), style="bold"))
        said = answer(comparison, methods.said)
        if comparison.ranks:
            parts.append(table(comparison, width))
        parts.append(Text(plain(" ".join([said.headline, *said.caveats]))))
        if comparison.ranks:
            parts += [Text(plain(text)) for text in remarks(comparison)]
            if comparison.kind == "exact" and any(r.told_apart is False for r in comparison.rows):
                parts.append(Text("~ not told apart from the reference", style="dim"))
            parts += _reasons(graded(comparison), told)
        for lost in lost_at((r.datapath, r.ledger) for r in comparison.rows):
            whose = ", ".join(f"{name} {count:,}" for name, count in lost.by_datapath.items())
            parts.append(Text(plain(f"Lost at {lost.place}: {whose}. {lost.meaning}")))
        for text in notices_for(run, comparison.part.name):
            if text not in told:
                parts.append(Text(plain(f"note: {text}"), style="yellow"))
                told.add(text)
        parts.append(Text(""))
        for item in methods.sheets:
            parts += [*sheet(item, width), *_reasons(item.grades, told), Text("")]
    parts += [Text(plain(f"note: {t}"), style="yellow") for t in notices_for(run, None)]
    parts += [Text(plain(t), style="yellow") for t in missing(run, comparisons)]
    return Group(*parts)


def print_tables(run: Run, console: Console) -> None:
    """Print the run's comparisons, fitted to the console's width."""
    console.print(render(run, console.width), highlight=False)
