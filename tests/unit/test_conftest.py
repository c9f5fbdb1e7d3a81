# SPDX-License-Identifier: GPL-2.0-only
"""The tests' own machinery: a skip that must be a failure is one, and what stays behind is seen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import leftovers

ROOT = Path(__file__).parents[2]


def _pytest(directory: Path, text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    test = directory / "test_sample.py"
    test.write_text(text)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        "-q",
        "-rs",
        str(test),
    ]
    command += ["--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml")]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "KBENCH_REQUIRE": "", "KBENCH_LEFTOVERS": "warn", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


NEEDS_PDF = "import pytest\n@pytest.mark.needs_pdf\ndef test_it(): pass\n"


def _path_without_tools(directory: Path) -> str:
    empty = directory / "bin"
    empty.mkdir()
    return str(empty)


def test_what_the_machine_lacks_is_a_skip_with_its_reason(tmp_path: Path) -> None:
    done = _pytest(tmp_path, NEEDS_PDF, PATH=_path_without_tools(tmp_path))
    assert done.returncode == 0, done.stdout
    assert "1 skipped" in done.stdout and "poppler-utils" in done.stdout


@pytest.mark.parametrize("require", ["pdf", "all", "lab,pdf"])
def test_a_required_need_fails(tmp_path: Path, require: str) -> None:
    done = _pytest(tmp_path, NEEDS_PDF, PATH=_path_without_tools(tmp_path), KBENCH_REQUIRE=require)
    assert done.returncode == 1, done.stdout
    assert "poppler-utils" in done.stdout


def test_any_skip_fails_when_all_is_required(tmp_path: Path) -> None:
    skip = "import pytest\ndef test_it(): pytest.skip('because')\n"
    assert _pytest(tmp_path, skip).returncode == 0
    assert _pytest(tmp_path, skip, KBENCH_REQUIRE="all").returncode == 1


def test_an_unknown_requirement_is_refused(tmp_path: Path) -> None:
    assert (
        _pytest(tmp_path, "def test_it(): pass\n", KBENCH_REQUIRE="labb").returncode
        == pytest.ExitCode.USAGE_ERROR
    )


def test_a_test_that_hangs_fails(tmp_path: Path) -> None:
    slow = "import pytest, time\n@pytest.mark.timeout_s(0.2)\ndef test_it(): time.sleep(20)\n"
    done = _pytest(tmp_path, slow)
    assert done.returncode == 1 and "longer than 0.2 s" in done.stdout


def test_a_file_left_behind_is_seen(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    litter = "import tempfile\ndef test_it(): tempfile.mkdtemp(prefix='kbench-')\n"
    done = _pytest(tmp_path, litter, TMPDIR=str(tmp_path / "scratch"), KBENCH_LEFTOVERS="fail")
    assert done.returncode == 1 and "left on the machine: file" in done.stdout, done.stdout


def test_a_process_and_a_link_left_behind_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "SETTLE_S", 0.0)
    before = leftovers.snapshot()
    full = {
        **before,
        "link": before["link"] | {"/sys/class/net/kbx"},
        "process": before["process"] | {"7 kb-sink"},
    }
    monkeypatch.setattr(leftovers, "snapshot", lambda: full)
    assert leftovers.after(before) == ["link /sys/class/net/kbx", "process 7 kb-sink"]
    monkeypatch.setattr(leftovers, "snapshot", lambda: before)
    assert leftovers.after(full) == ["link /sys/class/net/kbx is gone"]
