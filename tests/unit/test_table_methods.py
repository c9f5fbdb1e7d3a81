# SPDX-License-Identifier: GPL-2.0-only
"""Terminal and JSON of a run of all methods: grades with reasons, what was set aside, places of loss, probes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from kbench.explain import probed
from kbench.explain.comparison import Ledger
from kbench.explain.grade import Grade
from kbench.explain.grade import Reason as Why
from kbench.explain.notes import Result, lost_at, reasons
from kbench.explain.table import print_tables, summary
from kbench.places import PLACES
from kbench.store import Run
from tests.unit import synthetic_findings as synthetic
from tests.unit import synthetic_runs

NAMES = ("xdp", "af_packet", "kernel", "10", "50", "100")
"""First words of rows: datapaths and loads."""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return synthetic.write(tmp_path)


def shown(run: Run, width: int) -> str:
    out = io.StringIO()
    print_tables(run, Console(file=out, width=width, force_terminal=False))
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_lines_fit_and_figures_stay_on_one_line(run: Run, width: int) -> None:
    lines = shown(run, width).splitlines()
    assert max(map(len, lines)) <= width
    rows = [line for line in lines if line.startswith(" ") and line.split()[:1] and line.split()[0] in NAMES]
    assert len(rows) > 20
    for line in rows:
        assert line.count("[") == line.count("]"), line


def test_it_says_what_limits_the_figures(run: Run) -> None:
    text = " ".join(shown(run, 200).split())
    assert ">=2.98 [" in text and ">= generator-limited: xdp (99 %) of the 3.02 Mpps" in text
    assert "~ af_packet against kernel: no difference beyond 2 %." in text
    aside = (
        "Trials set aside: 12 warm-ups (the first of each block), 1 contaminated (steal: kernel 1), 1 invalid"
    )
    assert aside in text
    assert "Outliers, kept in all figures: xdp round 13 (block 2): 2.09 Mpps, 32 % low." in text
    assert "D xdp: generator-limited" in text and "C all: veth, not a NIC" in text
    assert "Lost at socket_ring: af_packet 5,384. The AF_PACKET receive ring was full" in text


def test_too_little_data_says_how_much_more(tmp_path: Path) -> None:
    run = synthetic.write(tmp_path)
    for trial in run.trials:
        if trial.datapath == "af_packet" and trial.forwarded_pps and trial.purpose == "rate":
            trial.forwarded_pps *= 1 + 0.05 * (trial.block - 1.5)
    text = " ".join(shown(run, 200).split())
    assert "~ af_packet against kernel: not enough data (need about" in text and "more blocks)." in text


def test_reasons_are_told_once(run: Run) -> None:
    text = " ".join(shown(run, 200).split())
    assert text.count("veth, not a NIC") == 1 and "reasons from above" in text
    assert text.count("ratios within this run hold") == 1


def test_old_runs_have_nothing_of_methods(tmp_path: Path) -> None:
    text = shown(synthetic_runs.write_full(tmp_path), 120)
    for title in ("Throughput", "Loss by load", "Counters per packet", "The generator and the clocks"):
        assert title not in text


def test_the_summary_holds_the_same_as_plain_data(run: Run) -> None:
    data = json.loads(json.dumps(summary(run), allow_nan=False))
    (comparison,) = data["comparisons"]
    assert comparison["ceiling_pps"]["value"] == pytest.approx(3.02e6, rel=0.02)
    xdp = comparison["rows"][0]
    assert xdp["grade"]["letter"] == "D" and xdp["grade"]["reasons"][0]["rule"] == "generator-limited"
    assert xdp["generator_limited"] is True and xdp["outliers"][0]["round"] == 13 and xdp["blocks"] == 4
    assert [r["contaminated_trials"] for r in comparison["rows"] if r["datapath"] == "kernel"] == [1]
    methods = comparison["methods"]
    assert set(methods) == {
        "counters", "throughput", "loss-curve", "latency", "back-to-back", "cpu-at-load", "generator",
    }  # fmt: skip
    ndr = next(b for b in methods["throughput"] if (b["datapath"], b["goal"]) == ("kernel", "ndr"))
    assert ndr["rate_pps"]["low"] < ndr["rate_pps"]["value"] < ndr["rate_pps"]["high"]
    assert ndr["rate_pps"]["unit"] == "block" and set(ndr["by_repeat"]) == {"0", "1", "2", "3"}
    assert ndr["by_repeat"]["0"]["lower_pps"] < ndr["by_repeat"]["0"]["upper_pps"]
    missed = next(b for b in methods["throughput"] if (b["datapath"], b["goal"]) == ("af_packet", "ndr"))
    assert missed["rate_pps"] is None and missed["not_reached"] == 3
    assert "histogram" not in methods["latency"][0]


def test_without_maximum_rates_the_answer_is_the_searches(tmp_path: Path) -> None:
    data = summary(synthetic.write(tmp_path, rates=False))
    (comparison,) = data["comparisons"]
    assert comparison["ranks"] is False and data["missing"] == []
    assert "without loss (NDR) kernel carries 484 kpps, xdp 4.26x" in comparison["answer"]
    assert "af_packet has no rate that it carries" in comparison["answer"]


def graded(*whys: tuple[str, str, str]) -> list[Result]:
    """Results as (datapath, name, what a C was given for)."""
    return [Result(d, name, Grade("C", [Why("rule", saw, "C")])) for d, name, saw in whys]


def test_a_reason_names_the_results_that_it_is_about() -> None:
    results = graded(
        ("xdp", "xdp NDR", "x"),
        ("xdp", "xdp PDR", "x"),
        ("kernel", "kernel NDR", "y"),
        ("kernel", "kernel PDR", "z"),
    )
    told = {r.saw: r.whose for r in reasons(results)}
    assert told == {"x": "xdp", "y": "kernel NDR", "z": "kernel PDR"}
    assert reasons(graded(("xdp", "a", "x"), ("kernel", "b", "x")))[0].whose == "all"
    assert reasons(graded(("xdp", "xdp", "x")))[0].whose == "xdp"


def test_places_of_loss_have_their_meaning() -> None:
    one = Ledger(lost_by={"backlog": 5, "qdisc": 0})
    other = Ledger(lost_by={"backlog": 2, "novelty": 100})
    found = lost_at([("xdp", one), ("kernel", other)])
    assert [(at.place, at.total) for at in found] == [("novelty", 100), ("backlog", 7)]
    assert found[1].meaning == PLACES["backlog"] and found[1].by_datapath == {"xdp": 5, "kernel": 2}


def test_probes_that_are_absent_have_a_reason_and_no_zero(run: Run) -> None:
    found = {p.datapath: p for p in probed.probed(run, "host", synthetic.CASE.case_id)}
    assert found["af_packet"].values["syscalls"] == 0.031 and "syscalls" not in found["xdp"].values
    assert found["xdp"].programs == {"kb_xdp": 95.0}
    sheet = probed.sheet(list(found.values()))
    assert sheet is not None
    cells = {line.cells[0]: line.cells[1:] for line in sheet.lines}
    assert cells["xdp"][:3] == ["-", "-", "-"] and cells["af_packet"][:3] == ["0.031", "0.0004", "0"]
    assert f"all: no energy: {synthetic.NO_RAPL}." in sheet.notes
    assert sum(synthetic.NO_PMU in note for note in sheet.notes) == 1


def test_hardware_counters_have_columns_and_remarks(run: Run) -> None:
    for trial in run.trials:
        if trial.datapath == "xdp" and trial.purpose == "rate" and trial.round % 2:
            synthetic.with_pmu(trial)
    found = {p.datapath: p for p in probed.probed(run, "host", synthetic.CASE.case_id)}
    # Counted in some trials: then it is not absent.
    assert found["xdp"].values["cycles"] == 900 and "hardware" not in found["xdp"].absent
    assert found["kernel"].absent["hardware"] == synthetic.NO_PMU
    sheet = probed.sheet(list(found.values()))
    assert sheet is not None and [c.name for c in sheet.columns][1:5] == [
        "cycles", "instr.", "cache misses", "branch misses",
    ]  # fmt: skip
    assert any("cache-misses scaled up" in note for note in sheet.notes)
    assert any("the generator runs on the same CPU" in note for note in sheet.notes)


def test_a_run_without_probes_has_no_sheet(tmp_path: Path) -> None:
    run = synthetic_runs.write_full(tmp_path)
    assert probed.probed(run, "host", synthetic_runs.FORWARD.case_id) == [] and probed.sheet([]) is None
