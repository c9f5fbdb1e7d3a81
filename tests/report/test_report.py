# SPDX-License-Identifier: GPL-2.0-only
"""The report as text: self-contained, escaped, in order, honest about what is missing."""

from __future__ import annotations

import dataclasses
import html
import itertools
import re
from pathlib import Path

import pytest

from kbench.errors import StoreError
from kbench.explain import figures, report
from kbench.explain.compare import compare
from kbench.explain.methods import Methods, beside
from kbench.explain.report.glossary import GLOSSARY
from kbench.explain.report.machine import command, flatten
from kbench.model import Verification
from kbench.store import Run, RunStore, load_run
from tests.report.pages import SECTIONS, Page
from tests.unit import synthetic_findings
from tests.unit import synthetic_runs as synthetic


def render(run: Run) -> str:
    return report.html([run])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return synthetic.write_full(tmp_path / "results")


@pytest.fixture
def methods_run(tmp_path: Path) -> Run:
    return synthetic_findings.write(tmp_path / "results")


def test_one_file_that_loads_nothing(run: Run, tmp_path: Path) -> None:
    (out,) = report.write_report([run], tmp_path / "out" / "report.html")
    text = out.read_text(encoding="utf-8")
    page = Page(text)
    assert page.loads == [] and page.tags.count("script") == 1
    assert not re.search(r"@import|url\((?!#)|https?://", text)
    assert page.unbalanced == []
    assert len(page.ids) == len(set(page.ids)), "ids collide"
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(page.ids)
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(page.ids)
    assert out.stat().st_size < 3_000_000
    assert sorted(p.name for p in out.parent.iterdir()) == ["report.html"]


def test_the_page_check_itself_finds_what_it_looks_for() -> None:
    bad = Page(
        '<p style="x"><img src="http://x/y.png" onload="z"><a href="z.html" id="a">q</a><i id="a"></p>'
        "<h1>One</h1><section id=s><h3>Three</h3></section><table><tr><td>7</td></tr></table>"
    )
    assert bad.loads == ["http://x/y.png", "z.html"] and bad.unbalanced and bad.ids == ["a", "a", "s"]
    assert bad.styled == ["p style=x", "img onload=z"] and bad.sections == ["s"]
    assert bad.headings == [(1, "One"), (3, "Three")] and bad.rows == [["7"]]


def test_what_others_wrote_is_escaped(run: Run) -> None:
    text = render(run)
    assert synthetic.HOSTILE not in text
    # Host name, label, notice, verification difference and command line.
    assert text.count("&lt;script&gt;") >= 5


HOSTILE_NAME = "<b onload=x>&$\\frac\"'</title></style></script>{{ 7*7 }}"


def test_hostile_names_everywhere_are_escaped(run: Run) -> None:
    for trial in run.trials:
        if trial.datapath == "xdp":
            trial.datapath = HOSTILE_NAME
    run.run["run_id"] = HOSTILE_NAME
    run.run["kbench_version"] = HOSTILE_NAME
    run.run["plan"]["parts"][0]["reason"] = HOSTILE_NAME
    run.facts["host"][HOSTILE_NAME] = {HOSTILE_NAME: [HOSTILE_NAME]}
    run.problems.append(HOSTILE_NAME)
    run.trials[0].problems, run.trials[0].valid = [HOSTILE_NAME], False
    run.trials[0].counters.lost_by = {HOSTILE_NAME: 3}
    text = render(run)
    page = Page(text)
    assert "<b onload" not in text and text.count("&lt;b onload=x&gt;") > 20
    assert page.unbalanced == [] and "b" in page.tags
    assert page.tags.count("script") == 1 and page.tags.count("title") == 1 and page.tags.count("style") == 2
    assert "49" not in re.findall(r"<title>.*?</title>", text)[0]


def test_it_answers_first_and_has_every_section(run: Run) -> None:
    text = html.unescape(render(run))
    page = Page(render(run))
    assert tuple(page.sections) == SECTIONS
    order = [
        "Contents", "The answer", "xdp forwards 3.98x", "Ranking: forward-p1-f64, host",
        "Read this with it", "pktgen over veth makes XDP look bad",
        "xdp, af_packet and kernel proven equal on 78 packets",
        "packet 12 (TTL 1): expected drop", "Throughput by frame size", "Rates: forward-p1-f64, host",
        "95 % bootstrap interval",
        "No loss curve was measured", "Percentiles: forward-p1-f64, host", "CPU time per packet: forward-p1-f64, host",
        "Ledger, packets: forward-p1-f64, host", "Grades and their reasons", "Facts of the host", "Settings of the run",
        "kbench run --label 'it'\"'\"'s", "The account of a trial's packets",
    ]  # fmt: skip
    # The contents name the sections as well.
    start = text.index("</nav>")
    places = [text.index(words, 0 if n == 0 else start) for n, words in enumerate(order)]
    assert places == sorted(places)
    assert "foreign load: 12 % of a CPU" in text and "What is missing" in text


def test_headings_are_in_order(methods_run: Run) -> None:
    levels = [level for level, _ in Page(render(methods_run)).headings]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_contents_lead_to_every_section(methods_run: Run) -> None:
    text = render(methods_run)
    nav = text[text.index("<nav") : text.index("</nav>")]
    assert tuple(target for target in re.findall(r'href="#([^"]+)"', nav) if target in SECTIONS) == SECTIONS


def test_wall_clock_and_exact_figures_share_no_table(run: Run) -> None:
    for table in re.findall(r"<table.*?</table>", render(run), re.S):
        caption = re.search(r"<caption>(.*?)</caption>", table)
        assert caption
        if caption[1] != "What was compared":
            assert not ("Mpps" in table and "instructions/packet" in table)


def test_every_table_has_a_caption_and_heads(run: Run) -> None:
    tables = re.findall(r"<table.*?</table>", render(run), re.S)
    assert len(tables) > 10
    for table in tables:
        assert "<caption>" in table and 'scope="col"' in table and 'scope="row"' in table


def test_a_killed_run_is_reported_with_what_is_missing(tmp_path: Path) -> None:
    text = render(synthetic.write_full(tmp_path, rounds=4, end=False))
    assert "killed or is still going on" in text and "4 of 9 rounds" in text
    assert "an interval needs 5" in text


def test_a_cut_file_is_reported(run: Run) -> None:
    file = run.path / "trials.jsonl"
    file.write_bytes(file.read_bytes()[:-5])
    assert "is cut: the run was killed" in render(load_run(run.path, run.path.parent))


def empty(root: Path) -> Run:
    with RunStore.create(
        root, "empty", synthetic.document((synthetic.HOST,), (synthetic.FORWARD,), 9)
    ) as store:
        store.append_verification(Verification("host", "forward-p1-f64", "xdp", 78, False, ["packet 1"]))
    return load_run("empty", root)


def test_an_empty_run_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no finished trials.*1 verification \(1 failed: xdp\).*killed"):
        report.write_report([empty(tmp_path)], tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()


def test_an_empty_run_beside_another_is_told_as_missing(run: Run, tmp_path: Path) -> None:
    text = html.unescape(report.html([run, empty(tmp_path)]))
    assert "This run has no finished trial." in text and "xdp forwards 3.98x" in text


def test_an_unwritable_report_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't write"):
        report.write_report([run], tmp_path / "file" / "report.html")


def test_a_directory_gets_the_run_s_name(run: Run, tmp_path: Path) -> None:
    assert report.write_report([run], tmp_path) == [tmp_path / f"{run.run_id}.html"]


@pytest.mark.parametrize(
    ("named", "written"),
    [("a.html", "a.html"), ("a.pdf", "a.html"), ("v1.2", "v1.2"), ("a", "a.html"), ("page.htm", "page.htm")],
)
def test_the_file_is_called_as_it_was_asked_for(run: Run, tmp_path: Path, named: str, written: str) -> None:
    assert report.write_report([run], tmp_path / named, ["html"]) == [tmp_path / written]


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
    titles = re.findall(r"<figcaption>(.*?)</figcaption>", text)
    assert set(titles) <= {"Where every packet went"}, "only what was counted can still be drawn"


def test_a_ledger_that_does_not_add_up_is_shown(run: Run) -> None:
    run.trials[0].counters.offered += 3
    assert "(1 don't add up)" in html.unescape(render(run))


def test_kinds_have_charts_of_their_own(run: Run) -> None:
    titles = {c.kind: [x.title for x in figures.charts("t", c, Methods())] for c in compare(run)[::2]}
    assert titles["exact"] == ["Instructions per packet", "Where every packet went"]
    assert titles["wall"][0] == "Maximum forwarding rate"
    assert {"Latency", "CPU time per packet", "CPU time by state", "Where every packet went"} <= set(
        titles["wall"]
    )


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


def test_the_command_can_be_pasted() -> None:
    assert (
        command({"command": ["/x/kbench/__main__.py", "run", "--label", "a b"]}) == "kbench run --label 'a b'"
    )
    assert command({"command": ["/opt/bin/kbench", "run"]}) == "kbench run"
    assert command({"command": ["other", "$(reboot)"]}) == "other '$(reboot)'"
    assert command({"command": "kbench run"}) == "kbench run" and command({}) == "(not recorded)"


def test_a_big_run_stays_small(tmp_path: Path) -> None:
    cases = tuple(dataclasses.replace(synthetic.FORWARD, routes=n) for n in range(1, 13))
    run = Run(tmp_path, {"run_id": "big", **synthetic.document((synthetic.HOST,), cases, 9)}, ended=True)
    one = synthetic.write_full(tmp_path)
    for case in cases:
        mine = [t for t in one.trials if t.part == "host" and t.function == "forward"]
        run.trials += [dataclasses.replace(t, case_id=case.case_id) for t in mine]
    text = render(run)
    assert len(text.encode()) < 3_000_000
    assert "All cases: On this host" in text, "cases of one part stand in one table"


def test_what_methods_found_is_in_the_page(methods_run: Run) -> None:
    text = html.unescape(render(methods_run))
    page = Page(render(methods_run))
    assert page.unbalanced == [] and page.loads == [] and len(page.ids) == len(set(page.ids))
    assert tuple(page.sections) == SECTIONS
    order = [
        "Without loss (NDR) kernel carries", "loses packets above, Mpps", "generator-limited",
        "Trials set aside: 12 warm-ups", "Outliers, kept in all figures: xdp round 13", "Throughput: forward-p1-f64",
        "Back-to-back frames", "Alone, into a bare drop, the generator", "Loss by load: forward-p1-f64",
        "Latency by load: forward-p1-f64", "CPU at equal load", "Counters per packet",
        "The AF_PACKET receive ring was full",
    ]  # fmt: skip
    start = text.index("</nav>")
    places = [text.index(words, start) for words in order]
    assert places == sorted(places)
    assert (
        "af_packet: NDR not reached: even 1,000 packets/s is not carried without loss in 3 of 4 searches"
        in text
    )
    assert "no hardware counters: " + synthetic_findings.NO_PMU in text


def test_each_grade_stands_with_its_reasons(methods_run: Run) -> None:
    text = render(methods_run)
    rows = Page(text[text.index('id="grades"') :]).rows
    said = {(row[1], row[2]): row[0] for row in rows if len(row) == 3 and row[1] in set("ABCDEF")}
    assert any(
        key[0] == "D" and key[1].startswith("generator-limited")
        for key, of in said.items()
        if of == "Rates: xdp"
    )
    assert any(key[1].startswith("veth, not a NIC") for key, of in said.items() if of == "all results")
    fired = rows[rows.index(["of", "grade left", "because"]) + 1 :]
    told = [tuple(row[1:]) for row in fired if len(row) == 3]
    assert len(told) == len(set(told)) > 10, "what holds for several results is told once"


def test_a_run_without_maximum_rates_has_no_table_of_them(tmp_path: Path) -> None:
    text = html.unescape(render(synthetic_findings.write(tmp_path / "results", rates=False)))
    assert "Rates: " not in text and "What is missing" not in text
    assert "without loss (NDR) kernel carries" in text


def test_loss_curves_alone_say_where_losses_begin(methods_run: Run) -> None:
    methods_run.findings = [f for f in methods_run.findings if f.method == "loss-curve"]
    text = html.unescape(render(methods_run))
    said = (
        r"Packets are lost by xdp above 2\.\d+ Mpps, kernel above \d+ kpps and af_packet at any load tried\."
    )
    assert re.search(said, text) and "the highest load without loss, by loss curve." in text


def test_old_runs_show_nothing_of_methods(run: Run) -> None:
    text = render(run)
    for title in ("Loss by load:", "Counters per packet:", "Alone, into a bare drop", "gave no answer"):
        assert title not in text


def test_method_charts_say_their_figures_in_words(methods_run: Run) -> None:
    (comparison,) = compare(methods_run)
    made = {c.title: c for c in figures.charts("t", comparison, beside(methods_run, [comparison])[0])}
    assert {"Throughput", "Loss by load", "Latency by load"} <= made.keys()
    assert "af_packet NDR not reached" in made["Throughput"].alt
    assert "kernel PDR 0.5 % 605 kpps" in made["Throughput"].alt
    assert "0 % at 2.52 Mpps" in made["Loss by load"].alt
    assert "af_packet at 90 %: p50 42 us, p99 119 us" in made["Latency by load"].alt
    for chart in made.values():
        assert "#010203" not in chart.inline_svg() and "var(--ink" in chart.inline_svg()


def test_several_runs_are_one_report(run: Run, methods_run: Run) -> None:
    methods_run.run["label"] = "after"
    text = report.html([run, methods_run])
    page = Page(text)
    assert tuple(page.sections) == SECTIONS and page.unbalanced == [] and len(page.ids) == len(set(page.ids))
    words = html.unescape(text)
    assert run.run_id in words and methods_run.run_id in words
    assert "after: On this host: forward" in words and f"{synthetic.HOSTILE}: On this host: forward" in words
    assert "not ranked against each other; kbench compare" in words
    assert "Facts of the host, after" in words or "No facts were recorded" in words
    for table in re.findall(r"<table.*?</table>", words, re.S):
        if "<caption>Ranking" in table:
            assert table.count('<th scope="row">') <= 3, "a ranking of one run's datapaths only"


def test_runs_of_the_same_label_go_by_their_ids(run: Run, tmp_path: Path) -> None:
    other = synthetic.write_full(tmp_path / "more", run_id="20000101-000000-aaaa")
    words = html.unescape(report.html([run, other]))
    assert f"{run.run_id}: On this host" in words and f"{other.run_id}: On this host" in words


def test_figures_have_names_of_their_own(run: Run, methods_run: Run) -> None:
    names = [chart.name for chart in report.figures([run, methods_run])]
    assert len(names) == len(set(names)) and len(names) > 12
    text = report.html([run, methods_run])
    assert [name for name in names if f'<figure id="{name}"' not in text] == []


def test_words_are_explained() -> None:
    words = [word for word, _, _ in GLOSSARY]
    assert words == sorted(words, key=str.lower) and len(set(words)) == len(words)
    assert {"DUT", "throughput", "NDR", "PDR", "trial", "datapath", "ledger", "grade"} <= set(words)
    sources = " ".join(source for _, _, source in GLOSSARY)
    for source in ("RFC 1242", "RFC 2544", "RFC 2889", "RFC 8219", "RFC 9004", "mlrsearch", "TST 009"):
        assert source in sources


def test_where_a_packet_s_time_goes_is_in_the_cpu_section(run: Run) -> None:
    veth = "kb-offer-xdp;entry_SYSCALL_64_after_hwframe;__do_softirq;net_rx_action;__napi_poll;veth_poll;veth_xdp_rcv"
    chains = [[f"{veth};bpf_prog_0123456789abcdef_xdp_forward", 300], [veth, 100]]
    seen = {"cpu": 0, "samples": 400, "lost": 0, "chains": chains, "other": {}, "user": {}}
    for datapath in ("xdp", "kernel"):
        trial = next(t for t in run.trials if t.datapath == datapath and t.part == "host")
        read = {"sampled": "cpu-clock", "hz": 3999, "elapsed_ns": 800_000_000, "cpus": [seen]}
        if datapath == "kernel":
            read = {"absent": "kallsyms is hidden"}
        probed, where = {"samples": read}, {"cpus": {"generator": 0, "receive": 0, "application": 1}}
        run.trials.append(dataclasses.replace(trial, purpose="profile", probes=probed, raw=where))
    text = html.unescape(render(run))
    section = text[text.index('<section id="cpu"') : text.index('<section id="ledger"')]
    assert "CPU time by stage, ns per packet: forward-p1-f64, host" in section
    assert "Where a packet's CPU time goes" in section
    assert "kernel: no stages: kallsyms is hidden." in section
