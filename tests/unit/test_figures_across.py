# SPDX-License-Identifier: GPL-2.0-only
"""Charts across cases, of many values, of ledgers, and as files."""

from __future__ import annotations

import dataclasses
import struct
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbench.errors import StoreError
from kbench.explain.comparison import Ledger
from kbench.explain.figures import Chart, charts, sweeps, write_files
from kbench.explain.figures.ledger import LEAST_WIDTH, shares, widths
from kbench.explain.figures.loss import losses
from kbench.explain.figures.marks import MOST_POINTS, thinned
from kbench.explain.figures.rates import throughput
from kbench.explain.methods import Methods
from kbench.model import Case
from tests.unit import chart_data
from tests.unit.chart_data import EIGHT, SVG, comparison


def chart(name: str, made: list[Chart]) -> Chart:
    (found,) = [c for c in made if c.name == name]
    return found


def test_one_value_is_no_sweep() -> None:
    (case,) = chart_data.cases(rules=(100,))
    assert sweeps("s", [comparison(case)]) == []
    assert sweeps("s", []) == []


def test_a_field_is_swept_where_the_others_are_equal() -> None:
    cases = chart_data.cases(rules=(10, 100, 1000), frame_bytes=(512,))
    made = sweeps("s", [comparison(c) for c in cases])
    # 512 bytes and 64 bytes share the 100 rules.
    assert [c.name for c in made] == ["s-by-frame-bytes", "s-by-rules"]
    assert "shape acl, 1,000 routes, 64-byte frames" in made[1].title
    assert "10 rules" in made[1].alt and "1,000 rules" in made[1].alt and "512" not in made[1].alt
    apart = [Case("filter", rules=10), Case("filter", rules=100, frame_bytes=128)]
    assert sweeps("s", [comparison(c) for c in apart]) == []


def test_each_dimension_and_each_shape_has_a_chart() -> None:
    some = chart_data.cases(frame_bytes=(64, 1518), rules=(10, 100), routes=(1, 1000), flows=(1, 256))
    fw = [dataclasses.replace(case, shape="fw") for case in chart_data.cases(rules=(10, 100, 200))]
    made = sweeps("s", [comparison(case) for case in dict.fromkeys([*some, *fw])])
    assert [c.name for c in made] == [
        "s-by-frame-bytes", "s-by-rules", "s-by-rules-2", "s-by-routes", "s-by-flows",
    ]  # fmt: skip
    assert "shape fw" in made[1].title and "shape acl" in made[2].title


def test_parts_kinds_and_loads_never_share_a_line() -> None:
    one, other = chart_data.cases(rules=(10, 100))
    assert sweeps("s", [comparison(one), comparison(other, kind="exact")]) == []
    assert sweeps("s", [comparison(one), dataclasses.replace(comparison(other), load_pps=1e5)]) == []
    exact = sweeps("s", [comparison(case, kind="exact") for case in (one, other)])
    assert [c.title.split(" by ")[0] for c in exact] == ["Instructions per packet"]
    assert "guest instructions per packet" in exact[0].alt


def test_rules_say_nothing_of_a_drop_and_files_have_no_number() -> None:
    drops = [Case("drop", rules=n) for n in (1, 2)]
    files = [Case("filter", rules=n, rules_file="x") for n in (1, 2)]
    assert sweeps("s", [comparison(case) for case in (*drops, *files)]) == []


def test_more_combinations_than_fit_are_named() -> None:
    grid = [
        Case("filter", rules=rules, frame_bytes=size) for rules in (1, 2, 3, 4, 5, 6) for size in (64, 1518)
    ]
    made = [c for c in sweeps("s", [comparison(case) for case in grid]) if "by-frame-bytes" in c.name]
    assert len(made) == 4 and "2 more combinations" in made[-1].note and "more comb" not in made[0].note


def test_a_case_without_a_figure_leaves_a_gap() -> None:
    of = [comparison(case) for case in chart_data.cases(rules=(10, 100, 1000))]
    of[1].rows = [row for row in of[1].rows if row.datapath != "tc"]
    (made,) = sweeps("s", of)
    assert "tc: 10 rules 1.2" in made.alt and "100 rules no figure" in made.alt
    assert "netfilter" in made.inline_svg()


def test_ticks_that_would_touch_are_left_out() -> None:
    sizes = [64, 128, 256, 512, 1024, 1280, 1518]
    kept = thinned(sizes, True, lambda v: len(f"{v:,.0f}"))
    assert kept[0] == 64 and kept[-1] == 1518 and 1280 not in kept and 512 in kept
    assert len(thinned(list(range(1, 2000)), False, lambda _: 4)) <= 12
    assert thinned([5.0], True, lambda _: 1) == [5.0]


def test_many_rounds_become_a_density() -> None:
    few = chart("x-rates", charts("x", comparison(rounds=20), Methods()))
    many = chart("x-rates", charts("x", comparison(rounds=2000), Methods()))
    assert "density" in many.note and "density" not in few.note
    assert chart_data.marks_of(many) < chart_data.marks_of(few) + len(EIGHT)
    assert "Rings: outliers" in many.note
    # The outlier is still there: its ring has a marker of its own beside the density.
    assert many.inline_svg().count("stroke-width: 0.8") >= 1
    assert len(many.inline_svg()) < 100_000


@pytest.mark.parametrize("repeats", [3, 400])
def test_many_trials_of_a_curve_become_a_band(repeats: int) -> None:
    made = losses("x", chart_data.curves(repeats=repeats))
    assert made is not None
    assert ("band" in made.note) == (repeats > MOST_POINTS)
    assert chart_data.marks_of(made) < 500 and len(made.inline_svg()) < 100_000
    searches = throughput("x", chart_data.bounds(repeats=repeats))
    assert searches is not None and ("density" in searches.note) == (repeats > MOST_POINTS)


def test_a_big_sweep_stays_small() -> None:
    cases = chart_data.cases(rules=tuple(range(1, 61)))
    same = comparison(rounds=50)
    (made,) = sweeps("s", [dataclasses.replace(same, case=case) for case in cases])
    assert "band" in made.note and len(made.inline_svg()) < 100_000


COUNT = st.integers(0, 10**9)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(-5, 5), COUNT, st.dictionaries(st.text(max_size=6), COUNT, max_size=4),
    st.dictionaries(st.text(max_size=6), COUNT, max_size=6), COUNT,
)  # fmt: skip
def test_shares_of_a_ledger_add_up_whatever_it_says(
    off: int, forwarded: int, dropped: dict[str, int], lost_by: dict[str, int], more: int
) -> None:
    lost = sum(lost_by.values()) + more
    offered = max(0, forwarded + sum(dropped.values()) + lost + off)
    parts = shares(Ledger(1, offered, forwarded, dropped, lost, lost_by))
    assert all(part > 0 for part in parts.values())
    if parts:
        assert sum(parts.values()) == pytest.approx(1)
        drawn = widths(parts)
        assert sum(drawn.values()) == pytest.approx(1)
        assert min(drawn.values()) >= LEAST_WIDTH / 2


def test_a_ledger_names_what_is_too_small_to_see() -> None:
    made = chart("x-ledger", charts("x", comparison(datapaths=("xdp", "tc")), Methods()))
    assert "Drawn wider than they are: xdp lost: socket ring 0.15 %, xdp unexplained 0.05 %" in made.note
    shown = chart_data.words(made)
    assert {"forwarded", "dropped: policy", "lost: socket ring", "unexplained", "74.8 %", "25 %"} <= set(
        shown
    )


def test_a_ledger_that_does_not_balance_says_so() -> None:
    parts = shares(Ledger(2, 100, 90, {}, 5, {"qdisc": 5}, unbalanced_trials=1))
    assert parts == pytest.approx({"forwarded": 0.9, "lost: qdisc": 0.05, "unexplained": 0.05})
    odd = comparison(datapaths=("xdp",))
    odd.rows[0].ledger.unbalanced_trials = 1
    assert "Trials whose counters don't add up: xdp 1." in chart("x-ledger", charts("x", odd, Methods())).note


def test_fates_of_a_ledger_look_different() -> None:
    odd = comparison(datapaths=("xdp",))
    odd.rows[0].ledger = Ledger(
        1, 1200, 100, {f"d{n}": 100 for n in range(4)}, 700, {f"p{n}": 100 for n in range(7)}
    )
    svg = chart("x-ledger", charts("x", odd, Methods())).inline_svg()
    # One pattern each for what is hatched: 4 reasons and 7 places; forwarded is plain.
    assert svg.count("<pattern") == 11


def test_files_are_valid_and_stand_alone(tmp_path: Path) -> None:
    made = charts("x", comparison(), Methods())
    written = write_files(made, tmp_path / "a" / "b")
    assert [p.name for p in written] == [f"{c.name}.{kind}" for c in made for kind in ("svg", "png")]
    assert sorted(p.name for p in (tmp_path / "a" / "b").iterdir()) == sorted(p.name for p in written)
    for item, svg, png in zip(made, written[::2], written[1::2], strict=True):
        root = ET.fromstring(svg.read_bytes())
        assert root.tag == f"{SVG}svg" and root.attrib["width"].endswith("pt") and "viewBox" in root.attrib
        title, told = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
        assert title is not None and told is not None and (title.text, told.text) == (item.title, item.alt)
        text = svg.read_text(encoding="utf-8")
        assert "var(--" not in text and "#040506" not in text and "<text" not in text
        data = png.read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", data[16:24]) == (1240, pytest.approx(int(item.height_in * 200), abs=1))
    again = write_files(made[:1], tmp_path / "a" / "b")
    assert again == written[:2]


def test_files_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"can.t write .*name another file"):
        write_files(charts("x", comparison(), Methods()), tmp_path / "file")
