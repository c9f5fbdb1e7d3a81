# SPDX-License-Identifier: GPL-2.0-only
"""The charts across cases: how rate or instructions change with frame size, rules, routes, flows or queues."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import (
    EngFormatter,
    FixedLocator,
    FuncFormatter,
    LogLocator,
    NullFormatter,
    NullLocator,
)

from kbench.explain.answer import number, part_name, rate, share
from kbench.explain.comparison import Comparison, Row
from kbench.explain.figures.base import Chart, ink, style
from kbench.explain.figures.marks import (
    BANDED,
    MOST_TICKS,
    interval_note,
    label,
    legend,
    legend_in,
    scatter,
    spoken,
    thinned,
    too_many,
)
from kbench.model import Case

WORDS = {
    "frame_bytes": ("frame size", "frame size in bytes, with FCS (log scale)"),
    "rules": ("number of rules", "rules (log scale)"),
    "routes": ("number of routes", "routes (log scale)"),
    "flows": ("number of flows", "flows (log scale)"),
    "queues": ("number of queues", "receive queues, each on a CPU of its own"),
}
"""Fields of a case that are swept -> in a title, on the axis."""
MOST_FAMILIES = 4
"""Of one field, in one part: further combinations of the others have their tables."""
LOG_FROM = 20
"""A value axis is logarithmic when its largest median is this many times its smallest."""


@dataclass(frozen=True)
class _Family:
    """Comparisons that differ in one field of their case only, by its value."""

    dimension: str
    by_value: dict[int, Comparison]

    @property
    def first(self) -> Comparison:
        return next(iter(self.by_value.values()))


@dataclass(frozen=True)
class _Line:
    """One datapath across the family; a value without a figure is None."""

    datapath: str
    rows: list[tuple[int, Row | None]]


def sweeps(prefix: str, comparisons: Sequence[Comparison]) -> list[Chart]:
    """A chart per field that has two values or more while the other fields are equal."""
    made = []
    for dimension in WORDS:
        families = _families(dimension, comparisons)
        for n, family in enumerate(families[:MOST_FAMILIES]):
            name = f"{prefix}-by-{dimension.replace('_', '-')}{f'-{n + 1}' if n else ''}"
            made.append(_chart(name, family, len(families) - MOST_FAMILIES if n == MOST_FAMILIES - 1 else 0))
    return made


def _families(dimension: str, comparisons: Sequence[Comparison]) -> list[_Family]:
    """All of one field, those with the most values first."""
    found: dict[tuple[object, ...], dict[int, Comparison]] = {}
    for comparison in comparisons:
        case = comparison.case
        if case is None or not any(row.figure for row in comparison.rows) or not _applies(dimension, case):
            continue
        fixed: dict[str, Any] = {dimension: 0}
        others = dataclasses.replace(case, **fixed)
        key = (
            comparison.part.name, comparison.kind, comparison.part.kernel, comparison.generator,
            comparison.load_pps, comparison.dut_only, others,
        )  # fmt: skip
        found.setdefault(key, {})[getattr(case, dimension)] = comparison
    families = [_Family(dimension, dict(sorted(of.items()))) for of in found.values() if len(of) > 1]
    return sorted(families, key=lambda family: -len(family.by_value))


def _applies(dimension: str, case: Case) -> bool:
    """Whether the field says something about this case."""
    if dimension == "rules":
        return case.function == "filter" and not case.rules_file
    if dimension == "queues":
        return case.queues > 0
    if dimension == "routes":
        return case.function != "drop" and not case.routes_file
    return True


def _lines(family: _Family) -> list[_Line]:
    """All datapaths that have a figure anywhere, in the order of the last value."""
    names = dict.fromkeys(
        row.datapath for c in reversed(family.by_value.values()) for row in c.rows if row.figure is not None
    )
    return [
        _Line(name, [(value, _row(comparison, name)) for value, comparison in family.by_value.items()])
        for name in names
    ]


def _row(comparison: Comparison, datapath: str) -> Row | None:
    return next((r for r in comparison.rows if r.datapath == datapath and r.figure is not None), None)


def _chart(name: str, family: _Family, untold: int) -> Chart:
    lines = _lines(family)
    exact = family.first.kind == "exact"
    words = number if exact else rate
    labels = [label(line.datapath, lines=2) for line in lines]
    values = list(family.by_value)
    scaled = family.dimension == "queues"
    # The ideal is a straight line only where both axes are linear, or both logarithmic.
    linear = scaled and not _far_apart(lines)
    ideal = scaled and family.first.claims
    many = too_many([sum(len(row.by_round) for _, row in line.rows if row) for line in lines])

    def plot(axes: Axes) -> None:
        for n, (line, text) in enumerate(zip(lines, labels, strict=True)):
            if ideal:
                _ideal(axes, line)
            _draw(axes, line, text, _Aside(values, n - (len(lines) - 1) / 2, linear), many)
        if linear:
            axes.set_xlim(values[0] - 0.06 * (values[-1] - values[0]), None)
        else:
            axes.set_xscale(
                "log" if values[0] > 0 else "symlog", **({} if values[0] > 0 else {"linthresh": 1})
            )
        ticks = thinned([v for v in values if v > 0], not linear, lambda v: len(f"{v:,.0f}"))
        axes.xaxis.set_major_locator(FixedLocator([*(v for v in values if v <= 0), *ticks]))
        axes.xaxis.set_minor_locator(FixedLocator(values) if len(values) <= MOST_TICKS else NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(f"{WORDS[family.dimension][1]}{' (log scale)' if scaled and not linear else ''}")
        _value_axis(axes, lines, exact)
        axes.grid(linewidth=0.6)
        legend(axes)

    what = "Instructions per packet" if exact else "Forwarding rate"
    intervals = interval_note(row.figure for line in lines for _, row in line.rows if row and row.figure)
    if len(values) > MOST_TICKS:
        intervals = intervals.replace("whiskers", "narrow bands")
    note = (
        "Lines: medians; whiskers: the smallest and largest count; small marks: single rounds."
        if exact else f"Lines: medians; {intervals}; small marks: single rounds."
    )  # fmt: skip
    if ideal:
        note += " Thin dotted: the rate of the fewest queues times as many, which is ideal scaling."
    if not family.first.claims:
        note += " By an emulated clock: no measure of speed."
    if many:
        note += f" {BANDED}"
    if untold > 0:
        note += f" {untold} more combination{'s' if untold > 1 else ''} of the other settings are in the tables only."
    unit = "guest instructions per packet" if exact else "packets per second"
    told = "; ".join(_told(family.dimension, line, words) for line in lines)
    return Chart(
        name, "throughput", f"{what} by {WORDS[family.dimension][0]}: {_fixed(family)}",
        f"{what} by {WORDS[family.dimension][0]} ({_fixed(family)}), in {unit}: {told}.",
        3.4 + legend_in(labels), plot, note,
    )  # fmt: skip


@dataclass(frozen=True)
class _Aside:
    """Moves marks aside a little, so that datapaths do not hide each other, nor a median its rounds."""

    values: Sequence[int]
    number: float
    linear: bool

    def __call__(self, value: float, more: float = 0.0) -> float:
        """Where a value's mark stands; `more` steps further for its rounds."""
        by = self.number + more
        if self.linear:
            return value + by * 0.006 * (self.values[-1] - self.values[0])
        return float(value * (self.values[-1] / max(self.values[0], 1)) ** (0.006 * by))


def _ideal(axes: Axes, line: _Line) -> None:
    """From the fewest queues on, as if each further one carried as much."""
    first = next(((value, row.figure.value) for value, row in line.rows if row and row.figure), None)
    if first is not None:
        xs = [value for value, _ in line.rows if value >= first[0]]
        axes.plot(
            xs, [first[1] * x / first[0] for x in xs], color=style(line.datapath)[0], linestyle=(0, (1, 2)),
            linewidth=1, zorder=2,
        )  # fmt: skip


def _draw(axes: Axes, line: _Line, text: str, aside: _Aside, many: bool) -> None:
    """Medians with whiskers, and their rounds further aside; a gap where none is."""
    colour, marker, dashes = style(line.datapath)
    few = len(line.rows) <= MOST_TICKS
    xs = [aside(value) for value, _ in line.rows]
    known = [(x, row) for x, (_, row) in zip(xs, line.rows, strict=True) if row is not None]
    scatter(
        axes,
        line.datapath,
        [
            (aside(value, 0.0 if many else 3.0), list(row.by_round.values()))
            for value, row in line.rows
            if row is not None
        ],
        many,
    )
    medians = [row.figure.value if row and row.figure else math.nan for _, row in line.rows]
    axes.plot(
        xs, medians, color=colour, linestyle=dashes, linewidth=1.8, marker=marker, markersize=6, label=text,
        zorder=4, markevery=1 if few else len(xs) // MOST_TICKS + 1,
    )  # fmt: skip
    figures = [(x, row.figure) for x, row in known if row.figure is not None]
    bars = [(x, f.low, f.high) for x, f in figures if f.low is not None and f.high is not None]
    if len(bars) > MOST_TICKS:
        at_x, low_y, high_y = zip(*bars, strict=True)
        axes.fill_between(at_x, low_y, high_y, color=colour, alpha=0.4, linewidth=0)
    elif bars:
        at = [x for x, _, _ in bars for _ in range(3)]
        ends = [edge for _, low, high in bars for edge in (low, high, math.nan)]
        axes.plot(at, ends, color=ink(), linewidth=1, marker="_", markersize=7, markeredgewidth=1, zorder=5)


def _medians(lines: Sequence[_Line]) -> list[float]:
    return [row.figure.value for line in lines for _, row in line.rows if row and row.figure]


def _far_apart(lines: Sequence[_Line]) -> bool:
    """Whether the medians need a logarithmic axis."""
    medians = _medians(lines)
    return max(medians) >= LOG_FROM * min(medians)


def _value_axis(axes: Axes, lines: Sequence[_Line], exact: bool) -> None:
    medians, log = _medians(lines), _far_apart(lines)
    unit = "guest instructions per packet" if exact else "packets per second"
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(
            LogLocator(subs=(1, 2, 5) if max(medians) < 1000 * min(medians) else (1,))
        )
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(0, None)
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:,.0f}") if exact else EngFormatter(sep="")
    )
    axes.set_ylabel(f"{unit}{' (log scale)' if log else ''}")


def _fixed(family: _Family) -> str:
    """What is the same all along, in words."""
    comparison, dimension = family.first, family.dimension
    case = comparison.case
    assert case is not None
    name = comparison.part.name
    where = "in the lab" if name == "lab" else f"on {part_name(name)}"
    words = [f"{case.function} {where}"]
    if comparison.topology is not None:
        words.append(comparison.topology.pair)
    if case.function == "filter" and dimension == "rules":
        words.append(f"shape {case.shape}")
    elif case.function == "filter":
        words.append(
            "rules from a file" if case.rules_file else f"{_count(case.rules, 'rule')} ({case.shape})"
        )
    if case.function != "drop" and dimension != "routes":
        words.append("routes from a file" if case.routes_file else _count(case.routes, "route"))
    if dimension != "frame_bytes":
        words.append(f"{case.frame_bytes}-byte frames")
    if dimension != "flows" and case.flows != 256:
        words.append(_count(case.flows, "flow"))
    if case.match_share != 1.0:
        words.append(f"{share(case.match_share)} matching")
    if case.seed != 1:
        words.append(f"seed {case.seed}")
    if dimension != "queues" and case.queues:
        words.append(_count(case.queues, "queue"))
    if comparison.load_pps is not None:
        words.append(f"at {rate(comparison.load_pps)} offered")
    return ", ".join(words)


def _count(value: int, noun: str) -> str:
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def _told(dimension: str, line: _Line, words: Callable[[float], str]) -> str:
    unit = {"frame_bytes": "bytes"}.get(dimension, dimension)
    said = [
        f"{value:,} {unit} {words(row.figure.value)}{spoken(row.figure, words)}" if row and row.figure
        else f"{value:,} {unit} no figure"
        for value, row in line.rows
    ]  # fmt: skip
    return f"{line.datapath}: {', '.join(said)}"
