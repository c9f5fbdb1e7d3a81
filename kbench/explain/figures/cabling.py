# SPDX-License-Identifier: GPL-2.0-only
"""The picture of a testbed on NICs: machines, their ports, and the cables that packets take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from kbench.explain.answer import join
from kbench.explain.figures.base import Chart, faint, ink
from kbench.explain.figures.marks import label, shortened
from kbench.explain.nic import Port, Topology, machine, speed

TESTER, DUT = "#0080c8", "#d55e00"
"""Of the two sides; the words in the boxes tell them apart without colours."""
FILLED = {TESTER: "#005d94", DUT: "#a34700"}
"""Darker, for white letters (a contrast of 6 to 1)."""
WIDE = 100.0
PORT_W, PORT_H = 23.0, 8.4
LETTERS = 18
"""Of a port's name that fit into its box."""
SIDE_W = 35.0
OUT = 3.0
"""So far ports stand out of their machine."""
GAP, BELOW = 4.5, 3.5
"""Between ports on one side; below the last."""
AROUND_LOW, AROUND_HIGH = 2.6, 5.2
"""Between a machine's frame and the sides in it."""
SCALE_IN = 0.062
"""Inches per unit of the drawing."""
WORDS = {
    "hairpin": "one cable: packets go back out of the port they came in by",
    "two-port": "two cables: in by one port, out by the other",
    "loopback": "one port that hears what it sends",
}


@dataclass(frozen=True)
class _Box:
    """A port, where it is drawn: its lower left corner."""

    port: Port
    roles: Sequence[str]
    x: float
    y: float

    @property
    def middle(self) -> float:
        return self.y + PORT_H / 2


def picture(name: str, wired: Topology) -> Chart | None:
    """Tester on the left, DUT on the right, an arrow for each way that packets take. None without known ports."""
    theirs = [(p, roles) for p, roles in wired.distinct if "rx" not in roles and "tx" not in roles]
    mine = [(p, roles) for p, roles in wired.distinct if (p, roles) not in theirs]
    if not mine or (not theirs and wired.kind != "loopback"):
        return None
    framed = wired.one_machine and bool(theirs)
    count = max(len(mine), len(theirs))
    head = 6.0 if framed else 8.8
    inner = head + count * PORT_H + (count - 1) * GAP + BELOW
    base, above = (AROUND_LOW, AROUND_HIGH) if framed else (0.7, 0.7)
    height = base + inner + above

    def plot(axes: Axes) -> None:
        axes.set_axis_off()
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlim(0, WIDE)
        axes.set_ylim(0, height)
        top = base + inner - head - PORT_H
        if framed:
            _frame(axes, 0.5, 0.5, WIDE - 1.0, height - 1.0, faint(), dashed=True)
            words = f"{_host(wired.dut)}: one memory, shared caches"
            axes.text(WIDE / 2, height - 3.0, words, ha="center", va="center", fontsize=8.5, color=ink())
        if not theirs:
            _loopback(axes, wired, _Box(*mine[0], 22.0 + SIDE_W - PORT_W + OUT, top), base, inner)
            return
        left, right = 3.0, WIDE - 3.0 - SIDE_W
        for title, host, x, colour in (
            ("tester", wired.tester, left, TESTER),
            ("DUT", wired.dut, right, DUT),
        ):
            _side(axes, title, "" if framed else host, x, base, inner, colour)
        # Ports stand over the inner edges of their machines: where cables are plugged.
        out = [
            _Box(p, roles, left + SIDE_W - PORT_W + OUT, top - n * (PORT_H + GAP))
            for n, (p, roles) in enumerate(theirs)
        ]
        in_ = [_Box(p, roles, right - OUT, top - n * (PORT_H + GAP)) for n, (p, roles) in enumerate(mine)]
        for box in out:
            _port(axes, box, TESTER)
        for box in in_:
            _port(axes, box, DUT)
        _cables(axes, out, in_)
        _through(axes, in_)

    told = _told(wired)
    return Chart(
        name, "ports", f"How it is cabled: {wired.kind}", told, height * SCALE_IN, plot,
        f"{WORDS.get(wired.kind, wired.kind).capitalize()}. {_how(wired)}",
    )  # fmt: skip


def _cables(axes: Axes, out: Sequence[_Box], in_: Sequence[_Box]) -> None:
    by_role = {role: box for box in (*out, *in_) for role in box.roles}
    ways = [("generator", "rx"), ("tx", "sink")]
    known = [(by_role[a], by_role[b]) for a, b in ways if a in by_role and b in by_role]
    same = len(known) == 2 and known[0][0] is known[1][1] and known[0][1] is known[1][0]
    for n, (start, end) in enumerate(known):
        aside = (1.3 if n == 0 else -1.3) if same else 0.0
        forth = start.x < end.x
        x0 = start.x + (PORT_W if forth else 0.0)
        x1 = end.x + (0.0 if forth else PORT_W)
        axes.add_patch(
            FancyArrowPatch(
                (x0, start.middle + aside), (x1, end.middle + aside), arrowstyle="-|>", mutation_scale=13,
                color=ink(), linewidth=1.5, shrinkA=0, shrinkB=0, zorder=2,
            )
        )  # fmt: skip
        if not same or n == 0:
            words = _link(start.port, end.port)
            axes.text(
                (x0 + x1) / 2, (start.middle + end.middle) / 2 + aside + 1.0, words, ha="center", va="bottom",
                fontsize=8, color=ink(),
            )  # fmt: skip


def _arc(axes: Axes, x: float, high: float, low: float, bend: float) -> None:
    axes.add_patch(
        FancyArrowPatch(
            (x, high), (x, low), connectionstyle=f"arc3,rad={bend}", arrowstyle="-|>", mutation_scale=13, color=ink(),
            linewidth=1.5, shrinkA=0, shrinkB=0, zorder=2,
        )
    )  # fmt: skip


def _through(axes: Axes, ports: Sequence[_Box]) -> None:
    """The way through the DUT: what is measured."""
    first, last = ports[0], ports[-1]
    x = first.x + PORT_W
    if first is last:
        _arc(axes, x, first.middle + 2.2, first.middle - 2.2, -1.5)
    else:
        _arc(axes, x, first.middle, last.middle, -0.5)
    axes.text(
        x + 4.3, (first.middle + last.middle) / 2, "datapath", ha="left", va="center", fontsize=8, fontstyle="italic",
        color=ink(),
    )  # fmt: skip


def _link(one: Port, other: Port) -> str:
    known = [p.speed_mbps for p in (one, other) if p.speed_mbps]
    return speed(min(known)) if known else "speed unknown"


def _loopback(axes: Axes, wired: Topology, box: _Box, base: float, inner: float) -> None:
    _side(axes, "generator and DUT", wired.dut, 22.0, base, inner, DUT)
    _port(axes, box, DUT)
    edge = box.x + PORT_W
    _arc(axes, edge, box.middle + 2.2, box.middle - 2.2, -1.9)
    words = "inside the NIC\n(driver's loopback)" if wired.driver_loopback else "loopback plug"
    if box.port.speed_mbps:
        words += f"\n{speed(box.port.speed_mbps)}"
    axes.text(edge + 5.5, box.middle, words, ha="left", va="center", fontsize=8, color=ink())


def _frame(
    axes: Axes, x: float, y: float, width: float, height: float, colour: str, dashed: bool = False
) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (x, y), width, height, boxstyle="round,pad=0,rounding_size=1.6", facecolor="none", edgecolor=colour,
            linewidth=1.1, linestyle=(0, (4, 3)) if dashed else "-",
        )
    )  # fmt: skip


def _side(axes: Axes, title: str, host: str, x: float, y: float, height: float, colour: str) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (x, y), SIDE_W, height, boxstyle="round,pad=0,rounding_size=1.6", facecolor=colour, alpha=0.1, linewidth=0
        )
    )  # fmt: skip
    _frame(axes, x, y, SIDE_W, height, colour)
    axes.text(
        x + SIDE_W / 2, y + height - 2.8, title, ha="center", va="center", fontsize=10, fontweight="bold", color=ink()
    )  # fmt: skip
    if host:
        axes.text(
            x + SIDE_W / 2, y + height - 5.9, _host(host), ha="center", va="center", fontsize=8, color=ink()
        )


def _port(axes: Axes, box: _Box, colour: str) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (box.x, box.y), PORT_W, PORT_H, boxstyle="round,pad=0,rounding_size=1", facecolor=FILLED[colour],
            edgecolor=ink(), linewidth=0.8, zorder=3,
        )
    )  # fmt: skip
    name = label(box.port.name, width=LETTERS, lines=1)
    driver = f" ({box.port.driver})" if box.port.driver else ""
    both = label(f"{box.port.name}{driver}", width=2 * LETTERS)
    for y, words, weight in (
        (box.middle + 1.7, both if len(both) <= LETTERS else name, "bold"),
        (box.middle - 1.9, join(list(box.roles)), "normal"),
    ):
        axes.text(
            box.x + PORT_W / 2, y, words, ha="center", va="center", fontsize=8, fontweight=weight, color="white",
            zorder=4,
        )  # fmt: skip


def _host(host: str) -> str:
    return shortened(machine(host))


def _how(wired: Topology) -> str:
    if wired.found == "probe frames":
        return "Which ports are cabled was found by probe frames."
    return "Which ports are cabled was named on the command line." if wired.found == "named" else ""


def _told(wired: Topology) -> str:
    """All of it in words."""
    ports = [
        f"{port.name} of {machine(port.host)}, driver {port.driver or 'unknown'}, {speed(port.speed_mbps)}:"
        f" {join(roles)}"
        for port, roles in wired.distinct
    ]
    where = (
        f"tester and DUT are both {machine(wired.dut)}"
        if wired.one_machine
        else f"the tester is {machine(wired.tester)}, the DUT {machine(wired.dut)}"
    )
    return f"{WORDS.get(wired.kind, wired.kind).capitalize()}; {where}. {'; '.join(ports)}."
