# SPDX-License-Identifier: GPL-2.0-only
"""The packet core, compiled, against the reference model: random tables, random and damaged frames."""

from __future__ import annotations

import ipaddress
import subprocess
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kbench.functions.flows import FlowFinder
from kbench.functions.generate import generate_routes
from kbench.functions.model import UDP, Route, Rule, Tables
from kbench.functions.packets import verification_packets
from kbench.functions.reference import REASONS, Reference
from kbench.functions.rulegen import SHAPES, generate_rules
from kbench.model import Function
from tests.unit.core_tools import PORTS, ROOT, SANITIZERS, Core, build, compare, random_frames, random_tables

FUNCTIONS: tuple[Function, ...] = ("drop", "forward", "filter")


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Core:
    directory = tmp_path_factory.mktemp("core")
    return Core(build(directory), directory)


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Core:
    directory = tmp_path_factory.mktemp("core-san")
    return Core(build(directory, sanitize=True), directory)


def random_round(core: Core, seed: int, frames: int) -> Counter[str]:
    rng = Random(seed)
    tables = random_tables(rng)
    seen: Counter[str] = Counter()
    for function in FUNCTIONS:
        seen.update(compare(core, function, tables, random_frames(rng, function, tables, frames)))
    return seen


@given(seed=st.integers(0, 2**64))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_tables_and_frames(core: Core, seed: int) -> None:
    random_round(core, seed, frames=200)


def test_random_rounds_reach_every_reason(sanitized: Core) -> None:
    seen: Counter[str] = Counter()
    for seed in range(12):
        seen += random_round(sanitized, seed, frames=300)
    assert set(seen) == set(REASONS)
    assert all(count >= 20 for count in seen.values()), seen


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rules", [1, 100, 10_000])
def test_generated_rules(core: Core, shape: str, rules: int) -> None:
    routes = generate_routes(1000)
    tables = Tables(routes, generate_rules(rules, shape, routes=routes), default_accept=False)
    frames = [p.frame for p in verification_packets(tables, "filter", PORTS, seed=1)]
    reference = Reference("filter", tables, PORTS)
    rng = Random(rules)
    udp_rules = [r for r in tables.rules if r.protocol in (None, UDP)]
    finders = {family: FlowFinder(reference, family, seed=2) for family in (4, 6)}
    for _ in range(100):  # flows inside of random rules, of which earlier rules take some away
        rule = rng.choice(udp_rules)
        frames.append(finders[rule.family or 4].of_rule(rule, 1).ends(reference).udp())
    reasons = compare(core, "filter", tables, frames)
    assert reasons["forwarded"] >= 10 and reasons["policy"] >= 10


@pytest.mark.parametrize("count", [1, 1000, 100_000])
def test_generated_routes(core: Core, count: int) -> None:
    tables = Tables(generate_routes(count))
    reference = Reference("forward", tables, PORTS)
    frames = [p.frame for p in verification_packets(tables, "forward", PORTS, seed=1)]
    for family in (4, 6):
        finder = FlowFinder(reference, family, seed=3)
        for groups in (finder.forwarded(), finder.missed()):
            frames += [group.ends(reference).udp() for group, _ in zip(groups, range(500), strict=False)]
    reasons = compare(core, "forward", tables, frames)
    assert reasons["forwarded"] > 400
    assert count == 1 or reasons["no_route"] > 400


def test_every_checksum_is_updated_as_rfc_1624_says(core: Core) -> None:
    tables = Tables(generate_routes(1))
    reference = Reference("forward", tables, PORTS)
    ends = next(FlowFinder(reference, 4, seed=1).forwarded()).ends(reference)
    udp = ends.upper(UDP)
    frames = []
    for checksum in range(0x10000):
        ident = ends.ident_for(UDP, udp, checksum)
        frames.append(ends.ethernet(ends.ipv4(UDP, udp, ident=ident, checksum=checksum)))
    assert compare(core, "forward", tables, frames) == {"forwarded": 0x10000}


def test_the_comparison_can_fail(core: Core) -> None:
    """Tables that differ in one rule are told apart by the packets made for them."""
    routes = generate_routes(1)
    one = Tables(routes, (Rule("accept", dport=(80, 443), protocol=UDP),), False)
    other = Tables(routes, (Rule("accept", dport=(80, 442), protocol=UDP),), False)
    frames = [p.frame for p in verification_packets(one, "filter", PORTS, seed=1)]
    mine, theirs = (Reference("filter", tables, PORTS) for tables in (one, other))
    assert [mine.process(f) for f in frames] != [theirs.process(f) for f in frames]


def test_harness_reports_reads_beyond_the_frame(tmp_path: Path) -> None:
    """The sanitized build is really sanitized: a planted one-byte overrun is seen."""
    source = tmp_path / "overrun.c"
    source.write_text(
        '#include <stdlib.h>\n#include "packet.h"\n'
        "int main(int argc, char **argv)\n{\n\t__u16 *p = malloc(19);\n\t(void)argv;\n"
        "\tfor (int i = 0; i < 9; i++)\n\t\tp[i] = (__u16)argc;\n"
        "\treturn kb_ipv4_checksum_ok(p, p + 9, 5);\n}\n"
    )
    program = tmp_path / "overrun"
    argv = ["gcc", "-std=gnu11", "-O1", *SANITIZERS, f"-I{ROOT}/core", "-o", str(program), str(source)]
    subprocess.run(argv, check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr or "insufficient space" in done.stderr


def test_martian_destinations_are_discarded_whatever_the_routes_say(core: Core) -> None:
    prefixes = (
        "0.0.0.0/0",
        "127.0.0.0/24",
        "224.0.0.0/24",
        "255.255.255.255/32",
        "::/0",
        "fe80::/64",
        "ff0e::/16",
    )
    tables = Tables(tuple(Route(ipaddress.ip_network(p), "tx") for p in prefixes))
    reference = Reference("forward", tables, PORTS)
    frames = []
    for address in (
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "0.0.0.0",
        "fe80::1",
        "ff0e::1",
        "::1",
        "::",
    ):
        dst = ipaddress.ip_address(address)
        family = dst.version
        ends = next(FlowFinder(reference, family, seed=1).forwarded()).ends(reference)
        frames.append(type(ends)(ends.src_mac, ends.dst_mac, family, ends.src, int(dst)).udp())
    assert compare(core, "forward", tables, frames) == {"discard": len(frames)}
