# SPDX-License-Identifier: GPL-2.0-only
"""Ports that are in use, each really made: every one is refused with its reason, and nothing has changed."""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from kbench.errors import EnvironmentProblem
from kbench.functions.model import Tables
from kbench.host.base import Host
from kbench.host.nic import guard
from tests.host.injection import Work

LOOK = (
    ("ip", "-details", "link", "show"),
    ("ip", "address", "show"),
    ("ip", "-4", "route", "show", "table", "all"),
    ("ip", "-6", "route", "show", "table", "all"),
    ("tc", "qdisc", "show"),
)
TIMERS = re.compile(r"\w+_timer\s+[\d.]+")
"""A bridge's, which run by themselves."""

LISTEN = "import socket; s = socket.socket(17, 3, 0x0300); s.bind(('pa', 0x0300))"
UDP = (
    "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
    "s.bind(('10.8.0.1', 5353)); s.connect(('10.7.0.9', 53))"
)
TCP = (
    "import socket; l = socket.create_server(('10.6.0.1', 9)); "
    "s = socket.create_connection(('10.6.0.1', 9)); a = l.accept()"
)


class Here:
    """Two namespaces, `n` with a free cable pa-pb that is up, and `m`; programs in them that run until the end."""

    def __init__(self, bin_dir: Path, stack: ExitStack) -> None:
        tag = secrets.token_hex(3)
        self.n, self.m = f"kbD-{tag}-n", f"kbD-{tag}-m"
        self._bin_dir = bin_dir
        self._stack = stack
        for name in (self.n, self.m):
            self.sh(f"ip netns add {name}")
            stack.callback(self.sh, f"ip netns delete {name}")
            self.sh(f"ip netns exec {name} sysctl -qw net.ipv6.conf.default.accept_dad=0")
        self.sh(
            "ip -n $N link add pa type veth peer name pb; ip -n $N link set pa up; ip -n $N link set pb up"
        )

    def sh(self, script: str) -> None:
        """Run lines of shell, in which $N and $M are the namespaces."""
        variables = f"set -e; N={self.n}; M={self.m}; "
        done = subprocess.run(["sh", "-c", variables + script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{script}: {done.stderr}"

    def start(self, netns: str, *argv: str) -> None:
        """Start a program in a namespace and wait for its first line; it is ended with the test."""
        inside = ["nsenter", f"--net=/run/netns/{netns}", *argv]
        program = subprocess.Popen(inside, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._stack.callback(program.communicate, timeout=20)
        self._stack.callback(program.terminate)
        assert program.stdout and program.stdout.readline()

    def python(self, netns: str, code: str) -> None:
        """Hold what `code` opens."""
        self.start(netns, sys.executable, "-c", f"{code}\nprint('ready', flush=True)\ninput()")

    def kbench(self, netns: str, name: str, *words: str) -> None:
        """Start one of kbench's programs."""
        self.start(netns, str(self._bin_dir / name), *words)

    def look(self) -> list[str]:
        """All of `n` that a careless hand could change."""
        outputs = [
            subprocess.run(
                ["ip", "netns", "exec", self.n, *words], capture_output=True, text=True, check=True
            )
            for words in LOOK
        ]
        return [TIMERS.sub("timer", done.stdout) for done in outputs]


@pytest.fixture
def here(bin_dir: Path) -> Generator[Here, None, None]:
    with ExitStack() as stack:
        yield Here(bin_dir, stack)


@dataclass(frozen=True)
class Use:
    """A way of using a port, and what must be said about it."""

    name: str
    setup: str
    rule: str
    said: str
    port: str = "pa"
    session: tuple[str, ...] = ()
    listen: str = ""
    """Python to hold in `n`."""
    sink: bool = False
    """kb-sink attaches XDP to pa."""
    absolute: bool = False


ROUTED = "ip -n $N link set lo up; ip -n $N addr add 10.8.0.1/32 dev lo; "
USES = (
    Use(
        "default-route",
        "ip -n $N route add default dev pa",
        "default-route",
        r"pa of this machine is in use: it carries the default route \(no gateway\)",
    ),
    Use(
        "default-route-of-a-table",
        "ip -n $N -6 route add default via fe80::1 dev pa table 77",
        "default-route",
        r"default route \(fe80::1, table 77\)",
    ),
    Use(
        "one-of-two-default-routes",
        "ip -n $N link add qa type veth peer name qb; ip -n $N link set qa up; ip -n $N link set qb up; "
        "ip -n $N route add default nexthop dev qa nexthop dev pa",
        "default-route",
        "it carries the default route",
    ),
    Use(
        "default-route-of-its-bridge",
        "ip -n $N link add br0 type bridge; ip -n $N link set br0 up; ip -n $N link set pa master br0; "
        "ip -n $N addr add 10.9.0.2/24 dev br0; ip -n $N route add default via 10.9.0.1",
        "default-route",
        r"it carries the default route through br0 \(10\.9\.0\.1\); it has the address 10\.9\.0\.2/24 through br0",
    ),
    Use("address", "ip -n $N addr add 192.0.2.7/24 dev pa", "address", "it has the address 192.0.2.7/24;"),
    Use(
        "address-while-down",
        "ip -n $N addr add 192.0.2.7/24 dev pa; ip -n $N link set pa down",
        "address",
        "it has the address",
    ),
    Use(
        "link-local-address-by-hand",
        "ip -n $N addr add fe80::7/64 dev pa",
        "address",
        "it has the address fe80::7/64",
    ),
    Use(
        "route",
        "ip -n $N route add 198.51.100.0/24 dev pa; ip -n $N route add 203.0.113.0/24 dev pa",
        "route",
        "it carries routes to 198.51.100.0/24, 203.0.113.0/24",
    ),
    Use(
        "connection-that-leaves-by-it",
        ROUTED + "ip -n $N route add 10.7.0.0/24 dev pa",
        "connection",
        r"an established connection goes over it \(UDP with 10\.7\.0\.9 port 53\)",
        listen=UDP,
    ),
    Use(
        "tcp-connection-of-its-address",
        "ip -n $N link set lo up; ip -n $N addr add 10.6.0.1/24 dev pa",
        "connection",
        r"established connections go over it \(TCP with 10\.6\.0\.1 port",
        listen=TCP,
    ),
    Use(
        "bridge",
        "ip -n $N link add br0 type bridge; ip -n $N link set pa master br0",
        "member",
        "it belongs to the bridge br0",
    ),
    Use(
        "macvlan",
        "ip -n $N link add mv0 link pa type macvlan",
        "lower",
        "macvlan mv0 is made on it",
    ),
    Use(
        "macvlan-in-a-container",
        "ip -n $N link add mv0 link pa type macvlan; ip -n $N link set mv0 netns $M name eth0",
        "lower",
        r"macvlan eth0 in network namespace kbD-\w+-m is made on it",
    ),
    Use(
        "cable-of-a-container",
        "ip -n $N link add qa type veth peer name eth0 netns $M",
        "container",
        r"it is a container's cable: its other end is eth0 in network namespace kbD-\w+-m",
        port="qa",
    ),
    Use("xdp", "", "xdp", r"XDP program is attached to it \(native, program \d+ sink", sink=True),
    Use(
        "clsact",
        "tc -n $N qdisc add dev pa clsact",
        "tc",
        r"somebody has set traffic control on it \(qdisc clsact\)",
    ),
    Use(
        "packet-socket",
        "",
        "socket",
        r"somebody listens at it \(packet socket of python\S*, process \d+\)",
        listen=LISTEN,
    ),
    Use(
        "session-address",
        "ip -n $N addr add 192.0.2.7/24 dev pa",
        "session",
        r"the session that controls this run goes over it \(192\.0\.2\.7\).*nothing overrides this",
        session=("192.0.2.7", "198.51.100.9"),
        absolute=True,
    ),
    Use(
        "session-through-its-bridge",
        "ip -n $N link add br0 type bridge; ip -n $N link set br0 up; ip -n $N link set pa master br0; "
        "ip -n $N addr add 192.0.2.7/24 dev br0",
        "session",
        r"the session that controls this run goes through br0 over it \(192\.0\.2\.44\)",
        session=("::ffff:192.0.2.44",),
        absolute=True,
    ),
    Use(
        "other-end-in-use",
        "ip -n $N link add br0 type bridge; ip -n $N link set pb master br0",
        "peer",
        "its other end, pb, is in use: it belongs to the bridge br0",
    ),
    Use(
        "loopback",
        "",
        "loopback",
        "lo of this machine can't be used: it is the loopback",
        "lo",
        absolute=True,
    ),
    Use(
        "bridge-itself",
        "ip -n $N link add br0 type bridge",
        "kind",
        "it is a bridge, no port",
        port="br0",
    ),
    Use(
        "in-another-namespace",
        "ip -n $N link add br7 type bridge; ip -n $N link set br7 netns $M || "
        "{ ip -n $N link delete br7; ip -n $M link add br7 type bridge; }",
        "absent",
        r"br7 of this machine can't be used: it is in network namespace kbD-\w+-m",
        port="br7",
        absolute=True,
    ),
    Use(
        "absent",
        "",
        "absent",
        "can't be used: there is no such port; choose one of pb, pa",
        port="eth9",
        absolute=True,
    ),
)


@pytest.mark.parametrize("use", USES, ids=lambda use: use.name)
def test_a_port_in_use_is_refused_and_nothing_changes(here: Here, local_host: Host, use: Use) -> None:
    here.sh(use.setup or "true")
    if use.listen:
        here.python(here.n, use.listen)
    if use.sink:
        here.kbench(here.n, "kb-sink", "--if", "pa", "--mode", "count")
    before = here.look()
    found = guard.objections(local_host, use.port, session=use.session, netns=here.n)
    assert use.rule in [x.rule for x in found]
    assert any(x.absolute for x in found) == use.absolute
    with pytest.raises(EnvironmentProblem) as refused:
        guard.require_free(local_host, [use.port], session=use.session, netns=here.n)
    line = str(refused.value)
    assert re.search(use.said, line), line
    assert "\n" not in line
    assert use.port not in guard.free_ports(local_host, use.session, netns=here.n)[0]
    if use.absolute:
        with pytest.raises(EnvironmentProblem):
            guard.require_free(local_host, [use.port], session=use.session, netns=here.n, i_know=True)
    else:
        overridden = guard.require_free(local_host, [use.port], netns=here.n, i_know=True)
        assert overridden == found
    assert here.look() == before


def test_a_program_without_a_qdisc_is_found(here: Here, local_host: Host, tmp_path: Path) -> None:
    """kb-af-packet attaches one by tcx, which neither `ip` nor `tc` of 2022 knows; on older kernels it is a clsact."""
    work = Work(tmp_path, "drop", Tables())
    words = ["--rx", "pa", "--tx", "pb", "--function", "drop", "--image", str(work.image)]
    here.kbench(here.n, "kb-af-packet", *words)
    (found,) = [x for x in guard.objections(local_host, "pa", netns=here.n) if x.rule == "tc"]
    assert re.search(r"\((tcx ingress|tc ingress filter bpf) program \d+ kb_ingress", found.why)


def test_a_chain_of_nftables_is_found(here: Here, local_host: Host, tmp_path: Path) -> None:
    program = tmp_path / "nft_chain"
    source = Path(__file__).with_name("nft_chain.c")
    subprocess.run(["cc", "-O1", "-static", "-o", program, source], check=True)
    made = subprocess.run(["ip", "netns", "exec", here.n, program, "pa"], capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"no chains of family netdev here: {made.stderr.decode().strip()}")
    (found,) = guard.objections(local_host, "pa", netns=here.n)
    assert found.why == "nftables handles its packets (chain inbound of table shield)"
    assert [x.rule for x in guard.objections(local_host, "pb", netns=here.n)] == ["peer"]


def test_there_are_enough_ways() -> None:
    assert len({use.name for use in USES}) >= 14


def test_free_ports_are_free(here: Here, local_host: Host) -> None:
    """An automatic link-local address is no use, nor is it to be down; one line for each refused port."""
    here.sh(
        "ip -n $N link add qa type veth peer name qb; ip -n $N link add qc type veth peer name qd netns $M"
    )
    assert subprocess.run(
        ["ip", "-n", here.n, "-6", "address", "show", "dev", "pa", "scope", "link"],
        capture_output=True,
        check=True,
    ).stdout
    before = here.look()
    for port in ("pa", "pb", "qa", "qb"):
        assert guard.objections(local_host, port, session=["192.0.2.1"], netns=here.n) == []
    free, refused = guard.free_ports(local_host, netns=here.n)
    assert sorted(free) == ["pa", "pb", "qa", "qb"]
    assert refused == {}
    assert guard.require_free(local_host, ["pa", "pb"], netns=here.n) == []
    assert here.look() == before

    here.sh("ip -n $N addr add 192.0.2.7/24 dev pa; ip -n $N addr add 192.0.2.9/24 dev qa")
    free, refused = guard.free_ports(local_host, netns=here.n)
    assert free == []
    assert refused["pa"].startswith("it has the address 192.0.2.7/24")
    assert refused["qb"] == "its other end, qa, is in use: it has the address 192.0.2.9/24"
    with pytest.raises(EnvironmentProblem, match=r"pa of DUT is in use: .*\nqa of DUT is in use: "):
        guard.require_free(local_host, ["pa", "qa"], netns=here.n, host_name="DUT")


def test_the_container_without_a_name_is_told_by_its_process(here: Here, local_host: Host) -> None:
    code = "import os; print(os.getpid(), flush=True); input()"
    program = subprocess.Popen(
        ["unshare", "--net", sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert program.stdout
        pid = int(program.stdout.readline())
        here.sh(f"ip -n $N link add qa type veth peer name qb; ip -n $N link set qb netns {pid}")
        (found,) = guard.objections(local_host, "qa", netns=here.n)
        assert re.search(rf"qb in the network namespace of process {pid}, python", found.why)
        (there,) = guard.objections(local_host, "qb", netns=here.n)
        assert there.rule == "absent"  # a veth of that name may be anybody's
    finally:
        program.communicate(b"\n", timeout=20)


def test_this_machines_own_way_out_is_refused(local_host: Host) -> None:
    """Whatever carries the default route here must never be free."""
    routes = subprocess.run(["ip", "route", "show", "default"], capture_output=True, text=True, check=True)
    ports = re.findall(r"dev (\S+)", routes.stdout)
    if not ports:
        pytest.skip("this machine has no default route")
    found = guard.objections(local_host, ports[0])
    assert "default-route" in [x.rule for x in found]
    assert ports[0] not in guard.free_ports(local_host)[0]
