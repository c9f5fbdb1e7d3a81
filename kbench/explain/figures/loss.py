# SPDX-License-Identifier: GPL-2.0-only
"""The chart of what is lost at each offered load (RFC 2544, 26.3)."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, NullLocator

from kbench.explain.answer import rate, share
from kbench.explain.figures.base import Chart, style
from kbench.explain.figures.marks import BANDED, label, legend, legend_in, scatter, too_many
from kbench.explain.method_results import Curve

LEAST_LOSS = 1e-4
"""Below this loss ratio the axis is linear down to zero, which a logarithm does not have."""


def losses(name: str, curves: Sequence[Curve]) -> Chart | None:
    """Loss ratio by offered load, on a scale that has zero as well as a hundredth of a percent."""
    drawable = [curve for curve in curves if curve.points]
    if not drawable:
        return None
    many = too_many([len(curve.points) for curve in drawable])
    labels = [label(curve.datapath, lines=2) for curve in drawable]

    def plot(axes: Axes) -> None:
        for curve, words in zip(drawable, labels, strict=True):
            colour, marker, line = style(curve.datapath)
            single = [(load, [loss]) for _, load, _, loss in curve.points]
            scatter(axes, curve.datapath, list(curve.by_share().values()) if many else single, many)
            middle = list(curve.by_share().values())
            axes.plot(
                [load for load, _ in middle], [median(values) for _, values in middle], color=colour,
                linestyle=line, linewidth=1.8, marker=marker, markersize=5.5, label=words,
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
        legend(axes)

    told = "; ".join(
        f"{curve.datapath} "
        + ", ".join(f"{share(median(v))} at {rate(load)}" for load, v in curve.by_share().values())
        for curve in drawable
    )
    note = "Lines: medians of the repeats, small marks: single trials."
    if many:
        note += f" {BANDED}"
    return Chart(
        name, "loss", "Loss by load", f"Share lost by offered load: {told}.", 3.4 + legend_in(labels), plot, note
    )  # fmt: skip
