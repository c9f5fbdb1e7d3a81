# SPDX-License-Identifier: GPL-2.0-only
"""`kbench run --nic eth1` in the lab: the peer is found, work proven, everything accounted for, on real drivers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kbench.errors import EnvironmentProblem
from kbench.host import qemu
from kbench.store import Run, load_run


def kbench(cwd: Path, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kbench", *command.split()],
        cwd=cwd, capture_output=True, text=True, timeout=380, check=False,
    )  # fmt: skip


def run_in_lab(cwd: Path, arguments: str) -> tuple[Run, str]:
    done = kbench(cwd, f"run --where lab --function forward --rounds 2 --blocks 1 {arguments}")
    assert done.returncode == 0, done.stdout + done.stderr
    return load_run("@latest", cwd / "results"), done.stdout


@pytest.mark.parametrize(
    ("model", "driver", "xdp", "arguments", "kind"),
    [
        ("e1000e", "e1000e", "xdp_generic", "--nic eth1", "hairpin"),
        ("virtio-net", "virtio_net", "xdp", "--nic eth1 --no-latency", "hairpin"),
        ("vmxnet3", "vmxnet3", "xdp", "--nic eth1,eth3 --peer eth2,eth4 --no-latency", "two-port"),
    ],
)
def test_a_verified_comparison(
    tmp_path: Path, model: str, driver: str, xdp: str, arguments: str, kind: str
) -> None:
    run, printed = run_in_lab(tmp_path, f"--lab-nic {model} {arguments}")
    names = {"netfilter", xdp, "af_packet", "kernel"}
    (part,) = run.parts
    assert part.kind == "emulated" and part.generator == "pktgen" and part.nic is not None
    assert part.nic["kind"] == kind
    assert part.nic["found"] == ("named" if "--peer" in arguments else "probe frames")
    ports = part.nic["ports"]
    assert {role: port["name"] for role, port in ports.items()} == (
        {"generator": "eth2", "rx": "eth1", "tx": "eth1", "sink": "eth2"}
        if kind == "hairpin"
        else {"generator": "eth2", "rx": "eth1", "tx": "eth3", "sink": "eth4"}
    )
    assert {port["driver"] for port in ports.values()} == {driver}
    speed = {"e1000e": 1000, "virtio_net": None, "vmxnet3": 1000}[driver]
    assert {port["speed_mbps"] for port in ports.values()} == {speed}, "read while the ports are up"
    assert {(v.datapath, v.passed) for v in run.verifications} == {(name, True) for name in names}
    assert all(v.packets > 150 for v in run.verifications)
    rates = [t for t in run.trials if t.purpose == "rate" and not t.warm_up]
    assert {t.datapath for t in rates} == names
    for trial in rates:
        counters = trial.counters
        assert trial.raw["testbed"] == "nic" and trial.kind == "emulated"
        assert counters.offered == counters.forwarded + sum(counters.dropped.values()) + counters.lost
        assert counters.forwarded > 0 and trial.forwarded_pps
        assert trial.raw["nic_stats"]["rx"], "the driver's own counters moved"
    if "--no-latency" not in arguments:
        latencies = [t for t in run.trials if t.purpose == "latency"]
        assert {t.datapath for t in latencies} == names
        assert all(t.raw["latency_clock"]["kind"] == "software" for t in latencies)
        assert any(t.latency is not None and t.latency.count for t in latencies)
    settings = run.facts["lab"]["nics"]
    assert {nic["name"] for nic in settings} == {port["name"] for port in ports.values()}
    assert all(nic["before"] and nic["during"] for nic in settings)
    assert "emulated" in printed and driver in printed


def test_ports_in_use_are_refused_and_topo_says_why(tmp_path: Path) -> None:
    done = kbench(tmp_path, "run --where lab --nic eth0")
    assert done.returncode == 3, done.stderr
    assert "eth0 of lab is in use" in done.stderr and "default route" in done.stderr
    assert not (tmp_path / "results").exists() or not any((tmp_path / "results").iterdir())


def test_a_cable_that_is_not_there(tmp_path: Path) -> None:
    done = kbench(tmp_path, "run --where lab --lab-nic virtio-net --nic eth1 --peer eth3")
    assert done.returncode == 3, done.stderr
    assert "eth1" in done.stderr and "choices:" in done.stderr


def test_queues_are_on_cpus_of_their_own(tmp_path: Path) -> None:
    """On igb, which QEMU emulates with RSS. It loses frames that nobody counts: a trial may be invalid, rightly."""
    try:
        qemu.find_newer_qemu(lambda _text: None)
    except EnvironmentProblem as problem:
        pytest.skip(f"no newer QEMU: {problem}")
    done = kbench(
        tmp_path,
        "run --where lab --lab-nic igb --nic eth1 --peer eth2 --queues 2,2 --function forward --datapath kernel"
        " --rounds 1 --blocks 1 --no-latency",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = load_run("@latest", tmp_path / "results")
    assert [case.queues for case in run.cases] == [2]
    assert {(v.case_id, v.passed) for v in run.verifications} == {(case.case_id, True) for case in run.cases}
    for case in run.cases:
        (trial,) = [
            t for t in run.trials if t.case_id == case.case_id and t.purpose == "rate" and not t.warm_up
        ]
        cpus = trial.raw["cpus"]["receive_all"]
        assert len(cpus) == case.queues and trial.raw["cpus"]["generator"] not in cpus
        work = [trial.softnet[f"processed/cpu{cpu}"] for cpu in cpus]
        assert min(work) > 0.1 * sum(work), "flows are spread over the queues"
    (setting,) = [nic for nic in run.facts["lab"]["nics"] if nic["name"] == "eth1"]
    assert setting["during"]["channels.combined"] == 2
