# SPDX-License-Identifier: GPL-2.0-only
"""Two virtual machines as DUT and tester behind ssh: runs, kills with restore, and a tester that goes down."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kbench.host.lab import LabHost, LabNics, Parts, cabled
from kbench.store import list_runs, load_run
from tests.ssh_lab import new_key, ssh_options, url

KILLS = int(os.environ.get("KBENCH_NIC_KILLS", "3"))
"""Each takes some ten seconds under emulation; tests/host/test_nic_kill.py has more of them."""
SETTLE_S = 20.0

LOOK = """
ip -d link
ip netns
for p in eth1 eth2 eth3; do
    [ -e /sys/class/net/$p ] || continue
    ip address show dev $p
    ip route show table all dev $p
    ip -6 route show table all dev $p
    for o in -k -l -g -c -a -i -T; do echo "ethtool $o $p"; ethtool $o $p 2>&1; done
    device=$(readlink -f /sys/class/net/$p/device)
    readlink -f $device/driver
    for i in $(ls $device/msi_irqs $device/../msi_irqs 2>/dev/null | grep ^[0-9]); do
        echo irq $i $(cat /proc/irq/$i/smp_affinity_list)
    done
    for f in threaded gro_flush_timeout napi_defer_hard_irqs carrier; do cat /sys/class/net/$p/$f 2>&1; done
    for q in /sys/class/net/$p/queues/*; do cat $q/rps_cpus $q/xps_cpus 2>/dev/null; done
done
ls /tmp
ls /sys/module | grep -e kbench
ps -o comm | grep ^kb- | grep -v kb-agent
"""


@dataclass(frozen=True)
class Machine:
    """A virtual machine and how it is reached. Its agent is a way to look at it that kbench's runs don't use."""

    lab: LabHost
    url: str

    def look(self) -> list[str]:
        """All that a run must leave as it was, as lines of text."""
        return self.lab.run(["sh", "-c", LOOK], check=False).stdout.splitlines()

    def settled(self, before: list[str]) -> list[str]:
        """The same, once it is as `before` or some time has gone: links come up after they were put back."""
        deadline = time.monotonic() + SETTLE_S
        while (now := self.look()) != before and time.monotonic() < deadline:
            time.sleep(0.2)
        return now


@dataclass(frozen=True)
class Bed:
    """eth1 and eth2 of the DUT are cabled to each other, its eth3 to eth1 of the tester."""

    dut: Machine
    tester: Machine
    options: str


def silent(_text: str) -> None:
    pass


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Generator[Bed, None, None]:
    directory = tmp_path_factory.mktemp("nic-ssh")
    ssh = new_key(directory)
    parts = Parts.prepare("6.12", silent, need_module=False)
    ((left, right),) = cabled(1)
    dut_nics = LabNics(model="virtio-net", models=("e1000e",), cables=(left,), ssh=ssh)
    tester_nics = LabNics(model="virtio-net", cables=(right,), ssh=ssh)
    with (
        LabHost.boot(parts, mode="fast", log_dir=directory / "dut", progress=silent, nics=dut_nics) as dut,
        LabHost.boot(parts, mode="fast", log_dir=directory / "tester", progress=silent, nics=tester_nics) as tester,
    ):  # fmt: skip
        # A port that was never up has another queueing discipline than one that was.
        for lab, names in ((dut, ("eth1", "eth2", "eth3")), (tester, ("eth1",))):
            for name in names:
                lab.run(["ip", "link", "set", name, "up"])
            wait_for_carriers(lab, names)
            for name in names:
                lab.run(["ip", "link", "set", name, "down"])
        machines = [Machine(lab, url(lab)) for lab in (dut, tester)]
        yield Bed(*machines, ssh_options(directory, (dut, tester)))


def wait_for_carriers(lab: LabHost, names: tuple[str, ...]) -> None:
    deadline = time.monotonic() + SETTLE_S
    for name in names:
        while lab.read_text(f"/sys/class/net/{name}/carrier").strip() != "1":
            assert time.monotonic() < deadline, f"{name} has no carrier"
            time.sleep(0.1)


def start(bed: Bed, cwd: Path, command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "kbench", *command.split()],
        cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "KBENCH_SSH_OPTIONS": bed.options, "KBENCH_RUN_DIR": str(cwd / "run")},
    )  # fmt: skip


def kbench(bed: Bed, cwd: Path, command: str) -> subprocess.CompletedProcess[str]:
    with start(bed, cwd, command) as process:
        out, err = process.communicate(timeout=350)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


SHORT = "--function forward --datapath xdp,kernel --rounds 2 --blocks 1 --no-latency"


def test_two_machines_find_their_cable_and_measure(bed: Bed, tmp_path: Path) -> None:
    before = bed.dut.look(), bed.tester.look()
    done = kbench(bed, tmp_path, f"run --dut {bed.dut.url}/eth3 --generator {bed.tester.url} {SHORT}")
    assert done.returncode == 0, done.stdout + done.stderr
    run = load_run("@latest", tmp_path / "results")
    (part,) = run.parts
    assert part.name == "remote" and part.kind == "emulated" and part.nic is not None
    assert part.nic["found"] == "probe frames"
    assert (part.nic["dut"], part.nic["tester"]) == (bed.dut.url, bed.tester.url)
    assert part.nic["ports"]["generator"]["name"] == "eth1"
    assert {(v.datapath, v.passed) for v in run.verifications} == {("xdp", True), ("kernel", True)}
    rates = [t for t in run.trials if t.purpose == "rate" and not t.warm_up]
    assert {t.datapath for t in rates} == {"xdp", "kernel"}
    assert all(t.valid and t.counters.forwarded for t in rates)
    assert run.facts["remote"]["kernel"]["release"] == bed.dut.lab.kernel_release
    assert bed.dut.settled(before[0]) == before[0]
    assert bed.tester.settled(before[1]) == before[1]


def test_one_remote_machine_is_dut_and_tester(bed: Bed, tmp_path: Path) -> None:
    command = f"verify --dut {bed.dut.url}/eth1 --generator {bed.dut.url}/eth2 --function forward"
    done = kbench(bed, tmp_path, f"{command} --datapath netfilter,xdp_generic,af_packet")
    assert done.returncode == 0, done.stdout + done.stderr
    run = load_run("@latest", tmp_path / "results")
    assert {(v.datapath, v.passed) for v in run.verifications} == {
        (name, True) for name in ("netfilter", "xdp_generic", "af_packet")
    }


def test_the_port_of_the_session_is_refused(bed: Bed, tmp_path: Path) -> None:
    done = kbench(bed, tmp_path, f"run --i-know --dut {bed.dut.url}/eth0 --generator {bed.tester.url}/eth1")
    assert done.returncode == 3
    assert "eth0" in done.stderr and "session" in done.stderr


@pytest.mark.timeout_s(1200)
def test_kills_at_random_moments(bed: Bed, tmp_path: Path) -> None:
    before = bed.dut.look(), bed.tester.look()
    chance = random.Random(5)
    in_time = 0
    ports = (
        f"--dut {bed.dut.url}/eth3 --generator {bed.tester.url}/eth1 --datapath xdp,kernel",
        f"--dut {bed.dut.url}/eth1 --generator {bed.dut.url}/eth2 --datapath xdp_generic,kernel",
    )
    for number in range(KILLS):
        command = f"run {ports[number % 2]} --function forward --rounds 200 --no-latency"
        process = start(bed, tmp_path, command)
        with process:
            time.sleep(chance.uniform(1.0, 16.0))
            in_time += process.poll() is None
            process.kill()
            process.communicate()
        restored = kbench(bed, tmp_path, "restore")
        assert restored.returncode == 0, restored.stderr
        assert bed.dut.settled(before[0]) == before[0]
        assert bed.tester.settled(before[1]) == before[1]
    assert in_time == KILLS


def wait_for_trials(process: subprocess.Popen[str], results: Path, count: int) -> None:
    deadline = time.monotonic() + 200
    while True:
        stored = [load_run(path, results) for path in list_runs(results) if (path / "trials.jsonl").exists()]
        if stored and len(stored[-1].trials) >= count:
            return
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_cable_that_is_pulled_ends_the_run_in_order(bed: Bed, tmp_path: Path) -> None:
    before = bed.dut.look(), bed.tester.look()
    process = start(
        bed, tmp_path,
        f"run --dut {bed.dut.url}/eth3 --generator {bed.tester.url}/eth1 --function forward --datapath xdp,kernel"
        " --rounds 500 --no-latency",
    )  # fmt: skip
    try:
        with process:
            wait_for_trials(process, tmp_path / "results", 4)
            bed.dut.lab.pull_cable("eth3", False)
            _, err = process.communicate(timeout=120)
    finally:
        bed.dut.lab.pull_cable("eth3", True)
    assert process.returncode == 5, err
    assert f"no carrier on eth3 ({bed.dut.url}): the cable" in err
    run = load_run("@latest", tmp_path / "results")
    assert run.outcome == "failed" and len(run.trials) >= 4
    assert bed.dut.settled(before[0]) == before[0]
    assert bed.tester.settled(before[1]) == before[1]


def test_a_tester_that_goes_down_ends_the_run_in_order(bed: Bed, tmp_path: Path) -> None:
    """Last in this file: the tester does not come back."""
    before = bed.dut.look()
    process = start(
        bed, tmp_path,
        f"run --dut {bed.dut.url}/eth3 --generator {bed.tester.url}/eth1 --function forward --datapath xdp,kernel"
        " --rounds 500 --no-latency",
    )  # fmt: skip
    with process:
        wait_for_trials(process, tmp_path / "results", 4)
        os.kill(bed.tester.lab.process_id, signal.SIGKILL)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 5, err
    assert bed.tester.url in err and "lost" in err
    run = load_run("@latest", tmp_path / "results")
    assert run.outcome == "failed" and len(run.trials) >= 4
    assert bed.dut.settled(before) == before
    again = kbench(bed, tmp_path, "restore")
    assert again.returncode == 3
    assert bed.tester.url in again.stderr and "kbench restore" in again.stderr
