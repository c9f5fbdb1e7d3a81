# SPDX-License-Identifier: GPL-2.0-only
"""The charts of what the methods found: NDR and PDR, loss by load, latency by load."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, NullFormatter, NullLocator

from kbench.explain.answer import rate, share, time_ns
from kbench.explain.figures import Chart, drawn, row_axis, spoken, style, whiskers
from kbench.explain.findings import Found
from kbench.explain.method_results import COMMON, Curve, LatencyAt
from kbench.explain.sheets import goal_name
from kbench.explain.throughput import Bound

LEAST_LOSS = 1e-4
"""Below this loss ratio the axis is linear down to zero, which a logarithm does not have."""


def charts(name: str, found: Found) -> list[Chart]:
    """All that there is something to draw for; `name` makes their ids unique in the page."""
    made = [
        throughput(f"{name}-throughput", found.bounds),
        losses(f"{name}-losses", found.curves),
        latency(f"{name}-loads", [at for at in found.latencies if at.load != COMMON]),
    ]
    return [chart for chart in made if chart is not None]


def throughput(name: str, bounds: Sequence[Bound]) -> Chart | None:
    """NDR and PDR of each datapath, with their intervals, and each search as a point."""
    reached = [b for b in bounds if b.rate is not None]
    if not reached:
        return None
    rows = [(b.datapath, goal_name(b)) for b in bounds]

    def plot(axes: Axes) -> None:
        for y, bound in enumerate(bounds):
            colour, marker, _ = style(bound.datapath)
            if bound.rate is None:
                axes.annotate("not reached", (0, y), xytext=(4, -3), textcoords="offset points", fontsize=9)
                continue
            single = [lower for lower, _ in bound.by_repeat.values()]
            below = [y + 0.2] * len(single)
            axes.plot(single, below, linestyle="", marker=marker, color=colour, alpha=0.45, markersize=4)
            whiskers(axes, y, bound.rate, colour)
            axes.plot(bound.rate.value, y, marker=marker, color=colour, markersize=9, zorder=4)
            words = f"{'at least ' if bound.at_least else ''}{rate(bound.rate.value)}"
            axes.annotate(
                words, (bound.rate.value, y), xytext=(0, 9), textcoords="offset points", ha="center", fontsize=9
            )  # fmt: skip
        row_axis(axes, [f"{datapath}  {goal}" for datapath, goal in rows])
        most = max(
            max((b.rate.high or b.rate.value, *(x for x, _ in b.by_repeat.values())))
            for b in reached
            if b.rate
        )
        axes.set_xlim(0, most * 1.15)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlabel("packets per second")

    told = "; ".join(
        f"{b.datapath} {goal_name(b)} "
        + (f"{rate(b.rate.value)}{spoken(b.rate, rate)}" if b.rate else "not reached")
        for b in bounds
    )
    return Chart(
        "Throughput", drawn(name, 0.8 + 0.55 * len(rows), plot), f"Throughput in packets per second: {told}.",
        "NDR: without loss; PDR: with at most the loss stated. Whiskers: 95 % interval, small marks: single searches.",
    )  # fmt: skip


def losses(name: str, curves: Sequence[Curve]) -> Chart | None:
    """Loss ratio by offered load, on a scale that has zero as well as a hundredth of a percent."""
    drawable = [curve for curve in curves if curve.points]
    if not drawable:
        return None

    def plot(axes: Axes) -> None:
        for curve in drawable:
            colour, marker, line = style(curve.datapath)
            axes.plot(
                [load for _, load, _, _ in curve.points], [loss for _, _, _, loss in curve.points],
                linestyle="", marker=marker, color=colour, alpha=0.45, markersize=4,
            )  # fmt: skip
            middle = curve.by_share().values()
            axes.plot(
                [load for load, _ in middle], [median(values) for _, values in middle], color=colour,
                linestyle=line, linewidth=2, label=curve.datapath,
            )  # fmt: skip
        axes.set_yscale("symlog", linthresh=LEAST_LOSS)
        axes.set_ylim(-LEAST_LOSS / 6, 1.4)
        axes.yaxis.set_major_locator(FixedLocator([0, 1e-4, 1e-3, 1e-2, 1e-1, 1]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:g} %"))
        axes.set_xlim(0, None)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(linewidth=0.6)
        axes.set_xlabel("offered load, packets per second")
        axes.set_ylabel("lost (log scale above 0.01 %)")
        _legend(axes)

    told = "; ".join(
        f"{curve.datapath} "
        + ", ".join(f"{share(median(v))} at {rate(load)}" for load, v in curve.by_share().values())
        for curve in drawable
    )
    return Chart(
        "Loss by load", drawn(name, 3.6, plot), f"Share lost by offered load: {told}.",
        "Lines: medians of the repeats, marks: single trials.",
    )  # fmt: skip


def latency(name: str, points: Sequence[LatencyAt]) -> Chart | None:
    """Median and 99th percentile at the loads that are shares of each datapath's own PDR."""
    known = [at for at in points if at.percentiles_ns.get("50") is not None]
    if not known:
        return None
    shares = sorted({at.load_share for at in known})
    datapaths = list(dict.fromkeys(at.datapath for at in known))

    def plot(axes: Axes) -> None:
        for number, datapath in enumerate(datapaths):
            colour, marker, line = style(datapath)
            beside = (number - (len(datapaths) - 1) / 2) * 0.12
            mine = {at.load_share: at for at in known if at.datapath == datapath}
            at_x = [shares.index(s) + beside for s in mine]
            axes.plot(
                at_x, [at.percentiles_ns["50"] or 0.0 for at in mine.values()], color=colour, marker=marker,
                markersize=8, linestyle=line, linewidth=1.5, label=datapath, zorder=3,
            )  # fmt: skip
            for x, at in zip(at_x, mine.values(), strict=True):
                low, high, top = (at.percentiles_ns[p] for p in ("50", "99", "99.9"))
                if low is not None and high is not None:
                    axes.plot([x, x], [low, high], color=colour, linewidth=2)
                    axes.plot(x, high, marker="_", color=colour, markersize=9, markeredgewidth=2)
                if top is not None:
                    axes.plot(x, top, marker=".", color=colour, markersize=5)
        axes.set_yscale("log")
        axes.set_xticks(range(len(shares)), [f"{s * 100:g} %" if s else "idle" for s in shares])
        axes.set_xlim(-0.5, len(shares) - 0.5)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: time_ns(value)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(axis="y", linewidth=0.6)
        axes.set_xlabel("load, as a share of the datapath's own PDR")
        axes.set_ylabel("latency (log scale)")
        _legend(axes)

    told = "; ".join(
        f"{at.datapath} at {share(at.load_share)}: p50 {time_ns(at.percentiles_ns['50'])}, "
        f"p99 {time_ns(at.percentiles_ns['99'])}"
        for at in known
    )
    return Chart(
        "Latency by load", drawn(name, 3.6, plot), f"Latency by load: {told}.",
        "Marks: median, bars: up to p99, dots: p99.9 where at least 10 samples lie beyond.",
    )  # fmt: skip


def _legend(axes: Axes) -> None:
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=4, frameon=False, fontsize=9, handlelength=3
    )  # fmt: skip
