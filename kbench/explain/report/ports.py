# SPDX-License-Identifier: GPL-2.0-only
"""The section on ports and cable of a run on NICs, and the tables of what its NICs counted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kbench.explain.answer import join, place
from kbench.explain.figures import cabling
from kbench.explain.figures.base import Chart
from kbench.explain.nic import Topology, machine, speed
from kbench.explain.ports import PER_QUEUE, PortFacts, Set, latency_clocks, ports, profile
from kbench.explain.report.machine import HEADS, flatten, rows
from kbench.explain.report.tables import Cell, Head, Table, count_cell
from kbench.explain.report.topics import Sub, Topic, topic
from kbench.explain.report.works import Work

TELLING = re.compile(
    r"miss|drop|err|fifo|no_?(buf|desc|dma)|discard|fail|timeout|crc|xdp|full|overrun|restart|alloc|abort",
    re.I,
)
"""Counters of a NIC that tell of loss, or of XDP: the others fold."""
ONE_QUEUE = re.compile(r"^(rx|tx)[-_]?(?:queue[-_])?\d+[-_.]")
"""How a counter of one queue begins; where the driver has their sum as well, it folds."""
KEEP = "keep"
"""What a profile says of a setting that it leaves alone."""
SINKS = "The sink drops each packet once it has counted it: what its port drops by XDP is no loss."


def about(works: Sequence[Work]) -> Topic:
    """Ports and cable; without NICs it has nothing to show, and is left out."""
    subs = []
    for work in _firsts(works):
        wired = work.comparison.topology
        if wired is not None:
            subs.append(_ports(work, wired))
    return topic(
        "ports",
        "Ports and cable",
        "Which port of which machine does what, how it is set while it is measured, and how it was before and is"
        " again.",
        "",
        subs,
    )


def pictures(works: Sequence[Work]) -> list[Chart]:
    """The pictures of the section, for files."""
    return [chart for sub in about(works).subs for chart in sub.charts]


def _firsts(works: Sequence[Work]) -> list[Work]:
    """One work for each part of each run."""
    return list({(id(w.run), w.comparison.part.name): w for w in reversed(works)}.values())[::-1]


def _ports(work: Work, wired: Topology) -> Sub:
    run, part = work.run, work.comparison.part.name
    chart = cabling.picture(f"{work.prefix}-ports", wired)
    found = ports(run, part)
    name = f"{work.run_name}: {place(work.comparison)}" if work.run_name else place(work.comparison)
    start = f"{part}, {work.run_name}" if work.run_name else part
    asked = profile(run, part)
    notes = []
    if asked is not None:
        notes.append(f"NIC profile {asked[0]}: what the ports are set to, as far as their drivers let them.")
    notes += latency_clocks(run, part)
    notes += [f"{port}: {why}." for port, why in _clock_reasons(found)]
    notes += [n.text for n in run.notices if n.part in (part, None) and "irqbalance" in n.text]
    tables = [_table(wired, found, start), *_settings(found, start)]
    folded = _left(found, start)
    if asked is not None and asked[1]:
        given = [pair for pair in flatten(asked[1], nothing=KEEP) if pair[1] != KEEP]
        note = "Settings that the profile does not name are left as they are."
        folded.append(Table(f"NIC profile {asked[0]}: {start}", HEADS, rows(given), [note]))
    return Sub(
        f"ports-{work.prefix}", name, work.comparison.kind, [chart] if chart else [], tables, notes, folded
    )  # fmt: skip


def _clock_reasons(found: Sequence[PortFacts]) -> list[tuple[str, str]]:
    """Why ports have no hardware time stamps, alike ones together."""
    whose: dict[str, list[str]] = {}
    for port in found:
        if port.hardware_clock is False and port.clock_why:
            why = port.clock_why.rstrip(".").replace(str(port.about.get("name")), "the port")
            whose.setdefault(f"no hardware time stamps: {why}", []).append(port.name)
    return [(_whose(names, found), why) for why, names in whose.items()]


def _table(wired: Topology, found: Sequence[PortFacts], start: str) -> Table:
    """What each port is: a column for each, as there are few of them."""
    known = {(port.host, str(port.about.get("name"))): port for port in found}
    names = [port.name for port, _ in wired.distinct]
    heads, columns = [Head("port", number=False)], []
    for port, roles in wired.distinct:
        facts = known.get((port.host, port.name))
        more: Mapping[str, Any] = facts.about if facts is not None else {}
        several = names.count(port.name) > 1
        heads.append(Head(f"{port.name} on {machine(port.host)}" if several else port.name, number=False))
        version = f" {more['driver_version']}" if more.get("driver_version") else ""
        columns.append({
            "does": join(roles),
            "machine": machine(port.host),
            "driver": f"{port.driver or 'unknown'}{version}{' (emulated)' if port.emulated else ''}",
            "bus": port.bus or "unknown",
            "MAC": port.mac or "unknown",
            "speed": speed(port.speed_mbps) + (f", {port.duplex} duplex" if port.duplex else ""),
            "firmware": str(more.get("firmware") or "unknown"),
            "time stamps": _stamps(facts),
        })  # fmt: skip
    cells = [
        [Cell(what), *(Cell(column[what]) for column in columns)] for what in (columns[0] if columns else ())
    ]
    return Table(f"Ports: {start}", heads, cells)


def _stamps(port: PortFacts | None) -> str:
    if port is None or port.hardware_clock is None:
        return "unknown"
    if not port.hardware_clock:
        return "software"
    return "hardware" if port.phc is None else f"hardware (PHC {port.phc})"


def _whose(names: Sequence[str], found: Sequence[PortFacts]) -> str:
    return "all" if len(names) == len(found) > 1 else join(list(names))


_Key = tuple[str, str, str, str]


def _grouped(found: Iterable[PortFacts], wanted: Any) -> dict[_Key, list[str]]:
    """Setting, before, during and why not -> the ports that it is so for."""
    made: dict[_Key, list[str]] = {}
    for port in found:
        for item in port.settings:
            if wanted(item):
                key = (item.name, _value(item.before), _value(item.during), item.why_not or "")
                made.setdefault(key, []).append(port.name)
    return made


def _value(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value) if str(value) else "none"


def _per_queue(item: Set) -> bool:
    return item.name.startswith(PER_QUEUE)


def _settings(found: Sequence[PortFacts], start: str) -> list[Table]:
    """What was changed, and what could not be."""
    heads = [
        Head(name, number=False) for name in ("setting", "ports", "before", "during", "not as asked, because")
    ]
    moved = _grouped(found, lambda item: (item.changed or item.why_not) and not _per_queue(item))
    if not moved:
        return []
    # What could not be set first: it is what a reader has to know.
    ordered = sorted(moved.items(), key=lambda entry: (not entry[0][3], entry[0][0]))
    cells = [
        [Cell(name), Cell(_whose(who, found)), Cell(was), Cell(is_), Cell(why)]
        for (name, was, is_, why), who in ordered
    ]
    note = "All of it is as before again when the run is over, or after kbench restore."
    return [Table(f"Settings that were changed, or could not be: {start}", heads, cells, [note])]


def _left(found: Sequence[PortFacts], start: str) -> list[Table]:
    """Interrupts and queues, and all that stayed as it was."""
    tables = []
    one_each = _grouped(found, _per_queue)
    if one_each:
        heads = [
            Head(name, number=False) for name in ("interrupt or queue", "port", "before", "during", "because")
        ]
        cells = [
            [Cell(name, _natural(name)), Cell(_whose(who, found)), Cell(was), Cell(is_), Cell(why)]
            for (name, was, is_, why), who in sorted(one_each.items(), key=lambda e: _natural(e[0][0]))
        ]
        tables.append(Table(f"Interrupts and queues, before and during: {start}", heads, cells))
    same = _grouped(found, lambda item: not (item.changed or item.why_not or _per_queue(item)))
    if same:
        heads = [Head(name, number=False) for name in ("setting", "ports", "value")]
        cells = [
            [Cell(name), Cell(_whose(who, found)), Cell(was)]
            for (name, was, _, _), who in sorted(same.items())
        ]
        tables.append(Table(f"Settings left as they were: {start}", heads, cells))
    return tables


def _natural(name: str) -> str:
    """A name by which queue 10 comes after queue 9."""
    return re.sub(r"\d+", lambda digits: digits[0].zfill(6), name)


def _summed(name: str, each: Sequence[Mapping[str, int]]) -> bool:
    """Whether a counter is one queue's, and its sum is there too."""
    whole = ONE_QUEUE.sub(r"\1_", name)
    return whole != name and any(whole in stats for stats in each)


def counters(work: Work) -> tuple[list[Table], list[Table], list[str]]:
    """What the NICs counted by themselves: what tells of loss and XDP, all the rest, and notes. Empty on veth."""
    wired = work.comparison.topology
    measured = [row for row in work.comparison.rows if row.ledger.trials]
    if wired is None or not measured:
        return [], [], []
    if not any(row.ledger.nic_stats for row in measured):
        return [], [], ["No NIC has counters of its own that moved (ethtool -S)."]
    made: dict[bool, list[list[Cell]]] = {True: [], False: []}
    for port, roles in wired.distinct:
        role = next((r for r in roles if any(r in row.ledger.nic_stats for row in measured)), None)
        if role is None:
            continue
        each = [row.ledger.nic_stats.get(role, {}) for row in measured]
        for name in sorted({name for stats in each for name in stats}, key=_natural):
            counts = [count_cell(stats.get(name, 0)) for stats in each]
            made[bool(TELLING.search(name)) and not _summed(name, each)].append([
                Cell(name), Cell(f"{port.name} ({join(roles)})"), *counts,
            ])  # fmt: skip
    heads = [
        Head("counter", number=False),
        Head("port", number=False),
        *(Head(row.datapath) for row in measured),
    ]
    note = "Counted by the NICs (ethtool -S), over all trials but baselines; each by its driver's own rules."
    tables = (
        [Table(f"NIC counters of loss and XDP: {work.short}", heads, made[True], [note, SINKS])]
        if made[True]
        else []
    )
    notes = [] if made[True] else ["The NICs counted nothing missed, dropped or broken (ethtool -S)."]
    folded = [Table(f"All other NIC counters: {work.short}", heads, made[False])] if made[False] else []
    return tables, folded, notes
