# SPDX-License-Identifier: GPL-2.0-only
"""Tables of several receive queues: how a datapath scales with them, and what each CPU and queue got."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kbench.explain.answer import join, number, share
from kbench.explain.comparison import Row
from kbench.explain.report.tables import (
    Cell,
    Head,
    Table,
    count_cell,
    datapath_cell,
    estimate_cell,
    grade_cell,
    number_cell,
)
from kbench.explain.report.works import Sweep, Work
from kbench.explain.scaling import by_queue, families, steps, told_by_cpu
from kbench.explain.table import figure_cell

LEAST_SHARE = 0.002
"""CPUs with less of a datapath's packets are put together: a timer's packets, and those of other ports."""
ONE_THREAD = (
    "af_packet is one thread on one CPU, however many queues there are: queues spread what the kernel does before"
    " the thread's ring, so from where that thread is busy they change nothing."
)
UNSEEN = (
    "the kernel counts per CPU only what reaches its stack, and native XDP decides before; the NIC's counters per"
    " queue tell, where its driver has them"
)


def scaling(sweep: Sweep) -> list[Table]:
    """Rate and efficiency over the number of queues; none for an emulated clock."""
    made = []
    for family in families([work.comparison for work in sweep.works if work.comparison.claims]):
        first = family[0]
        fewest = first.case.queues if first.case else 1
        unit, scale = first.unit
        heads = [
            Head("datapath", number=False), Head("queues"), Head(f"rate, {unit}"),
            Head(f"{unit} per queue"), Head(f"× {_queues(fewest)}"), Head("efficiency, %"), Head("grade"),
        ]  # fmt: skip
        rows = []
        for step in steps(family):
            figure = step.row.figure
            assert figure is not None
            alone = step.times is None
            times = number_cell("1", 1.0) if alone else estimate_cell(step.times, digits=2)
            rows.append([
                datapath_cell(step.row.datapath), count_cell(step.queues),
                number_cell(figure_cell(step.row, scale), figure.value),
                number_cell(number(figure.value / scale / step.queues), figure.value / step.queues),
                times, number_cell("100", 1.0) if alone else estimate_cell(step.efficiency, 0.01, 0),
                grade_cell(step.row.grade.letter),
            ])  # fmt: skip
        notes = [
            f"Efficiency: the rate over {_queues(fewest)}'s times as many; 100 % is the straight line in the chart."
            " Different numbers of queues are not measured in the same rounds, so these ratios are unpaired."
        ]
        limited = [
            f"{s.row.datapath} with {_queues(s.queues)} ({'the wire' if s.row.line_limited else 'the generator'})"
            for s in steps(family) if s.row.at_least
        ]  # fmt: skip
        if limited:
            notes.append(
                f"≥ limited by something else than the datapath, which could scale better: {join(limited)}."
            )
        if any(s.row.datapath == "af_packet" for s in steps(family)):
            notes.append(ONE_THREAD)
        made.append(
            Table(f"Scaling with queues: {_same(first.case_id)}, {first.part.name}", heads, rows, notes)
        )
    return made


def _queues(count: int) -> str:
    return f"{count} queue{'' if count == 1 else 's'}"


def _same(case_id: str) -> str:
    """A case's name without its queues."""
    return case_id.rpartition("-q")[0] or case_id


def spread(work: Work) -> tuple[list[Table], list[str]]:
    """Of a case with several queues: packets by CPU and by queue; with the sentences that stand alone."""
    made = work.comparison
    rows = [row for row in made.rows if row.figure is not None]
    asked = made.case.queues if made.case else 0
    # A profile can give several queues as well, without their number being asked for.
    queues = asked or max((row.receive_cpus for row in rows), default=0)
    if queues < 2:
        return [], []
    told = [row for row in rows if told_by_cpu(row)]
    unseen = [row.datapath for row in rows if row.packets_by_cpu and row not in told]
    counted = [(row, found) for row in rows if (found := by_queue(row.ledger.nic_stats.get("rx", {})))]
    tables = []
    if told:
        tables.append(_by_cpu(work, told, queues))
    if counted:
        tables.append(_by_queue(work, counted, queues))
    notes = [f"No packets by CPU of {join(unseen)}: {UNSEEN}."] if unseen else []
    if any(row.datapath == "af_packet" for row in rows):
        notes.append(ONE_THREAD)
    return tables, notes


def _by_cpu(work: Work, rows: Sequence[Row], queues: int) -> Table:
    heads = [
        Head("datapath", number=False), Head("CPU"), Head("packets"), Head("share"), Head("of an even share"),
        Head("CPU busy"),
    ]  # fmt: skip
    cells, notes = [], []
    for row in rows:
        total = sum(row.packets_by_cpu.values())
        main = {cpu: n for cpu, n in row.packets_by_cpu.items() if n >= LEAST_SHARE * total}
        for cpu, count in main.items():
            idle = row.cpus.get(cpu, {}).get("idle")
            busy = None if idle is None else 1 - idle
            cells.append([
                datapath_cell(row.datapath), Cell(str(cpu), cpu), count_cell(count),
                number_cell(share(count / total), count / total), _even(count / total * queues),
                number_cell(share(busy), busy),
            ])  # fmt: skip
        notes.append(_imbalance(row.datapath, main, queues, "CPU"))
    notes.append("Packets that each CPU put into the kernel's stack, over the trials that the rate rests on.")
    return Table(f"Packets by CPU: {work.short}", heads, cells, notes)


def _by_queue(work: Work, rows: Sequence[tuple[Row, Mapping[int, int]]], queues: int) -> Table:
    heads = [
        Head("datapath", number=False), Head("queue"), Head("packets"), Head("share"), Head("of an even share"),
    ]  # fmt: skip
    cells, notes = [], []
    for row, found in rows:
        total = sum(found.values()) or 1
        for queue, count in found.items():
            cells.append([
                datapath_cell(row.datapath), Cell(str(queue), queue), count_cell(count),
                number_cell(share(count / total), count / total), _even(count / total * queues),
            ])  # fmt: skip
        notes.append(_imbalance(row.datapath, found, queues, "queue"))
    notes.append("By the NIC's own counters (ethtool -S) of the receiving port, over all trials.")
    return Table(f"Packets by queue: {work.short}", heads, cells, notes)


def _even(value: float) -> Cell:
    return number_cell(f"{value:.2f} x", value)


def _imbalance(datapath: str, counts: Mapping[int, int], queues: int, noun: str) -> str:
    total = sum(counts.values())
    if not total:
        return f"{datapath}: no packets."
    most = max(counts, key=lambda key: counts[key])
    times = counts[most] / total * queues
    text = f"{datapath}: {noun} {most} took {times:.2f} times an even share"
    used = sum(1 for count in counts.values() if count >= LEAST_SHARE * total)
    return f"{text}, {used} of {queues} had work." if used < queues else f"{text}, the most of all."
