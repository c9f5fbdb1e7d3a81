# SPDX-License-Identifier: GPL-2.0-only
"""The chart of where a packet's CPU time goes: a bar per datapath, a piece per stage."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from kbench.explain.answer import number
from kbench.explain.chains import TITLES
from kbench.explain.figures.base import Chart, faint, ink
from kbench.explain.figures.marks import label, legend, legend_in, row_axis
from kbench.explain.stages import Stage, Stages

# Okabe and Ito's palette again, and a hatch each, so that pieces side by side are told apart in grey; those of others
# than the DUT are pale. Hatches are of lines: those of dots make a chart twenty times as large.
_STYLES: dict[str, tuple[str, str]] = {
    "receive": ("#e69f00", "///"),
    "link": ("#56b4e9", ""),
    "buffers": ("#d55e00", "\\\\\\"),
    "program": ("#0072b2", "xxx"),
    "socket": ("#009e73", "---"),
    "stack": ("#f0e442", "/"),
    "transmit": ("#cc79a7", "|||"),
    "system": ("#7fc8a9", "+++"),
    "other": ("#999999", "x"),
}
_LABEL_SHARE = 0.055
"""A piece that is narrower, as a share of the longest bar, has no room for its figure."""


def chart(name: str, items: Sequence[Stages]) -> Chart | None:
    """Nanoseconds per packet by stage, generator and sink last and without colour. None if nothing was sampled."""
    items = [item for item in items if item.stages]
    if not items:
        return None
    longest = max(item.gross_ns for item in items)
    shown = [key for key in TITLES if any(stage.key == key for item in items for stage in item.stages)]

    def plot(axes: Axes) -> None:
        named: set[str] = set()
        for y, item in enumerate(items):
            left = 0.0
            for stage in item.stages:
                _piece(axes, y, left, stage, None if stage.key in named else stage.title)
                named.add(stage.key)
                if stage.ns >= _LABEL_SHARE * longest:
                    _figure(axes, y, left + stage.ns / 2, number(stage.ns))
                left += stage.ns
            axes.annotate(
                f"{number(item.dut_ns)} of {number(item.gross_ns)}", (left, y), xytext=(5, 0),
                textcoords="offset points", va="center", fontsize=9,
            )  # fmt: skip
        row_axis(axes, [label(item.datapath, lines=2) for item in items])
        axes.set_xlim(0, longest * 1.24)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_xlabel("CPU time per packet, ns")
        # In the order of the stages; each was named where it came first.
        handles, labels = axes.get_legend_handles_labels()
        ordered = sorted(zip(handles, labels, strict=True), key=lambda at: list(TITLES.values()).index(at[1]))
        legend(axes, handles=[at[0] for at in ordered], labels=[at[1] for at in ordered])

    titles = [TITLES[key] for key in shown]
    return Chart(
        name, "cpu", "Where a packet's CPU time goes",
        f"CPU time per packet by stage, in nanoseconds, with 95 % interval: {'; '.join(map(_told, items))}.",
        0.85 + 0.55 * len(items) + legend_in(titles), plot, _note(items),
    )  # fmt: skip


def _piece(axes: Axes, y: int, left: float, stage: Stage, title: str | None) -> None:
    colour, hatch = _STYLES.get(stage.key, ("none", "////" if stage.whose == "sink" else "||||"))
    ours = stage.whose == "DUT"
    axes.barh(
        y, stage.ns, left=left, height=0.6, color=colour, hatch=hatch, linewidth=0.6, label=title,
        edgecolor=ink() if ours else faint(),
    )  # fmt: skip


def _figure(axes: Axes, y: int, x: float, words: str) -> None:
    """A piece's figure, on white: it has to be read on any colour and hatch."""
    box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
    axes.text(x, y, words, ha="center", va="center", fontsize=8, color="black", bbox=box)


def _told(item: Stages) -> str:
    pieces = ", ".join(
        f"{stage.title} {number(stage.ns)} ({number(stage.low_ns)} to {number(stage.high_ns)})"
        for stage in item.stages
    )
    return f"{item.datapath} {number(item.dut_ns)} of the DUT of {number(item.gross_ns)}: {pieces}"


def _note(items: Sequence[Stages]) -> str:
    events = " and ".join(sorted({item.event for item in items}))
    fewest, most = min(item.samples for item in items), max(item.samples for item in items)
    count = number(fewest) if fewest == most else f"{number(fewest)} to {number(most)}"
    note = (
        f"Of {count} samples per datapath by {events}, in a trial of its own that is not scored. Behind each bar: ns"
        " of the DUT, of all. Without colour: generator and sink, with the copy that the sink needs of socket buffers"
        " (of XDP frames the sink's receiving is in veth/redirect). Program: the datapath's own. Buffers: allocated,"
        " copied, freed. System calls: with scheduler and interrupts."
    )
    lost = sum(item.lost for item in items)
    return f"{note} {number(lost)} samples were lost." if lost else note
