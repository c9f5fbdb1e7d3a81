# SPDX-License-Identifier: GPL-2.0-only
"""Finds UDP flows that given tables forward to tx, or do not; the reference model confirms each.

Traffic and verification packets are made of them.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random

from kbench.functions.frames import Ends
from kbench.functions.model import (
    BENCH_SOURCES4,
    BENCH_SOURCES6,
    MARTIAN_DESTINATIONS,
    UDP,
    Network,
    Rule,
)
from kbench.functions.reference import Flow, Reference

SPORTS = (1024, 65535)
"""Source ports of flows that no rule restricts."""
_ATTEMPTS = 500
_WIDE_RULES = 20

# 198.18.0.0/16 and half of 2001:2::/48.
SOURCES4 = ipaddress.IPv4Network("198.18.0.0/16")
SOURCES6 = ipaddress.IPv6Network("2001:2::/49")
UNICAST: dict[int, Network] = {
    4: ipaddress.IPv4Network("0.0.0.0/0"),
    6: ipaddress.IPv6Network("2000::/3"),
}
# What a table without a route to it must not get: addresses that mean something to any kernel.
_SPECIAL = (
    *MARTIAN_DESTINATIONS,
    BENCH_SOURCES4,
    BENCH_SOURCES6,
    ipaddress.IPv4Network("169.254.0.0/16"),
    ipaddress.IPv4Network("240.0.0.0/4"),
)
_SPECIAL_RANGES = {
    v: [(int(p.network_address), int(p.broadcast_address)) for p in _SPECIAL if p.version == v]
    for v in (4, 6)
}


@dataclass(frozen=True)
class Group:
    """Flows that differ in their source port: the traffic file's unit. Addresses are numbers."""

    family: int
    src: int
    dst: int
    sport_lo: int
    sport_hi: int
    dport: int

    def ends(self, reference: Reference, sport: int | None = None) -> Ends:
        """As the generator on port rx sends it."""
        rx = reference.ports[0]
        port = self.sport_lo if sport is None else sport
        return Ends(rx.next_hop, rx.mac, self.family, self.src, self.dst, port, self.dport)


def is_ordinary(family: int, address: int) -> bool:
    """Is it a unicast address without a special meaning, and not a source of the benchmark?"""
    return not any(lo <= address <= hi for lo, hi in _SPECIAL_RANGES[family])


def random_address(prefix: Network, rng: Random) -> int:
    """A random address of a prefix, whatever it means."""
    bits = prefix.max_prefixlen - prefix.prefixlen
    return int(prefix.network_address) | (rng.getrandbits(bits) if bits else 0)


def any_address(prefix: Network, rng: Random) -> int:
    """A random address of the prefix, ordinary if chance allows."""
    for _ in range(20):
        address = random_address(prefix, rng)
        if is_ordinary(prefix.version, address):
            break
    return address


def outcomes(reference: Reference, group: Group) -> set[tuple[str, int | None]]:
    """Every reason and port that the group's flows meet: one probe for each span of source ports
    in which no rule begins or ends."""
    at = {group.sport_lo, group.sport_hi}
    if reference.function == "filter":
        flow = Flow(group.family, group.src, group.dst, UDP, group.sport_lo, group.dport)
        inner = reference.source_ports_that_matter(flow)
        at |= {port for port in inner if group.sport_lo <= port <= group.sport_hi}
    seen = set()
    for sport in at:
        outcome = reference.process(group.ends(reference, sport).udp())
        seen.add((outcome.reason, outcome.port))
    return seen


class FlowFinder:
    """Draws candidates from the tables of a reference model."""

    def __init__(self, reference: Reference, family: int, seed: int) -> None:
        self._reference = reference
        self._family = family
        self._rng = Random(f"flows {family} {seed}")
        mine = [r for r in reference.tables.routes if r.prefix.version == family]
        self._tx = sorted((r.prefix for r in mine if r.out == "tx"), key=lambda p: int(p.network_address))
        self._starts = [int(p.network_address) for p in self._tx]
        self._discards = [r.prefix for r in mine if r.out == "discard"]

    def forwarded(self, flows: int = 1) -> Iterator[Group]:
        """Groups of `flows` flows each that all leave by tx; may end early if the tables hardly forward."""
        candidates = self._accepted(flows) if self._reference.function == "filter" else self._routed(flows)
        return self._confirmed(candidates, {("forwarded", 1)})

    def forwarded_with_any_protocol(self) -> Iterator[Group]:
        """For a filter: single flows of rules that accept all protocols and ports, if there are some."""
        wide = (
            rule
            for rule in self._rules("accept", 1)
            if rule.protocol is None and rule.sport is None and rule.dport is None
        )
        groups = (self.of_rule(rule, 1) for rule in islice(wide, _WIDE_RULES))
        return (g for g in groups if outcomes(self._reference, g) == {("forwarded", 1)})

    def missed(self, flows: int = 1) -> Iterator[Group]:
        """Groups that are not forwarded: no route (forward), or dropped by policy (filter)."""
        if self._reference.function == "filter":
            return self._confirmed(self._rejected(flows), {("policy", None)})
        return self._confirmed(self._unrouted(flows), {("no_route", None)}, {("discard", None)})

    def _confirmed(
        self, candidates: Iterator[Group], *wanted: set[tuple[str, int | None]]
    ) -> Iterator[Group]:
        fruitless = 0
        for group in candidates:
            if outcomes(self._reference, group) in wanted:
                fruitless = 0
                yield group
            else:
                fruitless += 1
                if fruitless == _ATTEMPTS:
                    return

    def source(self) -> int:
        """A source of the benchmark's own network."""
        return random_address(SOURCES4 if self._family == 4 else SOURCES6, self._rng)

    def unbound(self, flows: int = 1) -> Group:
        """Flows between ordinary addresses, whatever becomes of them."""
        return self.group(self.source(), any_address(UNICAST[self._family], self._rng), flows)

    def group(self, src: int, dst: int, flows: int) -> Group:
        """A group of as many flows, bound to no rule."""
        lo = self._rng.randint(SPORTS[0], SPORTS[1] - flows + 1)
        dport = self._rng.choice((53, 123, 443, 4500, 5060, 8080, 9, 33434))
        return Group(self._family, src, dst, lo, lo + flows - 1, dport)

    def _routed(self, flows: int) -> Iterator[Group]:
        """Destinations of routes to tx: each route once in random order, then again."""
        while self._tx:
            for i in self._rng.sample(range(len(self._tx)), min(len(self._tx), 4096)):
                yield self.group(self.source(), any_address(self._tx[i], self._rng), flows)

    def _unrouted(self, flows: int) -> Iterator[Group]:
        while True:
            yield self.group(self.source(), any_address(UNICAST[self._family], self._rng), flows)
            if self._tx:  # close to a route, where look-ups go deep
                near = self._rng.choice(self._tx)
                step = self._rng.choice((-1, 1)) * near.num_addresses
                address = int(near.network_address) + step
                if 0 <= address < 1 << near.max_prefixlen and is_ordinary(self._family, address):
                    yield self.group(self.source(), address, flows)
            if self._discards:
                yield self.group(
                    self.source(), any_address(self._rng.choice(self._discards), self._rng), flows
                )

    def _rules(self, action: str, flows: int) -> list[Rule]:
        """The rules with this action that can match that many UDP flows of our family."""
        return [
            r
            for r in self._reference.tables.rules
            if r.action == action
            and r.family in (None, self._family)
            and r.protocol in (None, UDP)
            and (r.sport is None or r.sport[1] - r.sport[0] + 1 >= flows)
        ]

    def _accepted(self, flows: int) -> Iterator[Group]:
        """Flows of each rule that accepts, in random order, and again; then of the default policy."""
        rules = self._rules("accept", flows)
        by_default = self._reference.tables.default_accept
        for _ in range(_ATTEMPTS):
            self._rng.shuffle(rules)
            for rule in rules:
                yield self.of_rule(rule, flows)
            if by_default or not rules:
                for group, _ in zip(self._routed(flows), range(8), strict=False):
                    yield group

    def _rejected(self, flows: int) -> Iterator[Group]:
        rules = self._rules("drop", flows)
        for _ in range(_ATTEMPTS):
            self._rng.shuffle(rules)
            unmatched = self._routed(flows) if self._tx else self._unrouted(flows)
            yield next(unmatched)
            for rule in rules:
                yield self.of_rule(rule, flows)
                yield next(unmatched)

    def of_rule(self, rule: Rule, flows: int) -> Group:
        """Flows in the rule's ranges, to a destination with a route if there is one."""
        src = self.source() if rule.src is None else any_address(rule.src, self._rng)
        free = self.group(src, self._destination(rule.dst), flows)
        lo, dport = free.sport_lo, free.dport
        if rule.sport is not None:
            lo = self._rng.randint(rule.sport[0], rule.sport[1] - flows + 1)
        if rule.dport is not None:
            dport = self._rng.randint(*rule.dport)
        return Group(self._family, src, free.dst, lo, lo + flows - 1, dport)

    def _destination(self, prefix: Network | None) -> int:
        """An address of the prefix: anywhere if that has a route, else one of a route inside the prefix."""
        if prefix is None:
            return any_address(self._rng.choice(self._tx) if self._tx else UNICAST[self._family], self._rng)
        address = any_address(prefix, self._rng)
        if self._reference.route(self._family, address) != "tx":
            first = bisect_left(self._starts, int(prefix.network_address))
            last = bisect_left(self._starts, int(prefix.broadcast_address) + 1)
            if first < last:
                return any_address(self._tx[self._rng.randrange(first, last)], self._rng)
        return address
