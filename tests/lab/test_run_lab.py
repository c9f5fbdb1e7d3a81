# SPDX-License-Identifier: GPL-2.0-only
"""`kbench run` in the lab: the real module and the real pktgen, exact counters and exact instruction counts."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kbench.store import Run, load_run
from tests import leftovers

ALL = {"netfilter", "xdp", "af_packet", "kernel"}


def lab_run(cwd: Path, *arguments: str) -> Run:
    done = subprocess.run(
        [sys.executable, "-m", "kbench", "run", "--where", "lab", "--generator", "pktgen", *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=380, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = load_run("@latest", cwd / "results")
    assert run.ended and run.outcome == "complete"
    return run


def instructions(run: Run, datapath: str) -> float:
    """Median instructions per packet of a datapath."""
    values = sorted(
        t.instructions_per_packet
        for t in run.trials
        if t.datapath == datapath and t.instructions_per_packet is not None
    )
    assert values
    return values[len(values) // 2]


def test_all_datapaths_do_the_same_and_every_packet_is_accounted_for(tmp_path: Path) -> None:
    run = lab_run(tmp_path, "--datapath", ",".join(sorted(ALL)), "--function", "forward")
    assert {(v.datapath, v.passed) for v in run.verifications} == {(name, True) for name in ALL}
    trials = [t for t in run.trials if t.purpose == "exact"]
    assert {t.datapath for t in trials} == ALL
    for trial in trials:
        counters = trial.counters
        assert trial.kind == "exact" and trial.valid, trial.problems
        assert counters.offered == counters.forwarded + sum(counters.dropped.values()) + counters.lost
        assert counters.forwarded == counters.offered and counters.lost == 0
        assert trial.forwarded_pps is None, "emulated wall clock is no result"


def test_a_functional_lab_counts_and_nothing_else(tmp_path: Path) -> None:
    run = lab_run(
        tmp_path, "--lab-mode", "functional", "--function", "forward,filter,drop", "--match-share", "1"
    )
    trials = run.trials
    assert {t.datapath for t in trials} == ALL and {t.purpose for t in trials} == {"account"}
    for trial in trials:
        counters = trial.counters
        assert trial.valid, trial.problems
        assert counters.offered == counters.forwarded + sum(counters.dropped.values()) + counters.lost
        assert trial.forwarded_pps is None and trial.instructions_per_packet is None
    assert run.facts["lab"]["mode"] == "fast" and run.facts["lab"]["accel_reason"]


@pytest.mark.timeout_s(400)
def test_instruction_counts_repeat_while_another_process_burns_a_core(tmp_path: Path) -> None:
    arguments = ("--datapath", "netfilter,xdp", "--function", "forward")
    quiet = lab_run(tmp_path, *arguments)
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as burner:
        try:
            busy = lab_run(tmp_path, *arguments)
        finally:
            burner.kill()
    for name in ("netfilter", "xdp"):
        one, other = instructions(quiet, name), instructions(busy, name)
        assert abs(one - other) / one < 0.002, f"{name}: {one} and {other} instructions per packet"


@pytest.mark.timeout_s(400)
def test_ten_thousand_rules_cost_at_most_twice_one_rule(tmp_path: Path) -> None:
    run = lab_run(tmp_path, "--datapath", "netfilter,xdp", "--function", "filter", "--rules", "1,10000")
    for name in ("netfilter", "xdp"):
        cost = {
            t.case_id: t.instructions_per_packet
            for t in run.trials
            if t.datapath == name and t.purpose == "exact"
        }
        one, many = (next(v for k, v in cost.items() if k.startswith(f"filter-r{n}acl-")) for n in (1, 10000))
        assert one and many and many <= 2 * one


def test_the_older_kernel_runs_the_same_module_sources(tmp_path: Path) -> None:
    run = lab_run(tmp_path, "--kernel", "6.1", "--datapath", "netfilter,xdp", "--function", "filter")
    assert {(v.datapath, v.passed) for v in run.verifications} == {("netfilter", True), ("xdp", True)}
    assert str(run.facts["lab"]["kernel_release"]).startswith("6.1.")


@pytest.mark.timeout_s(300)
def test_a_killed_run_leaves_no_virtual_machine(tmp_path: Path) -> None:
    before = leftovers.snapshot()
    chance = random.Random(7)
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-m", "kbench", "run", "--where", "lab", "--function", "forward"],
            cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(chance.uniform(1, 12))
        process.send_signal(signal.SIGKILL)
        process.wait()
        subprocess.run([sys.executable, "-m", "kbench", "restore"], cwd=tmp_path, timeout=60, check=True)
        assert leftovers.after(before) == []
