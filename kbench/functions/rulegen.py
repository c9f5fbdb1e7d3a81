# SPDX-License-Identifier: GPL-2.0-only
"""Generated rules in the three shapes of ClassBench: acl, fw and ipc.

After Taylor and Turner, "ClassBench: A Packet Classification Benchmark" (INFOCOM 2005), whose
published characteristics are imitated; their seed files are not used, and the shares below are
ours. acl: specific address pairs, source port ignored, one or any destination port. fw: short or
absent prefixes, ranges in both ports. ipc: between the two.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from kbench.errors import UsageError
from kbench.functions.generate import generate_routes
from kbench.functions.model import (
    PROTOCOLS_WITH_PORTS,
    RULES_MAX,
    TCP,
    UDP,
    Action,
    Network,
    PortRange,
    Route,
    Rule,
)

SHAPES = ("acl", "fw", "ipc")
IPV6_SHARE = 0.1
BOTH_FAMILIES_FROM = 10
ICMP = 1
ICMP6 = 58

_WELL_KNOWN = (
    *(20, 21, 22, 23, 25, 53, 67, 69, 80, 110, 111, 119, 123, 135, 137, 139, 143, 161, 179, 389),
    *(443, 445, 514, 636, 993, 995, 1433, 1521, 1723, 3128, 3306, 3389, 5060, 5432, 6000, 8080),
)
_HIGH: PortRange = (1024, 65535)

Weighted = dict[int, int]
"""Choice to weight. For prefixes the choice is the IPv4 length, 0 for no prefix."""


@dataclass(frozen=True)
class Shape:
    """What a shape's fields are drawn from. Port kinds: any, high (1024-65535), range, exact."""

    src: Weighted
    dst: Weighted
    sport: dict[str, int]
    dport: dict[str, int]
    protocol: Weighted
    src_pool: int
    """How many rules share one source allocation, on average."""


_SHAPES = {
    "acl": Shape(
        src={0: 8, 16: 10, 20: 6, 24: 26, 28: 10, 32: 40},
        dst={16: 4, 20: 6, 24: 30, 28: 15, 30: 5, 32: 40},
        sport={"any": 100},
        dport={"any": 35, "exact": 50, "high": 8, "range": 7},
        protocol={TCP: 65, UDP: 22, ICMP: 5, -1: 8},
        src_pool=8,
    ),
    "fw": Shape(
        src={0: 45, 8: 8, 12: 5, 16: 18, 24: 14, 32: 10},
        dst={0: 30, 8: 8, 12: 6, 16: 24, 20: 6, 24: 16, 32: 10},
        sport={"any": 55, "high": 20, "range": 15, "exact": 10},
        dport={"any": 25, "high": 15, "range": 30, "exact": 30},
        protocol={TCP: 55, UDP: 30, ICMP: 5, -1: 10},
        src_pool=16,
    ),
    "ipc": Shape(
        src={0: 20, 8: 3, 16: 15, 20: 6, 24: 22, 28: 8, 32: 26},
        dst={0: 12, 8: 3, 16: 14, 20: 6, 24: 25, 28: 10, 32: 30},
        sport={"any": 70, "high": 10, "range": 6, "exact": 14},
        dport={"any": 40, "high": 10, "range": 12, "exact": 38},
        protocol={TCP: 55, UDP: 25, ICMP: 5, -1: 15},
        src_pool=8,
    ),
}


def generate_rules(
    n: int, shape: str, seed: int = 1, routes: Sequence[Route] | None = None
) -> tuple[Rule, ...]:
    """`n` rules that all differ in what they match; half accept and half drop, by the seed.

    Destinations are taken from `routes`, so that what is accepted can also be forwarded. Specific
    rules come before general ones, as administrators write them, so that few rules are
    shadowed. There is always an IPv4 rule that accepts UDP without looking at the source port, the only
    rule when `n` is 1: each table lets some of the benchmark's traffic pass. From 10 rules on, one
    in ten is IPv6, and for each family one rule accepts all protocols between two networks, so that
    verification gets to see the packets behind the rules. Such tables are meant for a default of drop.
    """
    if shape not in _SHAPES:
        raise UsageError(f"unknown rule shape '{shape}': use one of {', '.join(SHAPES)}")
    if not 0 <= n <= RULES_MAX:
        raise UsageError(f"{n} rules: kbench compiles at most {RULES_MAX}")
    if n == 0:
        return ()
    rng = Random(f"rules {shape} {seed} {n}")
    draw = _Drawer(_SHAPES[shape], rng, n, routes)
    first = draw.rule(4, "accept")
    first = Rule("accept", 4, first.src, first.dst, None, first.dport, UDP)
    rules = {_condition(first): first}
    count6 = 0
    if n >= BOTH_FAMILIES_FROM:
        count6 = round(n * IPV6_SHARE)
        for family in (4, 6):
            rule = draw.networks(family)
            rules[_condition(rule)] = rule
    accepts = max(0, (n + 1) // 2 - len(rules))
    actions: list[Action] = ["accept" if i < accepts else "drop" for i in range(n - len(rules))]
    rng.shuffle(actions)
    left6 = count6 - sum(rule.family == 6 for rule in rules.values())
    for i, action in enumerate(actions):
        while True:
            rule = draw.rule(6 if i < left6 else 4, action)
            if _condition(rule) not in rules:
                break
        rules[_condition(rule)] = rule
    ordered = list(rules.values())
    rng.shuffle(ordered)
    return tuple(sorted(ordered, key=_generality))


def _condition(rule: Rule) -> tuple[object, ...]:
    return (rule.family, rule.src, rule.dst, rule.sport, rule.dport, rule.protocol)


def _generality(rule: Rule) -> int:
    """Free bits of the addresses and ports: 0 is the most specific rule."""
    free = 0
    for prefix in (rule.src, rule.dst):
        width = 32 if rule.family == 4 else 64
        free += width - (min(prefix.prefixlen, width) if prefix else 0)
    for ports in (rule.sport, rule.dport):
        free += 16 if ports is None else (ports[1] - ports[0]).bit_length()
    return free + (8 if rule.protocol is None else 0)


class _Drawer:
    """Draws single rules. Sources come from a pool of allocations, so that prefixes repeat and nest."""

    def __init__(self, shape: Shape, rng: Random, n: int, routes: Sequence[Route] | None) -> None:
        self._shape = shape
        self._rng = rng
        if routes is None:
            routes = generate_routes(max(20, n // 4))
        pool = generate_routes(max(20, n // shape.src_pool), rng.getrandbits(32))
        self._src = {v: [r.prefix for r in pool if r.prefix.version == v] for v in (4, 6)}
        wanted = [r.prefix for r in routes if r.out == "tx"]
        self._dst = {v: [p for p in wanted if p.version == v] for v in (4, 6)}
        for version in (4, 6):  # no route of this family, or only the default route: any address will do
            if not any(p.prefixlen for p in self._dst[version]):
                self._dst[version] = self._src[version]

    def rule(self, family: int, action: Action) -> Rule:
        """One rule of the shape."""
        rng, shape = self._rng, self._shape
        protocol: int | None = _weighted(rng, shape.protocol)
        if protocol == -1:
            protocol = None
        elif protocol == ICMP and family == 6:
            protocol = ICMP6
        sport = dport = None
        if protocol in PROTOCOLS_WITH_PORTS:
            sport, dport = self._ports(shape.sport), self._ports(shape.dport)
        src = self._prefix(self._src[family], _weighted(rng, shape.src))
        dst = self._prefix(self._dst[family], _weighted(rng, shape.dst))
        return Rule(action, 4 if family == 4 else 6, src, dst, sport, dport, protocol)

    def networks(self, family: int) -> Rule:
        """A rule that accepts all between two networks."""
        src, dst = self._prefix(self._src[family], 24), self._prefix(self._dst[family], 24)
        return Rule("accept", 4 if family == 4 else 6, src, dst)

    def _prefix(self, pool: list[Network], length4: int) -> Network | None:
        """A prefix that covers or lies in one of the pool; IPv6 lengths are twice those of IPv4, or /128."""
        if not length4:
            return None
        base = self._rng.choice(pool)
        if isinstance(base, ipaddress.IPv4Network):
            host = self._rng.getrandbits(32 - base.prefixlen) if base.prefixlen < 32 else 0
            address = int(base.network_address) | host
            return ipaddress.IPv4Network((address >> (32 - length4) << (32 - length4), length4))
        length = 128 if length4 == 32 else 2 * length4
        # Hosts of a /64 mostly have low numbers; only the subnet is drawn.
        subnet = self._rng.getrandbits(64 - base.prefixlen) if base.prefixlen < 64 else 0
        address = int(base.network_address) | subnet << 64 | self._rng.randrange(1, 256)
        return ipaddress.IPv6Network((address >> (128 - length) << (128 - length), length))

    def _ports(self, kinds: dict[str, int]) -> PortRange | None:
        kind = self._rng.choices(list(kinds), list(kinds.values()))[0]
        if kind == "any":
            return None
        if kind == "high":
            return _HIGH
        if kind == "exact":
            well_known = self._rng.random() < 0.8
            port = self._rng.choice(_WELL_KNOWN) if well_known else self._rng.randrange(1024, 65536)
            return (port, port)
        known = self._rng.random() < 0.3
        low = self._rng.choice(_WELL_KNOWN) if known else 100 * self._rng.randrange(10, 640)
        return (low, min(65535, low + self._rng.choice((1, 3, 9, 99, 255, 999, 4999))))


def _weighted(rng: Random, choices: Weighted) -> int:
    return rng.choices(list(choices), list(choices.values()))[0]
