# SPDX-License-Identifier: GPL-2.0-only
"""The charts of how much a datapath carries: its maximum rate, NDR and PDR, or exact instructions per packet."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, FuncFormatter

from kbench.explain.answer import number, rate
from kbench.explain.comparison import Comparison
from kbench.explain.figures.base import Chart, ink, style
from kbench.explain.figures.marks import (
    AGGREGATED,
    interval_note,
    label,
    labelled,
    middle,
    row_axis,
    singles,
    spoken,
    too_many,
)
from kbench.explain.sheets import goal_name
from kbench.explain.throughput import Bound

AT_LEAST = "\N{GREATER-THAN OR EQUAL TO}"
HATCHES = ("", "///", "---", "xxx", "\\\\\\", "|||", "+++", "//////")


def rates(name: str, comparison: Comparison) -> Chart | None:
    """Median rate with interval, and each round as a point. None without wall-clock figures."""
    rows = [(r, r.figure) for r in comparison.rows if r.figure is not None]
    ceiling = comparison.ceiling
    many = too_many([len(row.by_round) for row, _ in rows])
    if not comparison.timed or not rows:
        return None

    def plot(axes: Axes) -> None:
        for y, (row, figure) in enumerate(rows):
            far = {outlier.round for outlier in row.outliers}
            singles(axes, y, row.datapath, row.by_round, many, far)
            limited = f"{AT_LEAST} " if row.at_least else ""
            middle(axes, y, row.datapath, figure, f"{limited}{rate(figure.value)}")
        row_axis(axes, [label(row.datapath) for row, _ in rows])
        most = max(max(*row.by_round.values(), figure.high or figure.value) for row, figure in rows)
        if ceiling is not None:
            axes.axvline(ceiling.value, color=ink(), linestyle=(0, (5, 4)), linewidth=1, zorder=1)
            most = max(most, ceiling.value)
        axes.set_xlim(0, most * 1.12)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlabel("packets per second")

    told = "; ".join(
        f"{r.datapath} {'at least ' if r.at_least else ''}{rate(figure.value)}{spoken(figure, rate)}"
        for r, figure in rows
    )
    note = f"Large mark: median; {interval_note(figure for _, figure in rows)}; small marks: single rounds."
    if any(r.outliers for r, _ in rows):
        note += " Rings: outliers, which stay in."
    if many:
        note += f" {AGGREGATED}"
    if any(r.generator_limited for r, _ in rows):
        note += f" {AT_LEAST}: limited by the generator."
    if any(r.line_limited for r, _ in rows):
        note += f" {AT_LEAST}: at line rate, which is the wire's limit."
    if not comparison.claims:
        note += " By an emulated clock: no measure of speed."
    if ceiling is not None:
        told += f"; the generator alone {rate(ceiling.value)}"
        note += " Dashed line: what the generator alone can offer."
    return Chart(
        name, "throughput",
        "Maximum forwarding rate" if comparison.load_pps is None else "Forwarding rate",
        f"Rate in packets per second, median with 95 % interval: {told}.",
        0.8 + 0.6 * len(rows), plot, note,
    )  # fmt: skip


def instructions(name: str, comparison: Comparison) -> Chart | None:
    """Exact instructions per packet, fewer is better. None for other kinds."""
    rows = [(r, r.figure) for r in comparison.rows if r.figure is not None]
    if comparison.kind != "exact" or not rows:
        return None

    def plot(axes: Axes) -> None:
        for y, (row, figure) in enumerate(rows):
            axes.barh(
                y, figure.value, height=0.55, color=style(row.datapath)[0], edgecolor=ink(), linewidth=0.6,
                hatch=HATCHES[y % len(HATCHES)],
            )  # fmt: skip
            axes.annotate(
                number(figure.value),
                (figure.value, y),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
            )
        row_axis(axes, [label(row.datapath, lines=2) for row, _ in rows])
        axes.set_xlim(0, max(figure.value for _, figure in rows) * 1.15)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_xlabel("guest instructions per packet (fewer is better)")

    told = "; ".join(f"{r.datapath} {number(figure.value)}" for r, figure in rows)
    whose = "Of the DUT only." if comparison.dut_only else "The generator's instructions are included."
    return Chart(
        name, "throughput", "Instructions per packet", f"Guest instructions per packet: {told}.",
        0.9 + 0.45 * len(rows), plot, f"{whose} Instructions are not cycles.",
    )  # fmt: skip


def throughput(name: str, bounds: Sequence[Bound]) -> Chart | None:
    """NDR and PDR of each datapath, with their intervals, and each search as a point."""
    reached = [(b, b.rate) for b in bounds if b.rate is not None]
    many = too_many([len(b.by_repeat) for b in bounds])
    if not reached:
        return None

    def plot(axes: Axes) -> None:
        for y, bound in enumerate(bounds):
            if bound.rate is None:
                axes.annotate("not reached", (0, y), xytext=(4, -3), textcoords="offset points", fontsize=9)
                continue
            singles(axes, y, bound.datapath, {r: lower for r, (lower, _) in bound.by_repeat.items()}, many)
            words = f"{'at least ' if bound.at_least else ''}{rate(bound.rate.value)}"
            middle(axes, y, bound.datapath, bound.rate, words)
        row_axis(axes, [labelled(bound.datapath, goal_name(bound)) for bound in bounds])
        most = max(
            max(figure.high or figure.value, *(x for x, _ in bound.by_repeat.values()))
            for bound, figure in reached
        )
        axes.set_xlim(0, most * 1.15)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlabel("packets per second")

    told = "; ".join(
        f"{b.datapath} {goal_name(b)} "
        + (f"{rate(b.rate.value)}{spoken(b.rate, rate)}" if b.rate else "not reached")
        for b in bounds
    )
    note = "NDR: without loss; PDR: with at most the loss stated."
    note += f" Large mark: median; {interval_note(figure for _, figure in reached)}; small marks: single searches."
    if many:
        note += f" {AGGREGATED}"
    return Chart(
        name, "throughput", "Throughput", f"Throughput in packets per second: {told}.", 0.8 + 0.6 * len(bounds),
        plot, note,
    )  # fmt: skip
