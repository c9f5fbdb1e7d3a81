# SPDX-License-Identifier: GPL-2.0-only
"""Charts: their markup is safe and their own, they say their figures in words, and their texts fit."""

from __future__ import annotations

import dataclasses
import functools
import re
import xml.etree.ElementTree as ET
from itertools import combinations

import pytest
from matplotlib.axes import Axes

from kbench.explain import figures
from kbench.explain.comparison import Comparison
from kbench.explain.figures import Chart, charts, style, sweeps
from kbench.explain.findings import Found
from kbench.explain.method_results import Generator
from kbench.explain.methods import Methods
from kbench.explain.probed import Probed
from tests.unit import chart_data
from tests.unit.chart_data import EIGHT, HOSTILE, LONG, PATCHED, comparison

HOSTILE_NAMES = (HOSTILE, PATCHED, "#010203", "x" * 300, "\N{CJK UNIFIED IDEOGRAPH-4E2D}", "")


def methods(datapaths: tuple[str, ...]) -> Methods:
    probed = [
        Probed(
            name, {"cycles": 900.0, "threads, ns": 210.0}, 12, {"kb_prog": 95.0}, {}, ["the PMU was shared"]
        )
        for name in datapaths
    ]
    found = Found(
        "host", "x", chart_data.bounds(datapaths), chart_data.curves(datapaths), chart_data.latencies(datapaths), [],
        chart_data.cpu_at_load(datapaths), Generator(), [],
    )  # fmt: skip
    return Methods(found, probed)


@functools.cache
def everything(datapaths: tuple[str, ...]) -> list[Chart]:
    """Every chart there is."""
    made = charts("wall", comparison(datapaths=datapaths), methods(datapaths))
    made += charts("exact", comparison(datapaths=datapaths, kind="exact"), Methods())
    frames = chart_data.cases(frame_bytes=(64, 128, 256, 512, 1024, 1280, 1518))
    rules = chart_data.cases(rules=(1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 20_000))
    for name, cases in (("frames", frames), ("rules", rules)):
        of = [comparison(case, datapaths, faster=1 / (1 + n)) for n, case in enumerate(cases)]
        made += sweeps(name, of)
    return made


def test_every_kind_of_chart_is_there_once() -> None:
    assert [(chart.name, chart.topic) for chart in everything(("xdp", "kernel"))] == [
        ("wall-rates", "throughput"), ("wall-throughput", "throughput"), ("wall-losses", "loss"),
        ("wall-latency", "latency"), ("wall-latency-by-load", "latency"), ("wall-cpu-time", "cpu"),
        ("wall-cpu-at-load", "cpu"), ("wall-cpu-at-load-cycles", "cpu"), ("wall-counted-cycles", "cpu"),
        ("wall-counted-times", "cpu"), ("wall-cpu-states", "cpu"), ("wall-ledger", "ledger"),
        ("exact-instructions", "throughput"), ("exact-ledger", "ledger"), ("frames-by-frame-bytes", "throughput"),
        ("rules-by-rules", "throughput"),
    ]  # fmt: skip


def test_nothing_measured_gives_no_chart() -> None:
    bare = comparison()
    bare.rows = [dataclasses.replace(bare.rows[0], figure=None, dut_ns=None, latency=None, cpus={})]
    bare.rows[0].ledger = type(bare.rows[0].ledger)()
    assert charts("x", bare, Methods()) == []
    assert (
        charts("x", bare, Methods(Found("host", "x"), [Probed("xdp", absent={"hardware": "no PMU"})])) == []
    )


@pytest.mark.parametrize("names", [LONG, HOSTILE_NAMES], ids=["long", "hostile"])
def test_texts_neither_touch_nor_leave_the_picture(names: tuple[str, ...]) -> None:
    for chart in everything(names):
        found, picture = chart_data.boxes(chart)
        assert len(found) > 3
        for text, box in found:
            assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= picture.x1 + 1 and box.y1 <= picture.y1 + 1, (
                chart.name, text,
            )  # fmt: skip
        for (one, its), (other, others) in combinations(found, 2):
            shrunk = [box.expanded(0.96, 0.9) for box in (its, others)]
            assert not shrunk[0].overlaps(shrunk[1]), (chart.name, one, other)


def test_inline_markup_is_xml_that_shares_nothing_with_other_charts() -> None:
    seen: set[str] = set()
    for chart in everything(EIGHT):
        svg = chart.inline_svg()
        root = chart_data.parsed(chart)
        ids = [found.attrib["id"] for found in root.iter() if "id" in found.attrib]
        assert len(ids) == len(set(ids)) and not seen & set(ids)
        assert all(name.startswith(f"{chart.name}-") for name in ids)
        seen |= set(ids)
        targets = re.findall(r"url\(#([^)]+)\)", svg) + re.findall(r'xlink:href="#([^"]+)"', svg)
        assert targets and set(targets) <= set(ids)
        assert "<style" not in svg and "#010203" not in svg and "#040506" not in svg
        assert "var(--ink" in svg and "var(--faint" in svg
        assert root[0].attrib["aria-hidden"] == "true" and "width" not in root[0].attrib
        assert len(svg) < 100_000, chart.name


def test_what_others_named_stays_text() -> None:
    for chart in everything(HOSTILE_NAMES):
        root = chart_data.parsed(chart)
        assert {found.tag for found in root.iter()} <= {"p", "svg", "defs", "g", "path", "use", "text", "tspan",
                                                         "clipPath", "rect", "pattern", "metadata"}  # fmt: skip
        assert not [key for found in root.iter() for key in found.attrib if key.startswith("on")]
        assert HOSTILE.split("$", maxsplit=1)[0] in chart.alt


def test_what_others_named_stays_text_in_files() -> None:
    for chart in charts("x", comparison(datapaths=HOSTILE_NAMES), Methods())[::4]:
        alone = ET.fromstring(chart.svg())
        assert not [found for found in alone.iter() if found.tag.endswith(("script", "}b"))]
        (told,) = [found.text or "" for found in alone if found.tag.endswith("desc")]
        assert HOSTILE.split("$", maxsplit=1)[0] in told and "\x00" not in told


def test_a_name_that_looks_like_markup_or_a_colour_is_shown_as_it_is() -> None:
    chart = charts("x", comparison(datapaths=("#010203", 'url(#a) id="b"')), Methods())[0]
    shown = chart_data.words(chart)
    assert "#010203" in shown and 'url(#a) id="b"' in shown


def test_the_same_chart_is_drawn_the_same() -> None:
    one, other = (charts("x", comparison(), Methods())[0] for _ in range(2))
    assert (
        one.inline_svg() == other.inline_svg() and one.svg() == other.svg() and one.png(50) == other.png(50)
    )


def test_alternatives_have_the_figures() -> None:
    told = {chart.name: chart.alt for chart in everything(("xdp", "kernel"))}
    assert re.search(r"xdp 3\.\d+ Mpps \([\d.]+ Mpps to [\d.]+ Mpps\); kernel 2", told["wall-rates"])
    assert "xdp NDR 1.4 Mpps (1.37 Mpps to 1.43 Mpps)" in told["wall-throughput"]
    assert "kernel NDR not reached" in told["wall-throughput"]
    assert "xdp 26.7 % at 3 Mpps" in told["wall-losses"]
    assert re.search(
        r"xdp p50 8.19 us, p99 [\d.]+ us, p99.9 [\d.]+ us, maximum [\d.]+ us", told["wall-latency"]
    )
    assert "kernel at 50 %: p50 4.27 us, p99 12.8 us" in told["wall-latency-by-load"]
    assert re.search(r"xdp 33\d ns \(", told["wall-cpu-time"])
    assert "xdp 100 ns (99.0 ns to 103 ns)" in told["wall-cpu-at-load"]
    assert "kernel 901" in told["wall-cpu-at-load-cycles"]
    assert "xdp 900; kernel 900" in told["wall-counted-cycles"]
    assert (
        "xdp threads 210 ns" in told["wall-counted-times"]
        and "BPF kb_prog 95.0 ns" in told["wall-counted-times"]
    )
    assert "xdp CPU 1: user 10 %, system 20 %, softirq 50 %, idle 20 %" in told["wall-cpu-states"]
    assert "xdp forwarded 74.8 %, dropped: policy 25 %, lost: socket ring 0.15 %" in told["wall-ledger"]
    assert "xdp 333; kernel 417" in told["exact-instructions"]
    assert re.search(r"xdp: 64 bytes [\d.]+ Mpps \(.*1,518 bytes [\d.]+ kpps", told["frames-by-frame-bytes"])
    assert "20,000 rules" in told["rules-by-rules"]


def test_a_generator_limited_rate_is_said_to_be_one() -> None:
    limited = comparison()
    limited.rows[1].generator_limited = True
    chart = charts("x", limited, Methods())[0]
    assert "; xdp at least 2." in chart.alt and "limited by the generator" in chart.note
    assert (
        len([text for text in chart_data.words(chart) if text.startswith("\N{GREATER-THAN OR EQUAL TO} 2.")])
        == 1
    )


def test_datapaths_are_told_apart_without_colours() -> None:
    styles = [style(name) for name in EIGHT]
    for parts in zip(*styles, strict=True):
        assert len(set(parts)) == len(EIGHT)
    assert style("mine") == style("mine") and style("mine") not in styles
    # Stable looks come from the name alone, so that two of many can fall together.
    assert len({style(f"mine-{n}") for n in range(50)}) > 40


def test_bars_of_a_cpu_add_up_and_many_cpus_are_put_together() -> None:
    big = comparison()
    for row in big.rows:
        row.cpus = {c: {**row.cpus[0], "user": 0.3 - c / 1000, "idle": c / 1000} for c in range(64)}
    chart = next(c for c in charts("x", big, Methods()) if c.name == "x-cpu-states")
    assert chart.height_in < 10 and "others one of their mean" in chart.note
    assert "xdp CPU 0:" in chart.alt and "xdp 62 other CPUs:" in chart.alt and "CPU 5:" not in chart.alt
    small = next(c for c in charts("x", comparison(), Methods()) if c.name == "x-cpu-states")
    assert "other CPUs" not in small.alt + small.note


def test_names_are_checked() -> None:
    def nothing(_: Axes) -> None:
        pass

    for bad in ("", "A", "a b", 'a"', "a/b", "../a"):
        with pytest.raises(ValueError, match="letters, digits and hyphens"):
            Chart(bad, "cpu", "t", "a", 1.0, nothing)


def test_charts_of_a_comparison_start_with_its_prefix() -> None:
    made: list[Chart] = figures.charts("run2-host-x", comparison(), methods(EIGHT))
    assert len({chart.name for chart in made}) == len(made)
    assert all(chart.name.startswith("run2-host-x-") for chart in made)


def test_a_functional_comparison_has_its_ledger_only() -> None:
    functional: Comparison = comparison()
    functional.part = dataclasses.replace(functional.part, kind="functional")
    for row in functional.rows:
        row.figure = row.dut_ns = row.latency = None
        row.cpus = {}
    assert [chart.name for chart in charts("x", functional, Methods())] == ["x-ledger"]


def test_without_an_interval_the_note_says_why() -> None:
    few = comparison(datapaths=("xdp",), rounds=4)
    assert "no interval: " in charts("x", few, Methods())[0].note
    assert (
        "interval needs" in charts("x", few, Methods())[0].note
        and "whiskers" not in charts("x", few, Methods())[0].note
    )
    assert "whiskers: the 95 % interval" in charts("x", comparison(), Methods())[0].note
