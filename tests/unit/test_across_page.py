# SPDX-License-Identifier: GPL-2.0-only
"""The page of two runs: it has the same content as the terminal, and what others wrote stays text."""

from __future__ import annotations

import re

import pytest
from matplotlib.figure import Figure

from kbench.explain.across import charts, compare_html, compare_runs, forest, render
from kbench.explain.across.result import AcrossResult
from tests.unit.synthetic_runs import HOSTILE
from tests.unit.test_across import pair


@pytest.fixture
def slower() -> AcrossResult:
    base, head = pair({"xdp": 2.4e6, "kernel": 0.75e6})
    base.run["label"], head.run["label"] = "before", HOSTILE
    head.facts["host"]["kernel"]["release"] = f"6.2 {HOSTILE}"
    head.trials += pair({"af_packet": 1e6})[1].trials
    return compare_runs(base, head)


def test_the_page_has_answer_differences_figures_and_what_is_missing(slower: AcrossResult) -> None:
    page = compare_html(slower)
    for text in ("What changed between two runs?", "another kernel", "(slower, worse)", "Exit code 10", "Only in HEAD",
                 "before", "hold all together at 95 %"):  # fmt: skip
        assert text in page, text
    # Differences come before anything that could be explained by them.
    assert page.index('id="differences"') < page.index('id="answer"') < page.index('id="figures"')
    assert not re.search(r'(src|href)="(?!#|data:)', page)


def test_what_others_wrote_is_text(slower: AcrossResult) -> None:
    page = compare_html(slower)
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    assert page.count("<script>") == 1


def test_the_chart_says_in_words_what_it_shows(slower: AcrossResult) -> None:
    (chart,) = charts(slower)
    for item in slower.changes:
        assert item.verdict in chart.alt and item.datapath in chart.alt
    inline = chart.inline_svg()
    assert inline.startswith("<svg") and "#ffffff" not in inline  # dark pages shine through
    assert chart.png(50).startswith(b"\x89PNG")


def test_the_chart_is_on_a_log_axis_around_1_with_the_resolution_shaded(slower: AcrossResult) -> None:
    axes = Figure().add_subplot()
    forest._plot(axes, slower.changes)
    assert axes.get_xscale() == "log" and 1.0 in list(axes.get_xticks())
    low, high = axes.get_xlim()
    assert low < min(c.ratio.low or 1 for c in slower.changes) and high > max(
        c.ratio.high or 1 for c in slower.changes
    )
    bands = [collection.get_paths()[0].get_extents() for collection in axes.collections]
    assert len(bands) == len(slower.changes)
    for band, item in zip(bands, slower.changes, strict=True):
        assert band.x1 == pytest.approx(1 + item.resolution) and band.x0 == pytest.approx(1 / band.x1)
    words = [text.get_text() for text in axes.texts]
    assert words.count("worse") == slower.counts["worse"] and words.count("better") == slower.counts["better"]


def test_many_figures_make_several_charts(monkeypatch: pytest.MonkeyPatch, slower: AcrossResult) -> None:
    monkeypatch.setattr(forest, "MOST_ROWS", 3)
    made = charts(slower)
    assert [chart.name for chart in made] == ["change-1", "change-2"]
    assert sum(chart.alt.count(" to ") >= 1 for chart in made) == 2


def test_a_page_without_a_difference_or_a_chart(slower: AcrossResult) -> None:
    slower.differences, slower.changes = [], []
    page = compare_html(slower)
    assert "Nothing else that is recorded differs" in page and "Not one figure" in page
    assert render(slower) is not None
