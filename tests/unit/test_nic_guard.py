# SPDX-License-Identifier: GPL-2.0-only
"""The rules by which a port is refused, on machines as `ip` and kb-claims describe them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from kbench.host.nic import guard, guard_facts
from kbench.host.nic.guard_facts import Connection, Elsewhere, Machine

IPV6_TCP = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000
   1: 0000000000000000FFFF00000F02000A:0016 0000000000000000FFFF00000202000A:D431 01 00000000:00000000
   2: B80D0120000000000000000001000000:0016 B80D0120000000000000000002000000:C350 01 00000000:00000000
   3: 00000000000000000000000001000000:0016 00000000000000000000000001000000:C351 01 00000000:00000000
"""


def link(name: str, index: int, **more: Any) -> dict[str, Any]:
    return {"ifname": name, "ifindex": index, "link_type": "ether", "address": "02:00:00:00:00:01", **more}


def virtual(name: str, index: int, kind: str, **more: Any) -> dict[str, Any]:
    info = {"linkinfo": {"info_kind": kind, "info_data": more.pop("data", {})}}
    return link(name, index, **info, **more)


LO = {"ifname": "lo", "ifindex": 1, "link_type": "loopback"}
ETH1 = link("eth1", 2)


def machine(*links: dict[str, Any], **more: Any) -> Machine:
    physical = frozenset(x["ifname"] for x in links if "linkinfo" not in x and x["link_type"] == "ether")
    return Machine(links={x["ifname"]: x for x in links}, physical=physical, **more)


def member(kind: str, name: str) -> Machine:
    return machine(LO, link("eth1", 2, master=name), virtual(name, 3, kind))


def claims(key: str, **entry: Any) -> Machine:
    return machine(LO, ETH1, claims={key: [{"index": 2, **entry}, {"index": 7, **entry}]})


CASES = {
    "bond": (member("bond", "bond0"), "member", "it belongs to the bond bond0"),
    "team": (member("team", "team0"), "member", "it belongs to the team team0"),
    "vrf": (member("vrf", "red"), "member", "it belongs to the VRF red"),
    "ovs": (
        member("openvswitch", "ovs-system"),
        "member",
        "it belongs to the Open vSwitch datapath ovs-system",
    ),
    "vlan": (machine(LO, ETH1, virtual("eth1.5", 3, "vlan", link="eth1")), "lower", "vlan eth1.5 is made on it"),
    "vxlan": (
        machine(LO, ETH1, virtual("vx0", 3, "vxlan", data={"link": "eth1"})),
        "lower",
        "vxlan vx0 is made on it",
    ),
    "many-vlans": (
        machine(LO, ETH1, *(virtual(f"eth1.{n}", 3 + n, "vlan", link="eth1") for n in range(5))),
        "lower",
        "vlan eth1.0, vlan eth1.1, vlan eth1.2 and 2 more are made on it",
    ),
    "ipvlan-of-a-container": (
        machine(
            LO, ETH1, elsewhere=[Elsewhere("", 77, "nginx", [{"name": "eth0", "kind": "ipvlan", "on": 2}])]
        ),
        "lower",
        "ipvlan eth0 in the network namespace of process 77, nginx is made on it",
    ),
    "default-route-of-a-vlan-on-its-bond": (
        machine(
            LO,
            link("eth1", 2, master="bond0"),
            virtual("bond0", 3, "bond"),
            virtual("bond0.7", 4, "vlan", link="bond0"),
            routes=[{"dst": "default", "dev": "bond0.7", "gateway": "10.0.0.1"}],
        ),
        "default-route",
        "it carries the default route through bond0.7 (10.0.0.1)",
    ),
    "default-route-by-ipv6-gateway": (
        machine(LO, ETH1, routes=[{"dst": "default", "dev": "eth1", "via": {"family": "inet6", "host": "fe80::9"}}]),
        "default-route",
        "it carries the default route (fe80::9)",
    ),
    "vfs": (
        machine(LO, ETH1, virtual_functions={"eth1": 8}),
        "functions",
        "8 SR-IOV virtual functions are enabled on it",
    ),
    "xdp-link": (
        machine(LO, link("eth1", 2, xdp={"mode": 2, "prog": {"id": 41, "name": "fw"}})),
        "xdp",
        "somebody's XDP program is attached to it (generic, program 41 fw)",
    ),
    "xdp-in-two-modes": (
        machine(LO, link("eth1", 2, xdp={"mode": 4, "attached": [{"prog": {"id": 5}}, {"prog": {"id": 6}}]})),
        "xdp",
        "attached to it (several, program 5, program 6)",
    ),
    "tcx": (
        claims("programs", hook="tcx ingress", id=9, name="cil_from_netdev"),
        "tc",
        "somebody has set traffic control on it (tcx ingress program 9 cil_from_netdev)",
    ),
    "filter": (
        claims("filters", hook="egress", kind="bpf", id=4, name="shaper.o"),
        "tc",
        "tc egress filter bpf program 4 shaper.o",
    ),
    "qdisc": (claims("qdiscs", kind="htb"), "tc", "(qdisc htb)"),
    "nftables": (
        claims("nftables", port="eth1", what="flowtable", table="filter", name="fast"),
        "nftables",
        "nftables handles its packets (flowtable fast of table filter",
    ),
    "af-xdp": (
        claims("sockets", kind="AF_XDP", pid=12, process="vpp"),
        "socket",
        "somebody listens at it (AF_XDP socket of vpp, process 12)",
    ),
    "wireless": (machine(LO, ETH1, wireless=frozenset({"eth1"})), "kind", "it is a wireless port, no port of its own"),
    "infiniband": (
        machine(LO, link("eth1", 2, link_type="infiniband")),
        "kind",
        "it is a port of type infiniband, not Ethernet",
    ),
    "vlan-itself": (
        machine(LO, link("eth0", 3), virtual("eth1", 2, "vlan", link="eth0")),
        "kind",
        "it is a vlan on eth0, no port of its own",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_use_is_named(name: str) -> None:
    used, rule, said = CASES[name]
    found = {x.rule: x for x in guard.judge(used, "eth1", [])}
    assert said in found[rule].why
    assert not found[rule].absolute
    assert "--i-know" in guard.refusal([found[rule]])


@pytest.mark.parametrize(
    ("used", "said"),
    [
        (machine(LO, ETH1), "eth9 of this machine can't be used: there is no such port; choose one of eth1"),
        (machine(LO, link("eth1", 2, altnames=["eth9"])), "it is another name of eth1; use eth1"),
        (
            machine(
                LO, elsewhere=[Elsewhere("kbench-7f-dut", 0, "", [{"name": "eth9", "kind": "", "on": 0}])]
            ),
            "it is in network namespace kbench-7f-dut; wait for the run that has it, or `kbench restore`",
        ),
        (
            machine(LO, elsewhere=[Elsewhere("", 5, "dpdk", [{"name": "eth9", "kind": "", "on": 0}])]),
            "it is in the network namespace of process 5, dpdk; choose another port",
        ),
    ],
)
def test_a_port_that_is_not_there_is_told_where_it_is(used: Machine, said: str) -> None:
    (found,) = guard.judge(used, "eth9", [])
    assert found.absolute
    assert said in guard.refusal([found])


def addressed(**more: Any) -> Machine:
    own = [{"family": "inet", "local": "192.0.2.7", "prefixlen": 24, "scope": "global"}]
    return machine(LO, ETH1, link("eth2", 3), addresses={"eth1": own}, **more)


@pytest.mark.parametrize(
    ("session", "ways", "refused"),
    [
        (["192.0.2.7"], {}, True),
        (["::ffff:192.0.2.7"], {}, True),
        (["198.51.100.9"], {"198.51.100.9": "eth1"}, True),
        (["198.51.100.9"], {"198.51.100.9": "eth2"}, False),
        (["fe80::1%eth1"], {"fe80::1": "eth1"}, True),
        ([], {}, False),
    ],
)
def test_the_session_is_never_overridden(session: Sequence[str], ways: dict[str, str], refused: bool) -> None:
    found = guard.judge(replace(addressed(), ways=ways), "eth1", session)
    assert any(x.rule == "session" and x.absolute for x in found) == refused
    # What can't be overridden is said first, and all the rest after it.
    assert guard.refusal(found).startswith("eth1 of this machine is in use: ")
    assert ("nothing overrides this" in guard.refusal(found)) == refused


@pytest.mark.parametrize(
    ("entry", "automatic"),
    [
        ({"local": "fe80::ff:fe00:1", "scope": "link"}, True),
        ({"local": "fe80::1c2b:77ff:fe10:203", "scope": "link"}, True),  # of a MAC that it had before
        ({"local": "fe80::8d3:1", "scope": "link", "protocol": "kernel_ll"}, True),
        ({"local": "fe80::8d3:1", "scope": "link", "stable-privacy": True}, True),
        ({"local": "fe80::1", "scope": "link"}, False),
        ({"local": "2001:db8::ff:fe00:1", "scope": "global", "dynamic": True}, False),
    ],
)
def test_an_automatic_link_local_address_is_no_use(entry: dict[str, Any], automatic: bool) -> None:
    seen = machine(LO, ETH1, addresses={"eth1": [{"family": "inet6", "prefixlen": 64, **entry}]})
    assert [x.rule for x in guard.judge(seen, "eth1", [])] == ([] if automatic else ["address"])


def test_routes_of_the_kernel_are_no_use() -> None:
    own = {"dst": "fe80::/64", "dev": "eth1", "protocol": "kernel"}
    assert guard.judge(machine(LO, ETH1, routes=[own]), "eth1", []) == []
    other = {"dst": "10.0.0.0/8", "nexthops": [{"dev": "eth1"}], "protocol": "bird"}
    (found,) = guard.judge(machine(LO, ETH1, routes=[own, other]), "eth1", [])
    assert found.why == "it carries the route to 10.0.0.0/8"


def test_a_veth_is_as_free_as_its_other_end() -> None:
    pair = [virtual("va", 4, "veth", link="vb"), virtual("vb", 5, "veth", link="va")]
    assert guard.judge(machine(LO, *pair), "va", []) == []
    pair[1]["master"] = "br0"
    used = machine(LO, *pair, virtual("br0", 6, "bridge"))
    (found,) = guard.judge(used, "va", [])
    assert (found.rule, found.why) == ("peer", "its other end, vb, is in use: it belongs to the bridge br0")


def test_a_veth_into_another_namespace_is_a_containers() -> None:
    cable = virtual("va", 4, "veth", link_index=2, link_netnsid=0)
    inside = Elsewhere("blue", 9, "sh", [{"name": "eth0", "kind": "veth", "on": 4}])
    (found,) = guard.judge(machine(LO, cable, elsewhere=[inside]), "va", [])
    assert found.why == (
        "it is a container's cable: its other end is eth0 in network namespace blue (process 9, sh)"
    )
    (found,) = guard.judge(machine(LO, cable), "va", [])
    assert found.why.endswith("its other end is in another network namespace")


def test_connections_are_read_as_the_kernel_prints_them() -> None:
    assert guard_facts.parse_connections("tcp6", IPV6_TCP) == [
        Connection("TCP", "10.0.2.15", "10.0.2.2", 0xD431),
        Connection("TCP", "2001:db8::1", "2001:db8::2", 50000),
    ]


@pytest.mark.parametrize("by", ["address", "way"])
def test_a_connection_is_found_by_its_address_or_its_way(by: str) -> None:
    there = Connection("TCP", "192.0.2.7" if by == "address" else "203.0.113.5", "198.51.100.9", 443)
    ways = {"198.51.100.9": "eth1"} if by == "way" else {}
    found = guard.judge(addressed(connections=[there], ways=ways), "eth1", [])
    assert "an established connection goes over it (TCP with 198.51.100.9 port 443)" in [x.why for x in found]
    assert guard.judge(addressed(connections=[there], ways=ways), "eth2", []) == []
