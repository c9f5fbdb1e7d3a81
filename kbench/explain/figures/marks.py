# SPDX-License-Identifier: GPL-2.0-only
"""What charts are made of: rows with intervals, single values or their density, legends and labels that fit."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from kbench.explain.figures.base import WIDTH_IN, ink, style
from kbench.explain.stats import Estimate

MOST_POINTS = 150
"""Of more single values in one row or line their density is drawn."""
MOST_IN_ALL = 480
"""So many points in all rows or lines of a chart: each is 120 bytes of SVG."""
MOST_FAR = 20
"""So many single values stay points beside a density."""
MOST_TICKS = 12
BINS = 48
LINE_IN = 0.16
"""Height of a line of text."""
AGGREGATED = "Of many single values their density is drawn, with the outliers as points."
BANDED = "Of many single values a band holds the middle 90 %, with the farthest as points."


def too_many(counts: Sequence[int]) -> bool:
    """Whether a chart draws density or bands, given how many single values its rows or lines have."""
    return max(counts, default=0) > MOST_POINTS or sum(counts) > MOST_IN_ALL


def _clean(text: str) -> str:
    """Only letters that the font has and that keep their place in the line."""
    return re.sub(r"[^\x20-\x7e\xa0-\u058f]", "\N{REPLACEMENT CHARACTER}", text)


def label(name: str, width: int = 20, lines: int = 3) -> str:
    """A datapath's name on several lines if it is long, and shortened near its end where that is not enough.

    Versions of the same name still differ then; the text alternative has it in full.
    """
    clean = _clean(name).strip() or "?"
    if len(clean) > width * lines:
        tail = width // 2
        clean = f"{clean[: width * lines - tail - 1]}\N{HORIZONTAL ELLIPSIS}{clean[-tail:]}"
    return "\n".join(clean[at : at + width] for at in range(0, len(clean), width))


def labelled(name: str, more: str) -> str:
    """A datapath's name and what this row is of it, on one line if they fit."""
    if len(name) + len(more) <= 22:
        return f"{_clean(name)}  {_clean(more)}"
    return f"{label(name, lines=2)}\n{label(more, lines=1)}"


def shortened(name: str) -> str:
    """On one line, shortened in the middle, where versions of the same name still differ."""
    clean = _clean(name)
    return clean if len(clean) <= 22 else f"{clean[:12]}\N{HORIZONTAL ELLIPSIS}{clean[-9:]}"


def spoken(estimate: Estimate, words: Callable[[float], str]) -> str:
    """The interval in words, for a text alternative."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f" ({words(estimate.low)} to {words(estimate.high)})"


def interval_note(figures: Iterable[Estimate]) -> str:
    """What the whiskers are, or why there are none."""
    figures = list(figures)
    lacking = [figure for figure in figures if figure.low is None or figure.high is None]
    if len(lacking) < len(figures):
        return f"whiskers: the 95 % interval{', where there is one' if lacking else ''}"
    return f"no interval: {next((f.reason for f in lacking if f.reason), 'none is known')}"


def middle(axes: Axes, y: float, datapath: str, figure: Estimate, words: str) -> None:
    """The large mark of a row, with its interval and its value in words above.

    The whiskers are on the mark and taller than it: a narrow interval is seen as well.
    """
    colour, marker, _ = style(datapath)
    axes.plot(figure.value, y, marker=marker, color=colour, markersize=9, zorder=4)
    if figure.low is not None and figure.high is not None:
        axes.errorbar(
            figure.value, y, xerr=[[max(0.0, figure.value - figure.low)], [max(0.0, figure.high - figure.value)]],
            color=ink(), capsize=6, elinewidth=1, capthick=1, zorder=5,
        )  # fmt: skip
    axes.annotate(
        words, (figure.value, y), xytext=(0, 9), textcoords="offset points", ha="center", fontsize=9
    )


def singles(
    axes: Axes, y: float, datapath: str, values: Mapping[int, float], many: bool, far: Collection[int] = ()
) -> None:
    """The single values of a row below its mark, by round; `far`: the rounds to be ringed.

    `many`: their density hangs there instead, as a share of its highest bin, and only the farthest of `far` are points.
    """
    colour, marker, _ = style(datapath)
    if many and len(values) > 1:
        numbers = np.asarray(list(values.values()), dtype=np.float64)
        counts, edges = np.histogram(numbers, bins=BINS)
        depth = np.append(counts, counts[-1]) / counts.max() * 0.26
        axes.fill_between(
            edges, y + 0.13, y + 0.13 + depth, step="post", color=colour, alpha=0.45, linewidth=0
        )
        centre = float(np.median(numbers))
        kept = sorted(far, key=lambda r: -abs(values[r] - centre))[:MOST_FAR]
        values = {r: values[r] for r in kept}
    jitter = [y + 0.17 + 0.09 * (i % 3) for i in range(len(values))]
    axes.plot(
        list(values.values()),
        jitter,
        linestyle="",
        marker=marker,
        color=colour,
        alpha=0.5,
        markersize=4,
        markeredgewidth=0,
    )
    ringed = [(x, at) for (r, x), at in zip(values.items(), jitter, strict=True) if r in far]
    if ringed:
        axes.plot(
            *zip(*ringed, strict=True), linestyle="", marker="o", markersize=8, markerfacecolor="none",
            markeredgecolor=ink(), markeredgewidth=0.8,
        )  # fmt: skip


def scatter(axes: Axes, datapath: str, at: Sequence[tuple[float, Sequence[float]]], many: bool) -> None:
    """The single values of a line, by x; `many`: a band of the middle 90 % and the farthest extremes."""
    colour, marker, _ = style(datapath)
    at = [(x, values) for x, values in at if values]
    points = [(x, value) for x, values in at for value in values]
    if many:
        low, high = np.asarray([np.quantile(values, (0.05, 0.95)) for _, values in at]).T
        axes.fill_between([x for x, _ in at], low, high, color=colour, alpha=0.2, linewidth=0)
        ends = [
            (x, edge, abs(edge / (median(values) or 1) - 1))
            for x, values in at
            for edge in (min(values), max(values))
        ]
        points = [(x, edge) for x, edge, _ in sorted(ends, key=lambda end: -end[2])[: MOST_FAR // 2]]
    if points:
        axes.plot(
            *zip(*points, strict=True), linestyle="", marker=marker, color=colour, alpha=0.4, markersize=3.5,
            markeredgewidth=0,
        )  # fmt: skip


def row_axis(axes: Axes, labels: Sequence[str]) -> None:
    """A row per label, the first on top."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", linewidth=0.6)


def _columns(labels: Sequence[str]) -> int:
    """How many columns of a legend fit into a chart's width, its labels in 9 point."""
    longest = max((len(line) for text in labels for line in text.split("\n")), default=1)
    return max(1, min(4, len(labels), int((WIDTH_IN - 0.6) * 72 / (52 + 5.8 * longest))))


def legend_in(labels: Sequence[str]) -> float:
    """The height that `legend` needs for these labels, in inches."""
    lines = max((text.count("\n") + 1 for text in labels), default=0)
    return 0.1 + math.ceil(len(labels) / _columns(labels)) * (LINE_IN * lines + 0.04) if labels else 0.0


def legend(axes: Axes, **more: Any) -> None:
    """All labels above the axes, in as many columns as fit."""
    labels = (
        [h.get_label() for h in more["handles"]] if "handles" in more else axes.get_legend_handles_labels()[1]
    )
    settings: dict[str, Any] = {"ncols": _columns(labels), "handlelength": 3, "columnspacing": 1.2}
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.45, 1.0), frameon=False, fontsize=9, **(settings | more)
    )


def thinned(values: Sequence[float], log: bool, width: Callable[[float], int]) -> list[float]:
    """The values that can be labelled on an axis of a chart's width without touching: the ends first.

    `width`: characters of a value's label.
    """
    ordered = sorted(set(values))
    if len(ordered) < 2:
        return ordered
    places = [math.log(v) for v in ordered] if log else ordered
    inches = [(p - places[0]) / (places[-1] - places[0]) * (WIDTH_IN - 1.4) for p in places]
    needs = [width(v) * 0.085 + 0.08 for v in ordered]

    def clear(one: int, other: int) -> bool:
        return abs(inches[one] - inches[other]) >= (needs[one] + needs[other]) / 2

    kept = [0, len(ordered) - 1]
    while len(kept) < MOST_TICKS:
        room = [n for n in range(len(ordered)) if all(clear(n, other) for other in kept)]
        if not room:
            break
        kept.append(max(room, key=lambda n: min(abs(inches[n] - inches[other]) for other in kept)))
    return [ordered[n] for n in sorted(kept)]
