# SPDX-License-Identifier: GPL-2.0-only
"""Forest plots: ratios with their intervals, on a log axis around 1, and the band in which nothing is claimed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from kbench.explain.across import words
from kbench.explain.across.result import WORDS, AcrossResult, Change, Metric
from kbench.explain.figures.base import Chart, Topic, faint, ink, style

ROW_IN = 0.3
MOST_ROWS = 24
"""Of one chart: it has to fit on a page."""
LONGEST_LABEL = 34
TOPICS: dict[Metric, Topic] = {
    "rate": "throughput", "cpu": "cpu", "instructions": "cpu", "p50": "latency", "p99": "latency", "ndr": "loss",
    "pdr": "loss", "throughput": "loss", "cpu-at-load": "cpu",
}  # fmt: skip
TICKS = (0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 1.0,
         1.002, 1.005, 1.01, 1.02, 1.05, 1.1, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0)  # fmt: skip
MOST_TICKS = 11


def charts(result: AcrossResult) -> list[Chart]:
    """One per work, and more where there are too many figures for one."""
    made: list[Chart] = []
    for changes in words.by_work(result).values():
        for first in range(0, len(changes), MOST_ROWS):
            made.append(_chart(f"change-{len(made) + 1}", changes[first : first + MOST_ROWS]))
    return made


def _chart(name: str, rows: Sequence[Change]) -> Chart:
    work = rows[0].work
    return Chart(
        name,
        TOPICS[rows[0].metric],
        f"HEAD over BASE: {work}",
        f"Ratios with intervals that hold together. {'; '.join(words.spoken(item) for item in rows)}.",
        0.75 + ROW_IN * len(rows),
        lambda axes: _plot(axes, rows),
        "Right of 1 is more: better for rates, worse for times and instructions. Filled marks are changes that are"
        " claimed; shaded is what the figure does not resolve.",
    )


def _plot(axes: Axes, rows: Sequence[Change]) -> None:
    for y, item in enumerate(rows):
        colour, marker, _ = style(item.datapath)
        band = (1 / (1 + item.resolution), 1 + item.resolution)
        axes.fill_betweenx([y - 0.5, y + 0.5], *band, color=faint(), alpha=0.45, linewidth=0)
        low, high = item.ratio.low, item.ratio.high
        if low is not None and high is not None:
            axes.plot([low, high], [y, y], color=colour, linewidth=2, solid_capstyle="butt", zorder=3)
            axes.plot([low, high], [y, y], linestyle="", marker="|", markersize=8, color=colour, zorder=3)
        claimed = item.better is not None
        axes.plot(
            item.ratio.value, y, marker=marker, color=colour, markersize=8, zorder=4,
            markerfacecolor=colour if claimed else "none",
        )  # fmt: skip
        if claimed:
            _said(axes, y, item)
    axes.axvline(1, color=ink(), linewidth=1, zorder=2)
    _scale(axes, rows)
    labels = [_label(item) for item in rows]
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", linewidth=0.6)
    axes.set_xlabel("HEAD / BASE (log scale)")


def _said(axes: Axes, y: int, item: Change) -> None:
    """What a claimed change is, on the side away from 1."""
    more = item.ratio.value > 1
    axes.annotate(
        "better" if item.better else "worse",
        ((item.ratio.high if more else item.ratio.low) or item.ratio.value, y), xytext=(6 if more else -6, 0),
        textcoords="offset points", ha="left" if more else "right", va="center", fontsize=8, fontweight="bold",
    )  # fmt: skip


def _label(item: Change) -> str:
    load = " at load" if item.metric == "cpu-at-load" else ""
    text = f"{item.datapath} {WORDS[item.metric].name}{load}"
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _scale(axes: Axes, rows: Sequence[Change]) -> None:
    """As wide as the intervals, the same on both sides of 1, with few enough ticks."""
    ends = [
        end for item in rows
        for end in (item.ratio.low, item.ratio.high, item.ratio.value, 1 + item.resolution)
        if end is not None and end > 0
    ]  # fmt: skip
    claimed = any(item.better is not None for item in rows)
    # Room for a word beside the outermost.
    reach = min(math.log(20), max(abs(math.log(end)) for end in ends) * (1.5 if claimed else 1.15))
    axes.set_xscale("log")
    axes.set_xlim(math.exp(-reach), math.exp(reach))
    near = [tick for tick in TICKS if abs(math.log(tick)) <= reach]
    kept: list[float] = [1.0]
    for tick in sorted(near, key=lambda t: -abs(math.log(t))):
        if all(abs(math.log(tick / other)) >= 2 * reach / MOST_TICKS for other in kept):
            kept.append(tick)
    axes.set_xticks(sorted(kept))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
