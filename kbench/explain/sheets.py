# SPDX-License-Identifier: GPL-2.0-only
"""What methods found, as tables of text that terminal and report both show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from kbench.explain.answer import join, number, rate, ratio, share, time_ns
from kbench.explain.comparison import PERCENTS
from kbench.explain.findings import Found
from kbench.explain.method_results import COMMON, Bursts, CpuAtLoad, Curve, Generator, LatencyAt
from kbench.explain.notes import Result, whose
from kbench.explain.stats import Estimate
from kbench.explain.throughput import Bound

GOALS = {"ndr": "NDR", "pdr": "PDR", "throughput": "throughput"}
SEARCHES = {"mlrsearch": "MLRsearch", "tst009": "binary search with loss verification (TST 009)"}
RFC2544_TRIAL_S = 60.0


@dataclass(frozen=True)
class Column:
    """`wide` ones are left out of a narrow terminal."""

    name: str
    wide: bool = False
    number: bool = True


@dataclass(frozen=True)
class Line:
    """A row's cells. With a datapath its first cell is that one's name."""

    cells: list[str]
    datapath: str | None = None


@dataclass(frozen=True)
class Sheet:
    """A table, and the sentences below it."""

    title: str
    columns: list[Column] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    grades: list[Result] = field(default_factory=list)
    """Of the results in it."""


def interval(estimate: Estimate | None, scale: float = 1.0, digits: int | None = None) -> str:
    """``value [low, high]`` in a given scale; ``-`` without a value."""
    if estimate is None:
        return "-"

    def show(value: float) -> str:
        return number(value / scale) if digits is None else f"{value / scale:.{digits}f}"

    if estimate.low is None or estimate.high is None:
        return show(estimate.value)
    return f"{show(estimate.value)} [{show(estimate.low)}, {show(estimate.high)}]"


def sheets(found: Found) -> list[Sheet]:
    """All that has something to show."""
    made = [
        throughput(found.bounds),
        losses(found.curves),
        latency(found.latencies),
        bursts(found.bursts),
        cpu(found.cpu),
        generator(found.generator),
    ]
    shown = [sheet for sheet in made if sheet is not None]
    if found.failed:
        shown.append(Sheet("Without an answer", notes=found.failed))
    return shown


def goal_name(bound: Bound) -> str:
    """``NDR``, ``PDR 0.5 %``."""
    name = GOALS.get(bound.goal, bound.goal)
    return f"{name} {share(bound.loss_ratio)}" if bound.loss_ratio else name


def throughput(bounds: Sequence[Bound]) -> Sheet | None:
    """NDR and PDR."""
    if not bounds:
        return None
    lines = []
    # The slowest rate decides on the unit, or it would be rounded to nothing.
    slow = any(b.rate is not None and b.rate.value < 1e5 for b in bounds)
    unit, scale = ("kpps", 1e3) if slow else ("Mpps", 1e6)
    for bound in bounds:
        figure = "not reached" if bound.rate is None else interval(bound.rate, scale)
        if bound.at_least:
            figure = f">={figure}"
        through = bound.conditional_pps
        lines.append(
            Line(
                [
                    bound.datapath, goal_name(bound), figure, ratio_of(bound),
                    "-" if through is None or bound.rate is None else number(through / scale),
                    f"{len(bound.by_repeat)} of {bound.searches}",
                    bound.grade.letter if bound.rate else "-",
                ],
                bound.datapath,
            )
        )  # fmt: skip
    reference = next((b.reference for b in bounds if b.reference), None)
    columns = [
        Column("datapath", number=False), Column("goal", number=False), Column(unit),
        Column(f"x {reference}" if reference else "ratio"), Column("came through", wide=True), Column("found"),
        Column("grade"),
    ]  # fmt: skip
    grades = [Result(b.datapath, f"{b.datapath} {goal_name(b)}", b.grade) for b in bounds if b.rate]
    return Sheet("Throughput", columns, lines, _search_notes(bounds), grades)


def said(bounds: Sequence[Bound]) -> list[str]:
    """NDR and PDR in a clause per goal: ``without loss (NDR) kernel carries 540 kpps, xdp 3.9x [3.8, 4.1] of it``."""
    goals: dict[str, list[Bound]] = {}
    for bound in bounds:
        goals.setdefault(goal_name(bound), []).append(bound)
    found = []
    for name, mine in goals.items():
        loss_ratio = mine[0].loss_ratio
        start = f"with at most {share(loss_ratio)} loss (PDR)" if loss_ratio else f"without loss ({name})"
        ordered = sorted(mine, key=lambda b: b.datapath != b.reference)
        found.append(f"{start} {', '.join(_clause(bound) for bound in ordered)}")
    return found


def _clause(bound: Bound) -> str:
    if bound.rate is None:
        return f"{bound.datapath} has no rate that it carries"
    carries = f"{'at least ' if bound.at_least else ''}{rate(bound.rate.value)}"
    if bound.datapath == bound.reference:
        return f"{bound.datapath} carries {carries}"
    if bound.told_apart is False and not bound.at_least:
        return f"{bound.datapath} {carries} (not told apart from {bound.reference})"
    if bound.ratio is None:
        return f"{bound.datapath} {carries}"
    times = f"{'at least ' if bound.at_least else ''}{ratio(bound.ratio)}"
    return f"{bound.datapath} {times} of what {bound.reference} does"


def ratio_of(bound: Bound) -> str:
    """The ratio to the reference, with a mark where it says nothing."""
    if bound.datapath == bound.reference:
        return "reference"
    text = interval(bound.ratio, digits=2)
    if bound.ratio is not None and bound.at_least:
        text = f">={text}"
    return f"{text} ~" if bound.told_apart is False else text


def not_reached(bound: Bound) -> str | None:
    """Said plainly, of a goal that not every search reached."""
    count = bound.outcomes.get("not_reached", 0)
    if not count:
        return None
    without = f"with at most {share(bound.loss_ratio)} loss" if bound.loss_ratio else "without loss"
    lowest = f"{bound.min_load_pps:,.0f} packets/s" if bound.min_load_pps else "the lowest load"
    return (
        f"{bound.datapath}: {GOALS.get(bound.goal, bound.goal)} not reached: even {lowest} is not carried {without}"
        f" in {count} of {bound.searches} searches."
    )


def _search_notes(bounds: Sequence[Bound]) -> list[str]:
    notes = [text for bound in bounds if (text := not_reached(bound))]
    for bound in bounds:
        unfinished = bound.outcomes.get("unfinished", 0)
        if unfinished:
            name = f"{bound.datapath}: {goal_name(bound)}"
            notes.append(f"{name}: {unfinished} of {bound.searches} searches ended before their bounds met.")
    limited = [b for b in bounds if b.at_least]
    if limited:
        most = median(b.max_load_pps for b in limited if b.max_load_pps)
        names = join(
            [
                f"{b.datapath} {goal_name(b)} ({b.outcomes['at_max_load']} of {b.searches} searches)"
                for b in limited
            ]
        )
        notes.append(
            f">= generator-limited: all that the generator can pace, {rate(most)}, was carried: {names}."
        )
    if any(b.told_apart is False for b in bounds):
        notes.append("~ not told apart from the reference.")
    one = bounds[0]
    text = (
        f"{SEARCHES.get(one.search, one.search)}; intervals hold the search's own width and are over repeats"
    )
    if one.trial_s is not None:
        text += f"; trials of {one.trial_s:g} s"
        text += f" (RFC 2544 asks for {RFC2544_TRIAL_S:g} s)" if one.trial_s < RFC2544_TRIAL_S else ""
    return [*notes, f"{text}.", *_no_interval(b.rate for b in bounds)]


def _no_interval(estimates: Iterable[Estimate | None]) -> list[str]:
    reasons = dict.fromkeys(e.reason for e in estimates if e is not None and e.low is None and e.reason)
    return [f"No interval: {reason}." for reason in reasons]


def losses(curves: Sequence[Curve]) -> Sheet | None:
    """Loss by load: a row per load, a column per datapath."""
    if not curves:
        return None
    tables = [curve.by_share() for curve in curves]
    lines = []
    for at in sorted({at for table in tables for at in table}, reverse=True):
        load = median(table[at][0] for table in tables if at in table)
        cells = [_loss_cell(table[at][1]) if at in table else "" for table in tables]
        lines.append(Line([share(at), rate(load), *cells]))
    columns = [Column("load", number=False), Column("offered"), *(Column(curve.datapath) for curve in curves)]
    notes = ["Share lost of what the load called for: median of the repeats, in brackets least and most."]
    for curve in curves:
        lossy = curve.outcomes.get("always_lossy", 0)
        if lossy:
            notes.append(
                f"{curve.datapath}: no two loads in a row without loss in {lossy} of {curve.repeats} curves."
            )
        if curve.outcomes.get("unfinished"):
            notes.append(
                f"{curve.datapath}: {curve.outcomes['unfinished']} of {curve.repeats} curves are unfinished."
            )
    letters = [f"{curve.datapath} {curve.grade.letter}" for curve in curves]
    notes.append(f"Two loads in a row without loss end a curve. Grades: {', '.join(letters)}.")
    grades = [Result(c.datapath, c.datapath, c.grade) for c in curves]
    return Sheet("Loss by load", columns, lines, notes, grades)


def _loss_cell(values: list[float]) -> str:
    least, most = _percent(min(values)), _percent(max(values))
    middle = f"{_percent(median(values))} %"
    return middle if least == most else f"{middle} [{least}, {most}]"


def _percent(value: float) -> str:
    """A share in percent, two digits; a small one is never rounded to nothing."""
    percent = value * 100
    if percent >= 10 or percent == 0:
        return f"{percent:.0f}"
    return f"{percent:.2g}" if percent >= 0.01 else "<0.01"


def load_name(at: LatencyAt) -> str:
    """``50 % of PDR``, ``idle`` or ``common``."""
    if at.load == COMMON:
        return "common"
    return f"{share(at.load_share)} of PDR" if at.load_share else "idle"


def latency(points: Sequence[LatencyAt]) -> Sheet | None:
    """Percentiles by load."""
    if not points:
        return None
    lines = []
    for at in points:
        quick = [time_ns(at.percentiles_ns[f"{p:g}"]) for p in PERCENTS]
        name = f"{at.datapath}*" if at.wake_up_included else at.datapath
        cells = [name, load_name(at), rate(at.load_pps), *quick, time_ns(at.max_ns), f"{at.samples:,}"]
        lines.append(Line([*cells, at.grade.letter], at.datapath))
    wide = {90.0, 99.99}
    columns = [
        Column("datapath", number=False), Column("load", number=False), Column("offered"),
        *(Column(f"p{p:g}", wide=p in wide) for p in PERCENTS), Column("max"), Column("samples", wide=True),
        Column("grade"),
    ]  # fmt: skip
    notes = ["Loads are shares of each datapath's own PDR; common: the same for all."]
    notes.append("A percentile is shown only when at least 10 samples lie beyond it.")
    if any(at.wake_up_included for at in points):
        notes.append("* The wake-up of another CPU or process is included.")
    grades = [Result(at.datapath, f"{at.datapath} {load_name(at)}", at.grade) for at in points]
    return Sheet("Latency by load", columns, lines, notes, grades)


def bursts(items: Sequence[Bursts]) -> Sheet | None:
    """Longest bursts and buffers."""
    if not items:
        return None
    lines, notes = [], []
    for item in items:
        longest = interval(item.frames)
        if item.without_loss:
            longest = f">={item.max_frames:,}" if item.without_loss == item.searches else "-"
            seconds = time_ns(item.max_frames / item.max_rate_pps * 1e9)
            notes.append(
                f"{item.datapath}: {item.without_loss} of {item.searches} searches met no loss in bursts up to"
                f" {item.max_frames:,} frames ({seconds}): no number."
            )
        elif item.frames is None or item.most_frames == 0:
            longest = "not reached"
            notes.append(f"{item.datapath}: not even the shortest burst is carried without loss.")
        if item.outcomes.get("unfinished"):
            notes.append(
                f"{item.datapath}: the time for it ended first; figures are of the finished searches."
            )
        least_most = "-" if item.least_frames is None else f"{item.least_frames:,} to {item.most_frames:,}"
        buffers = [_seconds(item.implied_buffer_s), _seconds(item.corrected_buffer_s)]
        letter = item.grade.letter if item.frames else "-"
        cells = [item.datapath, longest, least_most, *buffers, str(item.searches), letter]
        lines.append(Line(cells, item.datapath))
    columns = [
        Column("datapath", number=False), Column("longest burst, frames"), Column("least to most", wide=True),
        Column("implied buffer"), Column("corrected"), Column("searches"), Column("grade"),
    ]  # fmt: skip
    most = median(item.max_rate_pps for item in items)
    notes.append(
        f"Bursts at {rate(most)}. Corrected: less what was forwarded meanwhile, at the NDR (RFC 9004, 6.4)."
    )
    grades = [Result(i.datapath, i.datapath, i.grade) for i in items if i.frames]
    return Sheet(
        "Back-to-back frames", columns, lines, [*notes, *_no_interval(i.frames for i in items)], grades
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else time_ns(value * 1e9)


def cpu(items: Sequence[CpuAtLoad]) -> Sheet | None:
    """CPU time at one load."""
    if not items:
        return None
    lines = []
    cycles = any(item.cycles for item in items)
    for item in sorted(items, key=lambda i: i.dut_ns.value if i.dut_ns else float("inf")):
        idle = "-" if item.idle_cpu_share is None else share(item.idle_cpu_share.value)
        cells = [item.datapath, rate(item.load_pps), interval(item.dut_ns), interval(item.receive_ns)]
        cells += [interval(item.cycles)] if cycles else []
        lines.append(Line([*cells, share(item.loss_ratio), idle, item.grade.letter], item.datapath))
    columns = [
        Column("datapath", number=False), Column("load"), Column("DUT ns/packet"), Column("of it receive", wide=True),
        *([Column("cycles/packet")] if cycles else []), Column("lost"), Column("CPU when idle"), Column("grade"),
    ]  # fmt: skip
    everyone = [i.datapath for i in items]
    notes = [
        "CPU time of the DUT's threads, with the generator on another CPU. Of it receive: into a bare drop."
    ]
    notes += grouped(
        ((f"no {what}: {why}", i.datapath) for i in items for what, why in i.absent.items()), everyone
    )
    notes += grouped(((f"idle: {i.idle_reason}", i.datapath) for i in items if i.idle_reason), everyone)
    grades = [Result(i.datapath, i.datapath, i.grade) for i in items if i.dut_ns]
    return Sheet(
        "CPU at equal load", columns, lines, [*notes, *_no_interval(i.dut_ns for i in items)], grades
    )


def grouped(pairs: Iterable[tuple[str, str]], everyone: Sequence[str]) -> list[str]:
    """Sentences with the datapaths that each is about, each once."""
    about: dict[str, list[str]] = {}
    for text, datapath in pairs:
        about.setdefault(text, []).append(datapath)
    return [f"{whose(names, everyone)}: {text}." for text, names in about.items()]


def generator(found: Generator) -> Sheet | None:
    """What generator and clocks can do, in sentences."""
    if not found:
        return None
    notes = []
    if found.rate is not None:
        paced = f", {rate(found.paced.value)} when it paces" if found.paced else ""
        notes.append(
            f"Alone, into a bare drop, the generator offers at most {rate(found.rate.value)}{paced}."
        )
    for item in found.pacing:
        gaps = ", ".join(f"{p} {time_ns(v)}" for p, v in item.get("gap_ns", {}).items())
        text = f"Paced at {rate(item['rate_pps'])}: rate {item['rate_error'] * 100:+.2f} %"
        text += f"; gaps between packets, {time_ns(item['ideal_gap_ns'])} wanted: {gaps}"
        if item.get("late"):
            text += f"; {item['late']:,.0f} times late, {time_ns(item['max_late_ns'])} at most"
        notes.append(f"{text}.")
    cost = found.latency_cost
    if cost:
        names = {"stamp_ns": "stamping a packet takes", "sink_ns": "reading its stamp in the sink"}
        parts = [f"{name} {time_ns(cost[key])}" for key, name in names.items() if key in cost]
        floor = cost.get("floor", {})
        known = ", ".join(f"{p} {time_ns(v)}" for p, v in floor.items() if re.fullmatch(r"p[\d.]+", p))
        parts += [f"without a DUT it is {known} at {rate(floor['load_pps'])}"] if known else []
        notes.append(f"Latency: {'; '.join(parts)}.")
    return Sheet("The generator and the clocks", notes=notes)
