# SPDX-License-Identifier: GPL-2.0-only
"""The sections on throughput, loss and latency: per comparison what it has to show there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from kbench.explain import sheets
from kbench.explain.answer import number, place, rate, share, time_ns
from kbench.explain.comparison import PERCENTS, Comparison, Latency, Row
from kbench.explain.figures.base import Chart
from kbench.explain.notes import remarks
from kbench.explain.ports import latency_clocks
from kbench.explain.report.queues import scaling
from kbench.explain.report.tables import (
    Cell,
    Head,
    Table,
    count_cell,
    datapath_cell,
    from_sheet,
    grade_cell,
    number_cell,
    typeset,
)
from kbench.explain.report.works import Sweep, Work
from kbench.explain.sheets import Sheet
from kbench.explain.table import figure_cell, ratio_cell
from kbench.model import Case


@dataclass(frozen=True)
class Sub:
    """What one comparison has to show in a section."""

    id: str
    title: str
    kind: str
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    folded: Sequence[Table] = ()
    """Tables that open on demand."""

    def __bool__(self) -> bool:
        return bool(self.charts or self.tables or self.notes or self.folded)


@dataclass(frozen=True)
class Topic:
    """A section. Without anything to show it says so, and how to get it."""

    id: str
    title: str
    lead: str
    otherwise: str
    subs: Sequence[Sub] = field(default=())


def topic(id_: str, title: str, lead: str, otherwise: str, subs: Sequence[Sub]) -> Topic:
    """A section of the subs that have something to show."""
    return Topic(id_, title, lead, otherwise, [sub for sub in subs if sub])


def each(id_: str, works: Sequence[Work], make: Callable[[str, Work], Sub]) -> list[Sub]:
    """A sub-section for each comparison, with ids of the section's own."""
    return [make(f"{id_}-{work.prefix}", work) for work in works]


def throughput(works: Sequence[Work], sweeps: Sequence[Sweep]) -> Topic:
    """Rates: across cases first, then of each."""
    return topic(
        "throughput",
        "Throughput by frame size, rules and flows",
        "The maximum forwarding rate (RFC 2889) is what gets through at overload; throughput (RFC 1242) is the"
        " highest load without loss (NDR), or with a stated loss (PDR).",
        "This run holds no rate.",
        [*(_sweep(sweep) for sweep in sweeps), *each("throughput", works, _throughput)],
    )


def _throughput(id_: str, work: Work) -> Sub:
    made = work.comparison
    tables = []
    if made.ranks and made.kind != "functional":
        tables.append(_rates(work))
    notes: list[str] = []
    if work.methods.found is not None:
        found = work.methods.found
        for sheet in (sheets.throughput(found.bounds), sheets.bursts(found.bursts)):
            _put(sheet, work, tables, notes)
        _put(sheets.generator(found.generator), work, tables, notes)
        notes += [typeset(f"{text}.") for text in found.failed]
    charts = work.about("throughput")
    return Sub(id_, work.title, made.kind, charts, tables, notes)


def _put(sheet: Sheet | None, work: Work, tables: list[Table], notes: list[str]) -> None:
    """A sheet as a table, or its sentences."""
    if sheet is None:
        return
    table = from_sheet(sheet, work.short)
    if table is not None:
        tables.append(table)
    else:
        notes += [typeset(note) for note in sheet.notes]


def _rates(work: Work) -> Table:
    made = work.comparison
    unit, scale = made.unit
    heads = [
        Head("datapath", number=False), Head(f"rate, {unit}" if made.timed else "instructions/packet"),
        *([Head(f"× {made.reference}")] if made.claims else []), Head("least"), Head("most"), Head("lost"),
        Head("trials"), Head("grade"),
    ]  # fmt: skip
    rows = []
    for row in made.rows:
        if row.missing:
            rows.append(missing_row(row, len(heads)))
            continue
        rounds = [value / (scale if made.timed else 1) for value in row.by_round.values()]
        trials = f"{row.valid} of {row.valid + row.invalid_scored}" if row.invalid_scored else str(row.valid)
        rows.append([
            datapath_cell(row.datapath), figure(row, made), *([ratio_of(row, made)] if made.claims else []),
            number_cell(number(min(rounds))),
            number_cell(number(max(rounds))), number_cell(share(row.loss_share), row.loss_share),
            number_cell(trials, row.valid), grade_cell(row.grade.letter if row.figure else None),
        ])  # fmt: skip
    return Table(f"{'Rates' if made.timed else 'Instructions'}: {work.short}", heads, rows, _rate_notes(made))


def figure(row: Row, made: Comparison) -> Cell:
    """The ranked figure with its interval."""
    if made.timed:
        return number_cell(figure_cell(row, made.unit[1]), row.figure.value if row.figure else None)
    return number_cell(number(row.figure.value) if row.figure else "-")


def ratio_of(row: Row, made: Comparison) -> Cell:
    """The ratio to the reference."""
    text = ratio_cell(row, made.reference, 2 if made.kind == "wall" else 3)
    value = 1.0 if row.datapath == made.reference else row.ratio.value if row.ratio else None
    return number_cell(text, value)


def missing_row(row: Row, width: int) -> list[Cell]:
    """A datapath without a figure, and why."""
    return [datapath_cell(row.datapath), Cell(row.missing or "", span=width - 1)]


def _rate_notes(made: Comparison) -> list[str]:
    blocks = max((r.blocks for r in made.rows), default=0)
    if made.timed:
        kind = "" if blocks > 1 else "bootstrap "
        notes = [
            f"Medians; in brackets their 95 % {kind}interval."
            + (" Ratios are medians over paired rounds." if made.claims else "")
            + (f" Intervals are over {blocks} blocks: topologies built anew." if blocks > 1 else "")
        ]
        notes += [] if made.claims else ["By an emulated clock: no measure of speed, and not ranked."]
    else:
        notes = ["Medians; in brackets the smallest and largest. Least and most: of a round."]
    lacking = next((r.figure.reason for r in made.rows if r.figure and r.figure.low is None), None)
    if lacking:
        notes.append(f"No interval: {lacking}.")
    if any(r.told_apart is False for r in made.rows):
        notes.append("~ not told apart from the reference.")
    return notes + [typeset(text) for text in remarks(made)]


def _sweep(sweep: Sweep) -> Sub:
    """All cases of a part in one table, and the charts across them."""
    first = sweep.works[0].comparison
    claims, queues = first.claims, any(w.comparison.case and w.comparison.case.queues for w in sweep.works)
    heads = [
        Head("datapath", number=False), Head("function", number=False), Head("frame bytes"), Head("rules"),
        Head("routes"), Head("flows"), *([Head("queues")] if queues else []),
        Head(f"rate, {first.unit[0]}" if first.timed else "instructions/packet"),
        *([Head("ratio")] if claims else []), Head("grade"),
    ]  # fmt: skip
    rows = []
    for work in sweep.works:
        made = work.comparison
        case = made.case or Case(function=made.function, frame_bytes=made.frame_bytes)  # type: ignore[arg-type]
        rules = "file" if case.rules_file else f"{case.rules:,} {case.shape}" if case.rules else "0"
        routes = "file" if case.routes_file else f"{case.routes:,}"
        rows += [
            [
                datapath_cell(row.datapath), Cell(case.function), count_cell(case.frame_bytes),
                Cell(rules, case.rules), Cell(routes, case.routes), count_cell(case.flows),
                *([count_cell(case.queues)] if queues else []),
                figure(row, made), *([ratio_of(row, made)] if claims else []), grade_cell(row.grade.letter),
            ]
            for row in made.rows if row.figure is not None
        ]  # fmt: skip
    where = place(first)
    name = f"{sweep.run_name}: {where}" if sweep.run_name else where
    table = Table(
        f"All cases: {name}",
        heads,
        rows,
        ["Ratios are to the reference datapath of the same case."] if claims else [],
    )
    return Sub(
        f"throughput-{sweep.prefix}", f"{name}: all cases", first.kind, sweep.charts, [table, *scaling(sweep)]
    )


def loss(works: Sequence[Work]) -> Topic:
    """Loss by load."""
    return topic(
        "loss",
        "Loss by load",
        "What is lost of what each load called for (RFC 2544, 26.3). 100 % is the generator's own maximum.",
        "No loss curve was measured: kbench run --method loss-curve does. What was lost at maximum load stands in"
        " the ledger.",
        each("loss", works, _loss),
    )


def _loss(id_: str, work: Work) -> Sub:
    found = work.methods.found
    tables: list[Table] = []
    notes: list[str] = []
    if found is not None:
        _put(sheets.losses(found.curves), work, tables, notes)
    return Sub(id_, work.title, work.comparison.kind, work.about("loss"), tables, notes)


def latency(works: Sequence[Work]) -> Topic:
    """Percentiles and distributions."""
    return topic(
        "latency",
        "Latency",
        "From the generator's time stamp to the sink's, at a fixed rate that waits for nobody (open loop). In the"
        " chart each step of the axis is a tenth of the packets that are left.",
        "No latency was measured: kbench run --method latency does.",
        each("latency", works, _latency),
    )


def _latency(id_: str, work: Work) -> Sub:
    found = work.methods.found
    tables: list[Table] = []
    notes: list[str] = []
    if found is not None and found.latencies:
        _put(sheets.latency(found.latencies), work, tables, notes)
    elif any(row.latency for row in work.comparison.rows):
        tables.append(_percentiles(work))
    if tables:
        notes += latency_clocks(work.run, work.comparison.part.name)
    return Sub(id_, work.title, work.comparison.kind, work.about("latency"), tables, notes)


def _percentiles(work: Work) -> Table:
    heads = [
        Head("datapath", number=False), Head("load"), *(Head(f"p{p:g}") for p in PERCENTS), Head("max"),
        Head("samples"),
    ]  # fmt: skip
    rows, starred = [], False
    for row in work.comparison.rows:
        quick = row.latency
        if quick is None:
            continue
        starred = starred or quick.wake_up_included
        name = f"{row.datapath}*" if quick.wake_up_included else row.datapath
        loads = ", ".join("maximum" if load is None else rate(load) for load in quick.loads_pps)
        rows.append([
            datapath_cell(row.datapath, name), number_cell(loads), *_times(quick),
            number_cell(time_ns(quick.max_ns), quick.max_ns), count_cell(quick.samples),
        ])  # fmt: skip
    notes = ["A percentile is shown only when at least 10 samples lie beyond it."]
    if starred:
        notes.append("* The wake-up of another CPU or process is included.")
    return Table(f"Percentiles: {work.short}", heads, rows, notes)


def _times(quick: Latency) -> list[Cell]:
    values = [quick.percentiles_ns[f"{p:g}"] for p in PERCENTS]
    return [number_cell(time_ns(value), value) for value in values]
