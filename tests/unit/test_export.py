# SPDX-License-Identifier: GPL-2.0-only
"""The one function for all formats: what it refuses, and how files are written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kbench.errors import StoreError, UsageError
from kbench.explain.export import FORMATS, export
from kbench.store import Run
from tests.unit import export_runs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return export_runs.known(tmp_path_factory.mktemp("runs"))


def test_all_formats_are_there_and_documented() -> None:
    assert list(FORMATS) == ["csv", "parquet", "pyperf", "openmetrics", "junit"]
    text = (ROOT / "docs/export.md").read_text()
    for name in FORMATS:
        assert f"| `{name}` |" in text


@pytest.mark.parametrize("name", FORMATS)
def test_the_file_holds_the_document(run: Run, tmp_path: Path, name: str) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / "deep" / "er" / f"run.{name}"
    made = export(run, name, out)
    assert made.data and out.read_bytes() == made.data
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    again = export(run, name, out)
    assert out.read_bytes() == again.data
    if name != "parquet":
        assert again.data == made.data == export(run, name).data
        made.data.decode()


def test_what_does_not_fit_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown format 'xml': choose from csv, parquet"):
        export(run, "xml")
    with pytest.raises(UsageError, match="name a file with --out"):
        export(run, "parquet")
    for name in ("pyperf", "openmetrics", "junit"):
        with pytest.raises(UsageError, match="has no tables"):
            export(run, name, table="results")


def test_an_unwritable_file_is_one_clear_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"can't write .*x.csv: .*name another file"):
        export(run, "csv", tmp_path / "file" / "x.csv")
    with pytest.raises(StoreError, match="is not a file"):
        export(run, "csv", tmp_path)


def test_a_device_or_pipe_is_not_replaced(run: Run, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(StoreError, match="is not a file"):
        export(run, "csv", pipe)
    assert pipe.is_fifo()


def test_the_old_file_stays_when_the_disk_is_full(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "x.csv"
    out.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="no space left"):
        export(run, "csv", out)
    assert out.read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["x.csv"]


def test_formats_load_only_what_they_need() -> None:
    code = (
        "import sys, kbench.explain.export\n"
        "print([m for m in ('pandas', 'pyarrow', 'pyperf', 'prometheus_client') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
