# SPDX-License-Identifier: GPL-2.0-only
"""What is in a report, as data for its template: the sections in the order in which people ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kbench.explain.answer import Answer, answer, case_title, join, missing, notices_for, placement, rate
from kbench.explain.comparison import Comparison
from kbench.explain.figures.base import Chart
from kbench.explain.losing import losing
from kbench.explain.report import costs, ports, topics
from kbench.explain.report.glossary import GLOSSARY
from kbench.explain.report.machine import Machine, machines
from kbench.explain.report.tables import (
    Cell,
    Head,
    Table,
    datapath_cell,
    estimate_cell,
    grade_cell,
    number_cell,
    typeset,
)
from kbench.explain.report.topics import Topic
from kbench.explain.report.works import Sweep, Work, run_names, sweeps, works
from kbench.explain.sheets import goal_name, ratio_of
from kbench.model import Verification
from kbench.store import Run

MAX_DIFFERENCES = 20
"""Differences of one failed verification that are printed; run.json's neighbour has all."""
SIDE_BY_SIDE = (
    "Runs stand side by side here: what differs between them can be the machine of that hour. Wall-clock figures of"
    " different runs are not ranked against each other; kbench compare says what changed."
)


@dataclass(frozen=True)
class RunHead:
    """What a run is called, and when it was."""

    name: str
    id: str
    label: str
    version: str
    started_at: str
    ended_at: str
    state: str


@dataclass(frozen=True)
class Said:
    """The answer of one comparison, with its ranking."""

    id: str
    title: str
    answer: Answer
    ranking: Table | None


@dataclass(frozen=True)
class Entry:
    """A line of the contents."""

    id: str
    title: str
    subs: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Document:
    """A whole report."""

    title: str
    runs: list[RunHead]
    missing: list[str]
    notices: list[tuple[str, str]]
    """About what (may be empty), text."""
    side_by_side: str
    answers: list[Said]
    compared: Table
    proofs: list[str]
    failures: list[tuple[str, Verification]]
    topics: list[Topic]
    grades: Topic
    machines: list[Machine]
    glossary: list[tuple[str, str, str]]
    contents: list[Entry]
    charts: list[Chart]
    max_differences: int = MAX_DIFFERENCES


def document(runs: Sequence[Run]) -> Document:
    """All that is to be said of the runs."""
    names = run_names(runs) if len(runs) > 1 else ["" for _ in runs]
    done = works(runs)
    across = sweeps(done)
    said = [_said(work) for work in done]
    wired = ports.about(done)
    parts = [
        *([wired] if wired.subs else []),
        topics.throughput(done, across), topics.loss(done), topics.latency(done), costs.cpu(done), costs.ledger(done),
    ]  # fmt: skip
    graded = costs.grades(done)
    compared = _compared(done, len(runs) > 1)
    made = machines(runs, names)
    return Document(
        title=_title(runs),
        runs=[_head(run, name or run.run_id) for run, name in zip(runs, names, strict=True)],
        missing=_missing(runs, names, done),
        notices=_notices(runs, names),
        side_by_side=SIDE_BY_SIDE if len(runs) > 1 else "",
        answers=said,
        compared=compared,
        proofs=[text for run, name in zip(runs, names, strict=True) for text in _proofs(run, name)],
        failures=[
            (n, v) for run, n in zip(runs, names, strict=True) for v in run.verifications if not v.passed
        ],
        topics=parts,
        grades=graded,
        machines=made,
        glossary=GLOSSARY,
        contents=_contents(said, parts, graded, made),
        charts=charts(done, across),
    )


def _title(runs: Sequence[Run]) -> str:
    """Ids; of more than two the first and the last."""
    ids = [run.run_id for run in runs]
    return ", ".join(ids) if len(ids) < 3 else f"{len(ids)} runs, {ids[0]} to {ids[-1]}"


def charts(done: Sequence[Work], across: Sequence[Sweep]) -> list[Chart]:
    """Every chart of a report, in the order of its sections."""
    return [
        *ports.pictures(done),
        *(chart for sweep in across for chart in sweep.charts),
        *(chart for work in done for chart in work.charts),
    ]


def _head(run: Run, name: str) -> RunHead:
    document = run.run
    state = (
        "complete" if run.ended and run.outcome in (None, "complete") else run.outcome or "killed or going on"
    )
    return RunHead(
        name, run.run_id, str(document.get("label") or ""), str(document.get("kbench_version") or "unknown"),
        str(document.get("started_at") or ""), str(run.ended_at or ""), state,
    )  # fmt: skip


def _missing(runs: Sequence[Run], names: Sequence[str], done: Sequence[Work]) -> list[str]:
    found = []
    for run, name in zip(runs, names, strict=True):
        start = f"{name}: " if name else ""
        mine = [work.comparison for work in done if work.run is run]
        found += [f"{start}{text}" for text in missing(run, mine)]
        if not mine:
            found.append(f"{start}This run has no finished trial.")
    return found


def _notices(runs: Sequence[Run], names: Sequence[str]) -> list[tuple[str, str]]:
    found = []
    for run, name in zip(runs, names, strict=True):
        for part in dict.fromkeys(notice.part for notice in run.notices):
            about = ", ".join(word for word in (name, part) if word)
            found += [(about, text) for text in notices_for(run, part)]
    return found


def _said(work: Work) -> Said:
    made = answer(work.comparison, work.methods.said)
    if work.run_name:
        made.headline = f"{work.run_name}: {made.headline}"
    made.headline = typeset(made.headline)
    made.caveats = [typeset(text) for text in made.caveats]
    table = _ranking(work) if work.comparison.ranks else _bounds(work)
    return Said(f"answer-{work.prefix}", work.title, made, table)


def _ranking(work: Work) -> Table | None:
    """Figures with intervals, best first, and where losses begin."""
    made = work.comparison
    ranked = [row for row in made.rows if row.figure is not None]
    if made.kind == "functional" or not ranked:
        return None
    if not made.claims:
        return _unranked(work)
    above = {one.datapath: one for one in losing(work.methods.found)}
    wall = made.kind == "wall"
    heads = [
        Head("datapath", number=False), Head("rate, Mpps" if wall else "instructions/packet"),
        Head(f"× {made.reference}"), *([Head("loses packets above, Mpps")] if above else []), Head("grade"),
    ]  # fmt: skip
    rows = []
    for row in made.rows:
        if row.figure is None:
            rows.append(topics.missing_row(row, len(heads)))
            continue
        losses = above.get(row.datapath)
        beyond = losses.above.value if losses and losses.above else None
        rows.append([
            datapath_cell(row.datapath), topics.figure(row, made), topics.ratio_of(row, made),
            *([number_cell(losses.cell if losses else "-", beyond)] if above else []), grade_cell(row.grade.letter),
        ])  # fmt: skip
    notes = []
    if above:
        by = join(sorted({one.by for one in above.values()}))
        notes.append(f"Loses packets above: the highest load without loss, by {by}.")
    if any(row.told_apart is False for row in ranked):
        notes.append("~ not told apart from the reference.")
    return Table(f"Ranking: {work.short}", heads, rows, notes)


def _unranked(work: Work) -> Table:
    """Figures by an emulated clock, as they were planned."""
    made = work.comparison
    unit, _ = made.unit
    heads = [
        Head("datapath", number=False), Head(f"{unit}, emulated clock"), Head("verified", number=False),
        Head("grade"),
    ]  # fmt: skip
    rows = []
    for row in made.rows:
        if row.figure is None:
            rows.append(topics.missing_row(row, len(heads)))
            continue
        proof = row.verification
        verified = "no" if proof is None else f"{proof.packets} packets" if proof.passed else "differs"
        rows.append([
            datapath_cell(row.datapath), topics.figure(row, made), Cell(verified), grade_cell(row.grade.letter),
        ])  # fmt: skip
    note = "In the order of the plan: an emulated clock says nothing of speed, so nothing is ranked."
    return Table(f"What works: {work.short}", heads, rows, [note])


def _bounds(work: Work) -> Table | None:
    """Of a run without maximum rates: what the searches found."""
    bounds = work.methods.found.bounds if work.methods.found else []
    if not bounds:
        return None
    heads = [
        Head("datapath", number=False), Head("goal", number=False), Head("rate, Mpps"),
        Head(f"× {bounds[0].reference}" if bounds[0].reference else "ratio"), Head("grade"),
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for bound in bounds:
        least = "≥" if bound.at_least else ""
        rate_ = estimate_cell(bound.rate, 1e6) if bound.rate else Cell("not reached", "")
        rows.append([
            datapath_cell(bound.datapath), Cell(goal_name(bound)), Cell(least + rate_.text, rate_.sort),
            number_cell(ratio_of(bound), bound.ratio.value if bound.ratio else None),
            grade_cell(bound.grade.letter if bound.rate else None),
        ])  # fmt: skip
    return Table(f"Ranking: {work.short}", heads, rows)


def _compared(done: Sequence[Work], several: bool) -> Table:
    wired = any(work.comparison.topology for work in done)
    heads = [
        *([Head("run", number=False)] if several else []), Head("where", number=False),
        *([Head("ports", number=False)] if wired else []), Head("kind", number=False),
        Head("work", number=False), Head("datapaths", number=False), Head("generator", number=False), Head("load"),
        Head("CPUs", number=False),
    ]  # fmt: skip
    rows = []
    for work in done:
        made = work.comparison
        title = case_title(made.function, made.frame_bytes, made.case, made.case_id)
        load = "maximum" if made.load_pps is None else rate(made.load_pps)
        rows.append([
            *([Cell(work.run_name)] if several else []), Cell(_where(made)),
            *([Cell(made.topology.pair if made.topology else "veth")] if wired else []), Cell(made.kind), Cell(title),
            Cell(join([row.datapath for row in made.rows])), Cell(made.generator),
            number_cell(load if made.ranks else "by method", made.load_pps), Cell(placement(made)),
        ])  # fmt: skip
    return Table("What was compared", heads, rows)


def _where(made: Comparison) -> str:
    return f"{made.part.name}, Linux {made.part.kernel}" if made.part.kernel else made.part.name


def _proofs(run: Run, name: str) -> list[str]:
    """One sentence per part and case: which datapaths were proven to do the same work."""
    groups: dict[tuple[str, str], list[Verification]] = {}
    for item in run.verifications:
        groups.setdefault((item.part, item.case_id), []).append(item)
    found = []
    for (part, case_id), items in groups.items():
        passed: dict[int, list[str]] = {}
        for item in items:
            if item.passed:
                passed.setdefault(item.packets, []).append(item.datapath)
        words = [f"{join(names)} proven equal on {count} packets" for count, names in passed.items()]
        words += [f"{v.datapath} differs ({v.packets} packets sent)" for v in items if not v.passed]
        where = ", ".join(word for word in (name, part) if word)
        found.append(f"{case_id} ({where}): {'; '.join(words)}.")
    return found


def _contents(
    said: Sequence[Said], parts: Sequence[Topic], graded: Topic, made: Sequence[Machine]
) -> list[Entry]:
    def of(one: Topic) -> Entry:
        return Entry(one.id, one.title, [(sub.id, sub.title) for sub in one.subs])

    return [
        Entry("answer", "The answer", [(one.id, one.title) for one in said] if len(said) > 1 else []),
        Entry("compared", "What was compared, and proven equal"),
        *(of(one) for one in parts), of(graded),
        Entry("machine", "Settings and facts", [(one.id, one.run_name) for one in made if one.run_name]),
        Entry("reproduce", "How to reproduce"), Entry("glossary", "Words"),
    ]  # fmt: skip
