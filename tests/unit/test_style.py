# SPDX-License-Identifier: GPL-2.0-only
"""House style that no other tool checks: licence lines, file sizes, words that must not get in."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LICENCE = "SPDX-License-Identifier: GPL-2.0-only"
SOURCES = {".py", ".c", ".h", ".mk", ".sh", ".toml", ".yml"}
NAMED = {"Makefile", "Kbuild", "setup", "run", "packages.txt"}
TEXTS = SOURCES | {".md", ".1", ".txt", ".html", ".css", ".js", ".j2", ".cfg", ".config"}
MAX_LINES = 600
# Pieces, so that this file does not find itself.
FORBIDDEN = [
    re.compile("/wor" + r"k/(main|shared|\.)"),
    re.compile(r"\." + "library"),
    re.compile("/ho" + r"me/\w"),
    re.compile("/tm" + "p/kb/"),
]
# Tables made by a program, or carried from elsewhere, may be long.
LONG: set[str] = set()


def tracked() -> list[Path]:
    """Files of the tree as git sees it; without git (an unpacked archive), all that are not hidden or built."""
    done = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0 and done.stdout:
        names = [ROOT / line for line in done.stdout.splitlines()]
    else:
        skip = {"build", "dist", "results", "reports"}
        names = [
            path
            for path in ROOT.rglob("*")
            if not any(part.startswith(".") or part in skip for part in path.relative_to(ROOT).parts[:-1])
        ]
    return sorted(path for path in names if path.is_file())


FILES = tracked()


def is_source(path: Path) -> bool:
    return path.suffix in SOURCES or path.name in NAMED


def lacks_licence(text: str) -> bool:
    return LICENCE not in "\n".join(text.splitlines()[:4])


def words_found(text: str) -> list[str]:
    return [pattern.pattern for pattern in FORBIDDEN if pattern.search(text)]


def test_there_are_files_to_look_at() -> None:
    assert len([path for path in FILES if is_source(path)]) > 30


def test_each_source_file_names_its_licence() -> None:
    assert [
        str(path.relative_to(ROOT)) for path in FILES if is_source(path) and lacks_licence(path.read_text())
    ] == []


def test_no_source_file_is_too_long() -> None:
    sizes = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in FILES if is_source(p)}
    assert {name: size for name, size in sizes.items() if size > MAX_LINES and name not in LONG} == {}


def test_no_path_of_a_workplace() -> None:
    found = {
        str(path.relative_to(ROOT)): words
        for path in FILES
        if (path.suffix in TEXTS or is_source(path))
        and (words := words_found(path.read_text(errors="replace")))
    }
    assert found == {}


@pytest.mark.parametrize("text", ["see /wor" + "k/shared/x", "cd /tm" + "p/kb/venv", "/ho" + "me/joe/x"])
def test_the_check_itself_finds(text: str) -> None:
    assert words_found(text)
    assert lacks_licence(text)
