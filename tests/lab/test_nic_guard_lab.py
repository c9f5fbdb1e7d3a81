# SPDX-License-Identifier: GPL-2.0-only
"""Over real drivers, in one boot: cables and a plug are found, and what only a kernel with modules makes of a port."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kbench.errors import EnvironmentProblem
from kbench.host.lab import LabHost, LabNics, Parts
from kbench.host.nic import cabling, guard
from kbench.host.nic.cabling import End, Place

PORTS = [f"eth{number}" for number in range(1, 8)]
"""Pairs of e1000e, virtio-net and vmxnet3, and a plug."""
LOOK = "ip -details link show; ip address show; ip -4 route show table all; ip -6 route show table all"
SETTLED = re.compile(r"tentative ?|\w+_timer\s+[\d.]+|(?:expires|valid_lft|preferred_lft) \d+sec")
"""What changes by itself while one looks."""


def silent(_text: str) -> None:
    """A caller without a terminal."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    parts = Parts.prepare("6.12", silent, need_module=False)
    nics = LabNics(models=["e1000e", "virtio-net", "vmxnet3"], plugs=1)
    log_dir = tmp_path_factory.mktemp("lab")
    with LabHost.boot(parts, mode="fast", log_dir=log_dir, progress=silent, nics=nics) as booted:
        for name in ("all", "default", *PORTS):  # else addresses come when they like
            booted.write_text(f"/proc/sys/net/ipv6/conf/{name}/accept_dad", "0")
        # What was never up has another qdisc than what was.
        sh(booted, "".join(f"ip link set {port} up; ip link set {port} down; " for port in PORTS))
        yield booted


def sh(lab: LabHost, script: str) -> str:
    """By /sbin/ip; busybox's shell would take its own."""
    return lab.run(["/bin/sh", "-ec", re.sub(r"\bip ", "/sbin/ip ", script)]).stdout


def look(lab: LabHost) -> str:
    return SETTLED.sub("", sh(lab, LOOK))


def test_cables_and_a_plug_are_found_over_real_drivers(lab: LabHost) -> None:
    free, refused = guard.free_ports(lab)
    assert sorted(free) == PORTS
    assert set(refused) == {"eth0"}
    assert "default route (10.0.2.2)" in refused["eth0"] and "10.0.2.15/24" in refused["eth0"]
    before = sh(lab, "ip -details link show")
    found = cabling.find_cables([Place("lab", lab, PORTS)], None, silent)
    end = {name: End("lab", name) for name in PORTS}
    assert found.pairs == tuple((end[a], end[b]) for a, b in zip(PORTS[:6:2], PORTS[1:6:2], strict=True))
    assert found.loops == (end["eth7"],)
    assert sh(lab, "ip -details link show") == before


def test_a_pulled_cable_has_no_peer(lab: LabHost) -> None:
    lab.pull_cable("eth3", up=False)
    try:
        found = cabling.find_cables(
            [Place("lab", lab, ["eth3", "eth4", "eth7"])], None, silent, carrier_s=4.0
        )
    finally:
        lab.pull_cable("eth3", up=True)
    assert found.silent == {End("lab", "eth3"): cabling.NO_CARRIER, End("lab", "eth4"): cabling.NO_CARRIER}
    assert found.loops == (End("lab", "eth7"),)
    with pytest.raises(EnvironmentProblem, match="tried: eth3, eth4, eth7 of lab"):
        cabling.peer_of(found, End("lab", "eth3"), {})


def test_somebodys_xdp_program_is_named(lab: LabHost) -> None:
    sink = lab.start([lab.program("kb-sink"), "--if", "eth3", "--mode", "count"])
    try:
        found = guard.objections(lab, "eth3")
        assert [x.rule for x in found] == ["xdp"]
        assert re.search(r"XDP program is attached to it \(native, program \d+ ", found[0].why)
    finally:
        sink.stop()
    assert guard.objections(lab, "eth3") == []


@dataclass(frozen=True)
class Use:
    """A way of using a port, and what must be said about it."""

    name: str
    port: str
    setup: str
    rule: str
    said: str
    session: tuple[str, ...] = ()


USES = (
    Use(
        "bond",
        "eth1",
        "ip link add kbond type bond; ip link set eth1 master kbond; ip link set kbond up; "
        "ip link add link kbond name kbond.7 type vlan id 7; ip addr add 192.0.2.7/24 dev kbond.7",
        "member",
        "it has the address 192.0.2.7/24 through kbond.7; it belongs to the bond kbond",
    ),
    Use(
        "team",
        "eth2",
        "ip link add kteam type team; ip link set eth2 master kteam",
        "member",
        "it belongs to the team kteam",
    ),
    Use(
        "vrf",
        "eth3",
        "ip link add kred type vrf table 10; ip link set eth3 master kred",
        "member",
        "it belongs to the VRF kred",
    ),
    Use(
        "vlan",
        "eth4",
        "ip link add link eth4 name eth4.7 type vlan id 7",
        "lower",
        "vlan eth4.7 is made on it",
    ),
    Use(
        "ipvlan-in-a-namespace-and-vxlan",
        "eth5",
        "ip netns add blue; ip link add link eth5 name kiv type ipvlan; ip link set kiv netns blue; "
        "ip link add kvx type vxlan id 7 dev eth5 dstport 4789",
        "lower",
        "vxlan kvx, ipvlan kiv in network namespace blue are made on it",
    ),
    Use(
        "in-a-namespace-of-a-killed-run",
        "eth6",
        "ip netns add kbench-7f-dut; ip link set eth6 netns kbench-7f-dut",
        "absent",
        "eth6 of lab can't be used: it is in network namespace kbench-7f-dut; wait for the run that has it",
    ),
    Use(
        "openvswitch",
        "eth7",
        "modprobe openvswitch; /tmp/ovs_port kovs eth7",
        "member",
        "it belongs to the Open vSwitch datapath kovs",
    ),
    Use(
        "session",
        "eth0",
        "true",
        "session",
        "eth0 of lab is in use: the session that controls this run goes over it (10.0.2.15); it carries the default",
        session=("10.0.2.15", "10.0.2.2"),
    ),
    Use(
        "session-by-its-far-end",
        "eth0",
        "true",
        "session",
        "the session that controls this run goes over it (10.0.2.2)",
        session=("10.0.2.2",),
    ),
)


def put_program(lab: LabHost, directory: Path, name: str) -> None:
    """Compile one of the tests' own programs, into /tmp of the VM."""
    program = directory / name
    source = Path(__file__).with_name(f"{name}.c")
    subprocess.run(["cc", "-O1", "-static", "-o", program, source], check=True)
    lab.put(f"/tmp/{name}", program.read_bytes(), mode=0o755)


def test_an_af_xdp_socket_without_a_program_is_found(lab: LabHost, tmp_path: Path) -> None:
    put_program(lab, tmp_path, "xsk_socket")
    sh(lab, "ip link set eth3 up")
    holder = lab.start(["/tmp/xsk_socket", "eth3"])
    try:
        (found,) = guard.objections(lab, "eth3")
        assert found.why == f"somebody listens at it (AF_XDP socket of xsk_socket, process {holder.pid})"
    finally:
        holder.stop()
        sh(lab, "ip link set eth3 down")


@pytest.fixture(scope="module")
def used(lab: LabHost, tmp_path_factory: pytest.TempPathFactory) -> LabHost:
    """All uses at once, each of a port of its own. It comes last: the VM is thrown away with them."""
    put_program(lab, tmp_path_factory.mktemp("ovs"), "ovs_port")
    sh(lab, "; ".join(use.setup for use in USES))
    deadline = time.monotonic() + 20
    for port in ("eth1", "eth2"):  # which the bond and the team have brought up
        while lab.read_text(f"/sys/class/net/{port}/carrier").strip() != "1":
            assert time.monotonic() < deadline, f"{port} gets no carrier"
            time.sleep(0.1)
    return lab


@pytest.mark.parametrize("use", USES, ids=lambda use: use.name)
def test_a_port_in_use_is_refused_and_nothing_changes(used: LabHost, use: Use) -> None:
    before = look(used)
    found = guard.objections(used, use.port, session=use.session)
    assert use.rule in [x.rule for x in found]
    with pytest.raises(EnvironmentProblem) as refused:
        guard.require_free(used, [use.port], session=use.session, host_name="lab")
    assert use.said in str(refused.value)
    assert look(used) == before


def test_no_port_is_free_then(used: LabHost) -> None:
    free, refused = guard.free_ports(used)
    assert free == []
    assert set(refused) == {"eth0", *PORTS} - {"eth6"}
