# SPDX-License-Identifier: GPL-2.0-only
"""Pictures in text of how ports are cabled: of a run's topology, and of all that a search found. Pure functions.

They are drawn with box characters; `ascii_only` is for terminals whose encoding has none (`can_draw`).
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kbench.host.nic.cabling import Cables, End

WIDTH = 80
CABLE = 12
"""Columns between two boxes."""
CHARACTERS = "┌┐└┘├┤─│◄►…"
PLAIN = "++++++-|<>~"
MARGIN = "  "


def can_draw(encoding: str | None) -> bool:
    """Whether a terminal's encoding has the box characters."""
    try:
        CHARACTERS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _finish(lines: Iterable[str], ascii_only: bool) -> str:
    text = "\n".join(line.rstrip() for line in lines)
    return text.translate(str.maketrans(CHARACTERS, PLAIN)) if ascii_only else text


def speed(mbps: int | None) -> str:
    """``1 Gb/s``; "" where the driver names none."""
    if not mbps:
        return ""
    return f"{mbps / 1000:g} Gb/s" if mbps >= 1000 else f"{mbps} Mb/s"


def describe(port: Mapping[str, Any]) -> str:
    """A port's driver and speed: ``e1000e, 1 Gb/s, emulated``."""
    words = [
        port.get("driver") or "",
        speed(port.get("speed_mbps")),
        "emulated" if port.get("emulated") else "",
    ]
    return ", ".join(word for word in words if word)


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"


# The topology of a run ----------------------------------------------------------------------------------


def topology(nic: Mapping[str, Any], *, width: int = WIDTH, ascii_only: bool = False) -> str:
    """The picture of `Part.nic` (docs/results.md): who is cabled to whom, and what each port does."""
    if nic["kind"] == "loopback":
        return _finish(_loop(nic, width), ascii_only)
    ports = nic["ports"]
    if nic["kind"] == "hairpin":
        left, right, arrows = (
            [(ports["rx"], "rx, tx")],
            [(ports["generator"], "generator, sink")],
            [("◄", "►")],
        )
    else:
        left = [(ports["rx"], "rx"), (ports["tx"], "tx")]
        right = [(ports["generator"], "generator"), (ports["sink"], "sink")]
        arrows = [("◄", "─"), ("─", "►")]
    room = (width - len(MARGIN) - CABLE) // 2
    one = _box("DUT", left, room, cable="right")
    other = _box("tester", right, room, cable="left")
    between = [" " * CABLE] * len(one)
    for number, (start, end) in enumerate(arrows):
        between[1 + 2 * number] = f"{start:─<{CABLE // 2}}{end:─>{CABLE // 2}}"
    lines = [f"{MARGIN} {_cut(nic['dut'], room - 1):{room + CABLE - 1}} {_cut(nic['tester'], room - 1)}"]
    lines += [MARGIN + a + cable + b for a, cable, b in zip(one, between, other, strict=True)]
    return _finish(lines, ascii_only)


def _box(title: str, ports: Sequence[tuple[Mapping[str, Any], str]], room: int, *, cable: str) -> list[str]:
    """`room` columns wide; two lines for each port, the first of which is cabled on one side."""
    inner = room - 4
    lines = ["┌─ " + _cut(title, room - 6) + " " + "─" * (room - 5 - len(_cut(title, room - 6))) + "┐"]
    for port, roles in ports:
        name = _cut(port["name"], inner - len(roles) - 1)
        left, right = ("┤" if cable == "left" else "│"), ("├" if cable == "right" else "│")
        lines.append(f"{left} {name}{roles:>{inner - len(name)}} {right}")
        lines.append(f"│ {_cut(describe(port), inner):{inner}} │")
    lines.append("└" + "─" * (room - 2) + "┘")
    return lines


def _loop(nic: Mapping[str, Any], width: int) -> list[str]:
    port = nic["ports"]["rx"]
    room = (width - len(MARGIN) - CABLE) // 2
    head, first, second, foot = _box("DUT and tester", [(port, "generator, rx")], room, cable="right")
    why = "its driver sends back" if nic.get("driver_loopback") else "a loopback plug"
    lines = [f"{MARGIN} {_cut(nic['dut'], width - len(MARGIN) - 1)}", MARGIN + head]
    lines += [f"{MARGIN}{first}──┐", f"{MARGIN}{second}◄─┘ {why}", MARGIN + foot]
    return lines


# What a search found --------------------------------------------------------------------------------------


def cables(
    found: Cables,
    refused: Mapping[End, str],
    facts: Mapping[End, str] | None = None,
    *,
    width: int = WIDTH,
    ascii_only: bool = False,
) -> str:
    """All ports of all machines: cabled, hearing themselves, silent, and those that were not tried, with the reason.

    `facts`: what is known of a port (`describe`).
    """
    names = _Names([*found.tried(), *refused], facts or {})
    lines: list[str] = []
    if found.pairs:
        lines += ["cables", *_pair_lines(found, names, width)]
    if found.loops:
        lines.append("loopback")
    for end in found.loops:
        name = names.full(end)
        lines += [f"{MARGIN}{name} ──┐", f"{MARGIN}{' ' * len(name)} ◄─┘ hears itself: a plug, or its driver"]
    shared = {
        end: f"hears or is heard by {', '.join(map(names.short, others))}: a switch or bridge is in between"
        for end, others in found.shared.items()
    }
    one_way = {
        end: f"frames to or from {names.short(other)} get lost" for end, other in found.one_way.items()
    }
    lines += _reasons("no cable of its own", shared, names, width)
    lines += _reasons("one direction only", one_way, names, width)
    lines += _reasons("no cable found", found.silent, names, width)
    lines += _reasons("not tried", refused, names, width)
    return _finish(lines or ["no port that could be tried"], ascii_only)


class _Names:
    """How ports are called: the machine is named where there are several."""

    def __init__(self, ends: Sequence[End], facts: Mapping[End, str]) -> None:
        self._one_place = len({end.place for end in ends}) == 1
        self._facts = facts
        self.column = max((len(self.short(end)) for end in ends), default=0)
        """As wide as the longest."""

    def short(self, end: End) -> str:
        return end.port if self._one_place else str(end)

    def full(self, end: End) -> str:
        """With what is known of it."""
        fact = self._facts.get(end)
        return f"{self.short(end)} ({fact})" if fact else self.short(end)


def _pair_lines(found: Cables, names: _Names, width: int) -> list[str]:
    """A line for each pair, or two where they are too long for one; cables stand below each other."""
    rows = [(names.full(a), names.full(b)) for a, b in found.pairs]
    left = max(len(a) for a, _ in rows)
    right = max(len(b) for _, b in rows)
    wire = min(CABLE, width - len(MARGIN) - left - right - 2)
    if wire >= 4:
        return [f"{MARGIN}{a:{left}} ◄{'─' * (wire - 2)}► {b}" for a, b in rows]
    lines = []
    room = min(max(left, right), width - len(MARGIN) - 4)
    for a, b in rows:
        lines += [f"{MARGIN}{_cut(a, room):{room}} ◄─┐", f"{MARGIN}{_cut(b, room):{room}} ◄─┘"]
    return lines


def _reasons(title: str, reasons: Mapping[End, str], names: _Names, width: int) -> list[str]:
    """A heading, and for each port its reason, wrapped behind its name."""
    if not reasons:
        return []
    column = min(24, names.column) + 2
    hang = MARGIN + " " * column
    lines = [title]
    for end, why in reasons.items():
        name = names.short(end)
        first = f"{MARGIN}{name:{column}}"
        if len(name) > column - 2:
            lines.append(f"{MARGIN}{name}")
            first = hang
        lines += textwrap.wrap(why, width, initial_indent=first, subsequent_indent=hang)
    return lines
