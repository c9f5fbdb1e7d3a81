# SPDX-License-Identifier: GPL-2.0-only
"""Namespaces and links, and that `restore` undoes what a killed process made of them."""

from __future__ import annotations

import secrets
import subprocess
import sys
import textwrap
from collections.abc import Generator
from pathlib import Path

import pytest

from kbench.errors import EnvironmentProblem, MeasureError
from kbench.host import net, undo
from kbench.host.base import Host
from kbench.host.journal import Journal, restore
from kbench.host.shell import LocalShell


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KBENCH_RUN_DIR", str(tmp_path / "run"))


@pytest.fixture
def journal() -> Generator[Journal, None, None]:
    with Journal.open("test") as journal:
        yield journal


@pytest.fixture
def name() -> str:
    return f"kbtest-{secrets.token_hex(4)}"


def namespace_exists(name: str) -> bool:
    return Path(f"/run/netns/{name}").exists()


def test_namespace_comes_and_goes(local_host: Host, journal: Journal, name: str) -> None:
    net.add_namespace(local_host, journal, name)
    assert namespace_exists(name) and journal.find("netns", name=name)
    assert "UP" in net.links(local_host, name)["lo"]["flags"]
    net.del_namespace(local_host, journal, name)
    assert not namespace_exists(name) and journal.find("netns", name=name) is None


def test_namespace_of_somebody_else_is_left_alone(local_host: Host, name: str) -> None:
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        with Journal.open("other") as journal, pytest.raises(EnvironmentProblem, match="exists already"):
            net.add_namespace(local_host, journal, name)
        assert namespace_exists(name)
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def test_batch_names_the_line_that_failed(local_host: Host, journal: Journal, name: str) -> None:
    net.add_namespace(local_host, journal, name)
    lines = ["link add v0 type veth peer name v1", "link set v0 up", "link set v9 up", "link set v1 up"]
    with pytest.raises(MeasureError, match=f"`ip link set v9 up` in namespace {name}: .*v9"):
        net.batch(local_host, name, lines)
    links = net.links(local_host, name)
    assert set(links) == {"lo", "v0", "v1"}
    assert "UP" in links["v0"]["flags"] and "UP" not in links["v1"]["flags"]
    assert links["v0"]["linkinfo"]["info_kind"] == "veth"
    net.batch(local_host, name, [])


def test_link_stats_count(local_host: Host, journal: Journal, name: str) -> None:
    net.add_namespace(local_host, journal, name)
    before = net.link_stats(local_host, name)["lo"]["rx"]["packets"]
    code = "import socket; s = socket.socket(type=2); [s.sendto(b'x', ('127.0.0.1', 9)) for _ in range(50)]"
    local_host.run([sys.executable, "-c", code], netns=name)
    assert net.link_stats(local_host, name)["lo"]["rx"]["packets"] - before >= 50


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from kbench.host import net
    from kbench.host.journal import Journal
    from kbench.host.local import LocalHost
    bin_dir, name = sys.argv[1:]
    host = LocalHost(Path(bin_dir))
    journal = Journal.open("killed")
    journal.record_process(host.agent_pid)
    for part in "abc":
        net.add_namespace(host, journal, f"{name}-{part}")
    net.batch(host, f"{name}-a", [f"link add v0 type veth peer name v0 netns {name}-b"])
    scratch = journal.make_tmpdir()
    (scratch / "data").write_text("x")
    forwarding = "/proc/sys/net/ipv4/conf/lo/log_martians"
    journal.change_file(forwarding, "1" if Path(forwarding).read_text().strip() == "0" else "0")
    process = host.start(["sh", "-c", "trap '' TERM; sleep 72; sleep 72"], netns=f"{name}-c", ready=False)
    print(host.agent_pid, process.pid, scratch, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_restore_after_kill_of_a_process_that_made_namespaces(bin_dir: Path, name: str) -> None:
    martians = Path("/proc/sys/net/ipv4/conf/lo/log_martians")
    before = martians.read_text()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(bin_dir), name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -9, done.stderr
    agent, child, scratch = done.stdout.split()
    assert all(namespace_exists(f"{name}-{part}") for part in "abc")
    assert martians.read_text() != before and Path(scratch).exists()
    undone = restore()
    assert {f"deleted network namespace {name}-{part}" for part in "abc"} <= set(undone)
    assert not any(namespace_exists(f"{name}-{part}") for part in "abc")
    assert martians.read_text() == before
    assert not Path(scratch).exists()
    assert undo.starttime(int(agent)) is None
    assert undo.starttime(int(child)) is None
    assert restore() == []


def test_link_undo(name: str) -> None:
    link = f"kbt{name[-8:]}"
    subprocess.run(["ip", "link", "add", link, "type", "veth", "peer", "name", f"{link}p"], check=True)
    assert undo.undo_link(LocalShell(), name=link) == [f"deleted link {link}"]
    assert not Path(f"/sys/class/net/{link}").exists()
    assert undo.undo_link(LocalShell(), name=link) == []
