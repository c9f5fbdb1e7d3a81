# SPDX-License-Identifier: GPL-2.0-only
"""Generated tables: sizes, distributions, what they must not contain, and how long they take."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from kbench.errors import UsageError
from kbench.functions.generate import LENGTHS4, generate_routes
from kbench.functions.image import compile_image
from kbench.functions.model import (
    BENCH_SOURCES4,
    BENCH_SOURCES6,
    MARTIAN_DESTINATIONS,
    PROTOCOLS_WITH_PORTS,
    UDP,
    Tables,
    inside,
)
from kbench.functions.rulegen import SHAPES, generate_rules
from tests.unit.core_tools import PORTS

FROZEN_ROUTES = ["43.55.124.0/24", "43.55.11.0/24", "84.235.160.0/22"]
FROZEN_RULES = ["147.85.81.101/32", "147.85.116.89/32", "147.85.164.211/32"]


def test_one_route_is_the_default_route() -> None:
    assert [str(r.prefix) for r in generate_routes(1)] == ["0.0.0.0/0"]


@pytest.mark.parametrize("count", [0, 2, 9, 10, 11, 100, 1000, 20_000])
def test_routes_are_as_many_as_asked_and_all_different(count: int) -> None:
    routes = generate_routes(count, seed=5)
    assert len(routes) == len({r.prefix for r in routes}) == count
    assert all(r.out == "tx" for r in routes)
    versions = Counter(r.prefix.version for r in routes)
    assert versions[6] == (round(count * 0.2) if count >= 10 else 0)


def test_routes_avoid_special_space_and_leave_the_sources_uncovered() -> None:
    special = (*MARTIAN_DESTINATIONS, BENCH_SOURCES4, BENCH_SOURCES6)
    for route in generate_routes(20_000):
        assert not inside(route.prefix, special)
        for one in special:
            if one.version == route.prefix.version:
                assert not route.prefix.overlaps(one)


def test_route_lengths_are_those_of_a_bgp_table() -> None:
    count = 50_000
    lengths = Counter(r.prefix.prefixlen for r in generate_routes(count) if r.prefix.version == 4)
    total = sum(lengths.values())
    for length, percent in LENGTHS4.items():
        assert abs(lengths[length] / total - percent / sum(LENGTHS4.values())) < 0.005
    assert lengths[24] > total / 2


def test_the_seed_decides() -> None:
    assert generate_routes(500, 1) == generate_routes(500, 1) != generate_routes(500, 2)
    assert generate_rules(500, "acl", 1) == generate_rules(500, "acl", 1) != generate_rules(500, "acl", 2)
    # The stream is frozen: another machine, or a new NumPy, must give the same first routes and rules.
    assert [str(r.prefix) for r in generate_routes(100, 1)[:3]] == FROZEN_ROUTES
    assert [str(r.dst) for r in generate_rules(100, "acl", 1)[:3]] == FROZEN_RULES


def test_100000_routes_are_quick_and_compact() -> None:
    started = time.process_time()
    routes = generate_routes(100_000)
    blob = compile_image("forward", Tables(routes), PORTS)
    assert time.process_time() - started < 4  # measured: 0.6 s
    assert len(blob) < 30 << 20


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 2, 10, 100, 10_000])
def test_rules(shape: str, count: int) -> None:
    rules = generate_rules(count, shape, seed=3)
    assert len(rules) == len(set(rules)) == count
    assert any(r.action == "accept" and r.protocol in (None, UDP) and r.family == 4 for r in rules)
    accepts = sum(r.action == "accept" for r in rules)
    assert abs(accepts - count / 2) <= 1.5
    assert any(r.family == 6 for r in rules) == (count >= 10)
    for rule in rules:
        if rule.sport or rule.dport:
            assert rule.protocol in PROTOCOLS_WITH_PORTS


def test_shapes_have_the_published_characteristics() -> None:
    rules = {shape: generate_rules(5000, shape) for shape in SHAPES}

    def share(shape: str, what: str) -> float:
        return sum(getattr(r, what) is None for r in rules[shape]) / 5000

    assert share("acl", "sport") == 1  # ClassBench: acl sets never look at the source port
    assert share("acl", "dst") == 0
    assert share("fw", "src") > share("ipc", "src") > share("acl", "src")
    assert share("fw", "sport") < 0.8
    exact = {s: sum(bool(r.dport and r.dport[0] == r.dport[1]) for r in rules[s]) for s in SHAPES}
    assert exact["acl"] > exact["fw"]
    ranges = {s: sum(bool(r.sport and r.sport[0] != r.sport[1]) for r in rules[s]) for s in SHAPES}
    assert ranges["fw"] > ranges["ipc"] > ranges["acl"] == 0


def test_bad_requests() -> None:
    with pytest.raises(UsageError, match="unknown rule shape 'asl': use one of acl, fw, ipc"):
        generate_rules(1, "asl")
    with pytest.raises(UsageError, match="10001 rules: kbench compiles at most 10000"):
        generate_rules(10_001, "acl")
    with pytest.raises(UsageError, match="1000001 routes"):
        generate_routes(1_000_001)
