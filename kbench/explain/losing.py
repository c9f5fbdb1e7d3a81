# SPDX-License-Identifier: GPL-2.0-only
"""Above which load a datapath loses packets, by a throughput search or else by a loss curve."""

from __future__ import annotations

from dataclasses import dataclass

from kbench.explain.answer import join, rate
from kbench.explain.findings import Found
from kbench.explain.sheets import interval
from kbench.explain.stats import Estimate


@dataclass(frozen=True)
class Losing:
    """Where the losses of one datapath begin."""

    datapath: str
    above: Estimate | None
    """The highest load without loss, in packets/s. None: none was found."""
    at_least: bool = False
    """Nothing was lost at the highest load that could be offered."""
    by: str = "NDR"
    """``NDR`` (by search) or ``loss curve``."""

    @property
    def cell(self) -> str:
        """For a table, in Mpps."""
        if self.above is None:
            return "any load tried"
        return f"{'>=' if self.at_least else ''}{interval(self.above, 1e6)}"


def losing(found: Found | None) -> list[Losing]:
    """Of each datapath that a method tells it of; searches come before curves, which go in steps of 10 %."""
    if found is None:
        return []
    searched = [
        Losing(b.datapath, b.rate, b.at_least)
        for b in found.bounds if b.loss_ratio == 0 and b.goal in ("ndr", "throughput")
    ]  # fmt: skip
    if searched:
        return searched
    made = []
    for curve in found.curves:
        points = curve.by_share()
        free = [(share, load) for share, (load, losses) in points.items() if not any(losses)]
        best = max(free, default=None)
        above = Estimate(best[1], None, None, curve.repeats) if best else None
        made.append(Losing(curve.datapath, above, best is not None and best[0] == max(points), "loss curve"))
    return made


def said(items: list[Losing]) -> list[str]:
    """A clause: ``packets are lost by xdp above 2.5 Mpps and af_packet at any load tried``. Empty without items."""
    clauses = [
        f"{one.datapath} above {rate(one.above.value)}"
        for one in items
        if one.above is not None and not one.at_least
    ]
    always = [one.datapath for one in items if one.above is None]
    if always:
        clauses.append(f"{join(always)} at any load tried")
    text = [f"packets are lost by {join(clauses)}"] if clauses else []
    never = [one for one in items if one.at_least and one.above is not None]
    if never:
        most = max(one.above.value for one in never if one.above is not None)
        text.append(
            f"{join([one.datapath for one in never])} loses none up to {rate(most)}, all that was offered"
        )
    return ["; ".join(text)] if text else []
