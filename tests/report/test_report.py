# SPDX-License-Identifier: GPL-2.0-only
"""The report as text: self-contained, escaped, honest about what is missing."""

from __future__ import annotations

import dataclasses
import html
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kbench.errors import StoreError
from kbench.explain import figures
from kbench.explain.compare import compare
from kbench.explain.findings import findings
from kbench.explain.methods import Methods, beside
from kbench.explain.report import flatten, render, write_report
from kbench.model import Verification
from kbench.store import Run, RunStore, load_run
from tests.unit import synthetic_findings
from tests.unit import synthetic_runs as synthetic

VOID = {"meta", "link", "br", "img", "hr", "input"}
LOADS = {"src", "srcset", "data", "poster", "action"}


class Page(HTMLParser):
    """Collects what a page loads, its ids, and whether its tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(text)
        self.unbalanced += self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self._look(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._look(attrs)

    def _look(self, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            local = (value or "").startswith(("#", "data:"))
            if (name in LOADS or name.endswith("href")) and not local:
                self.loads.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        # HTML may leave <p>, <li>, ... open; ours never does.
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.unbalanced.append(f"/{tag}")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return synthetic.write_full(tmp_path / "results")


def test_one_file_that_loads_nothing(run: Run, tmp_path: Path) -> None:
    out = write_report(run, tmp_path / "out" / "report.html")
    text = out.read_text(encoding="utf-8")
    page = Page(text)
    assert page.loads == [] and "script" not in page.tags
    assert not re.search(r"@import|url\((?!#)|https?://", text)
    assert page.unbalanced == []
    assert len(page.ids) == len(set(page.ids)), "ids of charts collide"
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(page.ids)
    assert out.stat().st_size < 3_000_000
    assert sorted(p.name for p in out.parent.iterdir()) == ["report.html"]


def test_the_page_check_itself_finds_what_it_looks_for() -> None:
    bad = Page('<p><img src="http://x/y.png"><a href="z.html" id="a">q</a><i id="a"></p>')
    assert bad.loads == ["http://x/y.png", "z.html"] and bad.unbalanced and bad.ids == ["a", "a"]


def test_what_others_wrote_is_escaped(run: Run) -> None:
    text = render(run)
    assert synthetic.HOSTILE not in text
    # Host name, label, notice, verification difference and command line.
    assert text.count("&lt;script&gt;") >= 5


def test_hostile_names_in_charts_are_escaped(run: Run) -> None:
    for trial in run.trials:
        if trial.datapath == "xdp":
            trial.datapath = "<b onload=x>&$\\frac"
    text = render(run)
    assert "<b onload" not in text and "&lt;b onload=x&gt;&amp;$\\frac" in text
    assert Page(text).unbalanced == []


def test_it_answers_first_and_has_every_section(run: Run) -> None:
    text = html.unescape(render(run))
    order = [
        "The answer", "xdp forwards 3.98x", "Read this with it", "pktgen over veth makes XDP look bad",
        "xdp, af_packet and kernel proven equal on 78 packets", "packet 12 (TTL 1): expected drop",
        "95 % bootstrap interval", "Maximum forwarding rate", "CPU time by state", "Where every packet went",
        "Instructions per packet", "Facts of the host", "kbench run --label 'it'\"'\"'s",
    ]  # fmt: skip
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert "foreign load: 12 % of a CPU" in text and "What is missing" in text


def test_a_killed_run_is_reported_with_what_is_missing(tmp_path: Path) -> None:
    text = render(synthetic.write_full(tmp_path, rounds=4, end=False))
    assert "killed or is still going on" in text and "4 of 9 rounds" in text
    assert "an interval needs 5" in text


def test_a_cut_file_is_reported(run: Run) -> None:
    file = run.path / "trials.jsonl"
    file.write_bytes(file.read_bytes()[:-5])
    assert "is cut: the run was killed" in render(load_run(run.path, run.path.parent))


def test_an_empty_run_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    with RunStore.create(
        tmp_path, "empty", synthetic.document((synthetic.HOST,), (synthetic.FORWARD,), 9)
    ) as store:
        store.append_verification(Verification("host", "forward-p1-f64", "xdp", 78, False, ["packet 1"]))
    with pytest.raises(StoreError, match=r"no finished trials.*1 verification \(1 failed: xdp\).*killed"):
        write_report(load_run("empty", tmp_path), tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()


def test_an_unwritable_report_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't write the report"):
        write_report(run, tmp_path / "file" / "report.html")


def test_a_directory_gets_the_run_s_name(run: Run, tmp_path: Path) -> None:
    assert write_report(run, tmp_path) == tmp_path / f"{run.run_id}.html"


def test_the_same_run_gives_the_same_page(run: Run) -> None:
    assert render(run) == render(run)


def test_a_run_without_plan_facts_or_verification_is_reported(run: Run) -> None:
    bare = Run(run.path, {"run_id": "bare"}, trials=run.trials)
    text = render(bare)
    assert "nothing shows that the datapaths did the same work" in text
    assert "No facts were recorded" in text and "(not recorded)" in text


def test_a_run_where_no_trial_is_valid_says_so(run: Run) -> None:
    for trial in run.trials:
        trial.valid, trial.problems = False, ["steal 9 %"]
    text = render(run)
    assert "no valid trial, so there is nothing to compare" in text and "steal 9 %" in text
    assert "<figure" not in text


def test_a_ledger_that_does_not_add_up_is_shown(run: Run) -> None:
    run.trials[0].counters.offered += 3
    assert "(1 don&#39;t add up)" in render(run) or "(1 don't add up)" in render(run)


def test_kinds_have_charts_of_their_own(run: Run) -> None:
    titles = {c.kind: [x.title for x in figures.charts("t", c, Methods())] for c in compare(run)[::2]}
    assert titles == {
        "wall": [
            "Maximum forwarding rate", "Latency", "CPU time per packet", "CPU time by state", "Where every packet went",
        ],
        "exact": ["Instructions per packet", "Where every packet went"],
    }


def test_charts_say_their_figures_in_words(run: Run) -> None:
    for chart in figures.charts("t", compare(run)[0], Methods()):
        assert "xdp" in chart.alt and "kernel" in chart.alt and re.search(r"\d", chart.alt)
        assert "#010203" not in chart.inline_svg() and "var(--ink" in chart.inline_svg()


def test_each_datapath_has_a_colour_and_marker_of_its_own() -> None:
    names = ["netfilter", "xdp", "af_packet", "kernel", "tc", "af_xdp", "dpdk", "nftables"]
    styles = [figures.style(name) for name in names]
    assert len({s[0] for s in styles}) == len({s[1] for s in styles}) == len(names)
    assert figures.style("mine") == figures.style("mine")


def test_facts_are_flattened() -> None:
    facts = {
        "cpu": {"model_name": "x", "flags": ["a", "b"]},
        "nics": [{"name": "e0"}],
        "smt": None,
        "n": 1,
        "ok": True,
    }
    assert flatten(facts) == [
        ("cpu / model name", "x"), ("cpu / flags", "a, b"), ("nics 0 / name", "e0"), ("smt", "unknown"), ("n", "1"),
        ("ok", "yes"),
    ]  # fmt: skip


def test_a_big_run_stays_small(tmp_path: Path) -> None:
    cases = tuple(dataclasses.replace(synthetic.FORWARD, routes=n) for n in range(1, 13))
    run = Run(tmp_path, {"run_id": "big", **synthetic.document((synthetic.HOST,), cases, 9)}, ended=True)
    one = synthetic.write_full(tmp_path)
    for case in cases:
        mine = [t for t in one.trials if t.part == "host" and t.function == "forward"]
        run.trials += [dataclasses.replace(t, case_id=case.case_id) for t in mine]
    assert len(render(run).encode()) < 3_000_000


@pytest.fixture
def methods_run(tmp_path: Path) -> Run:
    return synthetic_findings.write(tmp_path / "results")


def test_what_methods_found_is_in_the_page(methods_run: Run) -> None:
    text = html.unescape(render(methods_run))
    page = Page(render(methods_run))
    assert page.unbalanced == [] and page.loads == [] and len(page.ids) == len(set(page.ids))
    order = [
        "The answer", "Without loss (NDR) kernel carries", "generator-limited", "Trials set aside: 12 warm-ups",
        "Outliers, kept in all figures: xdp round 13", "Throughput", "Loss by load", "Latency by load",
        "Back-to-back frames", "CPU at equal load", "The generator and the clocks", "Counters per packet",
        "Where every packet went", "The AF_PACKET receive ring was full",
    ]  # fmt: skip
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert (
        "af_packet: NDR not reached: even 1,000 packets/s is not carried without loss in 3 of 4 searches"
        in text
    )
    assert "no hardware counters: " + synthetic_findings.NO_PMU in text


def test_each_grade_stands_with_its_reasons(methods_run: Run) -> None:
    text = html.unescape(render(methods_run))
    assert re.search(r'<span class="grade gD">D</span> <b>xdp:</b> generator-limited', text)
    assert re.search(r'<span class="grade gC">C</span> <b>all:</b> veth, not a NIC', text)


def test_a_run_without_maximum_rates_has_no_table_of_them(tmp_path: Path) -> None:
    text = html.unescape(render(synthetic_findings.write(tmp_path / "results", rates=False)))
    assert "Comparison table" not in text and "What is missing" not in text
    assert "without loss (NDR) kernel carries" in text


def test_old_runs_show_nothing_of_methods(run: Run) -> None:
    text = render(run)
    for title in ("Loss by load", "Counters per packet", "The generator and the clocks", "Without an answer"):
        assert title not in text


def test_method_charts_say_their_figures_in_words(methods_run: Run) -> None:
    comparisons = compare(methods_run)
    made = figures.charts("t", comparisons[0], beside(methods_run, comparisons)[0])
    told = {chart.title: chart.alt for chart in made}
    assert "af_packet NDR not reached" in told["Throughput"] and "kernel PDR 0.5 % 605 kpps" in told["Throughput"]
    assert "0 % at 2.52 Mpps" in told["Loss by load"]
    assert "af_packet at 90 %: p50 42 us, p99 119 us" in told["Latency by load"]
    for chart in made:
        assert "#010203" not in chart.inline_svg() and "var(--ink" in chart.inline_svg()


def test_methods_without_a_figure_have_no_chart() -> None:
    empty = findings(Run(Path("x"), {"run_id": "x"}))
    assert empty == []
