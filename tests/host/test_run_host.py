# SPDX-License-Identifier: GPL-2.0-only
"""`kbench run` on this machine, end to end: real packets, closed ledgers, a report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kbench.store import load_run

QUICK = ["--where", "host", "--rounds", "2", "--duration", "0.1"]


def kbench(*arguments: str, cwd: Path, timeout_s: float = 150) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kbench", *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip


def test_run_proves_measures_and_reports(tmp_path: Path) -> None:
    done = kbench("run", *QUICK, "--function", "forward,filter,drop", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = load_run("@latest", tmp_path / "results")
    assert run.ended and run.outcome == "complete"
    assert {(v.datapath, v.passed) for v in run.verifications} == {
        ("xdp", True), ("af_packet", True), ("kernel", True),
    }  # fmt: skip
    assert all(v.packets >= 60 for v in run.verifications)
    rates = [t for t in run.trials if t.purpose == "rate"]
    turns = [(t.function, t.datapath, t.round, t.block) for t in rates if not t.warm_up]
    # A trial that others' load contaminated is made again, so a turn may be there more than once.
    assert len(set(turns)) == 2 * (3 + 2 + 2) and {(round_, block) for *_, round_, block in turns} == {
        (0, 0),
        (1, 1),
    }
    assert sum(t.warm_up for t in rates) == len(set(turns)), "each block warms up"
    for trial in rates:
        counters = trial.counters
        assert counters.offered == counters.forwarded + sum(counters.dropped.values()) + counters.lost
        assert trial.valid, trial.problems
        assert trial.forwarded_pps and trial.forwarded_pps > 1000
        if trial.function == "drop":
            assert counters.forwarded == 0 and counters.dropped["policy"] > 0
    sampled = [t for t in run.trials if "cpus" in t.probes.get("samples", {})]
    assert {t.purpose for t in sampled} == {"profile"}, "scored trials must not be sampled"
    assert {(t.function, t.datapath) for t in sampled} == {(t.function, t.datapath) for t in rates}
    latency = [t for t in run.trials if t.purpose == "latency"]
    assert {t.datapath for t in latency} == {"xdp", "af_packet", "kernel"}
    assert all(t.latency and t.latency.count == t.counters.forwarded for t in latency)
    (report,) = (tmp_path / "reports").glob("*.html")
    assert run.run_id in report.read_text()
    assert str(report.relative_to(tmp_path)) in done.stdout


def test_paced_load_is_offered_as_asked(tmp_path: Path) -> None:
    done = kbench("run", *QUICK, "--datapath", "xdp", "--function", "forward", "--load", "20000",
                  "--no-latency", "--duration", "0.5", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    trials = [t for t in load_run("@latest", tmp_path / "results").trials if t.round >= 0]
    assert trials
    # Virtual CPUs stall; what is asserted is that the pace is held over the trial, not each gap.
    assert all(t.counters.offered == pytest.approx(20_000 * t.duration_s, rel=0.2) for t in trials)


def test_half_of_the_traffic_matches(tmp_path: Path) -> None:
    done = kbench("run", *QUICK, "--datapath", "xdp,af_packet", "--function", "filter", "--match-share", "0.5",
                  "--no-latency", "--load", "50000", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    for trial in load_run("@latest", tmp_path / "results").trials:
        if trial.purpose == "rate":
            counters = trial.counters
            done_with = counters.forwarded + sum(counters.dropped.values())
            assert counters.forwarded / done_with == pytest.approx(0.5, abs=0.02)


def test_split_placement_gives_the_dut_a_cpu_of_its_own(tmp_path: Path) -> None:
    done = kbench("run", *QUICK, "--datapath", "xdp,kernel", "--function", "forward", "--placement", "split",
                  "--no-latency", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    rates = [t for t in load_run("@latest", tmp_path / "results").trials if t.purpose == "rate"]
    assert rates and all(t.placement == "split" for t in rates)
    for trial in rates:
        # Threaded NAPI runs in a kernel thread, so the second CPU is busy in system time.
        (second,) = [c for c in trial.cpus if c.cpu == 1]
        assert second.system_s + second.softirq_s > 0


def test_json_is_the_comparison_as_data(tmp_path: Path) -> None:
    done = kbench("run", *QUICK, "--datapath", "xdp,kernel", "--function", "forward", "--no-latency", "--quiet",
                  "--json", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    (comparison,) = data["comparisons"]
    assert comparison["kind"] == "wall"
    assert {row["datapath"] for row in comparison["rows"]} == {"xdp", "kernel"}
    assert data["complete"] is True


def test_verify_alone_measures_nothing(tmp_path: Path) -> None:
    done = kbench("verify", "--where", "host", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "5 of 5" in done.stdout
    assert not load_run("@latest", tmp_path / "results").trials
