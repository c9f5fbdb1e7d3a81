# SPDX-License-Identifier: GPL-2.0-only
"""The page of two runs in a real browser, and as PDF: what holds for a report holds for it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from kbench.explain.across import AcrossResult, charts, compare_html, compare_pdf, compare_runs
from kbench.store import load_run
from tests.report.test_report_browser import Opener, chromium, faults, show  # noqa: F401  (fixtures)
from tests.unit import synthetic_findings


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> AcrossResult:
    """Two runs of all methods: one path is slower, and the host is another."""
    base = synthetic_findings.write(tmp_path_factory.mktemp("results"))
    head = load_run(base.path, base.path.parent)
    head.run["run_id"], head.run["label"] = "20000103-000000-aaaa", "after " + "x" * 300
    head.facts["host"]["hostname"] = "another-host-" * 30
    for trial in head.trials:
        if trial.datapath == "xdp" and trial.purpose == "rate" and trial.forwarded_pps:
            trial.forwarded_pps *= 0.7
    return compare_runs(base, head, force=True)


@pytest.mark.needs_browser
@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_fits_is_quiet_and_keeps_nobody_out(
    show: Opener,  # noqa: F811
    result: AcrossResult,
    width: int,
    dark: bool,
) -> None:
    seen = show(compare_html(result), width, dark)
    layout = seen.layout()
    assert seen.console == [] and seen.requests == []
    assert layout["scroll"] <= layout["width"] and layout["out"] == []
    assert layout["charts"] == len(charts(result)) >= 1 and layout["empty"] == 0
    assert faults(seen) == []


@pytest.mark.needs_browser
def test_figures_sort_by_their_ratio(show: Opener, result: AcrossResult) -> None:  # noqa: F811
    seen = show(compare_html(result))
    table = "#figures table"
    head = seen.tab.locator(f"{table} thead th").nth(4)
    head.get_by_role("button").click()
    first = seen.tab.locator(f"{table} tbody tr").first.inner_text()
    assert head.get_attribute("aria-sort") == "ascending" and "(slower, worse)" in first


@pytest.mark.needs_pdf
def test_the_pdf_has_every_section_and_no_empty_page(result: AcrossResult, tmp_path: Path) -> None:
    file = tmp_path / "compare.pdf"
    file.write_bytes(compare_pdf(result))
    text = subprocess.run(
        ["pdftotext", "-layout", str(file), "-"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    for title in (
        "Compared by force",
        "What else differs",
        "The answer",
        "Figure by figure",
        "What is not compared",
    ):
        assert re.search(rf"^\s*{title}\s*$", text, re.MULTILINE), title
    pages = text.split("\f")[:-1]
    assert len(pages) >= 2 and all(len(page.split()) > 20 for page in pages)
    assert "(slower, worse)" in " ".join(text.split())
