# SPDX-License-Identifier: GPL-2.0-only
"""The reports and pictures that the README shows: small, self-contained, and of nobody's home."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GALLERY = ROOT / "docs" / "gallery"
REPORTS = sorted(GALLERY.glob("*.html"))


def test_the_readme_shows_all_of_it() -> None:
    shown = set(re.findall(r"docs/gallery/([\w.-]+)", (ROOT / "README.md").read_text()))
    assert shown == {path.name for path in GALLERY.iterdir()} and len(REPORTS) == 2


def test_pictures_are_small() -> None:
    pictures = list(GALLERY.glob("*.png"))
    assert pictures and sum(path.stat().st_size for path in pictures) < 500_000


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_a_report_is_one_file_of_a_real_run(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text) < 3_000_000
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", text)
    assert "Content-Security-Policy" in text and "synthetic" not in text
    assert not re.search(r"(?<![\w~.])/(?:home|root|tmp|work)/", text)
