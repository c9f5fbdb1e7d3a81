# SPDX-License-Identifier: GPL-2.0-only
"""The charts of what a datapath takes of the CPU: where each CPU's time went, nanoseconds and cycles per packet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from kbench.explain.answer import join, number, rate
from kbench.explain.comparison import CPU_STATES, Comparison, Row
from kbench.explain.figures.base import Chart, Topic, ink
from kbench.explain.figures.marks import (
    AGGREGATED,
    interval_note,
    label,
    labelled,
    middle,
    row_axis,
    shortened,
    singles,
    spoken,
    too_many,
)
from kbench.explain.method_results import CpuAtLoad
from kbench.explain.probed import Probed
from kbench.explain.stats import Estimate

STATE_STYLES = {
    "user": ("#009e73", "---"),
    "system": ("#56b4e9", "////"),
    "irq": ("#cc79a7", "xxxx"),
    "softirq": ("#d55e00", "\\\\\\\\"),
    "steal": ("#f0e442", "++++"),
    "idle": ("#808080", ""),
}
MOST_BARS = 24
"""Of more CPUs in one chart only the busiest have a bar of their own."""
CPU: Topic = "cpu"


@dataclass(frozen=True)
class _Dots:
    """One row of a chart of values per packet."""

    datapath: str
    figure: Estimate
    by_round: dict[int, float] = field(default_factory=dict)
    more: str = ""

    @property
    def name(self) -> str:
        return labelled(self.datapath, self.more) if self.more else label(self.datapath)


def _per_packet(
    name: str, title: str, axis: str, rows: Sequence[_Dots], words: Callable[[float], str], note: str
) -> Chart | None:
    """A row per value, with its interval and single values where they are known. None without rows."""
    if not rows:
        return None
    many = too_many([len(row.by_round) for row in rows])

    def plot(axes: Axes) -> None:
        everything = [0.0]
        for y, row in enumerate(rows):
            singles(axes, y, row.datapath, row.by_round, many)
            middle(axes, y, row.datapath, row.figure, words(row.figure.value))
            everything += [*row.by_round.values(), row.figure.value]
            everything += [edge for edge in (row.figure.low, row.figure.high) if edge is not None]
        row_axis(axes, [row.name for row in rows])
        low, high = min(everything), max(*everything, 1e-9)
        axes.set_xlim(low - 0.1 * (high - low) if low < 0 else 0, high + 0.12 * (high - low))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.set_xlabel(f"{axis} (fewer is better)")

    told = "; ".join(
        f"{row.datapath}{f' {row.more}' if row.more else ''} {words(row.figure.value)}{spoken(row.figure, words)}"
        for row in rows
    )
    if many:
        note += f" {AGGREGATED}"
    return Chart(name, CPU, title, f"{title}: {told}.", 0.8 + 0.6 * len(rows), plot, note)


def _ns(value: float) -> str:
    return f"{number(value)} ns"


def dut_time(name: str, comparison: Comparison) -> Chart | None:
    """DUT CPU nanoseconds per packet, generator subtracted. None without wall-clock figures."""
    rows = [_Dots(r.datapath, r.dut_ns, r.dut_by_round) for r in comparison.rows if r.dut_ns is not None]
    return _per_packet(
        name, "CPU time per packet", "DUT CPU ns per packet, generator subtracted",
        rows if comparison.timed else [], _ns,
        f"Large mark: median over trials; {interval_note(row.figure for row in rows)}; small marks: single trials.",
    )  # fmt: skip


def at_load(name: str, items: Sequence[CpuAtLoad]) -> list[Chart]:
    """CPU time, and cycles where they were counted, per packet at a load that all carry."""
    loads = sorted({item.load_pps for item in items})
    if not loads:
        return []
    at = rate(loads[0]) if len(loads) == 1 else f"{rate(loads[0])} to {rate(loads[-1])}"
    note = f"Offered: {at}. Median over repeats; "
    times = [_Dots(item.datapath, item.dut_ns) for item in items if item.dut_ns is not None]
    cycles = [_Dots(item.datapath, item.cycles) for item in items if item.cycles is not None]
    receiving = {
        i.datapath: _ns(i.receive_ns.value)
        for i in items
        if i.receive_ns is not None and i.dut_ns is not None
    }
    of_it = ""
    if receiving:
        # Into a bare drop there is no datapath yet: it is often the same reading for all.
        alike = set(receiving.values())
        words = [f"{name} {ns}" for name, ns in receiving.items()] if len(alike) > 1 else [*alike]
        of_it = f" Of it, receiving alone takes {join(words)}."
    made = [
        _per_packet(
            name, "CPU time per packet at equal load", "DUT CPU ns per packet", times, _ns,
            f"{note}{interval_note(row.figure for row in times)}.{of_it}",
        ),
        _per_packet(
            f"{name}-cycles", "Cycles per packet at equal load", "CPU cycles per packet", cycles, number,
            f"{note}{interval_note(row.figure for row in cycles)}.",
        ),
    ]  # fmt: skip
    return [chart for chart in made if chart is not None]


def counted(name: str, items: Sequence[Probed]) -> list[Chart]:
    """Cycles, and nanoseconds of threads and BPF programs, per packet at maximum load, where probes read them."""
    cycles = [_Dots(i.datapath, _median(i.values["cycles"], i)) for i in items if "cycles" in i.values]
    times = [
        _Dots(i.datapath, _median(i.values["threads, ns"], i), more="threads")
        for i in items if "threads, ns" in i.values
    ]  # fmt: skip
    times += [
        _Dots(i.datapath, _median(ns, i), more=f"BPF {program}") for i in items for program, ns in i.programs.items()
    ]  # fmt: skip
    remarks = list(dict.fromkeys(text for item in items if "cycles" in item.values for text in item.remarks))
    said = "".join(f" {text[0].upper()}{text[1:]}." for text in remarks)
    note = "Medians over the trials at maximum load; no interval."
    made = [
        _per_packet(
            f"{name}-cycles", "Cycles per packet", "CPU cycles per packet", cycles, number, f"{note}{said}"
        ),
        _per_packet(
            f"{name}-times", "CPU time of threads and BPF programs", "ns per packet (BPF: per run)", times, _ns,
            note,
        ),
    ]  # fmt: skip
    return [chart for chart in made if chart is not None]


def _median(value: float, item: Probed) -> Estimate:
    return Estimate(value, None, None, item.trials, "medians of probes have none")


@dataclass(frozen=True)
class _Bar:
    """One CPU, or several put together."""

    datapath: str
    cpu: str
    states: dict[str, float]
    first: bool


def states(name: str, comparison: Comparison) -> Chart | None:
    """Where each CPU's time went while a datapath was measured."""
    rows = [r for r in comparison.rows if r.cpus]
    if not comparison.timed or not rows:
        return None
    most = MOST_BARS // len(rows) if sum(len(r.cpus) for r in rows) > MOST_BARS else None
    bars = [bar for row in rows for bar in _bars(row, most)]

    def plot(axes: Axes) -> None:
        for y, bar in enumerate(bars):
            left = 0.0
            for state in CPU_STATES:
                share = bar.states[state] * 100
                if share >= 0.05:
                    axes.barh(y, share, left=left, height=0.6, **_look(state))
                left += share
        row_axis(
            axes, [f"{shortened(bar.datapath)}  {bar.cpu}" if bar.first else bar.cpu for bar in bars]
        )  # fmt: skip
        for y, bar in enumerate(bars):
            if bar.first and y:
                axes.axhline(y - 0.5, color=ink(), linewidth=0.5)
        axes.set_xlim(0, 100)
        axes.set_xlabel("share of the time (%)")
        axes.legend(
            handles=[Patch(label=state, **_look(state)) for state in CPU_STATES], loc="lower center",
            bbox_to_anchor=(0.4, 1.0), ncols=6, frameon=False, fontsize=9, handlelength=1.4, columnspacing=1.0,
        )  # fmt: skip

    told = "; ".join(
        f"{b.datapath} {b.cpu}: "
        + ", ".join(f"{s} {v * 100:.0f} %" for s, v in b.states.items() if v >= 0.005)
        for b in bars
    )
    note = "From /proc/stat: with coarse accounting, interrupts may be booked on whatever they interrupt."
    if most is not None:
        note += " Of many CPUs the busiest have bars of their own, and the others one of their mean."
    return Chart(
        name, CPU, "CPU time by state", f"CPU time by state: {told}.", 1.1 + 0.32 * len(bars), plot, note
    )


def _look(state: str) -> dict[str, Any]:
    colour, hatch = STATE_STYLES[state]
    return {
        "facecolor": colour, "hatch": hatch, "edgecolor": ink(), "linewidth": 0.4,
        "alpha": 0.3 if state == "idle" else 1,
    }  # fmt: skip


def _bars(row: Row, most: int | None) -> list[_Bar]:
    """All CPUs, or the `most` - 1 busiest and the others' mean."""
    busiest = sorted(row.cpus, key=lambda cpu: row.cpus[cpu]["idle"])
    kept = sorted(busiest if most is None or len(busiest) <= most else busiest[: max(1, most - 1)])
    bars = [_Bar(row.datapath, f"CPU {cpu}", row.cpus[cpu], n == 0) for n, cpu in enumerate(kept)]
    others = [row.cpus[cpu] for cpu in row.cpus if cpu not in kept]
    if others:
        means = {state: sum(cpu[state] for cpu in others) / len(others) for state in CPU_STATES}
        bars.append(_Bar(row.datapath, f"{len(others)} other CPUs", means, False))
    return bars
