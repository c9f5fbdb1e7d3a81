# SPDX-License-Identifier: GPL-2.0-only
"""The traffic of a case: as many flows as asked, the asked share of them forwarded, every one of them checked."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections import Counter
from pathlib import Path

import pytest

from kbench.errors import UsageError
from kbench.functions.model import Route, Rule, Tables
from kbench.functions.reference import Reference
from kbench.functions.traffic import Traffic, make_traffic, tables_for
from kbench.functions.validate import validate_case
from kbench.model import Case
from tests.unit.core_tools import PORTS

EXAMPLES = Path(__file__).parents[2] / "examples"


def traffic_of(case: Case, tables: Tables | None = None, family: int = 4) -> tuple[Traffic, Reference]:
    validate_case(case)
    tables = tables or tables_for(case)
    reference = Reference(case.function, tables, PORTS)
    return make_traffic(case, tables, reference, family), reference


CASES = [
    Case("drop"),
    Case("forward"),
    Case("forward", routes=1000),
    Case("forward", routes=1000, match_share=0.3, flows=1000),
    Case("filter", routes=1, rules=1),
    Case("filter", routes=1000, rules=100, match_share=0.5),
    Case("filter", routes=1000, rules=100, shape="fw", match_share=0.9, flows=640),
    Case("filter", routes=1000, rules=100, shape="ipc", match_share=0.0),
    Case("filter", rules=0),
    Case(
        "filter",
        rules_file=str(EXAMPLES / "rules.toml"),
        routes_file=str(EXAMPLES / "routes.toml"),
        match_share=0.75,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.case_id)
def test_every_flow_does_what_is_said(case: Case) -> None:
    traffic, reference = traffic_of(case)
    assert len(traffic.groups) <= 64
    reasons: Counter[str] = Counter()
    flows = 0
    for group in traffic.groups:
        of_group = Counter(
            reference.process(group.ends(reference, sport).udp()).reason
            for sport in range(group.sport_lo, group.sport_hi + 1)
        )
        assert len(of_group) == 1
        flows += of_group.total()
        reasons.update(set(of_group))
    assert flows == traffic.flows == case.flows
    assert {r: n / len(traffic.groups) for r, n in reasons.items()} == traffic.expected
    if case.function != "drop":
        assert traffic.expected.get("forwarded", 0) == pytest.approx(case.match_share, abs=0.005)


@pytest.mark.parametrize("flows", [1, 5, 16, 17, 60_000])
def test_any_number_of_flows(flows: int) -> None:
    traffic, _ = traffic_of(Case("filter", rules=100, routes=1000, flows=flows))
    sizes = [g.sport_hi - g.sport_lo + 1 for g in traffic.groups]
    assert sum(sizes) == flows
    assert max(sizes) - min(sizes) <= 1


def test_groups_are_spread_over_the_tables() -> None:
    traffic, reference = traffic_of(Case("filter", rules=1000, routes=1000))
    flows = [g.ends(reference) for g in traffic.groups]
    assert len({(f.src, f.dst) for f in flows}) == len(flows)
    hits = [i for i, r in enumerate(reference.tables.rules) if r.action == "accept" and any(
        (r.dst is None or int(r.dst.network_address) <= f.dst <= int(r.dst.broadcast_address)) and
        (r.src is None or int(r.src.network_address) <= f.src <= int(r.src.broadcast_address)) for f in flows
    )]  # fmt: skip
    assert len(hits) >= 10 and max(hits) > 500


def test_ipv6() -> None:
    traffic, _ = traffic_of(Case("forward", routes=1000, frame_bytes=66), family=6)
    assert all(g.family == 6 for g in traffic.groups)
    with pytest.raises(UsageError, match="frame size 64: UDP over IPv6 needs 66 bytes"):
        traffic_of(Case("forward", routes=1000), family=6)
    with pytest.raises(UsageError, match="forward no UDP flow over IPv6"):
        traffic_of(Case("forward", routes=1, frame_bytes=128), family=6)


def test_a_rule_in_the_middle_of_the_source_ports_is_seen() -> None:
    """A drop rule for one source port takes one flow out of a group: no such group may be offered."""
    default = Route(ipaddress.IPv4Network("0.0.0.0/0"), "tx")
    rules = tuple(Rule("drop", sport=(port, port)) for port in range(2000, 65536, 500))
    traffic, reference = traffic_of(Case("filter", flows=1600), Tables((default,), rules, True))
    for group in traffic.groups:
        assert not any(port % 500 == 0 and port >= 2000 for port in range(group.sport_lo, group.sport_hi + 1))
    assert reference.process(traffic.groups[0].ends(reference, 2500).udp()).reason == "policy"


def test_shares_that_cannot_be() -> None:
    with pytest.raises(
        UsageError, match=r"match share 0.5: the routes cover every address; use --match-share 1"
    ):
        traffic_of(Case("forward", match_share=0.5))
    with pytest.raises(UsageError, match=r"match share 0.3 can't be made of 1 flows"):
        traffic_of(Case("forward", routes=100, match_share=0.3, flows=1))
    accept_all = Tables((Route(ipaddress.IPv4Network("0.0.0.0/0"), "tx"),), (Rule("accept"),), False)
    with pytest.raises(UsageError, match="the rules accept everything"):
        traffic_of(Case("filter", match_share=0.5), accept_all)
    drop_all = dataclasses.replace(accept_all, rules=(Rule("drop"),))
    with pytest.raises(UsageError, match="forward no UDP flow"):
        traffic_of(Case("filter"), drop_all)


def test_routes_and_rules_of_tables_for() -> None:
    assert tables_for(Case("drop")) == Tables()
    assert len(tables_for(Case("forward", routes=7)).routes) == 7
    with_rules = tables_for(Case("filter", rules=5))
    assert len(with_rules.rules) == 5 and not with_rules.default_accept
    assert tables_for(Case("filter", rules=0)).default_accept
    from_file = tables_for(Case("filter", rules_file=str(EXAMPLES / "rules.toml")))
    assert len(from_file.rules) == 9 and len(from_file.routes) == 1


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (Case("forward", frame_bytes=63), "frame size 63: use 64 to 1518 bytes, FCS included"),
        (Case("forward", frame_bytes=1519), "frame size 1519"),
        (Case("forward", flows=0), "0 flows: use 1 to 60000"),
        (Case("forward", flows=60_001), "60001 flows"),
        (Case("forward", match_share=1.01), "match share 1.01"),
        (Case("forward", match_share=-0.1), "match share -0.1"),
        (Case("forward", match_share=float("nan")), "match share nan"),
        (Case("filter", rules=10_001), "10001 rules: kbench compiles at most 10000"),
        (Case("filter", rules=-1), "-1 rules"),
        (Case("forward", routes=1_000_001), "1000001 routes: use 1 to 1000000"),
        (Case("forward", routes=0), "0 routes"),
        (Case("filter", shape="alc"), "unknown rule shape 'alc'"),
        (Case("forward", seed=-1), "seed -1"),
        (Case("filter", rules_file="/nowhere/x.toml"), "/nowhere/x.toml: no such file"),
        (Case("forword"), "unknown function 'forword'"),  # type: ignore[arg-type]
    ],
)
def test_cases_that_cannot_be_measured(case: Case, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        validate_case(case)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_good_cases_pass() -> None:
    for case in CASES:
        validate_case(case)
