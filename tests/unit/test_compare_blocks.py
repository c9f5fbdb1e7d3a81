# SPDX-License-Identifier: GPL-2.0-only
"""Comparisons of runs in blocks: what is set aside is counted, what is odd is shown, and only rates are rates."""

from __future__ import annotations

import dataclasses

import pytest

from kbench.explain.compare import Comparison, Row
from kbench.model import Finding, Trial
from kbench.store import Run
from tests.unit import synthetic_runs as synthetic
from tests.unit.synthetic_runs import FORWARD
from tests.unit.test_compare import made, only


def in_blocks(speeds: dict[str, float], blocks: int = 5, per_block: int = 6) -> Run:
    run = made(speeds, rounds=blocks * per_block)
    for trial in run.trials:
        trial.block = trial.round // per_block
    return run


def row_of(comparison: Comparison, datapath: str) -> Row:
    return next(r for r in comparison.rows if r.datapath == datapath)


def trials_of(run: Run, datapath: str) -> list[Trial]:
    return [t for t in run.trials if t.datapath == datapath]


def with_baseline(run: Run, pps: float) -> Run:
    for trial in trials_of(run, "kernel"):
        base = dataclasses.replace(trial, purpose="baseline", datapath="baseline", offered_pps=pps)
        base.counters = dataclasses.replace(
            trial.counters, forwarded=0, lost=0, dropped={"baseline": trial.counters.offered}
        )
        run.trials.append(base)
    return run


def test_intervals_are_over_blocks_where_there_are_blocks() -> None:
    row = row_of(only(in_blocks({"xdp": 3e6, "kernel": 0.75e6})), "xdp")
    assert row.blocks == 5 and row.block_of[29] == 4
    for estimate in (row.figure, row.ratio, row.dut_ns, row.gross_ns):
        assert estimate is not None and estimate.blocks == 5 and estimate.n == 30
        assert estimate.low is not None and estimate.unit == "block"
    one = row_of(only(made({"xdp": 3e6, "kernel": 0.75e6})), "xdp")
    assert one.blocks == 1 and one.ratio is not None and one.ratio.unit == "paired round"


def test_warm_up_and_contaminated_trials_carry_no_figure_and_are_counted() -> None:
    run = in_blocks({"xdp": 3e6, "kernel": 0.75e6})
    mine = trials_of(run, "xdp")
    for trial in mine[::6]:
        run.trials.append(dataclasses.replace(trial, warm_up=True, forwarded_pps=9e9))
    for trial in mine[1:4]:
        trial.contaminated, trial.forwarded_pps = ["the hypervisor took 12 ms of CPU 0 in 100 ms"], 9e9
    mine[3].contaminated.append("other processes ran 20.0 ms in 100 ms, kbench's waited 4 ms for a CPU")
    mine[4].contaminated, mine[4].forwarded_pps = ["odd: 3"], 9e9
    run.trials.append(dataclasses.replace(mine[4], contaminated=[], forwarded_pps=3e6))  # made again
    row = row_of(only(run), "xdp")
    assert max(row.by_round.values()) < 4e6 and sorted(set(range(30)) - set(row.by_round)) == [1, 2, 3]
    assert row.valid == 27 and row.warm_ups == 5 and row.invalid_trials == 0
    assert row.contaminated_trials == 4 and row.contaminated == {"steal": 3, "foreign load": 1, "odd": 1}
    assert row.ledger.trials == 36
    assert "contaminated" in {r.rule for r in row.grade.reasons}


def test_a_machine_that_was_hardly_ever_alone_is_measured_as_it_is() -> None:
    """Less than half of a datapath's rounds without disturbance: all are scored, for all, and graded E."""
    run = in_blocks({"xdp": 3e6, "kernel": 0.75e6})
    trials = trials_of(run, "xdp")
    for trial in trials[: len(trials) // 2]:
        trial.contaminated = ["the hypervisor took 12 ms of CPU 0 in 100 ms"]
    made = only(run)
    assert not made.disturbed and row_of(made, "xdp").contaminated_trials > 0
    for trial in trials:
        trial.contaminated = ["the hypervisor took 12 ms of CPU 0 in 100 ms"]
    made = only(run)
    row = row_of(made, "xdp")
    assert made.disturbed and row.contaminated_trials == 0 and row.valid == 30 and row.figure is not None
    assert row.grade.letter == "E" and [r.rule for r in row.grade.deciding] == ["contaminated"]


def test_outliers_are_shown_and_stay_in() -> None:
    run = in_blocks({"xdp": 3e6, "kernel": 0.75e6})
    trials_of(run, "xdp")[8].forwarded_pps = 2.1e6
    row = row_of(only(run), "xdp")
    (odd,) = row.outliers
    assert (odd.round, odd.block, odd.value) == (8, 1, 2.1e6)
    assert odd.off == pytest.approx(0.7, abs=0.08) and odd.deviations < -3.5
    assert row.by_round[8] == 2.1e6 and row.valid == 30
    assert row_of(only(run), "kernel").outliers == []


def test_a_figure_near_the_generators_ceiling_is_marked() -> None:
    comparison = only(with_baseline(in_blocks({"xdp": 3e6, "kernel": 0.75e6}), 3.05e6))
    assert comparison.ceiling is not None and comparison.ceiling.value == pytest.approx(3.05e6)
    xdp, kernel = row_of(comparison, "xdp"), row_of(comparison, "kernel")
    assert xdp.ceiling_share == pytest.approx(3 / 3.05, abs=0.02) and xdp.generator_limited is True
    assert kernel.ceiling_share == pytest.approx(0.75 / 3.05, abs=0.02) and kernel.generator_limited is False
    assert "generator-limited" in {r.rule for r in xdp.grade.reasons}
    assert "generator-limited" not in {r.rule for r in kernel.grade.reasons}


def test_without_a_baseline_at_maximum_load_no_ceiling_is_known() -> None:
    comparison = only(made({"xdp": 3e6, "kernel": 0.75e6}))
    assert comparison.ceiling is None and comparison.rows[0].generator_limited is None
    run = with_baseline(made({"xdp": 3e6, "kernel": 0.75e6}), 3e6)
    for trial in run.trials:
        trial.load_pps = 1e6
    assert only(run).ceiling is None


def test_trials_of_other_methods_are_in_the_ledger_only() -> None:
    run = in_blocks({"xdp": 3e6, "kernel": 0.75e6})
    for purpose in ("search", "loss", "burst", "load", "profile"):
        trial = dataclasses.replace(
            trials_of(run, "xdp")[0], purpose=purpose, forwarded_pps=9e9, valid=purpose != "loss",
            problems=["too odd"] * (purpose == "loss"), load_pps=5e5,
        )  # fmt: skip
        run.trials.append(trial)
    row = row_of(only(run), "xdp")
    assert max(row.by_round.values()) < 4e6 and row.valid == 30 and row.ledger.trials == 35
    assert row.invalid == {"too odd": 1} and row.invalid_trials == 1 and row.invalid_scored == 0


def test_a_run_of_other_methods_only_ranks_nothing_and_misses_nothing() -> None:
    run = in_blocks({"xdp": 3e6, "kernel": 0.75e6})
    for trial in run.trials:
        trial.purpose = "search"
    comparison = only(run)
    assert not comparison.ranks and comparison.reference is None
    assert all(r.missing is None and r.figure is None and r.ledger.trials == 30 for r in comparison.rows)
    assert only(in_blocks({"xdp": 3e6})).ranks


def latency_run(loads: dict[str, list[float]]) -> Run:
    run = made(dict.fromkeys(loads, 1e6))
    for datapath, asked in loads.items():
        for load in asked:
            trial = synthetic.latency_trial(FORWARD, datapath, 1000.0 + load / 100)
            run.trials.append(dataclasses.replace(trial, load_pps=load))
    return run


def test_latency_stands_per_load_and_is_compared_at_a_common_one() -> None:
    run = latency_run({"xdp": [1e3, 5e4, 9e5], "kernel": [1e3, 5e4, 2e5]})
    row = row_of(only(run), "xdp")
    assert [quick.loads_pps for quick in row.latencies] == [[1e3], [5e4], [9e5]]
    assert row.latency is not None and row.latency.loads_pps == [5e4] and row.latency.samples == 20_000
    run.findings.append(
        Finding(
            "host", "latency", FORWARD.case_id, "xdp", 0, {"loads": [{"load": "common", "load_pps": 1000.2}]}
        )
    )
    named = row_of(only(run), "xdp").latency
    assert named is not None and named.loads_pps == [1e3]


def test_without_a_common_load_latency_is_not_compared() -> None:
    row = row_of(only(latency_run({"xdp": [9e5], "kernel": [2e5]})), "xdp")
    assert row.latency is None and len(row.latencies) == 1


def test_the_last_percentile_needs_its_samples() -> None:
    run = latency_run({"xdp": [5e4]})
    quick = row_of(only(run), "xdp").latency
    assert quick is not None and quick.percentiles_ns["99.99"] is None
    run.trials[-1].latency = synthetic.histogram(1000.0, 100_000, 3)
    quick = row_of(only(run), "xdp").latency
    assert quick is not None and quick.percentiles_ns["99.99"] is not None


def test_every_row_has_a_grade_from_the_facts_of_its_part() -> None:
    run = in_blocks({"xdp": 3e6, "kernel": 0.75e6})
    run.facts["host"] = {"virtualization": "QEMU", "packet_sockets": 1}
    seen = [reason.saw for row in only(run).rows for reason in row.grade.reasons]
    assert seen.count("1 stray packet socket open") == 2
    assert sum("QEMU" in text for text in seen) == 2
    run.facts["host"]["packet_sockets"] = 0
    seen = [reason.saw for row in only(run).rows for reason in row.grade.reasons]
    assert "1 stray packet socket open" not in seen
