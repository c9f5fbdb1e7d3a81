# SPDX-License-Identifier: GPL-2.0-only
"""Repeats of a method become one figure with its doubt; what was not reached or is the generator's limit is said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kbench.explain.findings import Found, findings
from kbench.explain.repeats import over_repeats, usable_or_all
from kbench.explain.sheets import ratio_of, sheets
from kbench.explain.throughput import Bound
from kbench.model import Finding
from kbench.store import Run
from tests.unit import synthetic_findings as synthetic
from tests.unit.synthetic_findings import CASE, goal


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    (only,) = findings(synthetic.write(tmp_path_factory.mktemp("run")))
    return only


def searched(**goals: Sequence[dict[str, Any] | str]) -> list[Bound]:
    """Bounds of searches for one goal each: by datapath one entry per repeat, or why it failed."""
    run = Run(Path("x"), {"run_id": "x"})
    for datapath, results in goals.items():
        for repeat, result in enumerate(results):
            values = (
                {"failed": result}
                if isinstance(result, str)
                else {"search": "mlrsearch", "min_load_pps": 1000.0, "max_load_pps": 3e6, "goals": [result]}
            )
            run.findings.append(Finding("host", "throughput", CASE.case_id, datapath, repeat, values))
    (only,) = findings(run)
    return only.bounds


def pdr(lower: float, upper: float | None = None, outcome: str = "found") -> dict[str, Any]:
    return goal("pdr", outcome, lower, upper, 0.005)


NOT_REACHED = goal("pdr", "not_reached", None, 1000.0, 0.005)


def test_the_interval_is_over_repeats_and_holds_the_searchs_width() -> None:
    same = [pdr(1e6, 1.01e6)] * 3
    (bound,) = searched(xdp=same)
    assert bound.rate is not None and bound.rate.value == pytest.approx(1e6)
    assert bound.rate.low == pytest.approx(1e6) and bound.rate.high == pytest.approx(1.01e6)
    (spread,) = searched(xdp=[pdr(0.9e6, 0.909e6), pdr(1e6, 1.01e6), pdr(1.1e6, 1.111e6)])
    assert spread.rate is not None and spread.rate.low is not None and spread.rate.high is not None
    assert spread.rate.low < 0.8e6 and spread.rate.high > 1.2e6 and spread.rate.blocks == 3


def test_one_search_gives_no_interval_and_says_what_would() -> None:
    (bound,) = searched(xdp=[pdr(1e6, 1.004e6)])
    assert bound.rate is not None and bound.rate.low is None
    assert bound.rate.reason == "1 repeat: an interval needs 3" and bound.rate.needed == 2


def test_ratios_are_paired_by_repeat_and_hold_both_widths() -> None:
    drift = [1.0, 1.3, 0.8, 1.1]
    fast = [pdr(2e6 * d, 2.02e6 * d) for d in drift]
    slow = [pdr(1e6 * d, 1.01e6 * d) for d in drift]
    by_name = {b.datapath: b for b in searched(xdp=fast, kernel=slow)}
    ratio = by_name["xdp"].ratio
    assert ratio is not None and ratio.value == pytest.approx(2.0)
    # What both drift by cancels, so that only the searches' widths are left.
    assert ratio.low == pytest.approx(2 / 1.01) and ratio.high == pytest.approx(2.02)
    assert by_name["xdp"].told_apart is True and by_name["kernel"].ratio is None
    assert by_name["kernel"].reference == "kernel"


def test_mostly_not_reached_is_no_rate() -> None:
    (bound,) = searched(af_packet=[NOT_REACHED, pdr(5e5, 5.1e5), NOT_REACHED])
    assert bound.rate is None and bound.not_reached == 2 and bound.searches == 3
    assert bound.outcomes == {"not_reached": 2, "found": 1}


def test_seldom_not_reached_is_a_median_without_interval() -> None:
    (bound,) = searched(af_packet=[pdr(4e5, 4.1e5), NOT_REACHED, pdr(5e5, 5.1e5)])
    # With the one that is below all others the middle of three is the lower of the two that were found.
    assert bound.rate is not None and bound.rate.value == 4e5 and bound.rate.low is None
    assert bound.rate.reason == "1 of 3 searches gave no rate"


def test_a_failed_search_counts_as_one_without_a_rate() -> None:
    (bound,) = searched(xdp=[pdr(1e6, 1.01e6), "3 trials in a row were invalid", pdr(1e6, 1.01e6)])
    assert bound.searches == 3 and bound.outcomes["failed"] == 1
    assert bound.rate is not None and bound.rate.low is None


def test_at_the_maximum_load_it_is_at_least_that() -> None:
    limit = [pdr(3e6, None, "at_max_load")] * 3
    slow = [pdr(1e6, 1.01e6)] * 3
    by_name = {b.datapath: b for b in searched(xdp=limit, kernel=slow)}
    assert by_name["xdp"].at_least and ratio_of(by_name["xdp"]).startswith(">=3.00")
    assert by_name["xdp"].grade.letter == "D"
    assert any(r.rule == "generator-limited" for r in by_name["xdp"].grade.reasons)


def test_a_reference_at_the_maximum_load_gives_no_ratio() -> None:
    limit = [pdr(3e6, None, "at_max_load")] * 3
    by_name = {b.datapath: b for b in searched(xdp=[pdr(1e6, 1.01e6)] * 3, kernel=limit)}
    assert by_name["xdp"].ratio is None and ratio_of(by_name["xdp"]) == "-"


def test_tst009_has_its_goal_beside_the_search() -> None:
    run = Run(Path("x"), {"run_id": "x"})
    for repeat in range(3):
        values = {
            "search": "tst009", "min_load_pps": 1000.0, "max_load_pps": 3e6, "loss_ratio": 0.0, "trial_s": 1.0,
            "outcome": "found", "passed_pps": 9e5, "failed_pps": 9.1e5,
        }  # fmt: skip
        run.findings.append(Finding("host", "throughput", CASE.case_id, "xdp", repeat, values))
    (bound,) = findings(run)[0].bounds
    assert (bound.goal, bound.search, bound.trial_s) == ("ndr", "tst009", 1.0)
    assert bound.rate is not None and bound.rate.value == 9e5 and bound.rate.high == pytest.approx(9.1e5)


def test_the_sheet_says_plainly_what_was_not_reached(found: Found) -> None:
    sheet = next(s for s in sheets(found) if s.title == "Throughput")
    cells = {tuple(line.cells[:2]): line.cells[2:] for line in sheet.lines}
    assert cells["af_packet", "NDR"][0] == "not reached" and cells["af_packet", "NDR"][3] == "1 of 4"
    assert cells["af_packet", "NDR"][-1] == "-"
    lowest = "even 1,000 packets/s is not carried without loss in 3 of 4 searches"
    assert f"af_packet: NDR not reached: {lowest}." in sheet.notes
    assert cells["xdp", "PDR 0.5 %"][0].startswith(">=")
    assert any(
        n.startswith(">= generator-limited") and "xdp PDR 0.5 % (1 of 4 searches)" in n for n in sheet.notes
    )
    assert any("RFC 2544 asks for 60 s" in n for n in sheet.notes)


def test_slow_rates_are_not_rounded_to_nothing() -> None:
    run = Found(
        "host", "c", bounds=searched(xdp=[pdr(4e6, 4.01e6)] * 3, af_packet=[pdr(61_600.0, 61_800.0)] * 3)
    )
    (sheet,) = sheets(run)
    assert sheet.columns[2].name == "kpps"
    assert [line.cells[2] for line in sheet.lines] == ["4,000 [4,000, 4,010]", "61.6 [61.6, 61.8]"]


def test_a_loss_curve_has_its_repeats_together(found: Found) -> None:
    curve = next(c for c in found.curves if c.datapath == "kernel")
    table = curve.by_share()
    assert curve.repeats == 4 and list(table)[:2] == [1.0, 0.9]
    load, losses = table[1.0]
    assert load == synthetic.CEILING_PPS and len(losses) == 4 and all(0.7 < loss < 0.85 for loss in losses)
    assert table[0.2][1] == [0.0] * 4 and curve.outcomes == {"loss_free": 4}


def test_latency_is_by_load_from_the_trials_of_each_repeat(found: Found) -> None:
    quick = {(at.datapath, at.load): at for at in found.latencies}
    idle = quick["xdp", "0"]
    assert idle.samples == 4 * synthetic.SAMPLES["0"] and idle.load_pps == 1000.0
    # 1,200 samples: 12 lie beyond p99, 1.2 beyond p99.9.
    assert idle.percentiles_ns["99"] is not None and idle.percentiles_ns["99.9"] is None
    busy = quick["xdp", "90"]
    assert busy.load_pps == 0.9 * synthetic.PDR["xdp"] and busy.percentiles_ns["99.99"] is not None
    assert (busy.percentiles_ns["50"] or 0) > 2 * (idle.percentiles_ns["50"] or 0)
    assert quick["af_packet", "0"].wake_up_included
    assert [at.load for at in found.latencies][-3:] == ["common"] * 3


def test_a_load_that_no_trial_has_is_left_out() -> None:
    run = Run(Path("x"), {"run_id": "x"}, trials=synthetic.all_trials())
    loads = [{"load": "50", "load_share": 0.5, "load_pps": 123.0}]
    run.findings = [Finding("host", "latency", CASE.case_id, "xdp", 0, {"pdr_pps": 246.0, "loads": loads})]
    assert findings(run)[0].latencies == []


def test_bursts_without_loss_have_no_number(found: Found) -> None:
    by_name = {b.datapath: b for b in found.bursts}
    assert by_name["xdp"].frames is None and by_name["xdp"].without_loss == 5
    kernel = by_name["kernel"]
    assert (
        kernel.frames is not None
        and kernel.frames.value == 310
        and (kernel.least_frames, kernel.most_frames) == (256, 333)
    )
    sheet = next(s for s in sheets(found) if s.title == "Back-to-back frames")
    cells = {line.cells[0]: line.cells for line in sheet.lines}
    assert cells["xdp"][1] == ">=5,600,000" and cells["xdp"][-1] == "-"
    assert cells["kernel"][4] == "89.9 us" and cells["af_packet"][4] == "-"


def test_cycles_that_nobody_counted_are_absent_with_the_reason(found: Found) -> None:
    at = next(c for c in found.cpu if c.datapath == "af_packet")
    assert at.cycles is None and at.absent == {"cycles": synthetic.NO_PMU}
    assert at.dut_ns is not None and at.dut_ns.value == pytest.approx(1400 * 1.015)
    assert at.idle_cpu_share is not None and at.idle_cpu_share.value == 0.98
    sheet = next(s for s in sheets(found) if s.title == "CPU at equal load")
    assert "cycles/packet" not in [c.name for c in sheet.columns]
    assert f"all: no cycles: {synthetic.NO_PMU}." in sheet.notes


def test_what_the_generator_can_is_said(found: Found) -> None:
    assert found.generator.rate is not None and found.generator.rate.n == 4
    notes = " ".join(next(s for s in sheets(found) if s.title == "The generator and the clocks").notes)
    assert "offers at most 3.37 Mpps, 2.81 Mpps when it paces" in notes
    assert "Paced at 1 Mpps: rate -1.20 %; gaps between packets, 1 us wanted: p1 950 ns" in notes
    assert (
        "stamping a packet takes 21 ns" in notes
        and "without a DUT it is p50 180 ns, p99 260 ns at 50 kpps" in notes
    )


def test_a_method_without_an_answer_says_why() -> None:
    run = Run(Path("x"), {"run_id": "x"})
    why = "3 trials in a row at 1000 packets/s were invalid: steal"
    run.findings = [Finding("host", "loss-curve", CASE.case_id, "xdp", n, {"failed": why}) for n in range(2)]
    (only,) = findings(run)
    assert only.curves == []
    (sheet,) = sheets(only)
    assert sheet.notes == [f"xdp: loss-curve gave no answer: 2 times: {why}"]


def test_repeats_without_a_value_do_not_count() -> None:
    estimate = over_repeats({0: 1.0, 1: None, 2: 3.0, 3: 2.0})
    assert estimate is not None and estimate.value == pytest.approx(2.0) and estimate.blocks == 3
    assert over_repeats({0: None}) is None


def test_disturbed_trials_count_only_where_others_are_scarce() -> None:
    trials = [t for t in synthetic.all_trials() if t.purpose == "latency"][:4]
    trials[0].contaminated = ["steal"]
    assert usable_or_all(trials) == trials[1:]
    for trial in trials[:3]:
        trial.contaminated = ["steal"]
    assert usable_or_all(trials) == trials
    trials[3].valid = False
    assert usable_or_all(trials) == trials[:3]


def test_runs_without_findings_have_none() -> None:
    assert findings(Run(Path("x"), {"run_id": "x"}, trials=synthetic.all_trials())) == []
