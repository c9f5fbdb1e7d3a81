# SPDX-License-Identifier: GPL-2.0-only
"""The sections on CPU cost, on where every packet went, and on grades."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kbench.explain import probed, sheets, stages
from kbench.explain.answer import join, number, share
from kbench.explain.comparison import Row
from kbench.explain.grade import MEANING, Letter
from kbench.explain.notes import Result, graded, lost_at, reasons
from kbench.explain.report import ports, queues
from kbench.explain.report.tables import (
    Cell,
    Head,
    Table,
    count_cell,
    datapath_cell,
    estimate_cell,
    from_sheet,
    grade_cell,
    number_cell,
    typeset,
)
from kbench.explain.report.topics import Sub, Topic, each, topic
from kbench.explain.report.works import Work


def cpu(works: Sequence[Work]) -> Topic:
    """CPU time by state, per packet, and where it goes."""
    return topic(
        "cpu",
        "CPU",
        "Whole path: generator, links, datapath and sink. DUT: the same less what the generator alone takes into a bare"
        " drop. Shares by state are sampled at the timer's tick: they explain, and rank nothing.",
        "This run holds no CPU times.",
        each("cpu", works, _cpu),
    )


def _cpu(id_: str, work: Work) -> Sub:
    made = work.comparison
    tables: list[Table] = []
    notes: list[str] = []
    measured = [row for row in made.rows if row.figure is not None]
    if made.timed and made.ranks and measured:
        tables.append(_per_packet(work, measured))
    found = work.methods.found
    at_load = sheets.cpu(found.cpu) if found is not None else None
    for sheet in (stages.sheet(work.stages), at_load, probed.sheet(work.methods.probed)):
        table = from_sheet(sheet, work.short) if sheet is not None else None
        if table is not None:
            tables.append(table)
        elif sheet is not None:
            notes += [typeset(note) for note in sheet.notes]
    spread, told = queues.spread(work)
    everyone = [row.datapath for row in made.rows]
    lacking = sheets.grouped(((f"no stages: {why}", name) for name, why in work.unsampled.items()), everyone)
    return Sub(id_, work.title, made.kind, work.about("cpu"), [*tables, *spread], [*notes, *told, *lacking])


def _per_packet(work: Work, rows: Sequence[Row]) -> Table:
    counters = {item.datapath: item.values for item in work.methods.probed}
    cycles = any("cycles" in values for values in counters.values())
    heads = [
        Head("datapath", number=False), Head("DUT, ns/packet"), Head("whole path, ns/packet"),
        *([Head("cycles/packet")] if cycles else []), Head("others' CPU time"), Head("stolen"),
    ]  # fmt: skip
    cells = []
    for row in rows:
        mine = counters.get(row.datapath, {}).get("cycles")
        cells.append([
            datapath_cell(row.datapath), estimate_cell(row.dut_ns), estimate_cell(row.gross_ns),
            *([number_cell("-" if mine is None else number(mine), mine)] if cycles else []),
            number_cell(share(row.foreign_share), row.foreign_share),
            number_cell(share(row.steal_share), row.steal_share),
        ])  # fmt: skip
    notes = ["Medians over trials, in brackets their interval. Others' CPU time is a share of one CPU."]
    if not cycles:
        notes.append(
            "No cycles per packet: no hardware counter could be read; the reason is below or in the facts."
        )
    return Table(f"CPU time per packet: {work.short}", heads, cells, notes)


def ledger(works: Sequence[Work]) -> Topic:
    """Where every packet went."""
    return topic(
        "ledger",
        "Where every packet went",
        "Offered = forwarded + dropped (by reason, because the function says so) + lost (by place), over all trials but"
        " baselines, invalid ones too.",
        "This run holds no packet counts.",
        each("ledger", works, _ledger),
    )


def _ledger(id_: str, work: Work) -> Sub:
    rows = [row for row in work.comparison.rows if row.ledger.trials]
    tables = [_balance(work, rows)] if rows else []
    moved, folded, notes = ports.counters(work)
    tables += moved
    for lost in lost_at((row.datapath, row.ledger) for row in rows):
        whose = ", ".join(f"{name} {count:,}" for name, count in lost.by_datapath.items())
        notes.append(f"Lost at {_words(lost.place)} ({whose}): {lost.meaning}")
    for row in rows:
        for problem, count in row.invalid.items():
            notes.append(
                f"Not counted in any figure: {row.datapath}, {count} trial{'s'[: count > 1]}: {problem}."
            )
    return Sub(id_, work.title, work.comparison.kind, work.about("ledger"), tables, notes, folded)


def _balance(work: Work, rows: Sequence[Row]) -> Table:
    dropped = sorted({reason for row in rows for reason in row.ledger.dropped})
    places = sorted({where for row in rows for where in row.ledger.lost_by})
    heads = [
        Head("datapath", number=False), Head("offered"), Head("forwarded"),
        *(Head(f"dropped: {_words(reason)}") for reason in dropped), Head("lost"),
        *(Head(f"of it: {_words(where)}") for where in places), Head("unexplained"), Head("trials"),
    ]  # fmt: skip
    cells = []
    for row in rows:
        mine = row.ledger
        wrong = mine.unbalanced_trials
        trials = f"{mine.trials} ({wrong} don't add up)" if wrong else str(mine.trials)
        cells.append([
            datapath_cell(row.datapath), count_cell(mine.offered), count_cell(mine.forwarded),
            *(count_cell(mine.dropped.get(reason, 0)) for reason in dropped), count_cell(mine.lost),
            *(count_cell(mine.lost_by.get(where, 0)) for where in places),
            count_cell(mine.unexplained, bad=mine.unexplained != 0), Cell(trials, mine.trials, bad=wrong > 0),
        ])  # fmt: skip
    return Table(f"Ledger, packets: {work.short}", heads, cells)


def _words(name: str) -> str:
    return name.replace("_", " ")


def grades(works: Sequence[Work]) -> Topic:
    """Each result's grade, and why."""
    return topic(
        "grades",
        "Grades and their reasons",
        "How far a result can be trusted: the worst that any rule leaves it. "
        + " ".join(f"{letter}: {meaning}." for letter, meaning in MEANING.items()),
        "No result of this run is graded.",
        each("grades", works, _grades),
    )


def _grades(id_: str, work: Work) -> Sub:
    groups: list[tuple[str, list[Result]]] = []
    made = work.comparison
    if made.ranks and made.kind != "functional":
        groups.append(("Rates" if made.timed else "Instructions", graded(made)))
    groups += [(sheet.title, sheet.grades) for sheet in work.methods.sheets]
    decided = _merged(
        (result.grade.letter, _because(result), title, result.name)
        for title, mine in groups for result in mine
    )  # fmt: skip
    fired = _merged(
        (reason.letter, reason.saw, title, reason.whose) for title, mine in groups for reason in reasons(mine)
    )
    everyone = {title: {result.name for result in mine} for title, mine in groups if mine}
    tables = []
    for name, grade, because, rows in (
        (f"Grades: {work.short}", "grade", "decided by", decided),
        (f"All reasons: {work.short}", "grade left", "because", fired),
    ):
        heads = [Head("of", number=False), Head(grade), Head(because, number=False)]
        cells = [
            [Cell(_of(about, everyone)), grade_cell(letter), Cell(text)]
            for (letter, text), about in rows.items()
        ]
        if cells:
            tables.append(Table(name, heads, cells))
    return Sub(id_, work.title, made.kind, (), tables)


_About = dict[tuple[Letter, str], dict[str, list[str]]]


def _merged(rows: Iterable[tuple[Letter, str, str, str]]) -> _About:
    """Rows of letter, text, kind of result and whose, with what says the same put together; worst first."""
    found: _About = {}
    for letter, text, title, name in rows:
        found.setdefault((letter, text), {}).setdefault(title, []).append(name)
    return dict(sorted(found.items(), key=lambda item: item[0][0], reverse=True))


def _of(about: Mapping[str, list[str]], everyone: Mapping[str, set[str]]) -> str:
    """``Rates: xdp and kernel; Latency by load: all``."""
    alike = {
        title: "all" if len(everyone[title]) > 1 and {*names} in ({"all"}, everyone[title]) else join(names)
        for title, names in about.items()
    }
    if alike.keys() == everyone.keys() and len(alike) > 1 and {*alike.values()} == {"all"}:
        return "all results"
    return "; ".join(f"{title}: {names}" for title, names in alike.items())


def _because(result: Result) -> str:
    return "; ".join(reason.saw for reason in result.grade.deciding) or "no rule fired"
