# SPDX-License-Identifier: GPL-2.0-only
"""Labs with emulated NICs: drivers, cables within a guest, to another and back to the same port, and ssh."""

from __future__ import annotations

import contextlib
import json
import re
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kbench.errors import EnvironmentProblem
from kbench.host import qemu
from kbench.host.lab import LabHost, LabNics, LabSsh, Parts, cabled

DRIVERS = {1: "e1000e", 2: "e1000e", 3: "virtio_net", 4: "virtio_net", 5: "vmxnet3", 6: "vmxnet3"}
OUT, PLUG = "eth7", "eth8"
"""A port cabled to another guest, and one cabled to itself; both are virtio-net."""
LIMIT_S = 30.0
"""Links take 3 s to come up on an idle machine."""


def silent(_text: str) -> None:
    """A caller without a terminal."""


def boot(directory: Path, nics: LabNics) -> LabHost:
    parts = Parts.prepare("6.12", silent, need_module=False)
    lab = LabHost.boot(parts, mode="fast", log_dir=directory, progress=silent, nics=nics)
    # No frames but those of the tests.
    lab.write_text("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1")
    commands = "".join(f"link set {port} up\n" for port in lab.ports)
    lab.run(["/sbin/ip", "-batch", "-"], stdin=commands.encode())
    return lab


def has_carrier(lab: LabHost, port: str) -> bool:
    return lab.read_text(f"/sys/class/net/{port}/carrier").strip() == "1"


def wait_carrier(lab: LabHost, ports: list[str], up: bool) -> None:
    deadline = time.monotonic() + LIMIT_S
    while any(has_carrier(lab, port) != up for port in ports):
        assert time.monotonic() < deadline, f"{ports}: carrier did not turn {'on' if up else 'off'}"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ssh") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory, key: Path) -> Iterator[tuple[LabHost, LabHost]]:
    """A guest with ports of three models, and one at the end of its OUT port, as eth1."""
    ours, theirs = cabled()[0]
    public = key.with_suffix(".pub").read_text()
    with contextlib.ExitStack() as stack:
        stack.callback(theirs.close)  # where the second boot is not reached
        nics = LabNics(
            "virtio-net",
            models=["e1000e", "virtio-net", "vmxnet3"],
            cables=[ours],
            plugs=1,
            ssh=LabSsh(public),
        )
        lab = stack.enter_context(boot(tmp_path_factory.mktemp("lab"), nics))
        nics = LabNics("virtio-net", cables=[theirs])
        far = stack.enter_context(boot(tmp_path_factory.mktemp("far"), nics))
        wait_carrier(lab, lab.ports, True)
        wait_carrier(far, far.ports, True)
        yield lab, far


@pytest.fixture
def lab(labs: tuple[LabHost, LabHost]) -> LabHost:
    return labs[0]


def frame(text: bytes) -> bytes:
    """A broadcast frame of the ethertype for local experiments."""
    return (b"\xff" * 6 + b"\x02\0\0\0\0\1" + b"\x88\xb5" + text).ljust(60, b"\0")


def inject_command(lab: LabHost, out: str, into: str, text: bytes, quiet_ms: int = 300) -> list[str]:
    data = frame(text)
    lab.put("/tmp/frames", b"KBPK" + struct.pack("<III", 1, 1, len(data)) + data)
    command = [lab.program("kb-inject"), "--out", out, "--in", into, "--packets", "/tmp/frames"]
    return [*command, "--quiet-ms", str(quiet_ms)]


def inject(lab: LabHost, out: str, into: str, text: bytes) -> list[str]:
    """Send a frame out of one port; what arrives at another, in hexadecimal."""
    done = lab.run(inject_command(lab, out, into, text))
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return [event["hex"] for event in events if event["event"] == "frame"]


def received(lab: LabHost, port: str) -> int:
    return int(lab.read_text(f"/sys/class/net/{port}/statistics/rx_packets"))


def test_ports_have_their_names_drivers_and_buses(lab: LabHost) -> None:
    assert lab.ports == [*(f"eth{n}" for n in DRIVERS), OUT, PLUG]
    for number, driver in {0: "virtio_net", **DRIVERS, 7: "virtio_net", 8: "virtio_net"}.items():
        assert f"driver: {driver}\n" in lab.run(["/sbin/ethtool", "-i", f"eth{number}"]).stdout
    links = json.loads(lab.run(["/sbin/ip", "-json", "link"]).stdout)
    assert len({link["address"] for link in links if link["ifname"].startswith("eth")}) == 9


def test_the_management_port_is_in_use_and_has_no_trouble(lab: LabHost) -> None:
    routes = json.loads(lab.run(["/sbin/ip", "-json", "route"]).stdout)
    assert [r["dev"] for r in routes if r["dst"] == "default"] == ["eth0"]
    assert has_carrier(lab, "eth0")
    assert "NETDEV WATCHDOG" not in lab.run(["/bin/dmesg"]).stdout


def test_a_frame_comes_out_at_the_other_end_only(lab: LabHost) -> None:
    for first in (1, 3, 5):
        one, other = f"eth{first}", f"eth{first + 1}"
        assert inject(lab, one, other, b"there") == [frame(b"there").hex()]
        assert inject(lab, other, one, b"and back") == [frame(b"and back").hex()]
    assert inject(lab, "eth1", "eth3", b"elsewhere") == []


def test_a_plug_gives_a_port_its_own_frames(lab: LabHost) -> None:
    before = received(lab, PLUG)
    inject(lab, PLUG, "eth1", b"to myself")
    assert received(lab, PLUG) == before + 1


def test_two_labs_see_each_others_frames(labs: tuple[LabHost, LabHost]) -> None:
    lab, far = labs
    for one in labs:
        one.run(["/sbin/ip", "link", "set", "dummy0", "up"])  # leads nowhere
    for sender, out, listener, port in ((lab, OUT, far, "eth1"), (far, "eth1", lab, OUT)):
        listening = listener.start(inject_command(listener, "dummy0", port, b"aside", quiet_ms=5000))
        try:
            inject(sender, out, "dummy0", b"over to you")
            assert listening.wait_event("frame", LIMIT_S)["hex"] == frame(b"over to you").hex()
        finally:
            listening.kill()


def test_a_pulled_cable_takes_the_carrier_of_both_ends_and_gives_it_back(lab: LabHost) -> None:
    for ends in (["eth3", "eth4"], ["eth5", "eth6"], [PLUG]):
        lab.pull_cable(ends[0], False)
        wait_carrier(lab, ends, False)
        assert has_carrier(lab, "eth1")
        lab.pull_cable(ends[-1], True)
        wait_carrier(lab, ends, True)
    with pytest.raises(ValueError, match="newer_qemu"):
        lab.pull_cable("eth1", False)


def test_ssh_leads_into_the_guest_and_its_key_can_be_checked(lab: LabHost, key: Path) -> None:
    known = key.with_name("known_hosts")
    known.write_text(f"[127.0.0.1]:{lab.ssh_port} {lab.ssh_host_key}\n")
    options = ["BatchMode=yes", "StrictHostKeyChecking=yes", f"UserKnownHostsFile={known}"]
    command = ["ssh", "-F", "none", "-i", str(key), *(f"-o{option}" for option in options)]
    command += ["-p", str(lab.ssh_port), "root@127.0.0.1"]
    tools = "ip -details -json link show eth3 && ethtool -i eth3 && command -v busybox && cat"
    done = subprocess.run(
        [*command, tools], input="typed", capture_output=True, text=True, timeout=60, check=True
    )
    assert '"ifname":"eth3"' in done.stdout
    assert "driver: virtio_net" in done.stdout
    assert done.stdout.endswith("/bin/busybox\ntyped")
    code = subprocess.run([*command, "exit 7"], capture_output=True, timeout=60, check=False).returncode
    assert code == 7
    # The same route by which the guest is reached leads it nowhere.
    assert lab.run(["/bin/busybox", "wget", "-T", "2", "-O", "-", "http://192.0.2.1/"], check=False).code != 0


def test_modules_for_what_a_machine_makes_of_its_ports_are_there(lab: LabHost) -> None:
    for kind in (
        "bond",
        "team",
        "macvlan link eth3",
        "ipvlan link eth4",
        "vlan link eth5 id 7",
        "vrf table 9",
    ):
        words = kind.split()
        link, options = (words[1:3], words[3:]) if "link" in words else ([], words[1:])
        lab.run(["/sbin/ip", "link", "add", *link, "name", "made0", "type", words[0], *options])
        lab.run(["/sbin/ip", "link", "del", "made0"])


def test_a_newer_qemu_has_igb_and_an_e1000e_that_notices_a_pulled_cable(tmp_path: Path) -> None:
    try:
        qemu.find_newer_qemu(silent)
    except EnvironmentProblem as problem:
        pytest.skip(f"no newer QEMU: {problem}")
    with boot(tmp_path, LabNics(models=["igb", "e1000e"], newer_qemu=True)) as lab:
        wait_carrier(lab, lab.ports, True)
        channels = lab.run(["/sbin/ethtool", "-l", "eth1"]).stdout
        assert re.findall(r"Combined:\s*(\d+)", channels) == ["8", "2"]
        assert inject(lab, "eth1", "eth2", b"igb") == [frame(b"igb").hex()]
        for ends in (["eth1", "eth2"], ["eth3", "eth4"]):
            lab.pull_cable(ends[0], False)
            wait_carrier(lab, ends, False)
            lab.pull_cable(ends[0], True)
            wait_carrier(lab, ends, True)
        lab.finish()
