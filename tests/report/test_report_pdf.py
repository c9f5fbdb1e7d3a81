# SPDX-License-Identifier: GPL-2.0-only
"""The report as PDF, read back by poppler's tools: whole, numbered, nothing cut, nothing blank."""

from __future__ import annotations

import builtins
import contextlib
import re
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kbench.errors import EnvironmentProblem
from kbench.explain import report
from kbench.explain.report.page import page_html, page_pdf
from kbench.places import PLACES
from kbench.store import Run
from tests.unit import synthetic_findings
from tests.unit import synthetic_runs as synthetic

pytestmark = pytest.mark.needs_pdf

A4_PT = (595.3, 841.9)
HOSTILE_NAME = """<b onload=x>&$'"</title></style>) /JS (app.alert(1)) ( 50 %"""
MARGIN_PT = (28.0, 14.0)
"""10 mm at the sides, where print.css leaves 15; 5 mm above and below, where the page's number is."""
TITLES = (
    "The answer", "What was compared, and proven equal", "Throughput by frame size, rules and flows", "Loss by load",
    "Latency", "CPU", "Where every packet went", "Grades and their reasons", "Settings and facts", "How to reproduce",
    "Words",
)  # fmt: skip


def tool(*words: str | Path) -> str:
    return subprocess.run(
        [str(w) for w in words], capture_output=True, text=True, timeout=60, check=True
    ).stdout


@dataclass
class Pdf:
    """A PDF file and what it says."""

    path: Path

    @property
    def pages(self) -> list[str]:
        return tool("pdftotext", "-layout", self.path, "-").split("\f")[:-1]

    @property
    def boxes(self) -> list[tuple[tuple[float, float], list[tuple[float, float, float, float, str]]]]:
        """Each page's width and height, and its words: xMin, yMin, xMax, yMax from the upper left corner, in points."""
        made = []
        box = r'<word xMin="([-\d.]+)" yMin="([-\d.]+)" xMax="([-\d.]+)" yMax="([-\d.]+)">(.*?)</word>'
        pages = re.findall(
            r'<page width="([\d.]+)" height="([\d.]+)">(.*?)</page>',
            tool("pdftotext", "-bbox", self.path, "-"),
            re.S,
        )
        for width, height, text in pages:
            words = [
                (float(a), float(b), float(c), float(d), word) for a, b, c, d, word in re.findall(box, text)
            ]
            made.append(((round(float(width), 1), round(float(height), 1)), words))
        return made

    def outside(self) -> list[str]:
        """Words that are not wholly between the margins."""
        side, end = MARGIN_PT
        return [
            word for (width, height), words in self.boxes for left, top, right, bottom, word in words
            if left < side or right > width - side or top < end or bottom > height - end
        ]  # fmt: skip

    def dark_shares(self) -> list[float]:
        """Of each page the share of pixels that are not white."""
        tool("pdftoppm", "-r", "40", "-gray", self.path, self.path.with_suffix(""))
        shares = []
        for file in sorted(self.path.parent.glob(f"{self.path.stem}-*.pgm")):
            data = file.read_bytes()
            found = re.match(rb"P5\s+(\d+)\s+(\d+)\s+255\s", data)
            assert found
            pixels = data[found.end() :]
            assert len(pixels) == int(found[1]) * int(found[2])
            shares.append(sum(pixel < 200 for pixel in pixels) / len(pixels))
        return shares


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    root = tmp_path_factory.mktemp("results")
    return {
        "two parts": synthetic.write_full(root / "full"),
        "methods": synthetic_findings.write(root / "methods"),
    }


@pytest.fixture(scope="module")
def made(runs: dict[str, Run], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pdf]:
    place = tmp_path_factory.mktemp("pdf")
    found = {}
    for name, run in runs.items():
        (path,) = report.write_report([run], place / f"{name.replace(' ', '-')}.pdf", ["pdf"])
        found[name] = Pdf(path)
    return found


@pytest.fixture(params=["two parts", "methods"])
def pdf(made: dict[str, Pdf], request: pytest.FixtureRequest) -> Pdf:
    return made[request.param]


def heads(pdf: Pdf) -> dict[str, list[int]]:
    """Section's title -> pages on which a line is just it."""
    found: dict[str, list[int]] = {}
    for number, page in enumerate(pdf.pages, 1):
        lines = {line.strip() for line in page.splitlines()}
        for title in TITLES:
            if title in lines:
                found.setdefault(title, []).append(number)
    return found


def test_every_section_is_there_in_order(pdf: Pdf) -> None:
    found = heads(pdf)
    assert set(found) == set(TITLES)
    page = 1
    for title in TITLES:
        after = [number for number in found[title] if number >= page]
        assert after, f"{title} is before page {page}"
        page = after[0]
    assert found[TITLES[0]][0] <= 2 and page >= len(pdf.pages) - 2


def test_the_contents_tell_the_true_pages(pdf: Pdf) -> None:
    found = heads(pdf)
    front = "\n".join(pdf.pages[:2])
    told = dict(re.findall(r"^\s*\d+\.\s+(.+?)(?:\s*\.)+\s*(\d+)\s*$", front, re.M))
    assert set(told) == set(TITLES)
    assert [title for title in TITLES if int(told[title]) not in found[title]] == []


def test_pages_are_numbered_and_named(pdf: Pdf, runs: dict[str, Run]) -> None:
    pages = pdf.pages
    run_id = next(run.run_id for name, run in runs.items() if name.replace(" ", "-") == pdf.path.stem)
    for number, page in enumerate(pages, 1):
        assert f"page {number} of {len(pages)}" in page and f"kbench {run_id}" in page


def test_no_page_is_empty(pdf: Pdf) -> None:
    shares = pdf.dark_shares()
    assert len(shares) == len(pdf.pages) and min(shares) > 0.005


def test_pages_are_a4_and_nothing_is_cut(pdf: Pdf) -> None:
    boxes = pdf.boxes
    assert {size for size, _ in boxes} == {A4_PT}
    assert sum(len(words) for _, words in boxes) > 1000 and pdf.outside() == []


def test_a_table_too_wide_for_a_page_lies_across_one(tmp_path: Path) -> None:
    run = synthetic.write_full(tmp_path / "results")
    for trial in run.trials:
        if (trial.datapath, trial.part) == ("af_packet", "host"):
            trial.counters.lost_by = {f"{place}_{n}": 1_234_567 for n, place in enumerate(list(PLACES)[:12])}
    (path,) = report.write_report([run], tmp_path / "wide.pdf", ["pdf"])
    wide = Pdf(path)
    assert {size for size, _ in wide.boxes} == {A4_PT, A4_PT[::-1]}
    assert wide.outside() == [] and min(wide.dark_shares()) > 0.005
    across = [page for page, (size, _) in zip(wide.pages, wide.boxes, strict=True) if size != A4_PT]
    assert all("Ledger, packets" in page for page in across)


def test_hostile_names_do_not_reach_the_file_s_own_data(tmp_path: Path) -> None:
    run = synthetic.write_full(tmp_path / "results")
    run.run["run_id"] = HOSTILE_NAME
    run.run["kbench_version"] = HOSTILE_NAME
    (path,) = report.write_report([run], tmp_path / "hostile.pdf", ["pdf"])
    told = tool("pdfinfo", path)
    assert f"kbench {HOSTILE_NAME}" in told and "JavaScript:      no" in told
    assert Pdf(path).outside() == []


def test_fonts_are_embedded(pdf: Pdf) -> None:
    lines = tool("pdffonts", pdf.path).splitlines()[2:]
    assert lines and any("DejaVu" in line for line in lines)
    assert all(re.search(r"\s(yes)\s+(yes|no)\s+(yes|no)\s+\d+\s+\d+$", line) for line in lines)


def test_charts_are_in_it_as_pixels(pdf: Pdf, runs: dict[str, Run]) -> None:
    run = next(run for name, run in runs.items() if name.replace(" ", "-") == pdf.path.stem)
    images = [
        line
        for line in tool("pdfimages", "-list", pdf.path).splitlines()[2:]
        if re.match(r" *\d+ +\d+ image ", line)
    ]
    assert len(images) == len(report.figures([run]))


def test_what_is_folded_in_the_page_is_open(pdf: Pdf) -> None:
    text = "\n".join(pdf.pages)
    assert "kbench version" in text and "In words" not in text
    assert "Filter" not in text


def plain(data: bytes) -> bytes:
    """The file with its compressed parts as they were."""
    found = [data]
    for part in re.findall(rb"stream\r?\n(.*?)endstream", data, re.S):
        with contextlib.suppress(zlib.error):
            found.append(zlib.decompressobj().decompress(part))
    return b"\n".join(found)


def test_it_says_who_and_what_it_is(pdf: Pdf) -> None:
    told = dict(re.findall(r"^([A-Za-z ]+):\s+(.+)$", tool("pdfinfo", pdf.path), re.M))
    assert told["Title"].startswith("kbench 2000010") and told["Author"].startswith("kbench ")
    assert told["Tagged"] == "yes", "headings and tables are told to screen readers"
    assert re.search(rb"/Lang\s*\(en\)", plain(pdf.path.read_bytes()))


def test_hostile_text_stays_text(made: dict[str, Pdf]) -> None:
    text = " ".join("\n".join(made["two parts"].pages).split())
    assert '<script>alert("x")</script>' in text


def test_the_checks_find_what_they_look_for(tmp_path: Path) -> None:
    wide = page_html("base.html.j2", paged=True).replace(
        '<main id="main">', '<main id="main"><p>' + "w" * 200
    )
    path = tmp_path / "wide.pdf"
    path.write_bytes(page_pdf(wide.replace("overflow-wrap: anywhere", "overflow-wrap: normal")))
    assert Pdf(path).outside() != []
    path.write_bytes(page_pdf('<p>one</p><div style="break-before: page"></div>'))
    assert min(Pdf(path).dark_shares()) < 0.005


def test_a_pdf_asks_nobody_for_anything(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    page = (
        '<img src="http://kbench.invalid/x.png" alt="x"><img src="file:///etc/hostname" alt="y"><p>text</p>'
    )
    assert page_pdf(page).startswith(b"%PDF")
    assert "a report loads nothing: http://kbench.invalid/x.png" in caplog.text
    assert "a report loads nothing: file:///etc/hostname" in caplog.text


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ImportError("No module named 'weasyprint'"), "pip install 'weasyprint>=68'"),
        (
            OSError("cannot load library 'libpango-1.0-0'\nmore"),
            "install libpango-1.0-0 and libpangoft2-1.0-0",
        ),
    ],
)
def test_what_is_missing_is_one_line(error: Exception, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def lacking(name: str, *rest: Any) -> Any:
        if name.startswith("weasyprint"):
            raise error
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(EnvironmentProblem) as caught:
        page_pdf("<p>x</p>")
    assert words in str(caught.value) and "\n" not in str(caught.value)
