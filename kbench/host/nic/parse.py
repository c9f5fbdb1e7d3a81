# SPDX-License-Identifier: GPL-2.0-only
"""What ethtool prints, as flat settings.

Text, not --json: ethtool 6.1 has no JSON for channels, rings, coalescing and RSS, 5.x for hardly anything, and the
text has not changed since. "n/a" and what is not printed at all is not supported by the driver.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from kbench.host.nic.port import Scalar

_COALESCE_OPTIONS = {
    "rx-frame-low": "rx-frames-low",
    "tx-frame-low": "tx-frames-low",
    "rx-frame-high": "rx-frames-high",
    "tx-frame-high": "tx-frames-high",
}
"""Where what ethtool prints is not what it takes."""
_TWO_IN_A_LINE = re.compile(r"(Adaptive|CQE mode) RX: (\S+)\s+TX: (\S+)")


def value(text: str) -> Scalar | None:
    """on/off as bool, digits as int, other words as they are; None for n/a."""
    text = text.strip()
    if text in ("on", "off"):
        return text == "on"
    if text in ("n/a", ""):
        return None
    return int(text) if text.isdigit() else text


def pairs(text: str) -> Iterator[tuple[str, str]]:
    """Lines ``key: value``."""
    for line in text.splitlines():
        key, colon, rest = line.partition(":")
        if colon:
            yield key.strip(), rest.strip()


def driver_info(text: str) -> dict[str, str]:
    """``ethtool -i``."""
    return dict(pairs(text))


def amounts(text: str, prefix: str) -> tuple[dict[str, Scalar], dict[str, int]]:
    """``ethtool -l`` and ``-g``: (current settings, maxima), by ``prefix.rx-mini``."""
    settings: dict[str, Scalar] = {}
    limits: dict[str, int] = {}
    maxima = True
    for key, rest in pairs(text):
        if key.startswith(("Pre-set maximums", "Current hardware settings")):
            maxima = key.startswith("Pre-set")
            continue
        number = value(rest)
        if number is None:
            continue
        name = f"{prefix}.{key.lower().replace(' ', '-')}"
        if not maxima:
            settings[name] = number
        elif isinstance(number, int):
            limits[name] = number
    return settings, limits


def coalesce(text: str) -> dict[str, Scalar]:
    """``ethtool -c``, named like the options of ``-C``."""
    found: dict[str, Scalar] = {}

    def keep(name: str, word: str) -> None:
        number = value(word)
        if number is not None:
            found[f"coalesce.{name}"] = number

    for line in text.splitlines():
        two = _TWO_IN_A_LINE.match(line)
        if two:
            stem = "adaptive-{}" if two[1] == "Adaptive" else "cqe-mode-{}"
            keep(stem.format("rx"), two[2])
            keep(stem.format("tx"), two[3])
        elif not line.startswith("Coalesce parameters"):
            for key, rest in pairs(line):
                keep(_COALESCE_OPTIONS.get(key, key), rest)
    return found


def pause(text: str) -> dict[str, Scalar]:
    """``ethtool -a``: what is asked for, not what was negotiated."""
    names = {"Autonegotiate": "pause.autoneg", "RX": "pause.rx", "TX": "pause.tx"}
    found = {names[key]: value(rest) for key, rest in pairs(text) if key in names}
    return {key: number for key, number in found.items() if number is not None}


def features(text: str) -> tuple[dict[str, Scalar], dict[str, bool], dict[str, bool]]:
    """``ethtool -k``: (active by ``features.NAME``, what was asked for of those that can be changed, fixed ones).

    A group (``tx-checksumming``, its members indented below it) is active or not, but it is its members that are
    changed.
    """
    lines = [line for line in text.splitlines() if ":" in line and not line.startswith("Features for")]
    active: dict[str, Scalar] = {}
    requests: dict[str, bool] = {}
    fixed: dict[str, bool] = {}
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        name, _, rest = line.strip().partition(": ")
        on = rest.startswith("on")
        if "[fixed]" in rest:
            fixed[name] = on
            continue
        active[f"features.{name}"] = on
        is_group = following.startswith("\t") and not line.startswith("\t")
        if not is_group:
            asked = re.search(r"\[requested (on|off)\]", rest)
            requests[name] = asked[1] == "on" if asked else on
    return active, requests, fixed


def rss(text: str) -> dict[str, Scalar]:
    """``ethtool -x``: indirection as the words that ``-X`` takes, where it has some, key and hash function."""
    found: dict[str, Scalar] = {}
    table = [int(n) for row in re.findall(r"^\s*\d+:((?:\s+\d+)+)\s*$", text, re.M) for n in row.split()]
    if table:
        found["rss.table"] = indirection(table)
        found["rss.entries"] = len(table)
    key = re.search(r"^RSS hash key:\n([0-9a-f]{2}(?::[0-9a-f]{2})+)$", text, re.M)
    if key:
        found["rss.key"] = key[1]
    function = re.search(r"^\s+(\w+): on$", text, re.M)
    if function and table:
        found["rss.function"] = function[1]
    return found


def indirection(table: Sequence[int]) -> str:
    """``equal N`` for 0..N-1 in turn, ``weight W0 W1 ...`` for blocks of queues in order, else the table itself."""
    queues = max(table) + 1
    if all(queue == at % queues for at, queue in enumerate(table)):
        return f"equal {queues}"
    if list(table) == sorted(table):
        return "weight " + " ".join(str(table.count(queue)) for queue in range(queues))
    return " ".join(map(str, table))


def rule_count(text: str) -> int:
    """``ethtool -n``: how many receive rules (ntuple) there are."""
    match = re.search(r"^Total (\d+) rules$", text, re.M)
    return int(match[1]) if match else 0
