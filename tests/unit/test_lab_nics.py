# SPDX-License-Identifier: GPL-2.0-only
"""NICs of the lab: names, cables and QEMU's arguments; the monitor; the newer QEMU's packages."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kbench.errors import EnvironmentProblem, MeasureError
from kbench.host import lab_ssh, newer_qemu, qemu
from kbench.host.archive import Package
from kbench.host.lab_nics import LabNics, LabSsh, Wiring, cabled
from kbench.host.qemu import Qemu, Spec
from kbench.host.qmp import Monitor

QEMU = Qemu("/usr/bin/qemu-system-x86_64", "7.2")


@contextlib.contextmanager
def wired(nics: LabNics) -> Iterator[Wiring]:
    with contextlib.closing(Wiring(nics)) as wiring:
        yield wiring


def test_ports_are_numbered_pairs_first_and_cabled_in_order() -> None:
    a, b = cabled()[0]
    with b, wired(LabNics(pairs=1, cables=[a], plugs=1)) as wiring:
        assert [(p.name, p.far) for p in wiring.ports] == [
            ("eth1", 2),
            ("eth2", 1),
            ("eth3", None),
            ("eth4", 4),
        ]
        assert list(wiring.macs) == ["eth0", "eth1", "eth2", "eth3", "eth4"]


def test_two_pairs_unless_something_else_is_asked_for() -> None:
    with wired(LabNics()) as wiring:
        assert len(wiring.ports) == 4
    with wired(LabNics(plugs=1)) as wiring:
        assert [p.far for p in wiring.ports] == [1]
    with wired(LabNics(models=["vmxnet3", "virtio-net"])) as wiring:
        assert [p.model for p in wiring.ports] == ["vmxnet3", "vmxnet3", "virtio-net", "virtio-net"]
    with pytest.raises(ValueError, match="one for each"):
        Wiring(LabNics(models=["vmxnet3"], pairs=1))


def test_no_two_guests_share_an_address() -> None:
    with wired(LabNics()) as one, wired(LabNics()) as other:
        assert not set(one.macs.values()) & set(other.macs.values())
        assert len({*one.macs.values()}) == 5


def test_the_management_port_comes_first_and_reaches_nothing() -> None:
    with wired(LabNics("virtio-net", pairs=1)) as wiring:
        words = wiring.arguments()
        mac = wiring.macs["eth0"]
    assert words[1] == "user,restrict=on,id=management"
    assert words[3] == f"virtio-net-pci,netdev=management,mac={mac},romfile="
    assert words[5] == "hubport,id=cable1,hubid=1"
    assert words[9] == "hubport,id=cable2,hubid=1"


def test_ssh_is_forwarded_from_the_loopback_only() -> None:
    with wired(LabNics(ssh=LabSsh("ssh-ed25519 AAAA"))) as wiring:
        assert "restrict=on,hostfwd=tcp:127.0.0.1:0-:22" in wiring.arguments()[1]


def test_pci_express_ports_have_a_root_port() -> None:
    with wired(LabNics(models=["e1000e", "vmxnet3"])) as wiring:
        line = " ".join(wiring.arguments())
    assert "pcie-root-port,id=slot1,chassis=1" in line
    assert line.count("pcie-root-port") == 2
    assert "bus=slot2" in line
    assert "bus=slot3" not in line


def test_pulling_a_cable_takes_both_its_ends() -> None:
    a, b = cabled()[0]
    with b, wired(LabNics("virtio-net", pairs=2, cables=[a], plugs=1)) as wiring:
        assert [p.name for p in wiring.one_cable("eth3")] == ["eth3", "eth4"]
        assert [p.name for p in wiring.one_cable("eth5")] == ["eth5"]
        assert [p.name for p in wiring.one_cable("eth6")] == ["eth6"]
        for name in ("eth0", "eth9"):
            with pytest.raises(ValueError, match=f"no port {name} with a cable: eth1, eth2"):
                wiring.one_cable(name)


def test_what_old_qemu_does_not_tell_is_refused() -> None:
    with wired(LabNics("e1000e")) as wiring, pytest.raises(ValueError, match="newer_qemu=True"):
        wiring.one_cable("eth1")
    with wired(LabNics("e1000e", newer_qemu=True)) as wiring:
        assert wiring.needs_newer_qemu
        assert len(wiring.one_cable("eth1")) == 2
    with wired(LabNics(models=["virtio-net", "igb"])) as wiring:
        assert wiring.needs_newer_qemu


def test_a_plug_gives_back_what_it_is_sent_and_its_end_is_closed() -> None:
    with wired(LabNics(plugs=1)) as wiring:
        end = wiring.ports[0].end
        assert end is not None
        assert wiring.fds == [end.fileno()]
        end.send(b"one")
        end.send(b"two")
        assert [end.recv(9), end.recv(9)] == [b"one", b"two"]
    assert end.fileno() == -1


def test_a_lab_without_nics_has_the_command_line_that_it_had() -> None:
    plain = Spec(Path("v"), Path("i"), "exact", "tcg", 1, 512).command(QEMU, 7)
    assert not {"-mon", "-netdev", "-L"} & set(plain)
    with wired(LabNics(pairs=1)) as wiring:
        spec = Spec(Path("v"), Path("i"), "fast", "tcg", 2, 512, wiring=wiring)
        command = spec.command(QEMU, 7, 8)
        assert command[-len(wiring.arguments()) :] == wiring.arguments()
        assert "socket,id=monitor,fd=8" in command
        with pytest.raises(ValueError, match="exact mode has no NICs"):
            Spec(Path("v"), Path("i"), "exact", "tcg", 1, 512, wiring=wiring).command(QEMU, 7)


def test_firmware_is_looked_for_where_it_was_unpacked() -> None:
    newer = Qemu("/c/qemu", "10.0", (Path("/c/a"), Path("/c/b")))
    command = Spec(Path("v"), Path("i"), "fast", "tcg", 2, 512).command(newer, 7)
    assert command[:5] == ["/c/qemu", "-L", "/c/a", "-L", "/c/b"]


# --- The monitor ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def monitor(answer: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> Iterator[Monitor]:
    """A Monitor whose other end greets like QEMU and answers requests with what `answer` says."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with theirs, theirs.makefile("rwb") as file:
            file.write(b'{"QMP": {"version": {}}}\n')
            file.flush()
            for line in file:
                request = json.loads(line)
                known = request["execute"] == "qmp_capabilities"
                answers = [{"return": {}}] if known else answer(request)
                if not answers:
                    return
                file.write(b"".join(json.dumps(a).encode() + b"\n" for a in answers))
                file.flush()

    thread = threading.Thread(target=serve)
    thread.start()
    with contextlib.closing(Monitor(ours)) as client:
        yield client
    thread.join(10)


def test_the_monitor_passes_over_events_and_raises_what_qemu_refuses() -> None:
    def answer(request: dict[str, Any]) -> list[dict[str, Any]]:
        if request["arguments"]["name"] == "port1":
            return [{"event": "NIC_RX_FILTER_CHANGED"}, {"return": {"seen": request["arguments"]["up"]}}]
        return [{"error": {"class": "DeviceNotFound", "desc": "Device 'port9' not found"}}]

    with monitor(answer) as client:
        assert client.ask("set_link", name="port1", up=False) == {"seen": False}
        with pytest.raises(MeasureError, match="QEMU refuses set_link: Device 'port9' not found"):
            client.ask("set_link", name="port9", up=False)


def test_a_qemu_that_ends_is_told() -> None:
    with (
        monitor(lambda _request: []) as client,
        pytest.raises(MeasureError, match="ended before it answered"),
    ):
        client.ask("query-status")


def test_the_forwarded_port_is_read_from_the_monitor() -> None:
    table = """Hub -1 (management):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[ESTABLISHED]   20       127.0.0.1 36730       10.0.2.15    22     0     0
  TCP[HOST_FORWARD]  15       127.0.0.1 40547       10.0.2.15    22     0     0
"""
    with monitor(lambda _request: [{"return": table}]) as client:
        assert lab_ssh.forwarded_port(client) == 40547
    none = pytest.raises(MeasureError, match="forwards no port to the lab: nothing")
    with monitor(lambda _request: [{"return": "nothing\n"}]) as client, none:
        lab_ssh.forwarded_port(client)


# --- The newer QEMU ---------------------------------------------------------------------------------------------

PINS = {
    "qemu-system-x86": {"version": "10-1", "sha256": "aa"},
    "seabios": {"version": "1.16", "sha256": "bb"},
}


class Offers:
    """An archive that has these packages."""

    def __init__(self, *packages: tuple[str, str]) -> None:
        self._packages = [Package(name, version, "index", 1) for name, version in packages]

    def offers(self, _pattern: str, prefix: str) -> list[Package]:
        return [p for p in self._packages if p.name.startswith(prefix)]

    @staticmethod
    def newest_first(packages: list[Package]) -> list[Package]:
        return sorted(packages, key=lambda p: p.version, reverse=True)


def test_pinned_packages_are_checked_against_the_pins() -> None:
    offered = Offers(("qemu-system-x86", "10-1"), ("qemu-system-x86", "10-2"), ("seabios", "1.16"))
    packages, notice = newer_qemu.choose(PINS, offered)  # type: ignore[arg-type]
    assert [(p.name, p.version, p.sha256) for p in packages] == [
        ("qemu-system-x86", "10-1", "aa"),
        ("seabios", "1.16", "bb"),
    ]
    assert notice is None


def test_where_a_pin_is_gone_the_newest_of_all_stand_in_and_that_is_told() -> None:
    offered = Offers(("qemu-system-x86", "10-2"), ("qemu-system-x86", "10-3"), ("seabios", "1.16"))
    packages, notice = newer_qemu.choose(PINS, offered)  # type: ignore[arg-type]
    assert [(p.version, p.sha256) for p in packages] == [("10-3", "index"), ("1.16", "index")]
    assert notice is not None
    assert "no longer has the pinned QEMU; using 10-3" in notice
    with pytest.raises(EnvironmentProblem, match=r"no package seabios: install a QEMU of version 8\.1"):
        newer_qemu.choose(PINS, Offers(("qemu-system-x86", "10-1")))  # type: ignore[arg-type]


def test_a_qemu_that_knows_igb_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "qemu-system-x86_64"
    known = '[ "$1" = -device ] && echo \'name "igb", bus PCI\' || echo "QEMU emulator version 9.9"'
    script.write_text(f"#!/bin/sh\n{known}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(newer_qemu, "fetch", lambda _progress: pytest.fail("fetched"))
    assert qemu.find_newer_qemu(print) == Qemu(str(script), "9.9")


def test_an_older_one_is_replaced_by_the_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for directory, version in (("own", "7.2"), ("fetched", "10.0")):
        script = tmp_path / directory / "qemu-system-x86_64"
        script.parent.mkdir()
        script.write_text(f'#!/bin/sh\necho "QEMU emulator version {version}"\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'own'}:{os.environ['PATH']}")
    fetched = newer_qemu.Unpacked(script, (tmp_path,), "another version")
    monkeypatch.setattr(newer_qemu, "fetch", lambda _progress: fetched)
    assert qemu.find_newer_qemu(print) == Qemu(str(script), "10.0", (tmp_path,), "another version")
