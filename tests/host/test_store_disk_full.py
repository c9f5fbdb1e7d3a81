# SPDX-License-Identifier: GPL-2.0-only
"""A file system that really fills up: finished trials stay readable and the message says where."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kbench.errors import StoreError
from kbench.store import RunStore, load_run
from tests.unit import synthetic_runs as synthetic


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 64 KiB."""
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "kb-store-test", mount], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", mount], check=True)


def test_trials_before_the_disk_was_full_are_kept(small_disk: Path) -> None:
    written = 0
    with RunStore.create(small_disk, "one", {}) as store, pytest.raises(StoreError) as caught:
        for round_ in range(1000):
            store.append_trial(synthetic.exact_trial("xdp", round_, 1000.0))
            written += 1
    assert 0 < written < 1000
    assert f"no space left; {written} finished trials are kept in {small_disk / 'one'}" in str(caught.value)
    run = load_run("one", small_disk)
    assert [t.round for t in run.trials] == list(range(written)) and run.problems == []


def test_a_run_that_was_full_goes_on_once_there_is_room(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 40_000)
    with RunStore.create(small_disk, "one", {}) as store, pytest.raises(StoreError):
        for round_ in range(1000):
            store.append_trial(synthetic.exact_trial("xdp", round_, 1000.0))
    before = len(load_run("one", small_disk).trials)
    ballast.unlink()
    with RunStore.reopen(small_disk / "one") as store:
        store.append_trial(synthetic.exact_trial("xdp", 9999, 1000.0))
    assert len(load_run("one", small_disk).trials) == before + 1


def test_a_full_disk_at_the_start_is_one_line(small_disk: Path) -> None:
    with (small_disk / "ballast").open("wb") as file, pytest.raises(OSError, match="No space"):
        while True:
            os.write(file.fileno(), b"x" * 4096)
    with pytest.raises(StoreError, match=r"can't create the run directory .*: no space left"):
        RunStore.create(small_disk, "one", {})
