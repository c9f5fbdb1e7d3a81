# SPDX-License-Identifier: GPL-2.0-only
"""Routes and rules from TOML files that people write; each complaint names the file and the line.

[[route]]                       default = "drop"
prefix = "10.0.0.0/8"           [[rule]]
out = "tx"                      action = "accept"
                                src = "198.18.0.0/15"
                                dport = "1000-2000"
                                protocol = "udp"
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from kbench.errors import UsageError
from kbench.functions.model import (
    BENCH_SOURCES4,
    BENCH_SOURCES6,
    MARTIAN_DESTINATIONS,
    PROTOCOLS_WITH_PORTS,
    ROUTES_MAX,
    RULES_MAX,
    Family,
    Network,
    PortRange,
    Route,
    Rule,
    inside,
)

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "icmpv6": 58, "ospf": 89, "sctp": 132}
_OUTS = ("tx", "rx", "discard")
_T = TypeVar("_T")


class _BadValue(Exception):
    """A value of a table is wrong; `key` says where to point."""

    def __init__(self, key: str | None, message: str) -> None:
        super().__init__(message)
        self.key = key


class _File:
    """A parsed file that still knows its lines."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self._kind = kind
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{path}: can't be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            raise UsageError(f"{path}:{line}: not UTF-8 text") from None
        self._lines = text.splitlines()
        try:
            self.data: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise UsageError(_syntax_error(path, str(error), len(self._lines))) from None
        header = re.compile(rf"\s*\[\[\s*{kind}\s*\]\]")
        self._headers = [i for i, line in enumerate(self._lines) if header.match(line)]

    def tables(self, other_keys: tuple[str, ...] = ()) -> list[Any]:
        """The array of tables of our kind. Any other key of the file is a mistake."""
        for key in self.data:
            if key not in (self._kind, *other_keys):
                raise UsageError(
                    f"{self.top_line(key)}: unknown key '{key}'{_near(key, (self._kind, *other_keys))}:"
                    f" this file holds [[{self._kind}]] tables"
                )
        tables = self.data.get(self._kind, [])
        if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
            raise UsageError(f"{self.top_line(self._kind)}: write [[{self._kind}]] for each {self._kind}")
        return tables

    def top_line(self, key: str) -> str:
        """file:line of a key outside the tables."""
        at = re.compile(rf"\s*(\[+\s*)?[\"']?{re.escape(key)}\b")
        return f"{self.path}:{next((i for i, line in enumerate(self._lines, 1) if at.match(line)), 1)}"

    def line(self, index: int, key: str | None = None) -> str:
        """file:line of the table with this index, or of a key in it."""
        if len(self._headers) != len(self.data[self._kind]):  # an inline array: no line of its own
            return f"{self.path}: {self._kind} {index + 1}"
        first = self._headers[index]
        last = self._headers[index + 1] if index + 1 < len(self._headers) else len(self._lines)
        if key is not None:
            at = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=")
            first = next((i for i in range(first, last) if at.match(self._lines[i])), first)
        return f"{self.path}:{first + 1}"

    def read(self, parse: Callable[[dict[str, Any]], _T], other_keys: tuple[str, ...] = ()) -> list[_T]:
        """Each table by `parse`; what it refuses becomes a UsageError that points at the line."""
        items = []
        for index, table in enumerate(self.tables(other_keys)):
            try:
                items.append(parse(table))
            except _BadValue as bad:
                raise UsageError(f"{self.line(index, bad.key)}: {bad}") from None
        return items


def read_routes(path: Path) -> tuple[Route, ...]:
    """The routes of a file. Raises UsageError for what is wrong in it, among others a prefix given twice."""
    file = _File(path, "route")
    count = len(file.tables())
    if count > ROUTES_MAX:
        raise UsageError(f"{path}: {count} routes: kbench compiles at most {ROUTES_MAX}")
    routes = file.read(_route)
    if not routes:
        raise UsageError(f'{path}: no routes: write [[route]] with prefix = "10.0.0.0/8" and out = "tx"')
    seen: dict[Network, int] = {}
    for index, route in enumerate(routes):
        first = seen.setdefault(route.prefix, index)
        if first != index:
            raise UsageError(
                f"{file.line(index, 'prefix')}: route {route.prefix} was given before,"
                f" at {file.line(first, 'prefix')}: remove one of them"
            )
    return tuple(routes)


def read_rules(path: Path) -> tuple[tuple[Rule, ...], bool]:
    """The rules of a file, in its order, and whether its default policy accepts. Raises UsageError."""
    file = _File(path, "rule")
    count = len(file.tables(("default",)))
    if count > RULES_MAX:
        raise UsageError(f"{path}: {count} rules: kbench compiles at most {RULES_MAX}")
    default = file.data.get("default")
    if default not in ("accept", "drop"):
        where = file.top_line("default") if "default" in file.data else str(path)
        raise UsageError(
            f'{where}: the default policy is missing or unknown: write default = "accept" or "drop"'
        )
    return tuple(file.read(_rule, ("default",))), default == "accept"


def _route(table: dict[str, Any]) -> Route:
    _known_keys(table, ("prefix", "out"))
    for key in ("prefix", "out"):
        if key not in table:
            raise _BadValue(None, f"the route has no '{key}'")
    prefix, out = _prefix(table, "prefix"), table["out"]
    if out not in _OUTS:
        raise _BadValue("out", f"unknown way out {out!r}: use one of {', '.join(_OUTS)}")
    if out != "discard":
        martian = inside(prefix, MARTIAN_DESTINATIONS)
        if martian:
            raise _BadValue(
                "prefix", f'{prefix} lies in {martian}, which is never forwarded: use out = "discard"'
            )
    bench = inside(prefix, (BENCH_SOURCES4, BENCH_SOURCES6))
    if bench:
        raise _BadValue(
            "prefix", f"{prefix} lies in {bench}, where benchmark traffic comes from: use another prefix"
        )
    return Route(prefix, out)


def _rule(table: dict[str, Any]) -> Rule:
    _known_keys(table, ("action", "family", "src", "dst", "sport", "dport", "protocol"))
    action = table.get("action")
    if action not in ("accept", "drop"):
        raise _BadValue(
            "action", f'{"unknown" if action else "no"} action: write action = "accept" or "drop"'
        )
    src = _prefix(table, "src") if "src" in table else None
    dst = _prefix(table, "dst") if "dst" in table else None
    family: Family | None = None
    for key, prefix in (("src", src), ("dst", dst)):
        if prefix is not None:
            version: Family = 4 if prefix.version == 4 else 6
            if family not in (None, version):
                raise _BadValue(key, "src and dst are of different IP versions: no packet can match")
            family = version
    if "family" in table:
        if table["family"] not in (4, 6):
            raise _BadValue("family", "family is 4 or 6; leave it out to match both")
        if family not in (None, table["family"]):
            raise _BadValue(
                "family", f"family {table['family']} with an IPv{family} prefix: no packet can match"
            )
        family = table["family"]
    protocol = _protocol(table["protocol"]) if "protocol" in table else None
    sport = _ports(table, "sport") if "sport" in table else None
    dport = _ports(table, "dport") if "dport" in table else None
    if (sport or dport) and protocol is not None and protocol not in PROTOCOLS_WITH_PORTS:
        raise _BadValue("protocol", f"protocol {table['protocol']!r} has no ports: remove sport and dport")
    return Rule(action, family, src, dst, sport, dport, protocol)


def _known_keys(table: dict[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise _BadValue(key, f"unknown key '{key}'{_near(key, known)}: use {', '.join(known)}")


def _prefix(table: dict[str, Any], key: str) -> Network:
    text = table[key]
    if not isinstance(text, str):
        raise _BadValue(key, f'{key} is a prefix in quotes, such as "10.0.0.0/8"')
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise _BadValue(
            key, f'{text!r} is no prefix: write an address and length such as "10.0.0.0/8"'
        ) from None
    raise _BadValue(key, f"{text!r} has address bits behind its prefix length: did you mean {meant}?")


def _protocol(value: object) -> int:
    if isinstance(value, str) and value.lower() in PROTOCOLS:
        return PROTOCOLS[value.lower()]
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255:
        return value
    raise _BadValue("protocol", f"unknown protocol {value!r}: use 0 to 255, or one of {', '.join(PROTOCOLS)}")


def _ports(table: dict[str, Any], key: str) -> PortRange:
    value = table[key]
    match = re.fullmatch(r"\s*(\d{1,5})\s*(?:-\s*(\d{1,5})\s*)?", str(value))
    if isinstance(value, bool) or not match:
        raise _BadValue(key, f'{value!r} is no port or range: write 80 or "1000-2000"')
    lo, hi = int(match[1]), int(match[2] or match[1])
    if lo > hi or hi > 65535:
        raise _BadValue(key, f"{value!r} is no range of ports: the lower comes first, the highest is 65535")
    return (lo, hi)


def _near(word: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(word, known, 1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def _syntax_error(path: Path, message: str, lines: int) -> str:
    """tomllib's message, with the line where people look for it."""
    match = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", message)
    if match:
        return f"{path}:{match[2]}: {match[1]} (column {match[3]})"
    return f"{path}:{max(lines, 1)}: {message.removesuffix(' (at end of document)')}: the file ends too early"
