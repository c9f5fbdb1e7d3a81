# SPDX-License-Identifier: GPL-2.0-only
"""Verification packets made for given tables: hits at the edges of routes and rules, and one step outside."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from random import Random
from typing import Literal, TypeVar

from kbench.functions.flows import FlowFinder, is_ordinary
from kbench.functions.frames import Ends, padded
from kbench.functions.model import (
    BENCH_SOURCES4,
    BENCH_SOURCES6,
    PROTOCOLS_WITH_PORTS,
    UDP,
    Network,
    PortRange,
    Rule,
)
from kbench.functions.reference import Reference

ROUTES_PER_FAMILY = 4
RULES = 5
_T = TypeVar("_T")
Field = Literal["src", "dst", "sport", "dport"]


def spread(items: Sequence[_T], count: int) -> list[_T]:
    """At most `count` of the items, evenly spread, with the first and the last."""
    if len(items) <= count:
        return list(items)
    return [items[i * (len(items) - 1) // (count - 1)] for i in range(count)]


def route_packets(reference: Reference, base4: Ends, base6: Ends) -> Iterator[tuple[str, bytes]]:
    """For some routes: their first and last address, and the addresses around them."""
    for base in (base4, base6):
        mine = [r for r in reference.tables.routes if r.prefix.version == base.family]
        chosen = {r.prefix: r for r in spread(mine, ROUTES_PER_FAMILY)}
        # The shortest and longest, and one of each other way out, are where look-ups differ.
        for route in (
            *(pick(mine, key=lambda r: r.prefix.prefixlen) for pick in (min, max) if mine),
            *(next((r for r in mine if r.out == out), None) for out in ("rx", "discard")),
        ):
            if route is not None:
                chosen[route.prefix] = route
        for prefix in chosen:
            for name, address in _edges(prefix):
                yield f"route {prefix}: {name}", padded(dataclasses.replace(base, dst=address).udp())


def _edges(prefix: Network) -> Iterator[tuple[str, int]]:
    """First and last address, and the ones just outside, where they may be destinations of a packet."""
    first, last = int(prefix.network_address), int(prefix.broadcast_address)
    for name, address in (
        ("first address", first),
        ("last address", last),
        ("address before", first - 1),
        ("address after", last + 1),
    ):
        if name == "last address" and first == last:
            continue
        if may_be_destination(prefix, address):
            yield name, address


def may_be_destination(like: Network, address: int) -> bool:
    """Is `address` one that every datapath has to treat alike? See packets.py."""
    if not 0 <= address < 1 << like.max_prefixlen:
        return False
    if like.version == 4:
        # Martian destinations go nowhere everywhere; 0.0.0.0 is an old broadcast address.
        bench = BENCH_SOURCES4
        if address >> 16 == 0xA9FE or (address >> 28 == 15 and address != 0xFFFFFFFF) or address == 0:
            return False
        return not int(bench.network_address) <= address <= int(bench.broadcast_address)
    return is_ordinary(6, address) and address >> 80 != int(BENCH_SOURCES6.network_address) >> 80


def rule_packets(reference: Reference, seed: int) -> Iterator[tuple[str, bytes]]:
    """For some rules: packets at both ends of all their ranges, and one step outside each range."""
    rules = reference.tables.rules
    numbers = spread(range(len(rules)), RULES)
    # Every other kind of rule once, if the even spread missed it.
    for wanted in ((4, "accept"), (4, "drop"), (6, "accept"), (6, "drop")):
        of_kind = (i for i, r in enumerate(rules) if (r.family, r.action) == wanted)
        if not any((rules[i].family, rules[i].action) == wanted for i in numbers):
            numbers += [i for i, _ in zip(of_kind, range(1), strict=False)]
    for number in sorted(numbers):
        rule = rules[number]
        families = (rule.family,) if rule.family else (4, 6)
        for family in families:
            finder = FlowFinder(reference, family, seed)
            for name, ends, protocol in _around(rule, finder, reference, Random(seed)):
                yield (
                    f"rule {number + 1}, IPv{family}: {name}",
                    padded(ends.frame(protocol, ends.upper(protocol))),
                )


def _around(
    rule: Rule, finder: FlowFinder, reference: Reference, rng: Random
) -> Iterator[tuple[str, Ends, int]]:
    """Packets in and around one rule: name, ends, protocol."""
    protocol = UDP if rule.protocol is None else rule.protocol
    group = finder.of_rule(rule, flows=1)
    ends = group.ends(reference)
    yield "hit", ends, protocol
    lowest, highest = ends, ends
    outside: list[tuple[str, Field, int, Network | None]] = []
    addresses: tuple[tuple[Field, Network | None], ...] = (("src", rule.src), ("dst", rule.dst))
    for field, prefix in addresses:
        if prefix is not None:
            first, last = int(prefix.network_address), int(prefix.broadcast_address)
            lowest = _with(lowest, field, first, prefix)
            highest = _with(highest, field, last, prefix)
            outside += [(f"before its {field}", field, first - 1, prefix)]
            outside += [(f"after its {field}", field, last + 1, prefix)]
    port_fields: tuple[tuple[Field, PortRange | None], ...] = (("sport", rule.sport), ("dport", rule.dport))
    for field, ports in port_fields:
        if ports is not None:
            lowest = _with(lowest, field, ports[0], None)
            highest = _with(highest, field, ports[1], None)
            outside += [(f"below its {field}", field, ports[0] - 1, None)]
            outside += [(f"above its {field}", field, ports[1] + 1, None)]
    if lowest != ends:
        yield "lowest hit", lowest, protocol
    if highest not in (ends, lowest):
        yield "highest hit", highest, protocol
    for name, field, value, prefix_or_none in outside:
        changed = _with(ends, field, value, prefix_or_none)
        if changed != ends:
            yield name, changed, protocol
    if rule.protocol is not None:
        others = sorted(PROTOCOLS_WITH_PORTS - {rule.protocol})
        yield "another protocol", ends, rng.choice(others)
    if protocol in PROTOCOLS_WITH_PORTS:
        yield "a protocol without ports", ends, 47


def _with(ends: Ends, field: Field, value: int, prefix: Network | None) -> Ends:
    """The ends with one field changed, or as they were if no such value exists."""
    if prefix is None:
        ok = 0 <= value <= 65535
    elif field == "dst":
        ok = may_be_destination(prefix, value)
    else:
        ok = 0 <= value < 1 << prefix.max_prefixlen
    return dataclasses.replace(ends, **{field: value}) if ok else ends  # type: ignore[arg-type]
