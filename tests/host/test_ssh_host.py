# SPDX-License-Identifier: GPL-2.0-only
"""A machine behind ssh: programs and files there, and that nothing stays there, however the connection ends."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from kbench.errors import EnvironmentProblem, MeasureError
from kbench.host import net, ssh, undo
from kbench.host.base import HostFileError
from kbench.host.facts import host_facts
from kbench.host.journal import Journal, RestoreFailed, restore
from kbench.host.ssh import RemoteShell, SshHost, Unreachable, parse_address
from tests.host.ssh_server import Server, serving


def silent(_text: str) -> None:
    pass


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server, None, None]:
    with serving(tmp_path_factory.mktemp("ssh")) as server:
        yield server


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setenv("KBENCH_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("KBENCH_SSH_OPTIONS", server.options)


@pytest.fixture
def journal() -> Generator[Journal, None, None]:
    with Journal.open("ssh-test") as journal:
        yield journal


@pytest.fixture
def host(server: Server, journal: Journal) -> Generator[SshHost, None, None]:
    with SshHost.connect(server.url, journal, silent) as host:
        yield host


def until(condition: Any, timeout_s: float = 10.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def gone(pid: int) -> bool:
    return until(lambda: undo.starttime(pid) is None)


def test_what_it_is(host: SshHost, server: Server) -> None:
    assert (host.kind, host.address) == ("ssh", server.url)
    assert host.kernel_release == os.uname().release
    assert host.session_address() == "127.0.0.1"
    found = host_facts(host)
    assert found["hostname"] == os.uname().nodename and found["cpu"]["online"] and "tools" not in found


def test_programs_and_files(host: SshHost, tmp_path: Path) -> None:
    odd = ["", " a  b ", "new\nline", "'\"$HOME`"]
    assert host.run(["printf", "<%s>", *odd]).stdout == "".join(f"<{word}>" for word in odd)
    data = os.urandom(300_000)
    host.put(str(tmp_path / "x"), data)
    assert (tmp_path / "x").read_bytes() == data == host.read(str(tmp_path / "x"))
    with pytest.raises(HostFileError, match="No such file"):
        host.read("/nope")
    with pytest.raises(MeasureError, match="exit status 3"):
        host.run(["sh", "-c", "exit 3"])


def test_programs_are_put_there_when_first_asked_for(host: SshHost) -> None:
    directory = Path(host.program("kb-probe")).parent
    assert host.list_dir(str(directory)) == ["kb-agent", "kb-probe"]
    assert directory.stat().st_mode & 0o777 == 0o700
    before = (directory / "kb-probe").stat().st_mtime_ns
    assert json.loads(host.run([host.program("kb-probe")]).stdout)["event"]
    assert (directory / "kb-probe").stat().st_mtime_ns == before
    with pytest.raises(EnvironmentProblem, match="kb-nothing was not built"):
        host.program("kb-nothing")


def test_close_leaves_nothing_there_and_nothing_in_the_journal(server: Server, journal: Journal) -> None:
    host = SshHost.connect(server.url, journal, silent)
    directory = Path(host.program("kb-pin")).parent
    process = host.start(["sleep", "73"], ready=False)
    assert Path(f"/proc/{process.pid}").exists()
    host.close()
    host.close()
    assert not directory.exists() and gone(process.pid)
    assert journal.find("tmpdir") is journal.find("process") is journal.find("tmpdir", at=server.url) is None
    assert until(lambda: server.sessions() == [])


def test_the_shell_without_an_agent(server: Server, tmp_path: Path) -> None:
    with RemoteShell.connect(parse_address(server.url)) as shell:
        path = str(tmp_path / "a b'c")
        shell.write_text(path, "x\ny")
        assert shell.read_text(path) == "x\ny" and shell.exists(path)
        assert shell.list_dir(str(tmp_path)) == ["a b'c"]
        assert shell.run(["sh", "-c", "exit 255"], check=False).code == 255
        with pytest.raises(HostFileError, match="No such file") as caught:
            shell.read_text("/nope/x")
        assert caught.value.errno == 2
        with pytest.raises(HostFileError, match="Permission denied"):
            shell.write_text("/proc/sys/kernel/osrelease", "1")
        with pytest.raises(EnvironmentProblem, match="can't run kb-nothing"):
            shell.run(["kb-nothing"])
        with pytest.raises(MeasureError, match=r"did not end in 0\.3 s"):
            shell.run(["sleep", "5"], timeout_s=0.3)
    with pytest.raises(Unreachable, match="was lost"):
        shell.run(["true"])


def test_no_connection_and_nothing_left_of_it(server: Server, journal: Journal, tmp_path: Path) -> None:
    before = set(Path("/tmp").glob("kbench-*"))
    with pytest.raises(Unreachable, match=r"can't connect to ssh://root@127\.0\.0\.1:1: .*refused"):
        SshHost.connect("ssh://root@127.0.0.1:1", journal, silent)
    with pytest.raises(Unreachable, match=r"ssh://nobody-here@127.*Permission denied"):
        SshHost.connect(server.url.replace("root", "nobody-here"), journal, silent)
    assert journal.find("process") is None and journal.find("tmpdir") is None
    assert set(Path("/tmp").glob("kbench-*")) <= before


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_connection_that_is_lost_ends_those_who_wait(
    how: signal.Signals, server: Server, journal: Journal
) -> None:
    host = SshHost.connect(server.url, journal, silent)
    threading.Timer(0.3, lambda: server.signal_sessions(how)).start()
    with pytest.raises(MeasureError, match=f"sleep: the connection to {server.url} was lost"):
        host.run(["sleep", "74"], timeout_s=60)
    with pytest.raises(MeasureError, match="was lost"):
        host.read_text("/proc/version")
    server.signal_sessions(signal.SIGCONT)
    host.close()
    assert journal.find("tmpdir", at=server.url)  # what is there yet; the journal has a connection of its own
    undone, failed = journal.undo_all()
    assert failed == [] and any(line.endswith(f" on {server.url}") for line in undone)
    assert journal.find("tmpdir", at=server.url) is None


KILLED = """
    import os, signal, sys
    from kbench.host import net
    from kbench.host.journal import Journal
    from kbench.host.ssh import SshHost
    url, name = sys.argv[1:]
    journal = Journal.open("killed")
    host = SshHost.connect(url, journal, lambda _: None)
    net.add_namespace(host, journal, name)
    net.batch(host, name, ["link add v0 type veth peer name v1", "link set v0 up", "link set v1 up"])
    sink = host.start([host.program("kb-sink"), "--if", "v0", "--mode", "count"], netns=name)
    stubborn = host.start(["sh", "-c", "trap '' TERM; sleep 75; sleep 75"], netns=name, ready=False)
    print(host.agent_pid, sink.pid, stubborn.pid, os.path.dirname(host.program("kb-sink")), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_here_ends_everything_there_and_restore_removes_the_rest(server: Server) -> None:
    name = f"kbtest-{secrets.token_hex(4)}"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), server.url, name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    *pids, directory = done.stdout.split()
    assert all(gone(int(pid)) for pid in pids)
    assert Path(directory, "kb-agent").exists()
    with RemoteShell.connect(parse_address(server.url)) as shell:
        (link,) = json.loads(shell.run(["ip", "-json", "-details", "link", "show", "v0"], netns=name).stdout)
        assert not link.get("xdp", {}).get("attached")
    undone = restore()
    assert f"deleted network namespace {name} on {server.url}" in undone
    assert f"removed {directory} on {server.url}" in undone
    assert not Path(directory).exists() and not Path("/run/netns", name).exists()
    assert restore() == []


def test_restore_ends_an_agent_that_has_not_noticed(server: Server, journal: Journal) -> None:
    """As after a cut cable: that machine's ssh server may wait for hours."""
    host = SshHost.connect(server.url, journal, silent)
    process = host.start(["sleep", "76"], ready=False)
    undone, failed = journal.undo_all()
    assert failed == [] and undone[0].startswith("ended programs of ") and len(undone) >= 2
    assert gone(host.agent_pid) and gone(process.pid)
    host.close()


def test_an_agent_that_hears_nothing_ends(
    server: Server, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "SILENCE_S", 2)
    monkeypatch.setattr(ssh, "WORD_S", 0.2)
    with SshHost.connect(server.url, journal, silent) as host:
        assert host.run(["sh", "-c", "sleep 3; echo alive"]).stdout == "alive\n"
    monkeypatch.setattr(ssh, "WORD_S", 1000.0)
    with (
        SshHost.connect(server.url, journal, silent) as host,
        pytest.raises(MeasureError, match=r"kb-agent on ssh://.* has ended.*nothing was heard .* for 2 s"),
    ):
        host.run(["sleep", "77"])


def test_an_unreachable_machine_stays_in_the_journal_until_it_is_back(tmp_path: Path) -> None:
    with serving(tmp_path / "server") as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("KBENCH_SSH_OPTIONS", server.options)
        name = f"kbtest-{secrets.token_hex(4)}"
        path = str(tmp_path / "local")
        journal = Journal.open("r1")
        with SshHost.connect(server.url, journal, silent) as host:
            net.add_namespace(host, journal, name)
            host.run(["ip", "netns", "delete", name])
        journal.record("tmpdir", path=path)
        Path(path).mkdir()
    with pytest.raises(
        RestoreFailed, match=f"can't connect to {server.url}.*`kbench restore` again"
    ) as caught:
        undone, failed = journal.close()
        assert undone == [f"removed {path}"] and len(failed) == 1
        raise RestoreFailed(undone, failed)
    assert str(journal.path) in str(caught.value) and journal.path.exists()
