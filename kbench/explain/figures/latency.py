# SPDX-License-Identifier: GPL-2.0-only
"""The charts of latency: its distribution with a logarithmic tail, and how it grows with the load."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from kbench.explain import stats
from kbench.explain.answer import share, time_ns
from kbench.explain.comparison import Comparison, Latency
from kbench.explain.figures.base import Chart, style
from kbench.explain.figures.marks import label, legend, legend_in
from kbench.explain.method_results import LatencyAt
from kbench.model import Histogram

STEP = 0.006
"""Points of a distribution's line that are nearer than this share of the axes' length say nothing more."""


def distribution(name: str, comparison: Comparison) -> Chart | None:
    """Latency distribution with a logarithmic tail: each step up is a tenth of the packets."""
    rows = [(r.datapath, r.latency) for r in comparison.rows if r.latency is not None]
    if not comparison.timed or not rows:
        return None
    curves = {datapath: _curve(quick.histogram) for datapath, quick in rows}
    top = max(curve[-1][1] for curve in curves.values())
    deepest = max(1, math.floor(math.log10(top) + 1e-9))
    labels = [label(datapath, lines=2) for datapath, _ in rows]

    def plot(axes: Axes) -> None:
        for (datapath, curve), words in zip(curves.items(), labels, strict=True):
            colour, marker, line = style(datapath)
            axes.plot(
                *zip(*curve, strict=True), color=colour, linestyle=line, linewidth=1.8, marker=marker,
                markersize=6, markevery=_decades(curve), label=words,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(1, top * 1.5)
        axes.yaxis.set_major_locator(FixedLocator([10.0**k for k in range(deepest + 1)]))
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
        legend(axes)

    told = "; ".join(_tell(datapath, quick) for datapath, quick in rows)
    return Chart(
        name, "latency", "Latency", f"Latency distribution: {told}.", 3.4 + legend_in(labels), plot,
        "Marks: the median and each further 9 of the percentiles. Each line ends where fewer than 10 samples lie"
        " beyond it.",
    )  # fmt: skip


def _curve(histogram: Histogram) -> list[tuple[float, float]]:
    """Latency in ns, and 1 / (share of the samples above it), without points that would lie on each other."""
    points = [(edge, 1 / above) for edge, above in zip(*stats.tail(histogram), strict=True)]
    wide = max(math.log(points[-1][0] / max(points[0][0], 1.0)), 1.0)
    high = max(math.log(points[-1][1]), 1.0)
    kept = points[:1]
    for point in points[1:-1]:
        right = math.log(max(point[0], 1.0) / max(kept[-1][0], 1.0)) / wide
        up = math.log(point[1] / kept[-1][1]) / high
        if right + up >= STEP:
            kept.append(point)
    return [(max(x, 1.0), y) for x, y in [*kept, *points[1:][-1:]]]


def _decades(curve: Sequence[tuple[float, float]]) -> list[int]:
    """Where the line passes the median, 90 %, 99 % and so on, and its end."""
    found = [len(curve) - 1]
    want = 2.0
    for n, (_, y) in enumerate(curve):
        while y >= want:
            found.append(n)
            want = 10.0 if want == 2.0 else want * 10
    return sorted(set(found))


def _minor_label(value: float, _: int | None) -> str:
    return time_ns(value) if f"{value:.0e}"[0] in "25" else ""


def _percent_label(value: float, _: int | None) -> str:
    """0 %, 90 %, 99 %, 99.9 %: the share at or below, from 1/(share above)."""
    return f"{100 * (1 - 1 / value):.{max(0, len(str(round(value))) - 3)}f} %"


def _tell(datapath: str, quick: Latency) -> str:
    known = [f"p{p} {time_ns(v)}" for p, v in quick.percentiles_ns.items() if v is not None]
    return f"{datapath} {', '.join([*known, f'maximum {time_ns(quick.max_ns)}'])}"


def by_load(name: str, points: Sequence[LatencyAt]) -> Chart | None:
    """Median and 99th percentile at the loads that are shares of each datapath's own PDR."""
    known = [at for at in points if at.percentiles_ns.get("50") is not None]
    if not known:
        return None
    shares = sorted({at.load_share for at in known})
    datapaths = list(dict.fromkeys(at.datapath for at in known))
    labels = [label(datapath, lines=2) for datapath in datapaths]
    apart = min(0.12, 0.8 / len(datapaths))

    def plot(axes: Axes) -> None:
        for number, datapath in enumerate(datapaths):
            colour, marker, line = style(datapath)
            beside = (number - (len(datapaths) - 1) / 2) * apart
            mine = {at.load_share: at for at in known if at.datapath == datapath}
            at_x = [shares.index(s) + beside for s in mine]
            axes.plot(
                at_x, [at.percentiles_ns["50"] or 0.0 for at in mine.values()], color=colour, marker=marker,
                markersize=7, linestyle=line, linewidth=1.5, label=labels[number], zorder=3,
            )  # fmt: skip
            for x, at in zip(at_x, mine.values(), strict=True):
                low, high, top = (at.percentiles_ns[p] for p in ("50", "99", "99.9"))
                if low is not None and high is not None:
                    axes.plot([x, x], [low, high], color=colour, linewidth=2)
                    axes.plot(x, high, marker="_", color=colour, markersize=9, markeredgewidth=2)
                if top is not None:
                    axes.plot(x, top, marker=".", color=colour, markersize=6)
        axes.set_yscale("log")
        axes.set_xticks(range(len(shares)), [f"{s * 100:g} %" if s else "idle" for s in shares])
        axes.set_xlim(-0.5, len(shares) - 0.5)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: time_ns(value)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(axis="y", linewidth=0.6)
        axes.set_xlabel("load, as a share of the datapath's own PDR")
        axes.set_ylabel("latency (log scale)")
        legend(axes)

    told = "; ".join(
        f"{at.datapath} at {share(at.load_share)}: p50 {time_ns(at.percentiles_ns['50'])}, "
        f"p99 {time_ns(at.percentiles_ns['99'])}"
        for at in known
    )
    return Chart(
        name, "latency", "Latency by load", f"Latency by load: {told}.", 3.4 + legend_in(labels), plot,
        "Marks: median, bars: up to p99, dots: p99.9 where at least 10 samples lie beyond.",
    )  # fmt: skip
