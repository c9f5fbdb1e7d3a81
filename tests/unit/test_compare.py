# SPDX-License-Identifier: GPL-2.0-only
"""Comparisons: kinds never meet, what is not told apart is not ranked, nothing missing goes unsaid."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import pytest

from kbench.explain.answer import answer, missing, rate, ratio, share, time_ns
from kbench.explain.compare import Comparison, compare, handled_pps
from kbench.explain.stats import Estimate
from kbench.model import Case, CpuTime, Part, Trial
from kbench.store import Run
from tests.unit import synthetic_runs as synthetic
from tests.unit.synthetic_runs import FORWARD, HOST, LAB


def made(
    speeds: dict[str, float], rounds: int = 9, case: Case = FORWARD, part: Part = HOST, noise: int = 1
) -> Run:
    """A run in memory, without files: one wall-clock part and case."""
    random_ = random.Random(noise)
    part = dataclasses.replace(part, datapaths=tuple(speeds))
    run = Run(Path("x"), {"run_id": "x", **synthetic.document((part,), (case,), rounds)}, ended=True)
    for round_ in range(rounds):
        for datapath, pps in speeds.items():
            run.trials.append(synthetic.wall_trial(case, datapath, round_, random_, pps))
    return run


def only(run: Run) -> Comparison:
    found = compare(run)
    assert len(found) == 1
    return found[0]


def test_kinds_and_cases_never_share_a_comparison(tmp_path: Path) -> None:
    found = compare(synthetic.write_full(tmp_path))
    assert [(c.part.name, c.kind, c.function) for c in found] == [
        ("host", "wall", "forward"), ("host", "wall", "filter"), ("lab", "exact", "forward")]  # fmt: skip
    for c in found:
        assert c.reference is None or any(r.datapath == c.reference for r in c.rows)


def test_wall_rows_are_ranked_by_rate_with_ratios_to_kernel() -> None:
    comparison = only(made({"af_packet": 0.6e6, "xdp": 3e6, "kernel": 0.75e6}))
    assert [r.datapath for r in comparison.rows] == ["xdp", "kernel", "af_packet"]
    assert comparison.reference == "kernel"
    xdp = comparison.rows[0]
    assert xdp.ratio is not None and xdp.ratio.low is not None and xdp.ratio.high is not None
    assert xdp.ratio.low <= 4 <= xdp.ratio.high and xdp.told_apart is True
    assert comparison.rows[1].told_apart is None


@pytest.mark.parametrize(
    ("datapaths", "reference"),
    [(("xdp", "netfilter", "kernel"), "kernel"), (("xdp", "netfilter"), "netfilter"), (("xdp", "tc"), "xdp")],
)
def test_the_reference_is_kernel_else_netfilter_else_the_first(
    datapaths: tuple[str, ...], reference: str
) -> None:
    assert only(made(dict.fromkeys(datapaths, 1e6))).reference == reference


def test_equal_datapaths_are_not_told_apart() -> None:
    comparison = only(made({"kernel": 1e6, "netfilter": 1.0e6}))
    row = next(r for r in comparison.rows if r.datapath == "netfilter")
    assert row.told_apart is False
    assert "netfilter and kernel are not told apart" in answer(comparison).headline


def test_a_difference_below_the_methods_resolution_is_not_told_apart() -> None:
    run = made({"kernel": 1e6, "netfilter": 1e6}, rounds=30)
    for trial in run.trials:
        trial.forwarded_pps = 1e6 if trial.datapath == "kernel" else 1.012e6
    row = next(r for r in only(run).rows if r.datapath == "netfilter")
    assert row.ratio is not None and row.ratio.low is not None and row.ratio.low > 1
    assert row.told_apart is False


def test_neighbours_with_overlapping_intervals_are_said_to_tie() -> None:
    said = answer(only(made({"xdp": 3e6, "tc": 3e6, "kernel": 0.75e6}))).headline
    assert "xdp and tc are not told apart" in said or "tc and xdp are not told apart" in said


def test_too_few_rounds_give_a_ratio_without_interval_or_claim() -> None:
    comparison = only(made({"xdp": 3e6, "kernel": 0.75e6}, rounds=3))
    assert comparison.rows[0].told_apart is None
    assert "no interval: 3 paired rounds" in answer(comparison).headline


def test_invalid_trials_count_for_nothing_but_are_told() -> None:
    run = made({"xdp": 3e6, "kernel": 0.75e6})
    for trial in run.trials[:4]:
        trial.valid, trial.problems, trial.forwarded_pps = False, ["foreign load"], 9e9
    row = only(run).rows[0]
    assert row.valid == 7 and row.invalid == {"foreign load": 2} and row.invalid_scored == 2
    assert max(row.by_round.values()) < 4e6


def test_exact_rows_are_ranked_by_fewest_instructions(tmp_path: Path) -> None:
    comparison = compare(synthetic.write_full(tmp_path))[2]
    assert comparison.dut_only and comparison.reference == "netfilter"
    assert [r.datapath for r in comparison.rows] == ["netfilter", "xdp", "kernel"]
    assert comparison.rows[1].ratio is not None
    assert comparison.rows[1].ratio.value == pytest.approx(1400 / 1150, rel=1e-3)
    said = answer(comparison)
    assert "1.217x of netfilter's 1,150" in said.headline and "not cycles" in said.caveats[0]


def test_exact_counts_with_and_without_the_generator_are_not_mixed() -> None:
    run = exact_run({"netfilter": 1150.0, "xdp": 1400.0})
    run.trials[0].dut_instructions_per_packet = None
    comparison = only(run)
    assert not comparison.dut_only
    assert all(r.figure is not None and r.figure.value > 3000 for r in comparison.rows)
    assert "generator's included" in answer(comparison).caveats[0]


def test_an_invalid_exact_trial_does_not_decide_what_is_compared() -> None:
    run = exact_run({"netfilter": 1150.0, "xdp": 1400.0})
    run.trials[0].dut_instructions_per_packet, run.trials[0].valid = None, False
    comparison = only(run)
    assert comparison.dut_only and comparison.rows[0].figure is not None
    assert comparison.rows[0].figure.value == pytest.approx(1150, rel=1e-3)


def exact_run(counts: dict[str, float]) -> Run:
    run = made(counts, rounds=0, part=LAB)
    run.trials = [synthetic.exact_trial(d, r, n) for r in (1, 2) for d, n in counts.items()]
    return run


def test_exact_counts_within_a_fifth_of_a_percent_are_not_told_apart() -> None:
    assert only(exact_run({"netfilter": 1000.0, "xdp": 1001.5})).rows[1].told_apart is False
    assert only(exact_run({"netfilter": 1000.0, "xdp": 1004.0})).rows[1].told_apart is True


def test_functional_parts_are_not_ranked() -> None:
    part = dataclasses.replace(LAB, kind="functional")
    run = made({"xdp": 3e6, "netfilter": 1e6}, part=part)
    for trial in run.trials:
        trial.part, trial.kind, trial.purpose = "lab", "functional", "account"
    comparison = only(run)
    assert comparison.reference is None
    assert all(r.figure is None and r.ratio is None and not r.missing for r in comparison.rows)
    assert comparison.rows[0].ledger.trials == 9
    assert "nothing is ranked" in answer(comparison).headline


def test_drop_is_rated_by_what_was_dropped_and_filter_by_both() -> None:
    random_ = random.Random(1)
    dropped = synthetic.wall_trial(Case("drop"), "xdp", 1, random_, 5e6)
    assert dropped.counters.forwarded == 0
    assert handled_pps(dropped) == pytest.approx(dropped.offered_pps)
    filtered = synthetic.wall_trial(synthetic.FILTER, "xdp", 1, random_, 4e6)
    assert handled_pps(filtered) == pytest.approx(filtered.counters.offered)
    filtered.forwarded_pps = None
    assert handled_pps(filtered) is None


def test_different_loads_are_different_comparisons() -> None:
    run = made({"xdp": 3e6, "kernel": 0.75e6})
    slow = made({"xdp": 1e5, "kernel": 1e5})
    for trial in slow.trials:
        trial.load_pps = 1e5
    run.trials += slow.trials
    found = compare(run)
    assert [c.load_pps for c in found] == [None, 1e5]
    assert all(len(r.by_round) == 9 for c in found for r in c.rows)
    assert "at 100 kpps offered" in answer(found[1]).headline


def test_the_ledger_adds_up_and_says_where_it_does_not() -> None:
    run = made({"af_packet": 1e6, "kernel": 1e6})
    run.trials[0].counters.offered += 7
    row = next(r for r in only(run).rows if r.datapath == "af_packet")
    ledger = row.ledger
    assert ledger.unbalanced_trials == 1 and ledger.unexplained == 0
    assert ledger.offered - 7 == ledger.forwarded + sum(ledger.dropped.values()) + ledger.lost
    assert ledger.lost_by == {"socket_ring": ledger.lost}


def test_cpu_shares_weigh_trials_by_their_time() -> None:
    run = made({"xdp": 3e6}, rounds=2)
    run.trials[0].cpus = [CpuTime(0, 1, 0, 0, 0, 0, 0)]
    run.trials[1].cpus = [CpuTime(0, 0, 0, 0, 3, 0, 0)]
    assert only(run).rows[0].cpus == {
        0: {"user": 0.25, "system": 0, "irq": 0, "softirq": 0.75, "steal": 0, "idle": 0}}  # fmt: skip


def test_latency_is_merged_and_labelled(tmp_path: Path) -> None:
    rows = {r.datapath: r for r in compare(synthetic.write_full(tmp_path))[0].rows}
    xdp, af_packet = rows["xdp"].latency, rows["af_packet"].latency
    assert xdp is not None and af_packet is not None
    assert xdp.samples == 20_000 and xdp.loads_pps == [50_000.0] and not xdp.wake_up_included
    assert af_packet.wake_up_included
    p50 = xdp.percentiles_ns["50"]
    assert p50 is not None and 550 < p50 < 650


def test_the_sentence_says_who_shares_a_cpu() -> None:
    assert answer(only(made({"xdp": 3e6, "kernel": 1e6}))).caveats == ["Generator and DUT share one CPU."]
    said = answer(only(made({"xdp": 3e6, "kernel": 1e6})))
    assert "what kernel does per core" in said.headline
    mixed = answer(only(made({"xdp": 3e6, "kernel": 1e6, "af_packet": 1e6})))
    assert "except that af_packet had a second CPU" in mixed.caveats[0]
    assert "per core" not in mixed.headline


def test_a_userspace_process_is_never_said_to_share_the_cpu() -> None:
    run = made({"kernel": 1e6, "xdp": 3e6, "af_packet": 0.7e6})
    for trial in run.trials:
        trial.placement = "same"
    said = answer(only(run))
    assert "xdp forwards" in said.headline and "what kernel does per core;" in said.headline
    assert not said.headline.endswith("per core.")
    assert "the process of af_packet can have another" in said.caveats[0]


def test_overload_and_disturbance_are_said() -> None:
    run = made({"xdp": 3e6, "kernel": 1e6})
    assert len(answer(only(run)).caveats) == 1
    for trial in run.trials:
        trial.foreign_cpu_share, trial.steal_share = 1.4, 0.05
        if trial.datapath == "kernel":
            trial.counters.offered *= 2
            trial.counters.lost = trial.counters.offered // 2
    said = " ".join(answer(only(run)).caveats)
    assert "not at zero loss; lost of what was offered: kernel 50 %" in said
    assert "other processes took 140 % of a CPU and the hypervisor stole 5 %" in said


def test_missing_work_is_said(tmp_path: Path) -> None:
    whole = synthetic.write_full(tmp_path / "a")
    said = " ".join(missing(whole, compare(whole)))
    assert "kernel: not measured: it does not do the same work" in said
    assert "No trials of filter-r100acl-p1000-f64 on the lab." in said
    whole.run["plan"]["cases_by_part"] = {"lab": [FORWARD.case_id]}
    assert "on the lab." not in " ".join(missing(whole, compare(whole)))
    killed = synthetic.write_full(tmp_path / "b", rounds=4, end=False)
    said = " ".join(missing(killed, compare(killed)))
    assert "killed or is still going on" in said and "4 of 9 rounds" in said


def test_a_baseline_is_no_datapath() -> None:
    run = made({"xdp": 3e6, "kernel": 1e6})
    extra: list[Trial] = [dataclasses.replace(t, purpose="baseline", datapath="none") for t in run.trials]
    run.trials += extra
    assert {r.datapath for r in only(run).rows} == {"xdp", "kernel"}


def test_numbers_in_words() -> None:
    assert [rate(x) for x in (999, 12_345, 999_900, 3.07e6)] == [
        "999 pps",
        "12.3 kpps",
        "1 Mpps",
        "3.07 Mpps",
    ]
    assert [time_ns(x) for x in (None, 999, 1500, 2.5e6)] == ["-", "999 ns", "1.5 us", "2.5 ms"]
    assert [share(x) for x in (None, 0, 1e-6, 0.0002, 0.5, 1)] == [
        "-",
        "0 %",
        "< 0.01 %",
        "0.02 %",
        "50 %",
        "100 %",
    ]
    assert ratio(Estimate(4.12, 3.88, 4.31, 9)) == "4.1x [3.9, 4.3]"
    assert ratio(Estimate(0.97, 0.951, 0.984, 9)) == "0.97x [0.95, 0.98]"
