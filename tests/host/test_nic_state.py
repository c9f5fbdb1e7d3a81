# SPDX-License-Identifier: GPL-2.0-only
"""Ports lent and given back: whatever was changed, what the tools say is as before, byte for byte."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from kbench.errors import EnvironmentProblem
from kbench.host.journal import Journal, restore
from kbench.host.local import LocalHost
from kbench.host.nic.lend import has_carrier, lend, put_back
from kbench.host.nic.profile import DEFAULT, apply, load_profile
from kbench.host.nic.putback import NotPutBack
from kbench.host.nic.state import read_state
from kbench.host.shell import LocalShell

PORT, PEER, NETNS = f"kbns{os.getpid() % 100000}a", f"kbns{os.getpid() % 100000}b", f"kbns-{os.getpid()}"
VETH = f"link add {PORT} numrxqueues 4 numtxqueues 4 type veth peer name {PEER} numrxqueues 4 numtxqueues 4"


def ip(*words: str, netns: str | None = None) -> str:
    where = ["-n", netns] if netns else []
    done = subprocess.run(["ip", *where, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


def inside(script: str, netns: str | None = None) -> str:
    """Run a shell script; it must not fail."""
    where = ["ip", "netns", "exec", netns] if netns else []
    done = subprocess.run([*where, "sh", "-ec", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (script, done.stderr)
    return done.stdout


def everything(name: str = PORT) -> str:
    """What the tools of the system say about a port, and its sysctls and queues."""
    return inside(f"""
        ip -details link show dev {name}
        for o in k l g c a; do ethtool -$o {name} 2>&1 || true; done
        grep -Hs '' /sys/class/net/{name}/queues/*/*_* /sys/class/net/{name}/threaded \
            /sys/class/net/{name}/gro_flush_timeout /sys/class/net/{name}/napi_defer_hard_irqs || true
        grep -Hs '' /proc/sys/net/ipv[46]/conf/{name}/* /proc/sys/net/ipv[46]/neigh/{name}/* || true
    """)


@pytest.fixture
def port() -> Generator[str, None, None]:
    """A port of this machine with something set everywhere that veth has settings, and a namespace to lend it to."""
    ip(*VETH.split())
    ip("netns", "add", NETNS)
    ip("link", "set", PEER, "up")
    ip("link", "property", "add", "dev", PORT, "altname", f"{PORT}alt")
    inside(f"""
        ip link set {PORT} mtu 1400 txqueuelen 77 up
        echo 1 > /proc/sys/net/ipv4/conf/{PORT}/proxy_arp
        echo 7 > /proc/sys/net/ipv6/conf/{PORT}/dad_transmits
        echo 1 > /proc/sys/net/ipv6/conf/{PORT}/addr_gen_mode
        echo 12345 > /proc/sys/net/ipv4/neigh/{PORT}/base_reachable_time_ms
        ethtool -K {PORT} rx-gro-list on
        echo 1 > /sys/class/net/{PORT}/queues/rx-1/rps_cpus
    """)
    yield PORT
    subprocess.run(["ip", "link", "delete", PORT], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "delete", NETNS], capture_output=True, check=False)
    subprocess.run(["ip", "link", "delete", PORT], capture_output=True, check=False)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Journal, None, None]:
    monkeypatch.setenv("KBENCH_RUN_DIR", str(tmp_path / "run"))
    with Journal.open("nic-test") as journal:
        yield journal


def change_all(netns: str | None, name: str = PORT) -> None:
    """Change what can be changed on a veth port."""
    inside(
        f"""
        s=/sys/class/net/{name}
        ethtool -L {name} rx 2 tx 1
        ethtool -K {name} generic-receive-offload on rx-gro-list off tx-checksum-ip-generic off rxvlan off
        echo 1 > $s/threaded
        echo 2 > $s/queues/rx-1/rps_cpus; echo 64 > $s/queues/rx-0/rps_flow_cnt
        echo 1000 > $s/gro_flush_timeout; echo 3 > $s/napi_defer_hard_irqs
        ip link set {name} mtu 3000 txqueuelen 5 promisc on allmulticast on address 02:00:00:00:00:77
        echo 1 > /proc/sys/net/ipv4/conf/{name}/forwarding
        echo 1 > /proc/sys/net/ipv6/conf/{name}/disable_ipv6
        """,
        netns,
    )


def test_every_setting_comes_back(port: str, journal: Journal, local_host: LocalHost) -> None:
    before = everything()
    lent = lend(local_host, journal, port, NETNS)
    assert PORT not in ip("link") and PORT in ip("link", netns=NETNS)
    assert lent.state.settings["mtu"] == 1400 and lent.state.altnames == (f"{PORT}alt",)
    change_all(NETNS)
    did = lent.give_back()
    assert everything() == before
    assert len(did) == 1 and "moved home" in did[0] and "channels.rx" in did[0]
    assert lent.give_back() == []
    assert put_back(local_host, lent.state) == []


def test_in_place_and_down(port: str, journal: Journal, local_host: LocalHost) -> None:
    ip("link", "set", port, "down")
    before = everything()
    lent = lend(local_host, journal, port, None)
    assert has_carrier(local_host, port)
    change_all(None)
    lent.give_back()
    assert everything() == before


@pytest.mark.parametrize("where", [NETNS, None])
def test_a_port_that_was_never_up(
    port: str, journal: Journal, local_host: LocalHost, where: str | None
) -> None:
    """It says `qdisc noop` until it is up for the first time."""
    inside(f"ip link set {port} netns {NETNS}; ip -n {NETNS} link set {port} netns $$")
    inside(f"ip link set {port} txqueuelen 3; echo 1 > /proc/sys/net/ipv6/conf/{port}/proxy_ndp")
    before = everything()
    assert "qdisc noop" in before
    lent = lend(local_host, journal, port, where)
    assert has_carrier(local_host, port, where)
    change_all(where)
    lent.give_back()
    assert everything() == before


def test_nothing_is_done_to_a_port_that_is_as_it_was(port: str) -> None:
    shell = LocalShell()
    state = read_state(shell, port)
    before = inside(f"cat /sys/class/net/{port}/carrier_changes")
    assert put_back(shell, state) == []
    assert inside(f"cat /sys/class/net/{port}/carrier_changes") == before


def test_what_moving_drops_comes_back(port: str, journal: Journal, local_host: LocalHost) -> None:
    """With --i-know a port with addresses may be lent."""
    inside(f"""
        ip addr add 198.51.100.1/24 brd + dev {port} label {port}:1
        ip addr add 198.51.100.9 peer 198.51.100.10/32 dev {port}
        ip addr add 2001:db8:77::1/64 dev {port} nodad
        ip route add 203.0.113.0/25 via 198.51.100.2 metric 7 mtu 1300
        ip route add table 4077 blackhole 203.0.113.128/26
        ip route add table 4077 203.0.113.192/26 dev {port}
        ip -6 route add 2001:db8:78::/64 via 2001:db8:77::2
        ip neigh add 198.51.100.2 lladdr 02:00:00:00:00:01 dev {port} nud permanent
    """)
    look = f"""
        ip -brief addr show dev {port}; ip neigh show dev {port} nud permanent
        ip -4 route show table all dev {port}; ip -6 route show table main dev {port}
    """
    try:
        before = inside(look)
        with lend_for(local_host, journal, port):
            assert "198.51.100" not in ip("addr")
        assert inside(look).splitlines() == before.splitlines()
    finally:
        ip("route", "flush", "table", "4077")


class lend_for:
    """`lend` as a context, for tests."""

    def __init__(self, host: LocalHost, journal: Journal, port: str) -> None:
        self.lent = lend(host, journal, port, NETNS)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self.lent.give_back()


def test_a_member_of_a_bridge_is_one_again(port: str, journal: Journal, local_host: LocalHost) -> None:
    bridge = f"{PORT[:-1]}r"
    ip("link", "add", bridge, "type", "bridge")
    try:
        ip("link", "set", port, "master", bridge)
        before = ip("-details", "link", "show", "dev", port).split(" hello")[0].split("bridge_slave")[0]
        lend(local_host, journal, port, NETNS).give_back()
        assert ip("-details", "link", "show", "dev", port).split("bridge_slave")[0] == before
        assert f"master {bridge}" in before
    finally:
        ip("link", "delete", bridge)


def test_renamed_inside_the_namespace(port: str, journal: Journal, local_host: LocalHost) -> None:
    before = everything()
    lent = lend(local_host, journal, port, NETNS)
    inside(f"ip link set {port} down; ip link set {port} name other; ip link set other up", NETNS)
    assert "was called other" in lent.give_back()[0]
    assert everything() == before


def test_a_namespace_that_was_deleted_takes_the_port_along(
    port: str, journal: Journal, local_host: LocalHost
) -> None:
    """A veth dies with its namespace; that is told and no error, and nothing stays in the journal."""
    lent = lend(local_host, journal, port, NETNS)
    ip("netns", "delete", NETNS)
    assert lent.give_back() == [f"port {port} is gone: nothing to put back"]
    assert journal.find("nic") is None


def test_a_name_that_was_taken_meanwhile(port: str, journal: Journal, local_host: LocalHost) -> None:
    """It stays in the journal until the name is free."""
    before = everything()
    lent = lend(local_host, journal, port, NETNS)
    ip("link", "add", port, "type", "bridge")
    try:
        with pytest.raises(NotPutBack, match=f"can't move port {port} home: .*exists"):
            lent.give_back()
        assert journal.find("nic") is not None
    finally:
        ip("link", "delete", port)
    lent.give_back()
    assert everything() == before


def test_xdp_left_behind_is_detached(
    port: str, journal: Journal, local_host: LocalHost, tmp_path: Path
) -> None:
    """A netlink attachment outlives the process that made it."""
    before = everything()
    lent = lend(local_host, journal, port, NETNS)
    program = tmp_path / "pass.o"
    source = '__attribute__((section("xdp"), used)) int pass(void *context) { return 2; }'
    inside(f"echo '{source}' | clang -O2 -target bpf -x c -c - -o {program}")
    ip("link", "set", "dev", port, "xdpgeneric", "obj", str(program), "sec", "xdp", netns=NETNS)
    assert "xdpgeneric" in ip("link", "show", "dev", port, netns=NETNS)
    assert "detached XDP program" in lent.give_back()[0]
    assert everything() == before


KILLED = """
import sys, time
from pathlib import Path
from kbench.host import builds
from kbench.host.journal import Journal
from kbench.host.local import LocalHost
from kbench.host.nic.lend import lend
journal = Journal.open("killed")
lend(LocalHost(builds.programs()), journal, sys.argv[1], sys.argv[2])
print("lent", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("changed", [True, False])
def test_killed_while_the_port_was_lent(
    port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: bool
) -> None:
    monkeypatch.setenv("KBENCH_RUN_DIR", str(tmp_path / "run"))
    before = everything()
    process = subprocess.Popen([sys.executable, "-c", KILLED, port, NETNS], stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "lent\n"
    if changed:
        change_all(NETNS)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert any("moved home" in line for line in restore())
    assert everything() == before
    assert restore() == []
    assert not list((tmp_path / "run").glob("journal/*"))


def test_what_can_not_be_put_back_is_said(port: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shell = LocalShell()
    state = read_state(shell, port)
    data = json.loads(json.dumps(state.to_json()))
    data["settings"]["qdisc"] = "no-such"
    with pytest.raises(NotPutBack, match=r"qdisc was no-such, is noqueue \(.*\)$"):
        put_back(shell, type(state).from_json(data))


def test_no_such_port() -> None:
    with pytest.raises(EnvironmentProblem, match="there is no port kbns-none"):
        read_state(LocalShell(), "kbns-none")


def test_a_profile_is_applied_and_leaves_no_trace(
    port: str, journal: Journal, local_host: LocalHost, tmp_path: Path
) -> None:
    before = everything()
    lent = lend(local_host, journal, port, NETNS)
    done = apply(local_host, lent, DEFAULT, [0])
    assert done.before == lent.state.flat()
    assert done.before["features.generic-receive-offload"] is False
    assert done.during["features.generic-receive-offload"] is True
    assert (done.before["channels.rx"], done.during["channels.rx"], done.during["channels.tx"]) == (4, 1, 1)
    assert done.during["features.rx-vlan-offload"] is False and done.during["mtu"] == 1400
    assert not any("sysctl" in key for key in done.during)
    assert done.not_set == {} and done.receive_irqs == ()
    file = tmp_path / "profile.toml"
    file.write_text("threaded = true\n[features]\ntx-checksum-ip-generic = false\n")
    done = apply(local_host, lent, replace(load_profile(file), queues=2), [0, 1])
    assert (done.during["channels.rx"], done.during["threaded"]) == (2, 1)
    assert done.during["features.tx-checksum-ip-generic"] is False
    assert done.before == lent.state.flat()
    lent.give_back()
    assert everything() == before


@pytest.mark.parametrize(
    ("text", "queues", "message"),
    [
        ("[rings]\nrx = 512", 1, r"can't be set to rings.rx = 512: the driver has no such setting"),
        ("[features]\nrx-all = true", 1, r"features.rx-all = on: fixed by the driver to off"),
        ("", 5, r"has 4 queues, not 5: the port has at most 4 queues; use --queues 4"),
        ("[features]\nrx-gro-hw = true", 1, r"features.rx-gro-hw = on: fixed by the driver to off"),
    ],
)
def test_what_a_file_asks_for_must_be_had(
    port: str, journal: Journal, local_host: LocalHost, tmp_path: Path, text: str, queues: int, message: str
) -> None:
    file = tmp_path / "profile.toml"
    file.write_text(text)
    profile = replace(load_profile(file), queues=queues)
    lent = lend(local_host, journal, port, NETNS)
    with pytest.raises(EnvironmentProblem, match=message):
        apply(local_host, lent, profile, [0])
    assert apply(local_host, lent, profile, [0], strict=False).not_set
