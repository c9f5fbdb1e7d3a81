# SPDX-License-Identifier: GPL-2.0-only
"""Damaged, killed and unwritable runs: finished trials are kept, and what is wrong is named."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kbench.errors import StoreError
from kbench.store import RunStore, load_run
from tests.unit import synthetic_runs as synthetic

ROOT = Path(__file__).parents[2]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """The trials.jsonl of a run "one" with three trials: four lines with the header."""
    with RunStore.create(tmp_path, "one", {}) as store:
        for round_ in (1, 2, 3):
            store.append_trial(synthetic.exact_trial("xdp", round_, 1000.0))
    return tmp_path / "one" / "trials.jsonl"


def test_every_cut_of_the_last_line_keeps_the_trials_before(stored: Path) -> None:
    data = stored.read_bytes()
    start = data.rstrip(b"\n").rindex(b"\n") + 1
    for end in (start + 1, start + 40, len(data) - 2):
        stored.write_bytes(data[:end])
        run = load_run("one", stored.parents[1])
        assert len(run.trials) == 2 and not run.ended
        assert "line 4" in run.problems[0] and "cut" in run.problems[0]
    stored.write_bytes(data[:-1])  # only the newline is missing: the record is whole
    assert len(load_run("one", stored.parents[1]).trials) == 3


@pytest.mark.parametrize("cut", [1, 2, 60])
def test_a_resumed_run_removes_the_cut_line_first(stored: Path, cut: int) -> None:
    stored.write_bytes(stored.read_bytes()[:-cut])
    with RunStore.reopen(stored.parent) as store:
        store.append_trial(synthetic.exact_trial("xdp", 4, 1000.0))
    run = load_run("one", stored.parents[1])
    assert run.problems == []
    assert [t.round for t in run.trials] == ([1, 2, 3, 4] if cut == 1 else [1, 2, 4])


def test_a_run_killed_before_its_first_line_resumes(stored: Path) -> None:
    stored.write_bytes(b'{"record":"hea')
    RunStore.reopen(stored.parent).close()
    assert json.loads(stored.read_text())["record"] == "header"


@pytest.mark.parametrize("bad", [b"{broken", b"", b"[1]", b'{"record":"trial"}', b"\0\0\0"])
def test_a_corrupt_middle_line_is_named(stored: Path, bad: bytes) -> None:
    lines = stored.read_bytes().split(b"\n")
    lines[2] = bad
    stored.write_bytes(b"\n".join(lines))
    with pytest.raises(StoreError, match="line 3 is corrupt"):
        load_run("one", stored.parents[1])


def test_a_trial_whose_counts_are_text_is_corrupt(stored: Path) -> None:
    text = stored.read_text().replace('"offered":40000', '"offered":"many"', 1)
    stored.write_text(text)
    with pytest.raises(StoreError, match="line 2 is corrupt"):
        load_run("one", stored.parents[1])


def test_unknown_records_are_skipped_and_said(stored: Path) -> None:
    with stored.open("a") as file:
        file.write('{"record":"weather"}\n')
    run = load_run("one", stored.parents[1])
    assert len(run.trials) == 3 and "'weather'" in run.problems[0]


@pytest.mark.parametrize("name", ["run.json", "trials.jsonl"])
def test_a_newer_schema_is_refused_with_what_to_do(stored: Path, name: str) -> None:
    file = stored.parent / name
    old, new = ('"schema_version": 1', '"schema_version": 2') if name == "run.json" else (
        '"schema_version":1', '"schema_version":2')  # fmt: skip
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(StoreError, match="schema 2, this kbench reads up to 1: read it with"):
        load_run("one", stored.parents[1])


@pytest.mark.parametrize("text", ["{", "[]", '{"schema_version": "1"}', "{}"])
def test_a_broken_run_file_is_refused(stored: Path, text: str) -> None:
    (stored.parent / "run.json").write_text(text)
    with pytest.raises(StoreError, match=r"run\.json"):
        load_run("one", stored.parents[1])


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """No file may grow beyond 4 KiB: the write that would do so is short, the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_failed_write_keeps_the_finished_trials(tmp_path: Path) -> None:
    written = 0
    store = RunStore.create(tmp_path, "one", {})
    # Not a fixture: pytest's own output may be a file, and is written before a fixture ends.
    with store, small_files(), pytest.raises(StoreError) as caught:
        for round_ in range(100):
            store.append_trial(synthetic.exact_trial("xdp", round_, 1000.0))
            written += 1
    assert 2 <= written < 100
    message = str(caught.value)
    assert f"{written} finished trials are kept in {tmp_path / 'one'}" in message
    assert "kbench run --resume one" in message and "\n" not in message
    run = load_run("one", tmp_path)
    assert len(run.trials) == written and run.problems == []


WRITER = """
import sys
from pathlib import Path
from kbench.store import RunStore
from tests.unit import synthetic_runs as synthetic
with RunStore.create(Path(sys.argv[1]), "one", {}) as store:
    for round_ in range(10**6):
        store.append_trial(synthetic.exact_trial("xdp", round_, 1000.0))
        print(round_, flush=True)
"""


def test_kill_9_keeps_every_trial_whose_append_returned(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ}
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    time.sleep(0.1)
    process.kill()
    done = process.stdout.read().split()
    process.wait()
    process.stdout.close()
    run = load_run("one", tmp_path)
    assert len(run.trials) >= len(done) + 1 > 1
    assert [t.round for t in run.trials] == list(range(len(run.trials)))
