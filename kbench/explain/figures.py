# SPDX-License-Identifier: GPL-2.0-only
"""The charts of a report, as inline SVG that follows the page's light or dark colours.

A datapath has the same colour and marker in every chart; exact and wall-clock figures never share one.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, NullFormatter, NullLocator

from kbench.explain import stats
from kbench.explain.answer import number, rate, time_ns
from kbench.explain.comparison import CPU_STATES, Comparison, Row
from kbench.explain.stats import Estimate

# Okabe and Ito's colour-blind safe palette, darkened where it is too pale for a white page.
STYLES: dict[str, tuple[str, str, str]] = {
    "netfilter": ("#d55e00", "s", ":"),
    "xdp": ("#0080c8", "o", "-"),
    "af_packet": ("#009e73", "^", "-."),
    "kernel": ("#808080", "D", "--"),
    "tc": ("#d18f00", "v", "-"),
    "af_xdp": ("#3fa5d8", "P", "--"),
    "dpdk": ("#c4689a", "X", "-."),
    "nftables": ("#a89a00", "p", ":"),
}
OTHERS = (("#9467bd", "*", "-"), ("#8c564b", "h", "--"), ("#7f9b3a", "<", "-."))
STATE_STYLES = {
    "user": ("#009e73", "---"),
    "system": ("#0080c8", "////"),
    "irq": ("#c4689a", "xxxx"),
    "softirq": ("#d55e00", "\\\\\\\\"),
    "steal": ("#a89a00", "++++"),
    "idle": ("#808080", ""),
}
# Colours that stand for the page's own: replaced after drawing, so that one SVG suits light and dark.
INK, FAINT = "#010203", "#040506"
_WIDTH_IN = 6.2


@dataclass(frozen=True)
class Chart:
    """One chart: inline SVG (trusted markup, made here), its title and its text alternative."""

    title: str
    svg: str
    alt: str
    note: str = ""


def style(datapath: str) -> tuple[str, str, str]:
    """Colour, marker and line style of a datapath; unknown ones get a stable one of their own."""
    return STYLES.get(datapath) or OTHERS[sum(datapath.encode()) % len(OTHERS)]


def drawn(name: str, height_in: float, plot: Callable[[Axes], None]) -> str:
    """Draw on a fresh figure; `name` makes the ids unique within the page."""
    settings: dict[Any, Any] = {
        "svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif", "font.size": 10,
        "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": FAINT, "xtick.color": INK,
        "ytick.color": INK, "grid.color": FAINT, "hatch.linewidth": 0.5, "axes.spines.top": False,
        "axes.spines.right": False, "axes.axisbelow": True, "text.parse_math": False,
    }  # fmt: skip
    with mpl.rc_context(settings):
        figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
        plot(figure.add_subplot())
        out = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    return _inline(out.getvalue(), name)


def _inline(svg: str, name: str) -> str:
    """The bare <svg> element with unique ids, the page's colours and no fixed size."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)
    svg = svg.replace(INK, "var(--ink, #222)").replace(FAINT, "var(--faint, #bbb)")
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 system-ui, sans-serif", svg)
    head, rest = svg.split(">", 1)
    head = re.sub(r'\s(width|height|version|xmlns|xmlns:xlink)="[^"]*"', "", head)
    # The figure around it carries the text alternative.
    return f'{head} aria-hidden="true">{rest}'


def whiskers(axes: Axes, y: float, figure: Estimate, colour: str) -> None:
    """The interval of `figure` as a horizontal bar."""
    if figure.low is not None and figure.high is not None:
        axes.errorbar(
            figure.value, y, xerr=[[figure.value - figure.low], [figure.high - figure.value]],
            color=colour, capsize=5, elinewidth=2, capthick=2, zorder=3,
        )  # fmt: skip


def row_axis(axes: Axes, labels: list[str]) -> None:
    """A row per label, the first on top."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", linewidth=0.6)


def rates(name: str, comparison: Comparison) -> Chart | None:
    """Median rate with interval, and each round as a point. None without wall-clock figures."""
    rows = [r for r in comparison.rows if r.figure is not None]
    if comparison.kind != "wall" or not rows:
        return None

    def plot(axes: Axes) -> None:
        for y, row in enumerate(rows):
            assert row.figure is not None
            colour, marker, _ = style(row.datapath)
            rounds = list(row.by_round.values())
            jitter = [y + 0.16 + 0.10 * (i % 3) for i in range(len(rounds))]
            axes.plot(rounds, jitter, linestyle="", marker=marker, color=colour, alpha=0.45, markersize=4)
            far = {outlier.round for outlier in row.outliers}
            ringed = [(x, at) for r, x, at in zip(row.by_round, rounds, jitter, strict=True) if r in far]
            for x, at in ringed:
                axes.plot(x, at, marker="o", markersize=9, markerfacecolor="none", markeredgecolor=INK)
            whiskers(axes, y, row.figure, colour)
            axes.plot(row.figure.value, y, marker=marker, color=colour, markersize=9, zorder=4)
            axes.annotate(
                rate(row.figure.value), (row.figure.value, y), xytext=(0, 9), textcoords="offset points",
                ha="center", fontsize=9,
            )  # fmt: skip
        row_axis(axes, [r.datapath for r in rows])
        most = max(max(r.by_round.values()) for r in rows)
        if comparison.ceiling is not None:
            axes.axvline(comparison.ceiling.value, color=INK, linestyle=(0, (5, 4)), linewidth=1, zorder=1)
            most = max(most, comparison.ceiling.value)
        axes.set_xlim(0, most * 1.12)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlabel("packets per second")

    told = "; ".join(f"{r.datapath} {rate(r.figure.value)}{spoken(r.figure, rate)}" for r in rows if r.figure)
    note = "Large mark: median, whiskers: its 95 % interval, small marks: single rounds."
    if any(r.outliers for r in rows):
        note += " Rings: outliers, which stay in."
    if comparison.ceiling is not None:
        told += f"; the generator alone {rate(comparison.ceiling.value)}"
        note += " Dashed line: what the generator alone can offer."
    return Chart(
        "Maximum forwarding rate" if comparison.load_pps is None else "Forwarding rate",
        drawn(name, 0.8 + 0.6 * len(rows), plot),
        f"Rate in packets per second, median with 95 % interval: {told}.",
        note,
    )  # fmt: skip


def spoken(estimate: Estimate, words: Callable[[float], str]) -> str:
    """The interval in words, for a text alternative."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f" ({words(estimate.low)} to {words(estimate.high)})"


def instructions(name: str, comparison: Comparison) -> Chart | None:
    """Exact instructions per packet, fewer is better. None for other kinds."""
    rows = [r for r in comparison.rows if r.figure is not None]
    if comparison.kind != "exact" or not rows:
        return None
    hatches = ("", "///", "...", "xxx", "\\\\\\")

    def plot(axes: Axes) -> None:
        for y, row in enumerate(rows):
            assert row.figure is not None
            axes.barh(
                y, row.figure.value, height=0.55, color=style(row.datapath)[0], edgecolor=INK, linewidth=0.6,
                hatch=hatches[y % len(hatches)],
            )  # fmt: skip
            axes.annotate(
                number(row.figure.value), (row.figure.value, y), xytext=(5, 0),
                textcoords="offset points", va="center",
            )  # fmt: skip
        row_axis(axes, [r.datapath for r in rows])
        axes.set_xlim(0, max(r.figure.value for r in rows if r.figure) * 1.15)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_xlabel("guest instructions per packet (fewer is better)")

    told = "; ".join(f"{r.datapath} {number(r.figure.value)}" for r in rows if r.figure)
    whose = "Of the DUT only." if comparison.dut_only else "The generator's instructions are included."
    return Chart(
        "Instructions per packet", drawn(name, 0.9 + 0.45 * len(rows), plot),
        f"Guest instructions per packet: {told}.", f"{whose} Instructions are not cycles.",
    )  # fmt: skip


def latency(name: str, comparison: Comparison) -> Chart | None:
    """Latency distribution with a logarithmic tail: each step up is a tenth of the packets."""
    rows = [r for r in comparison.rows if r.latency is not None]
    if comparison.kind != "wall" or not rows:
        return None
    top = max(1 / stats.tail(r.latency.histogram)[1][-1] for r in rows if r.latency)
    deepest = max(1, math.floor(math.log10(top) + 1e-9))

    def plot(axes: Axes) -> None:
        for row in rows:
            assert row.latency is not None
            colour, marker, line = style(row.datapath)
            edges, shares = stats.tail(row.latency.histogram)
            axes.plot(
                edges, [1 / s for s in shares], color=colour, linestyle=line,
                linewidth=2, label=row.datapath,
            )  # fmt: skip
            axes.plot(edges[-1], 1 / shares[-1], marker=marker, color=colour, markersize=7)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(1, top * 1.5)
        ticks = [10.0**k for k in range(deepest + 1)]
        axes.yaxis.set_major_locator(FixedLocator(ticks))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(_percent_label))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: time_ns(v)))
        low, high = axes.get_xlim()
        if high / low < 1e3:  # more decades leave no room between their labels
            axes.xaxis.set_minor_formatter(FuncFormatter(_minor_label))
        else:
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis="x", which="minor", labelsize=8)
        axes.grid(linewidth=0.6)
        axes.set_xlabel("latency (log scale)")
        axes.set_ylabel("packets at or below")
        axes.legend(
            loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=4, frameon=False, fontsize=9, handlelength=3
        )  # fmt: skip

    told = "; ".join(_tell_latency(r) for r in rows)
    return Chart(
        "Latency", drawn(name, 3.6, plot), f"Latency distribution: {told}.",
        "Each line ends where fewer than 10 samples lie beyond it.",
    )  # fmt: skip


def _minor_label(value: float, _: int | None) -> str:
    return time_ns(value) if f"{value:.0e}"[0] in "25" else ""


def _percent_label(value: float, _: int | None) -> str:
    """0 %, 90 %, 99 %, 99.9 %: the share at or below, from 1/(share above)."""
    return f"{100 * (1 - 1 / value):.{max(0, len(str(round(value))) - 3)}f} %"


def _tell_latency(row: Row) -> str:
    assert row.latency is not None
    known = [f"p{p} {time_ns(v)}" for p, v in row.latency.percentiles_ns.items() if v is not None]
    return f"{row.datapath} {', '.join([*known, f'maximum {time_ns(row.latency.max_ns)}'])}"


def cpu_states(name: str, comparison: Comparison) -> Chart | None:
    """Where each CPU's time went while a datapath was measured."""
    bars = [(r.datapath, cpu, states) for r in comparison.rows for cpu, states in r.cpus.items()]
    if comparison.kind != "wall" or not bars:
        return None

    def plot(axes: Axes) -> None:
        for y, (_, _, states) in enumerate(bars):
            left = 0.0
            for state in CPU_STATES:
                colour, hatch = STATE_STYLES[state]
                axes.barh(
                    y, states[state] * 100, left=left, height=0.6, color=colour, hatch=hatch, edgecolor=INK,
                    linewidth=0.4, alpha=0.3 if state == "idle" else 1, label=state if y == 0 else None,
                )  # fmt: skip
                left += states[state] * 100
        row_axis(axes, [f"{datapath}  CPU {cpu}" for datapath, cpu, _ in bars])
        axes.set_xlim(0, 100)
        axes.set_xlabel("share of the time (%)")
        axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=6, frameon=False, fontsize=9,
                    handlelength=1.4, columnspacing=1.0)  # fmt: skip

    told = "; ".join(
        f"{d} CPU {c}: " + ", ".join(f"{s} {v * 100:.0f} %" for s, v in states.items() if v >= 0.005)
        for d, c, states in bars
    )
    return Chart(
        "CPU time by state", drawn(name, 1.1 + 0.32 * len(bars), plot), f"CPU time by state: {told}.",
        "From /proc/stat: with coarse accounting, interrupts may be booked on whatever they interrupt.",
    )  # fmt: skip


def dut_time(name: str, comparison: Comparison) -> Chart | None:
    """DUT CPU nanoseconds per packet, generator subtracted."""
    rows = [r for r in comparison.rows if r.dut_ns is not None]
    if comparison.kind != "wall" or not rows:
        return None

    def plot(axes: Axes) -> None:
        highest = 0.0
        for y, row in enumerate(rows):
            assert row.dut_ns is not None
            colour, marker, _ = style(row.datapath)
            whiskers(axes, y, row.dut_ns, colour)
            axes.plot(row.dut_ns.value, y, marker=marker, color=colour, markersize=9, zorder=4)
            axes.annotate(
                f"{number(row.dut_ns.value)} ns", (row.dut_ns.value, y), xytext=(0, 9),
                textcoords="offset points", ha="center", fontsize=9,
            )  # fmt: skip
            highest = max(highest, row.dut_ns.value, row.dut_ns.high or 0.0)
        row_axis(axes, [r.datapath for r in rows])
        lowest = min(min(r.dut_ns.value, r.dut_ns.low or r.dut_ns.value) for r in rows if r.dut_ns)
        axes.set_xlim(min(0.0, lowest * 1.1), max(highest, 1.0) * 1.12)
        axes.set_xlabel("DUT CPU ns per packet (generator subtracted; fewer is better)")

    told = "; ".join(
        f"{r.datapath} {number(r.dut_ns.value)} ns{spoken(r.dut_ns, number)}" for r in rows if r.dut_ns
    )
    return Chart(
        "CPU time per packet", drawn(name, 0.8 + 0.6 * len(rows), plot), f"DUT CPU time per packet: {told}.",
        "Median over trials, whiskers: its 95 % interval.",
    )  # fmt: skip


CHARTS = (rates, instructions, latency, dut_time, cpu_states)


def charts(name: str, comparison: Comparison) -> list[Chart]:
    """All charts that a comparison has figures for; `name` makes their ids unique in the page."""
    made = [draw(f"{name}-{draw.__name__}", comparison) for draw in CHARTS]
    return [chart for chart in made if chart is not None]
