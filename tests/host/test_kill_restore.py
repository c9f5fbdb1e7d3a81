# SPDX-License-Identifier: GPL-2.0-only
"""SIGKILL at any moment, then `kbench restore`: the machine is as before and every finished trial can be read."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kbench.errors import StoreError
from kbench.store import list_runs, load_run
from tests import leftovers

KILLS = 20


def start(arguments: list[str], cwd: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "kbench", *arguments],
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def restore(cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-m", "kbench", "restore"], cwd=cwd, capture_output=True, text=True,
                          timeout=60, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def readable(results: Path) -> int:
    """Finished trials of all runs; a run that was killed before its first trial has none."""
    trials = 0
    for path in list_runs(results):
        with contextlib.suppress(StoreError):
            trials += len(load_run(path, results).trials)
    return trials


@pytest.mark.timeout_s(400)
def test_twenty_kills_at_random_moments(tmp_path: Path) -> None:
    before = leftovers.snapshot()
    chance = random.Random(20261121)
    killed_in_time = 0
    for _ in range(KILLS):
        process = start(
            ["run", "--where", "host", "--function", "forward", "--rounds", "5", "--duration", "0.1"],
            tmp_path,
        )
        time.sleep(chance.uniform(0.2, 4.0))
        killed_in_time += process.poll() is None
        process.kill()
        process.wait()
        restore(tmp_path)
        assert leftovers.after(before) == []
    assert killed_in_time >= KILLS // 2, "the runs ended before they were killed"
    assert readable(tmp_path / "results") > 0


def test_ctrl_c_undoes_everything_by_itself(tmp_path: Path) -> None:
    before = leftovers.snapshot()
    process = start(["run", "--where", "host", "--function", "forward", "--rounds", "1000"], tmp_path)
    deadline = time.monotonic() + 60
    while not readable(tmp_path / "results"):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert leftovers.after(before) == []
    run = load_run("@latest", tmp_path / "results")
    assert run.outcome == "interrupted"
    assert "nothing to restore" in restore(tmp_path)


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    arguments = (
        "run --where host --function forward --datapath xdp,kernel --rounds 12 --duration 0.1 --no-latency"
    )
    process = start(arguments.split(), tmp_path)
    deadline = time.monotonic() + 60
    while readable(tmp_path / "results") < 10:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    restore(tmp_path)
    killed = load_run("@latest", tmp_path / "results")
    assert not killed.ended
    done = subprocess.run(
        [sys.executable, "-m", "kbench", "run", "--resume", killed.run_id, "--quiet"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    whole = load_run(killed.run_id, tmp_path / "results")
    assert whole.outcome == "complete"
    assert [t.started_at for t in whole.trials[: len(killed.trials)]] == [t.started_at for t in killed.trials]
    rounds = {t.round for t in whole.trials if t.purpose == "rate"}
    assert rounds == set(range(12))
    again = subprocess.run(
        [sys.executable, "-m", "kbench", "run", "--resume", killed.run_id],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert again.returncode == 6 and "nothing to resume" in again.stderr
