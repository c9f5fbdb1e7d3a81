# SPDX-License-Identifier: GPL-2.0-only
"""Addresses of machines behind ssh, the journal's changes to them, and who works on this one over ssh."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kbench.errors import EnvironmentProblem, UsageError
from kbench.host import local, ssh, undo
from kbench.host.journal import Journal, RestoreFailed, restore
from kbench.host.remote import Address, RemoteShell, Unreachable, parse_address
from kbench.host.shell import Completed, HostFileError, LocalShell, Shell
from tests.unit.test_host_journal import lines, orphan

URL = "ssh://root@dut:2222"


@pytest.mark.parametrize(
    ("text", "address", "url"),
    [
        ("ssh://dut", Address("dut"), "ssh://dut"),
        ("ssh://dut/", Address("dut"), "ssh://dut"),
        ("ssh://root@dut/eth1", Address("dut", "root", None, ("eth1",)), "ssh://root@dut"),
        ("ssh://root@10.0.0.2:2222/eth1,eth3", Address("10.0.0.2", "root", 2222, ("eth1", "eth3")), None),
        ("ssh://[fe80::1%eth0]:22/enp3s0f0np0", Address("fe80::1%eth0", None, 22, ("enp3s0f0np0",)), None),
        ("ssh://a@[::1]/eth1", Address("::1", "a", None, ("eth1",)), "ssh://a@[::1]"),
        ("ssh://dut_1.lab/eth1.7@x", Address("dut_1.lab", None, None, ("eth1.7@x",)), "ssh://dut_1.lab"),
    ],
)
def test_addresses(text: str, address: Address, url: str | None) -> None:
    assert parse_address(text) == address
    assert address.url == (url or text.rpartition("/")[0])
    assert parse_address(address.url).url == address.url


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("dut", "no ssh address"),
        ("http://dut", "no ssh address"),
        ("ssh://", "no host name"),
        ("ssh:///eth1", "no host name"),
        ("ssh://-oProxyCommand=x", "bad host name"),
        ("ssh://du t", "bad host name"),
        ("ssh://dut;reboot", "bad host name"),
        ("ssh://dut\n", "bad host name"),
        ("ssh://-l@dut", "bad user name"),
        ("ssh://@dut", "bad user name"),
        ("ssh://a:b@dut", "bad user name"),
        ("ssh://::1/eth1", "no host name"),
        ("ssh://[::1", "bad host name"),
        ("ssh://[10.0.0.1]", "no IPv6 address"),
        ("ssh://[fe80::1%-x]", "bad zone"),
        ("ssh://[fe80::1%]", "bad zone"),
        ("ssh://dut:", "bad port"),
        ("ssh://dut:0", "bad port"),
        ("ssh://dut:65536", "bad port"),
        ("ssh://dut:22x", "bad port"),
        ("ssh://dut/-x", "bad name of an interface"),
        ("ssh://dut/eth1,", "bad name of an interface"),
        ("ssh://dut/eth1/eth2", "bad name of an interface"),
        ("ssh://dut/a234567890123456", "bad name of an interface"),
        ("ssh://dut/eth1,eth1", "two different"),
        ("ssh://dut/a,b,c", "one interface"),
    ],
)
def test_what_is_no_address_is_refused_with_the_right_form(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        parse_address(text)
    assert "ssh://[user@]host[:port]" in str(caught.value)


class There(LocalShell):
    """A machine that exists in memory: its undos are seen, its boot can change."""

    address = URL
    boot_id = "boot 1"

    def __init__(self) -> None:
        self.up = True
        self.seen: list[str] = []
        self.closed = 0

    def alive(self) -> bool:
        return self.up

    def close(self) -> None:
        self.closed += 1

    def _execute(self, argv: Sequence[str], stdin: bytes, timeout_s: float) -> Completed:
        raise AssertionError(f"not expected to run {argv}")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KBENCH_RUN_DIR", str(tmp_path / "run"))

    def note(shell: Shell, text: str) -> list[str]:
        if isinstance(shell, There):
            shell.seen.append(text)
        return [f"undid {text}"]

    monkeypatch.setitem(undo.OPS, "note", note)
    monkeypatch.setitem(undo.OPS, "tmpdir", lambda _shell, path: [f"removed {path}"])


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[There | Unreachable]:
    """What each attempt to connect gives, the next first."""
    ahead: list[There | Unreachable] = []

    def connect(address: Address, _journal: Journal | None = None) -> There:
        assert address.url == URL
        given = ahead.pop(0)
        if isinstance(given, Unreachable):
            raise given
        return given

    monkeypatch.setattr(RemoteShell, "connect", connect)
    return ahead


def killed(there: There, *texts: str) -> Path:
    """The journal of a dead owner that changed both machines."""
    journal = Journal.open("r1")
    journal.attach(there)
    for text in texts:
        journal.record("note", at=URL, text=text)
        journal.record("note", text=f"{text} here")
    orphan(journal.path)
    return journal.path


def test_a_change_elsewhere_is_written_with_its_place_and_boot() -> None:
    journal = Journal.open("r1")
    with pytest.raises(ValueError, match="not attached"):
        journal.record("note", at=URL, text="a")
    there = There()
    journal.attach(there)
    with pytest.raises(ValueError, match="not for other machines"):
        journal.record("process", at=URL, pid=1, starttime=1)
    entry = journal.record("note", at=URL, text="a")
    assert lines(journal.path)[1:] == [
        {"host": URL, "boot_id": "boot 1"},
        {"do": 1, "op": "note", "args": {"text": "a"}, "at": URL},
    ]
    assert journal.find("note", text="a") is None and journal.find("note", at=URL, text="a") == entry


def test_the_runs_own_connection_is_used_while_it_is_alive(connections: list[There | Unreachable]) -> None:
    own, fresh = There(), There()
    journal = Journal.open("r1")
    journal.attach(own)
    journal.record("note", at=URL, text="a")
    assert journal.undo_all() == ([f"undid a on {URL}"], [])
    assert own.seen == ["a"] and own.closed == 0
    journal.record("note", at=URL, text="b")
    own.up = False
    connections.append(fresh)
    assert journal.close() == ([f"undid b on {URL}"], [])
    assert fresh.seen == ["b"] and fresh.closed == 1 and not journal.path.exists()


def test_restore_connects_once_and_undoes_in_reverse(connections: list[There | Unreachable]) -> None:
    there = There()
    path = killed(there, "a", "b")
    connections.append(there)
    assert restore() == ["undid b here", f"undid b on {URL}", "undid a here", f"undid a on {URL}"]
    assert there.seen == ["b", "a"] and there.closed == 1 and not path.exists()


def test_an_unreachable_machine_keeps_only_its_own_changes(connections: list[There | Unreachable]) -> None:
    there = There()
    path = killed(there, "a", "b")
    connections.append(Unreachable(f"can't connect to {URL}: No route to host"))
    with pytest.raises(RestoreFailed) as caught:
        restore()
    assert caught.value.undone == ["undid b here", "undid a here"]
    (failed,) = caught.value.failed  # told once, tried once
    assert failed.startswith(f"can't connect to {URL}: No route to host; run `kbench restore` again")
    assert str(path) in failed and there.seen == []
    connections.append(there)
    assert restore() == [f"undid b on {URL}", f"undid a on {URL}"]
    assert there.seen == ["b", "a"] and not path.exists() and restore() == []


def test_a_cut_off_line_does_not_swallow_what_is_noted_behind_it(
    connections: list[There | Unreachable],
) -> None:
    path = killed(There(), "a")
    path.write_bytes(path.read_bytes() + b'{"do":9,"op":"no')
    connections += [Unreachable("no"), Unreachable("no")]
    for undone in (["undid a here"], []):
        with pytest.raises(RestoreFailed) as caught:
            restore()
        assert caught.value.undone == undone


def test_after_a_reboot_there_only_files_are_removed(connections: list[There | Unreachable]) -> None:
    there = There()
    journal = Journal.open("r1")
    journal.attach(there)
    journal.record("tmpdir", at=URL, path="/tmp/x")
    journal.record("note", at=URL, text="of the boot before")
    orphan(journal.path)
    there.boot_id = "boot 2"
    connections.append(there)
    assert restore() == [f"removed /tmp/x on {URL}"]
    assert not journal.path.exists()


def test_programs_are_ended_before_all_else(
    connections: list[There | Unreachable], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(undo.OPS, "programs", lambda _shell, directory: [f"ended {directory}"])
    there = There()
    journal = Journal.open("r1")
    journal.attach(there)
    journal.record("programs", at=URL, directory="/tmp/x")
    journal.record("note", at=URL, text="a")
    assert journal.undo_all() == ([f"ended /tmp/x on {URL}", f"undid a on {URL}"], [])
    assert connections == []


def test_a_journal_of_the_version_before_can_be_read() -> None:
    path = killed(There())
    head = f'{{"kbench_journal":1,"run_id":"r1","pid":1,"starttime":1,"boot_id":"{undo.boot_id()}"}}'
    path.write_text(f'{head}\n{{"do":1,"op":"note","args":{{"text":"old"}}}}\n')
    assert restore() == ["undid old"]


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (lambda shell: shell.read_text("/nope"), errno.ENOENT),
        (lambda shell: shell.read_text("/etc"), errno.EISDIR),
        (lambda shell: shell.write_text("/nope/x", "1"), errno.ENOENT),
        (lambda shell: shell.list_dir("/nope"), errno.ENOENT),
        (lambda shell: shell.read_text("/etc/passwd/x"), errno.ENOTDIR),
    ],
)
def test_commands_tell_the_errno(act: Callable[[Shell], object], code: int) -> None:
    with pytest.raises(HostFileError) as caught:
        act(LocalShell())
    assert caught.value.errno == code


@pytest.mark.parametrize("sudo", [False, True])
def test_the_session_of_an_ancestor_is_found(sudo: bool) -> None:
    """As with sudo, the process itself may know nothing."""
    environment = {"PATH": os.environ["PATH"], "SSH_CONNECTION": "10.0.0.9 50000 10.0.0.1 22"}
    inner = "env -i sleep 60" if sudo else "sleep 60"
    with subprocess.Popen(
        ["sh", "-c", f"{inner} & echo $!; wait"], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        child = int(process.stdout.readline())
        try:
            while "sleep" not in Path(f"/proc/{child}/comm").read_text():
                pass
            assert local.session_address(child) == "10.0.0.1"
        finally:
            os.kill(child, 9)
    assert local.session_address(1) is None


def test_headers_of_another_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KBENCH_CACHE", str(tmp_path))
    for top in ("unpack-x", "9.9.9-test_1"):
        directory = tmp_path / "kernels" / top / "usr/src/linux-headers-9.9.9-test"
        directory.mkdir(parents=True)
        (directory / "Makefile").touch()
    assert ssh.headers("9.9.9-test") == directory
    with pytest.raises(
        EnvironmentProblem, match=r"no headers of kernel 9\.9\.8.*install linux-headers-9\.9\.8"
    ):
        ssh.headers("9.9.8")
