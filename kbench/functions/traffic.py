# SPDX-License-Identifier: GPL-2.0-only
"""The traffic of a case: groups of flows of which a known share is forwarded, proven by the reference model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from kbench.errors import UsageError
from kbench.functions.flows import FlowFinder, Group, outcomes
from kbench.functions.generate import generate_routes
from kbench.functions.model import Tables
from kbench.functions.packets import GROUPS_MAX
from kbench.functions.reference import Reference
from kbench.functions.rulegen import generate_rules
from kbench.functions.tomlfile import read_routes, read_rules
from kbench.model import FCS_BYTES, Case

GROUPS = 16
"""Groups of a case, unless the match share needs more to be met exactly or there are fewer flows."""
SHARE_TOLERANCE = 0.005
IPV6_UDP_FRAME_BYTES = 14 + 40 + 8 + FCS_BYTES


@dataclass(frozen=True)
class Traffic:
    """What a generator offers, round-robin over the groups, and which share meets which reason."""

    groups: tuple[Group, ...]
    expected: dict[str, float]
    flows: int


def tables_for(case: Case) -> Tables:
    """The tables of a case: from its files, or generated. Raises UsageError for a bad file."""
    if case.function == "drop":
        return Tables()
    routes = (
        read_routes(Path(case.routes_file)) if case.routes_file else generate_routes(case.routes, case.seed)
    )
    if case.function == "forward":
        return Tables(routes)
    if case.rules_file:
        rules, default_accept = read_rules(Path(case.rules_file))
        return Tables(routes, rules, default_accept)
    rules = generate_rules(case.rules, case.shape, case.seed, routes)
    # A filter without rules lets everything pass: the cost of an empty table.
    return Tables(routes, rules, default_accept=not rules)


def make_traffic(case: Case, tables: Tables, reference: Reference, ip_family: int = 4) -> Traffic:
    """The flow groups of a case, all of one IP family; each group's outcome is the same for all its flows.

    A group that matches is forwarded out of tx; the others have no route (forward) or are dropped
    by policy (filter). For `drop` there is nothing to match. Raises UsageError if the tables can't give
    the share that the case asks for, or if its frames are too small for the family.
    """
    if reference.tables is not tables:
        raise ValueError("the reference model is of other tables")
    if ip_family == 6 and case.frame_bytes < IPV6_UDP_FRAME_BYTES:
        raise UsageError(
            f"frame size {case.frame_bytes}: UDP over IPv6 needs {IPV6_UDP_FRAME_BYTES} bytes at least"
        )
    count, matching = _split(case)
    per_group = -(-case.flows // count)
    finder = FlowFinder(reference, ip_family, case.seed)
    if case.function == "drop":
        groups = [finder.unbound(per_group) for _ in range(count)]
    else:
        hits = _take(finder.forwarded(per_group), matching)
        if len(hits) < matching:
            raise UsageError(
                f"match share {case.match_share:g}: the tables forward no UDP flow over IPv{ip_family} to tx"
                f" (of {per_group} source ports); add a route or an accept rule, or use --match-share 0"
            )
        misses = _take(finder.missed(per_group), count - matching)
        if len(misses) < count - matching:
            why = (
                "the rules accept everything"
                if case.function == "filter"
                else "the routes cover every address"
            )
            raise UsageError(f"match share {case.match_share:g}: {why}; use --match-share 1")
        groups = _interleaved(hits, misses)
    groups = _trimmed(groups, case.flows)
    reasons = Counter(_reason(reference, group) for group in groups)
    return Traffic(tuple(groups), {reason: n / count for reason, n in reasons.items()}, case.flows)


def _split(case: Case) -> tuple[int, int]:
    """How many groups, and how many of them match: the fewest from GROUPS on that meet the share best."""
    if case.function == "drop":
        return min(GROUPS, case.flows), 0
    most = min(GROUPS_MAX, case.flows)
    counts = range(min(GROUPS, most), most + 1)
    best = min(counts, key=lambda n: (round(abs(round(case.match_share * n) / n - case.match_share), 9), n))
    matching = round(case.match_share * best)
    if abs(matching / best - case.match_share) > SHARE_TOLERANCE:
        raise UsageError(
            f"match share {case.match_share:g} can't be made of {case.flows} flows: use more flows"
        )
    return best, matching


def _take(groups: Iterator[Group], count: int) -> list[Group]:
    """The next `count` groups; different ones as long as the tables have them."""
    return list(islice(groups, count))


def _interleaved(hits: list[Group], misses: list[Group]) -> list[Group]:
    """Hits and misses mixed evenly, so that a burst of the generator has the same share."""
    total = len(hits) + len(misses)
    mixed, hit, miss = [], iter(hits), iter(misses)
    for i in range(total):
        is_hit = (i + 1) * len(hits) // total > i * len(hits) // total
        mixed.append(next(hit if is_hit else miss))
    return mixed


def _trimmed(groups: list[Group], flows: int) -> list[Group]:
    """The groups with `flows` flows in all: the last ones have one flow less."""
    small, more = divmod(flows, len(groups))
    return [
        Group(g.family, g.src, g.dst, g.sport_lo, g.sport_lo + small + (i < more) - 1, g.dport)
        for i, g in enumerate(groups)
    ]


def _reason(reference: Reference, group: Group) -> str:
    """The one reason that all flows of the group meet."""
    seen = outcomes(reference, group)
    if len(seen) != 1:
        raise AssertionError(f"flows of {group} meet {sorted(map(str, seen))}")
    return next(iter(seen))[0]
