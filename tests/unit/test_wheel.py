# SPDX-License-Identifier: GPL-2.0-only
"""The wheel carries all that a run needs: Python, templates, C sources, the package list, the man page."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.unit.test_style import FILES

ROOT = Path(__file__).parents[2]
CARRIED = ("core", "kmods", "userspace", "examples")


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What is in the wheel, built from this tree without network."""
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
    ]
    done = subprocess.run([*command, "-w", str(out), str(ROOT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = out.glob("kbench-*-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def relative(*tops: str) -> set[str]:
    found = {str(path.relative_to(ROOT)) for path in FILES}
    return {name for name in found if name.split("/")[0] in tops}


def test_sources_are_carried_and_nothing_else(names: set[str]) -> None:
    expected = {f"kbench/_src/{name}" for name in relative(*CARRIED)} | {"kbench/_src/tools/packages.txt"}
    assert len(expected) > 30
    assert {name for name in names if name.startswith("kbench/_src/")} == expected


def test_the_package_is_whole(names: set[str]) -> None:
    package = relative("kbench")
    assert any(name.endswith(".j2") for name in package), "the report's template"
    assert package - names == set()


def test_man_page_licence_and_command(names: set[str]) -> None:
    assert any(name.endswith(".data/data/share/man/man1/kbench.1") for name in names)
    assert any(name.endswith("/LICENSE") for name in names)
    assert any(name.endswith("entry_points.txt") for name in names)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"kbench": "kbench.cli:main"}


def test_nothing_of_the_tests_or_a_build_gets_in(names: set[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.startswith("kbench-")} == {"kbench"}
    assert not [name for name in names if name.endswith((".o", ".ko", ".pyc", ".skel.h"))]
