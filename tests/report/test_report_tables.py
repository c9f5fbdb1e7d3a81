# SPDX-License-Identifier: GPL-2.0-only
"""Tables of a report: what they are sorted by, and the marks of datapaths."""

from __future__ import annotations

import re

import pytest

from kbench.explain.report.page import page_html
from kbench.explain.report.tables import (
    Cell,
    Head,
    Table,
    count_cell,
    estimate_cell,
    from_sheet,
    grade_cell,
    mark,
    number_cell,
    typeset,
    value_of,
)
from kbench.explain.sheets import Column, Line, Sheet
from kbench.explain.stats import Estimate


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3.98 [3.95, 4.05]", 3.98), (">=2.98 [2.87, 3.10]", 2.98), ("≥2.98", 2.98), ("1,234,567", 1234567), ("0 %", 0),
        ("12.5 %", 0.125), ("<0.01 %", 0.0001), ("600 kpps", 6e5), ("2.4 Mpps", 2.4e6), ("90 pps", 90), ("608 ns", 608),
        ("1.5 us", 1500), ("3 ms", 3e6), ("1.2 s", 1.2e9), ("8 of 9", 8), ("256 to 333", 256), ("reference", 1),
        ("-", None), ("", None), ("not reached", None), ("-0.5", -0.5), ("4.1x", 4.1),
    ],
)  # fmt: skip
def test_cells_are_sorted_by_what_they_say(text: str, value: float | None) -> None:
    assert value_of(text) == (None if value is None else pytest.approx(value))


def test_cells_without_a_value_have_an_empty_one() -> None:
    assert number_cell("-") == Cell("-", "") and number_cell("not reached").sort == ""
    assert number_cell("about 3", 3.0) == Cell("about 3", 3.0)
    assert estimate_cell(None) == Cell("-", "")
    assert estimate_cell(Estimate(2e6, 1.9e6, 2.1e6, 9), 1e6) == Cell("2.00 [1.90, 2.10]", 2e6)
    assert count_cell(1234).text == "1,234" and count_cell(1234).sort == 1234
    assert grade_cell(None).sort == "" and grade_cell("C").grade


def test_signs_are_set_as_in_print() -> None:
    assert typeset(">=3") == "≥3" and typeset("x kernel") == "× kernel" and typeset("xdp x 3") == "xdp x 3"


def test_a_sheet_becomes_a_table() -> None:
    sheet = Sheet(
        "Title", [Column("datapath", number=False), Column("x kernel"), Column("grade")],
        [Line(["xdp*", ">=4.0", "C"], "xdp"), Line(["af", "not reached", "-"], "af")], ["below"],
    )  # fmt: skip
    table = from_sheet(sheet, "here")
    assert table is not None and table.caption == "Title: here" and table.notes == ["below"]
    assert [head.name for head in table.heads] == ["datapath", "× kernel", "grade"]
    first, second = table.rows
    assert first[0] == Cell("xdp*", mark="xdp") and first[1] == Cell("≥4.0", 4.0) and first[2].grade
    assert second[1].sort == "" and second[2] == Cell("-", "")
    assert from_sheet(Sheet("Title", notes=["a"]), "here") is None


def test_marks_are_outlines_of_their_own() -> None:
    names = ["netfilter", "xdp", "af_packet", "kernel", "tc", "af_xdp", "dpdk", "nftables"]
    outlines = {mark(name)[1] for name in names}
    assert len(outlines) == len(names)
    for outline in outlines:
        numbers = [float(n) for n in re.findall(r"-?[\d.]+", outline)]
        assert outline.startswith("M") and outline.endswith("Z") and all(0 <= n <= 12 for n in numbers)


def test_a_page_of_another_kind_can_use_the_tables() -> None:
    page = page_html("base.html.j2")
    assert page.startswith("<!doctype html>") and "Content-Security-Policy" in page
    assert '<main id="main">' in page and page.count("<script>") == 1
    assert "<script>" not in page_html("base.html.j2", paged=True)
    assert Table("c", [Head("a")], [[Cell("b")]]).notes == ()
