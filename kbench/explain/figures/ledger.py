# SPDX-License-Identifier: GPL-2.0-only
"""The ledger as a picture: where the packets went, as shares of all that were offered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from kbench.explain.answer import join, share
from kbench.explain.comparison import Comparison, Ledger
from kbench.explain.figures.base import Chart, ink
from kbench.explain.figures.marks import label, legend, legend_in, row_axis

FORWARDED, UNEXPLAINED = "forwarded", "unexplained"
SMALL = 0.005
"""Shares below this are not to be seen at their true width."""
LEAST_WIDTH = 0.006
ROOM_FOR_WORDS = 0.09
MOST_TOLD = 8
DROPPED = (("#56b4e9", "///"), ("#3fa5d8", "\\\\\\"), ("#4f7cac", "---"), ("#9fc5e8", "|||"))
LOST = (("#d55e00", "xxx"), ("#e69f00", "+++"), ("#cc79a7", "////"), ("#b5495b", "||||"), ("#8c564b", "----"))


def shares(ledger: Ledger) -> dict[str, float]:
    """Fate -> share of the packets; they add up to 1. Empty without packets.

    Where a ledger does not balance, what its counters lack of the packets offered is unexplained as well; what they
    have too much makes all shares ones of what was counted.
    """
    named = {FORWARDED: ledger.forwarded}
    named |= {f"dropped: {_words(reason)}": count for reason, count in ledger.dropped.items()}
    named |= {f"lost: {_words(place)}": count for place, count in ledger.lost_by.items()}
    total = max(ledger.offered, sum(named.values()))
    if total <= 0:
        return {}
    found = {fate: count / total for fate, count in named.items() if count > 0}
    unexplained = 1 - sum(found.values())
    return found | ({UNEXPLAINED: unexplained} if total > sum(named.values()) else {})


def _words(name: str) -> str:
    return name.replace("_", " ")


def widths(parts: Mapping[str, float]) -> dict[str, float]:
    """As drawn: small shares at least LEAST_WIDTH wide, which the largest gives up."""
    least = min(LEAST_WIDTH, 0.5 / len(parts))
    found = {fate: max(part, least) for fate, part in parts.items()}
    largest = max(found, key=lambda fate: found[fate])
    found[largest] -= sum(found.values()) - 1
    return found


def ledger(name: str, comparison: Comparison) -> Chart | None:
    """A bar per datapath: forwarded, dropped by policy, lost by place, unexplained. None without packets."""
    rows = [(r.datapath, parts, r.ledger) for r in comparison.rows if (parts := shares(r.ledger))]
    if not rows:
        return None
    fates = _in_order([parts for _, parts, _ in rows])
    labels = [label(fate, width=24, lines=2) for fate in fates]

    def plot(axes: Axes) -> None:
        looks = _looks(fates)
        for y, (_, parts, _) in enumerate(rows):
            drawn = widths(parts)
            left = 0.0
            for fate in fates:
                if fate not in parts:
                    continue
                colour, hatch = looks[fate]
                axes.barh(
                    y, drawn[fate] * 100, left=left, height=0.58, color=colour, hatch=hatch, edgecolor=ink(),
                    linewidth=0.4,
                )  # fmt: skip
                if drawn[fate] >= ROOM_FOR_WORDS:
                    axes.text(
                        left + drawn[fate] * 50, y, share(parts[fate]), ha="center", va="center", fontsize=9,
                        color="black", bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
                    )  # fmt: skip
                left += drawn[fate] * 100
        row_axis(axes, [label(datapath, lines=2) for datapath, _, _ in rows])
        axes.set_xlim(0, 100)
        axes.set_xlabel("share of the packets offered (%)")
        handles = [
            Patch(facecolor=looks[fate][0], hatch=looks[fate][1], edgecolor=ink(), linewidth=0.4, label=words)
            for fate, words in zip(fates, labels, strict=True)
        ]
        legend(axes, handles=handles, handlelength=1.6)

    told = "; ".join(
        f"{datapath} " + ", ".join(f"{fate} {share(parts[fate])}" for fate in fates if fate in parts)
        for datapath, parts, _ in rows
    )
    return Chart(
        name, "ledger", "Where every packet went", f"Shares of the packets offered: {told}.",
        0.75 + 0.45 * len(rows) + legend_in(labels), plot, _note(rows, fates),
    )  # fmt: skip


def _note(rows: Sequence[tuple[str, dict[str, float], Ledger]], fates: Sequence[str]) -> str:
    """What is too small for its true width, and which ledgers do not balance."""
    small = [
        f"{datapath} {fate} {share(parts[fate])}"
        for datapath, parts, _ in rows for fate in fates if parts.get(fate, SMALL) < SMALL
    ]  # fmt: skip
    said = ["All trials but the generator's own."]
    if small:
        more = [f"{len(small) - MOST_TOLD} more"] if len(small) > MOST_TOLD else []
        said.append(f"Drawn wider than they are: {join([*small[:MOST_TOLD], *more])}.")
    odd = [
        f"{datapath} {ledger.unbalanced_trials}" for datapath, _, ledger in rows if ledger.unbalanced_trials
    ]
    if odd:
        said.append(f"Trials whose counters don't add up: {join(odd)}.")
    return " ".join(said)


def _in_order(rows: Sequence[Mapping[str, float]]) -> list[str]:
    """All fates: forwarded, dropped and lost, in each the most common first, unexplained."""
    total: dict[str, float] = {}
    for parts in rows:
        for fate, part in parts.items():
            total[fate] = total.get(fate, 0.0) + part
    rank = {FORWARDED: 0, "dropped": 1, "lost": 2, UNEXPLAINED: 3}
    return sorted(total, key=lambda fate: (rank[fate.split(":", maxsplit=1)[0]], -total[fate], fate))


def _looks(fates: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and hatch of each fate; what nobody explains is as dark as the text. Only within `Chart.plot`."""
    found = {FORWARDED: ("#009e73", ""), UNEXPLAINED: (ink(), "")}
    for start, palette in (("dropped:", DROPPED), ("lost:", LOST)):
        mine = [fate for fate in fates if fate.startswith(start)]
        for n, fate in enumerate(mine):
            colour, hatch = palette[n % len(palette)]
            # Once around the palette hatches get denser: no two fates look alike.
            found[fate] = (colour, hatch + hatch[:1] * (2 * (n // len(palette))))
    return found
