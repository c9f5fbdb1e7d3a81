# SPDX-License-Identifier: GPL-2.0-only
"""Two runs, metric by metric: what each verdict rests on, and what is no answer to the same question."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from kbench.explain.across import AcrossResult, Change, compare_runs, exit_code
from kbench.explain.across.metrics import figures
from kbench.explain.across.result import Metric
from kbench.store import Run, load_run
from tests.unit import synthetic_findings
from tests.unit.synthetic_findings import CASE, COMMON_PPS, MEDIAN_NS
from tests.unit.synthetic_runs import histogram


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run of all methods, four repeats: made once, as it has many histograms."""
    return synthetic_findings.write(tmp_path_factory.mktemp("results")).path


@pytest.fixture
def runs(written: Path) -> tuple[Run, Run]:
    """It twice."""
    base, head = (load_run(written, written.parent) for _ in range(2))
    head.run["run_id"] = "head"
    return base, head


def again(run: Run) -> Run:
    """The same figures as another run."""
    return dataclasses.replace(run, run={**run.run, "run_id": "again"})


def goals(run: Run, datapath: str, name: str) -> list[dict[str, Any]]:
    return [
        goal
        for item in run.findings
        if (item.method, item.datapath) == ("throughput", datapath)
        for goal in item.values["goals"]
        if goal["goal"] == name
    ]


def of(result: AcrossResult, datapath: str, metric: Metric) -> Change:
    (found,) = [c for c in result.changes if (c.datapath, c.metric) == (datapath, metric)]
    return found


def reason(result: AcrossResult, start: str) -> str:
    (found,) = [text for text in result.unjudged if text.startswith(start)]
    return found


def test_every_metric_is_compared_and_a_run_does_not_differ_from_itself(runs: tuple[Run, Run]) -> None:
    result = compare_runs(*runs)
    metrics = {c.metric for c in result.changes if c.datapath == "kernel"}
    assert metrics == {"rate", "cpu", "p50", "p99", "ndr", "pdr", "cpu-at-load"}
    assert result.counts["worse"] == result.counts["better"] == 0
    assert all(c.ratio.value == pytest.approx(1) for c in result.changes)
    assert result.unjudged == [
        f"xdp PDR on {CASE.case_id} (host, xdp): in both runs it is at the generator's limit"
    ]
    assert of(result, "kernel", "p50").at == "at 250 kpps"


def test_latency_of_each_repeat_is_known_to_a_bucket(runs: tuple[Run, Run]) -> None:
    item = of(compare_runs(*runs), "xdp", "p50")
    assert item.ratio.blocks == synthetic_findings.REPEATS and item.resolution == 2 / 32
    # All repeats agree to the digit: what is left is the bucket, on either side.
    assert item.ratio.low is not None and item.ratio.high is not None
    assert 1 + 1 / 64 <= item.ratio.high <= 1 + 1 / 32 + 1e-9
    assert item.ratio.low == pytest.approx(1 / item.ratio.high)
    assert item.verdict == "no change beyond 6.2 %"


def test_the_edges_of_a_percentiles_bucket_are_compared(runs: tuple[Run, Run]) -> None:
    (figure,) = [f for (_, name, m), f in figures(runs[0]).found.items() if (name, m) == ("xdp", "p99")]
    assert figure.lower is not None and figure.upper is not None
    for unit, high in figure.upper.items():
        assert 1 / 64 <= high / figure.lower[unit] - 1 <= 1 / 32 + 1e-9


@pytest.mark.parametrize(
    ("slower", "outcome"), [(1.02, ("no change", "not enough data")), (1.3, ("changed",))]
)
def test_latency_is_worse_when_it_is_longer(
    runs: tuple[Run, Run], slower: float, outcome: tuple[str, ...]
) -> None:
    base, head = runs
    for number, trial in enumerate(head.trials):
        if trial.purpose == "latency" and trial.datapath == "kernel":
            assert trial.latency is not None
            trial.latency = histogram(MEDIAN_NS["kernel"] * slower, trial.latency.count, number)
    for trial in base.trials:
        if trial.purpose == "latency" and trial.datapath == "kernel":
            assert trial.latency is not None
            trial.latency = histogram(MEDIAN_NS["kernel"], trial.latency.count, 77)
    result = compare_runs(base, head)
    item = of(result, "kernel", "p50")
    assert item.claim.outcome in outcome
    if slower > 1.1:
        assert item.better is False and "(longer, worse)" in item.verdict and exit_code(result) == 10


def test_latency_at_another_load_is_another_question(runs: tuple[Run, Run]) -> None:
    base, head = runs
    for item in head.findings:
        for load in item.values.get("loads", ()):
            if load["load"] == "common":
                load["load_pps"] *= 1.1
    for trial in head.trials:
        if trial.load_pps == COMMON_PPS:
            trial.load_pps *= 1.1
    result = compare_runs(base, head)
    assert "it is at 250 kpps in BASE and at 275 kpps in HEAD" in reason(result, "xdp latency p50")
    assert not [c for c in result.changes if c.metric in ("p50", "p99")]


def test_a_bounds_interval_holds_the_width_of_both_searches(runs: tuple[Run, Run]) -> None:
    base, head = runs
    for goal in goals(head, "kernel", "pdr"):
        goal["lower_pps"] *= 0.8
        goal["upper_pps"] *= 0.8
    same = of(compare_runs(base, again(base)), "kernel", "pdr")
    item = of(compare_runs(base, head), "kernel", "pdr")
    assert item.ratio.value == pytest.approx(0.8) and item.better is False and item.ratio.unit == "block"
    assert same.ratio.high is not None
    for run in runs:
        for goal in goals(run, "kernel", "pdr"):
            goal["upper_pps"] = goal["lower_pps"] * 1.05
    wider = of(compare_runs(base, again(base)), "kernel", "pdr")
    assert wider.ratio.high is not None and wider.ratio.high / same.ratio.high == pytest.approx(
        1.05 / 1.004, rel=0.01
    )
    # Two per cent can't be resolved by searches that are five wide, however many there are.
    assert wider.claim.outcome == "not enough data" and wider.claim.more is None


def test_searches_are_asked_for_in_repeats(runs: tuple[Run, Run]) -> None:
    base, head = runs
    for run in runs:
        for n, goal in enumerate(goals(run, "kernel", "ndr")):
            goal["lower_pps"] *= 1 + 0.05 * n
            goal["upper_pps"] = goal["lower_pps"] * 1.001
    claim = of(compare_runs(base, head), "kernel", "ndr").claim
    assert claim.outcome == "not enough data" and claim.unit == "repeat" and claim.more is not None


def test_a_search_without_an_answer_leaves_no_interval(runs: tuple[Run, Run]) -> None:
    base, head = runs
    goals(head, "kernel", "ndr")[0].update(outcome="not_reached", lower_pps=None)
    item = of(compare_runs(base, head), "kernel", "ndr")
    assert item.claim.outcome == "not enough data" and item.ratio.low is None
    assert item.notes == ("1 of 4 searches gave no rate in HEAD",)


def test_a_bound_that_head_never_reaches_is_missing_and_no_success(runs: tuple[Run, Run]) -> None:
    base, head = runs
    for goal in goals(head, "kernel", "ndr"):
        goal.update(outcome="not_reached", lower_pps=None)
    result = compare_runs(base, head)
    assert result.only_base == [f"kernel NDR on {CASE.case_id} (host, xdp): none of 4 searches gave a rate"]
    assert result.counts["worse"] == 0 and exit_code(result) == 11


def test_a_fall_from_the_generators_limit_is_claimed_as_at_least_that(runs: tuple[Run, Run]) -> None:
    base, head = runs
    for goal in goals(head, "xdp", "pdr"):
        goal.update(outcome="found", lower_pps=1.3e6, upper_pps=1.305e6)
    result = compare_runs(base, head)
    item = of(result, "xdp", "pdr")
    assert item.better is False and "at least this" in item.notes[0]
    assert of(compare_runs(head, base), "xdp", "pdr").better is True
    for goal in goals(head, "xdp", "pdr"):
        goal.update(lower_pps=2.64e6, upper_pps=2.65e6)
    assert "BASE is at the generator's limit" in reason(compare_runs(base, head), "xdp PDR")


def test_other_goals_are_other_questions(runs: tuple[Run, Run]) -> None:
    base, head = runs
    for goal in goals(head, "kernel", "pdr"):
        goal["loss_ratio"] = 0.01
    text = reason(compare_runs(base, head), "kernel PDR")
    assert "loss ratio is 0.5 % in BASE and 1 % in HEAD" in text


def test_cpu_time_below_nothing_has_no_ratio(runs: tuple[Run, Run]) -> None:
    base, head = runs
    next(
        t for t in head.trials if t.purpose == "rate" and t.datapath == "xdp" and not t.warm_up
    ).dut_cpu_ns_per_packet = -1.0
    assert "not all of its values are above 0" in reason(compare_runs(base, head), "xdp DUT CPU time")


def test_two_blocks_are_not_enough(runs: tuple[Run, Run]) -> None:
    base, head = runs
    head.trials = [t for t in head.trials if t.purpose != "rate" or t.block < 2]
    item = of(compare_runs(base, head), "kernel", "rate")
    assert item.ratio.low is None and item.ratio.reason == "2 blocks: an interval needs 3"
    assert item.claim.outcome == "not enough data" and item.claim.more is not None and item.claim.more >= 1


def test_one_block_and_two_are_not_enough_either(runs: tuple[Run, Run]) -> None:
    base, head = runs
    base.trials = [t for t in base.trials if t.purpose != "rate" or t.block < 1]
    head.trials = [t for t in head.trials if t.purpose != "rate" or t.block < 2]
    item = of(compare_runs(base, head, force=True), "kernel", "rate")
    assert item.ratio.low is None and item.claim.outcome == "not enough data"


def test_a_single_block_against_many_is_judged_with_what_topologies_differ_by(runs: tuple[Run, Run]) -> None:
    base, head = runs
    base.trials = [t for t in base.trials if t.purpose != "rate" or (t.block < 1) or t.datapath != "kernel"]
    item = of(compare_runs(base, head, force=True), "kernel", "rate")
    assert item.ratio.low is not None and item.ratio.high is not None
    assert math.log(item.ratio.high / item.ratio.low) / 2 > 0.02
    assert item.ratio.reason == "one topology"


def test_how_wide_an_interval_is_does_not_make_another_grade(runs: tuple[Run, Run]) -> None:
    """Else two runs that measured the same would be refused by chance: the ratio's own interval says how sure it is."""
    base, head = runs
    for n, trial in enumerate(t for t in head.trials if t.purpose == "rate"):
        trial.forwarded_pps = (trial.forwarded_pps or 0.0) * (1 + 0.2 * (n % 7 - 3) / 3)
    result = compare_runs(base, head)
    assert result.forced == []
    assert of(result, "kernel", "rate").grades[0] == of(result, "kernel", "rate").grades[1]


def test_latency_beside_the_rates_is_of_one_topology(runs: tuple[Run, Run]) -> None:
    for run in runs:
        timed = [t for t in run.trials if t.purpose == "latency" and t.load_pps == COMMON_PPS]
        run.findings = []
        run.trials = [t for t in run.trials if t.purpose == "rate"]
        for trial in timed:
            run.trials += [dataclasses.replace(trial, block=4, round=20 + n) for n in range(2)]
    result = compare_runs(*runs)
    item = of(result, "kernel", "p99")
    assert item.ratio.blocks == 1 and item.ratio.low is not None and item.ratio.n == 8
    assert any("--method latency" in caveat for caveat in result.caveats)
