# SPDX-License-Identifier: GPL-2.0-only
"""`kbench run --nic` on veth pairs of this machine: two ports, ports in use, kills with restore."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from kbench.host.nic.putback import put_back
from kbench.host.nic.settings import passage
from kbench.host.nic.state import read_state
from kbench.host.shell import LocalShell
from kbench.store import load_run
from tests import leftovers

PORTS = ("kbt-a", "kbt-b", "kbt-c", "kbt-d")
"""a is cabled to b, c to d."""
KILLS = 12
"""More, over real drivers, are in tests/lab/test_nic_ssh.py."""


def sh(command: str) -> str:
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout


def look() -> list[str]:
    """All that a run must leave as it was, of the ports and of what is made beside them."""
    lines = sh("ip netns; ip -6 route show table all; ip route show table all").splitlines()
    for port in PORTS:
        lines += sh(f"ip -d link show {port}; ip address show {port}").splitlines()
        for option in ("-k", "-l", "-g", "-c"):
            lines += sh(f"ethtool {option} {port} 2>&1 || true").splitlines()
        lines += sh(f"cat /sys/class/net/{port}/queues/*/*_cpus /sys/class/net/{port}/threaded").splitlines()
    return [line for line in lines if "valid_lft" not in line and "expires" not in line]


def kbench(cwd: Path, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kbench", *command.split()],
        cwd=cwd, capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip


@pytest.fixture
def ports() -> Generator[None, None, None]:
    try:
        for left, right in (PORTS[:2], PORTS[2:]):
            sh(f"ip link add {left} numrxqueues 2 numtxqueues 2 type veth peer name {right}")
        yield
    finally:
        sh("; ".join(f"ip link del {port} 2>/dev/null || true" for port in PORTS))


RUN = "run --function forward --rounds 2 --blocks 1"


@pytest.mark.usefixtures("ports")
def test_two_ports_found_and_put_back(tmp_path: Path) -> None:
    before = look()
    done = kbench(tmp_path, f"{RUN} --nic kbt-a,kbt-c --generator xdp")
    assert done.returncode == 0, done.stdout + done.stderr
    run = load_run("@latest", tmp_path / "results")
    (part,) = run.parts
    assert part.nic is not None and part.nic["kind"] == "two-port" and part.kind == "wall"
    assert {role: port["name"] for role, port in part.nic["ports"].items()} == {
        "generator": "kbt-b", "rx": "kbt-a", "tx": "kbt-c", "sink": "kbt-d",
    }  # fmt: skip
    names = {"xdp", "af_packet", "kernel"}
    assert {v.datapath for v in run.verifications if v.passed} >= names
    rates = [t for t in run.trials if t.purpose == "rate" and not t.warm_up]
    assert {t.datapath for t in rates} >= names
    for trial in rates:
        counters = trial.counters
        assert trial.valid, trial.problems
        assert counters.offered == counters.forwarded + sum(counters.dropped.values()) + counters.lost
    (setting,) = [n for n in run.facts["host"]["nics"] if n["name"] == "kbt-a"]
    assert setting["before"]["channels.rx"] == 2 and setting["during"]["channels.rx"] == 1
    assert look() == before


@pytest.mark.usefixtures("ports")
def test_a_port_in_use_is_refused_unless_somebody_knows(tmp_path: Path) -> None:
    sh("ip address add 198.51.100.1/24 dev kbt-a; ip link set kbt-a up; ip link set kbt-b up")
    deadline = time.monotonic() + 10
    while "tentative" in sh("ip -6 address") or not sh("ip -6 address show kbt-a"):
        assert time.monotonic() < deadline
        time.sleep(0.1)  # duplicate address detection of the link-local addresses
    before = look()
    done = kbench(tmp_path, f"{RUN} --nic kbt-a --peer kbt-b")
    assert done.returncode == 3
    assert "kbt-a of this machine is in use: it has the address 198.51.100.1/24" in done.stderr
    assert "--i-know" in done.stderr
    assert look() == before and not (tmp_path / "results").exists()
    done = kbench(tmp_path, f"{RUN} --nic kbt-a --peer kbt-b --i-know --datapath kernel --no-latency")
    assert done.returncode == 0, done.stdout + done.stderr
    run = load_run("@latest", tmp_path / "results")
    assert any("--i-know" in notice.text and "198.51.100.1/24" in notice.text for notice in run.notices)
    deadline = time.monotonic() + 10
    while (now := look()) != before and time.monotonic() < deadline:
        time.sleep(0.1)  # duplicate address detection of the link-local addresses
    assert now == before


@pytest.mark.usefixtures("ports")
def test_no_peer_is_one_message_with_the_choices(tmp_path: Path) -> None:
    sh("ip link add kbt-br type bridge; ip link set kbt-b master kbt-br")
    try:
        done = kbench(tmp_path, f"{RUN} --nic kbt-c --peer kbt-a")
        assert done.returncode == 3
        assert "kbt-a of this machine is in use: its other end, kbt-b" in done.stderr
        done = kbench(tmp_path, f"{RUN} --nic kbt-a --peer kbt-c --i-know")
        assert done.returncode == 3
        for words in (
            "no port was found that kbt-a",
            "tried:",
            "--peer PORT",
            "--generator ssh://",
            "loopback",
        ):
            assert words in done.stderr
    finally:
        sh("ip link del kbt-br")


@pytest.mark.usefixtures("ports")
def test_a_killed_run_goes_on_on_the_same_ports_only(tmp_path: Path) -> None:
    command = "run --nic kbt-a --function forward --datapath xdp,kernel --rounds 6 --blocks 1 --no-latency"
    process = subprocess.Popen(
        [sys.executable, "-m", "kbench", *command.split()],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while len(stored := list((tmp_path / "results").glob("*/trials.jsonl"))) < 1 or (
        stored[0].read_text().count('"purpose":"rate"') < 3
    ):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert kbench(tmp_path, "restore").returncode == 0
    killed = load_run("@latest", tmp_path / "results")
    assert not killed.ended and killed.trials
    sh("ip link set kbt-a address 02:00:00:00:00:99")
    elsewhere = kbench(tmp_path, f"run --resume {killed.run_id} --quiet")
    assert elsewhere.returncode == 6 and "begun on other ports" in elsewhere.stderr
    mac = killed.parts[0].nic["ports"]["rx"]["mac"]  # type: ignore[index]
    sh(f"ip link set kbt-a address {mac}")
    done = kbench(tmp_path, f"run --resume {killed.run_id} --quiet")
    assert done.returncode == 0, done.stderr
    whole = load_run(killed.run_id, tmp_path / "results")
    assert whole.outcome == "complete" and len(whole.trials) > len(killed.trials)


@pytest.mark.usefixtures("ports")
def test_a_port_that_a_kill_left_on_its_passage_comes_home() -> None:
    before, shell = look(), LocalShell()
    state = read_state(shell, "kbt-a")
    sh(f"ip netns add {passage('kbt-a')}; ip link set kbt-a netns {passage('kbt-a')}")
    put_back(shell, state)
    assert look() == before


@pytest.mark.usefixtures("ports")
@pytest.mark.timeout_s(300)
def test_kills_at_random_moments(tmp_path: Path) -> None:
    before, machine = look(), leftovers.snapshot()
    chance = random.Random(20261121)
    in_time = 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-m", "kbench", "run", "--nic", "kbt-a", "--function", "forward", "--rounds", "200"],
            cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(chance.uniform(0.3, 5.0))
        in_time += process.poll() is None
        process.kill()
        process.wait()
        restored = kbench(tmp_path, "restore")
        assert restored.returncode == 0, restored.stderr
        assert look() == before
        assert leftovers.after(machine) == []
    assert in_time == KILLS
