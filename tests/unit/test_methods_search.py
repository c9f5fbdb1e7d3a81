# SPDX-License-Identifier: GPL-2.0-only
"""The throughput searches find what is true about simulated DUTs, and agree with the reference package."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import MLRsearch as reference
import pytest
from MLRsearch.target_spec import TargetSpec
from MLRsearch.target_stat import TargetStat
from MLRsearch.trial_measurement import AbstractMeasurer, MeasurementResult

from kbench.measure.methods.base import Budget
from kbench.measure.methods.bounds import Tally
from kbench.measure.methods.goals import Goal, Target, ndr_and_pdr
from kbench.measure.methods.mlrsearch import GoalResult, mlrsearch
from kbench.measure.methods.tst009 import Bswlv, bswlv
from kbench.model import Trial
from tests.unit.simulated_dut import HardKnee, make_trial, simulated

SYSTEMS = ["hard knee", "soft knee", "periodic", "bursty", "bimodal", "mostly slow"]
SEEDS = 200
REFERENCE_SEEDS = 60
ENOUGH = 0.95
MIN_PPS, MAX_PPS = 1e3, 8e6
ROOMY = Budget(trials=2000, measured_s=2000)


def truth(name: str, dut: HardKnee, goal: Goal) -> tuple[float, float]:
    """A rate; for the NDR of a soft knee a range of 5 %, in which it is luck whether one packet of millions is lost."""
    fuzzy = name == "soft knee" and goal.loss_ratio == 0
    return dut.truth(goal.loss_ratio, goal.final_trial_s, (0.3, 0.7) if fuzzy else (0.5, 0.5))


def middle(lower_pps: float, upper_pps: float) -> float:
    return math.sqrt(lower_pps * upper_pps)


def found(result: GoalResult, true_range: tuple[float, float]) -> bool:
    """The middle of the bounds is no further from the truth than the goal's width."""
    if result.outcome != "found" or result.lower_pps is None or result.upper_pps is None:
        return False
    assert result.width is not None and result.width <= result.goal.width + 1e-9
    keep = 1 - result.goal.width
    return true_range[0] * keep <= middle(result.lower_pps, result.upper_pps) <= true_range[1] / keep


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_search_finds_the_true_rates(name: str) -> None:
    hits = {"ndr": 0, "pdr": 0}
    for seed in range(SEEDS):
        dut = simulated(name, seed)
        results = mlrsearch(dut, MIN_PPS, MAX_PPS, ndr_and_pdr(), ROOMY)
        assert (results.effort.trials, results.stopped) == (dut.trials, None)
        assert math.isclose(results.effort.measured_s, dut.measured_s)
        for result in results.goals:
            hits[result.goal.name] += found(result, truth(name, dut, result.goal))
    assert min(hits.values()) >= ENOUGH * SEEDS, hits


def test_few_short_trials_are_enough_where_nothing_flips() -> None:
    hits = {"ndr": 0, "pdr": 0}
    for seed in range(SEEDS):
        dut = simulated("hard knee", seed)
        results = mlrsearch(dut, MIN_PPS, MAX_PPS, ndr_and_pdr(0.2, 1.0))
        for result in results.goals:
            hits[result.goal.name] += found(result, truth("hard knee", dut, result.goal))
    assert min(hits.values()) >= ENOUGH * SEEDS, hits


def test_disturbed_and_invalid_trials_do_not_reach_the_result() -> None:
    """Every third trial loses half and is marked as contaminated, every tenth is invalid and claims no loss."""
    hits = {"ndr": 0, "pdr": 0}
    for seed in range(SEEDS):
        dut = simulated("hard knee", seed)

        def measure(load_pps: float, duration_s: float, dut: HardKnee = dut) -> Trial:
            trial = dut(load_pps, duration_s)
            if dut.trials % 10 == 0:
                return make_trial(load_pps, duration_s, 0, valid=False)
            if dut.trials % 3 == 0:
                return make_trial(
                    load_pps, duration_s, round(load_pps * duration_s / 2), contaminated=["steal"]
                )
            return trial

        results = mlrsearch(measure, MIN_PPS, MAX_PPS, ndr_and_pdr(), ROOMY)
        unusable = dut.trials // 10 + dut.trials // 3 - dut.trials // 30
        assert (results.effort.repeated, results.effort.contaminated) == (unusable, 0)
        for result in results.goals:
            hits[result.goal.name] += found(result, truth("hard knee", dut, result.goal))
    assert min(hits.values()) >= ENOUGH * SEEDS, hits


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("loss_ratio", [0.0, 0.005])
def test_the_simulation_does_what_its_truth_says(name: str, loss_ratio: float) -> None:
    dut = simulated(name, 7)
    low, high = dut.truth(loss_ratio, 0.2, (0.35, 0.65))
    for load, sign in ((low * 0.995, -1), (high * 1.005, 1)):
        over = sum((dut(load, 0.2).counters.loss_ratio or 0) > loss_ratio for _ in range(500))
        assert (over / 500 - 0.5) * sign > 0, (load, over)


class Measurer(AbstractMeasurer):  # type: ignore[misc]
    """Lends a simulated DUT to the reference implementation."""

    def __init__(self, dut: HardKnee) -> None:
        self.dut = dut

    def measure(self, intended_duration: float, intended_load: float) -> MeasurementResult:
        counters = self.dut(intended_load, intended_duration).counters
        return MeasurementResult(
            intended_duration,
            intended_load,
            offered_count=counters.offered,
            forwarding_count=counters.forwarded,
            intended_count=counters.intended,
        )


def reference_search(dut: HardKnee, goals: Sequence[Goal]) -> list[tuple[float, float]]:
    """Relevant bounds by the package MLRsearch, with the same goals."""
    config = reference.Config()
    config.min_load, config.max_load = MIN_PPS, MAX_PPS
    config.warmup_duration = None
    asked = [
        reference.SearchGoal(
            loss_ratio=goal.loss_ratio,
            exceed_ratio=goal.exceed_ratio,
            relative_width=goal.width,
            initial_trial_duration=goal.initial_trial_s,
            final_trial_duration=goal.final_trial_s,
            duration_sum=goal.duration_sum_s,
            preceding_targets=goal.preceding_targets,
            expansion_coefficient=goal.expansion,
            fail_fast=False,
        )
        for goal in goals
    ]
    config.goals = asked
    quiet: Callable[[str], None] = lambda _: None  # noqa: E731
    results = reference.MultipleLossRatioSearch(config).search(Measurer(dut), debug=quiet)
    return [
        (float(results[goal].relevant_lower_bound), float(results[goal].relevant_upper_bound))
        for goal in asked
    ]


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_search_agrees_with_the_reference(name: str) -> None:
    """The middles of the bounds differ by no more than the width, and what luck there is in the truth."""
    goals = ndr_and_pdr()
    hits = [0, 0]
    for seed in range(REFERENCE_SEEDS):
        dut = simulated(name, seed)
        ours = mlrsearch(dut, MIN_PPS, MAX_PPS, goals, ROOMY).goals
        theirs = reference_search(simulated(name, seed), goals)
        for index, (goal, result) in enumerate(zip(goals, ours, strict=True)):
            low, high = truth(name, dut, goal)
            assert result.lower_pps is not None and result.upper_pps is not None
            ratio = middle(result.lower_pps, result.upper_pps) / middle(*theirs[index])
            hits[index] += abs(math.log(ratio)) <= -math.log((1 - goal.width) * low / high)
    assert min(hits) >= ENOUGH * REFERENCE_SEEDS, hits


def test_loads_are_classified_as_by_the_reference() -> None:
    """The rule of the draft's appendix A, and the quantile of its appendix B, on the same random trials."""
    rng = random.Random(11)
    verdicts = {(True, True): "lower", (False, False): "upper", (True, False): "undecided"}
    seen = set()
    for _ in range(3000):
        exceed = rng.choice([0.0, 0.5, 0.75])
        final_s, total_s = rng.choice([(1.0, 1.0), (1.0, 5.0), (0.25, 2.0)])
        theirs = TargetStat(TargetSpec(0.005, exceed, None, final_s, total_s, 2, False, None))
        ours = Tally(Target(0.005, exceed, 0.005, final_s, total_s))
        for _ in range(rng.randint(1, 12)):
            # Binary fractions: sums are exact, and a tie is one to both.
            duration_s = rng.choice([0.125, final_s, final_s, 2.0])
            lost = rng.choice([0, 0, 3, 20, 500])
            theirs.add(MeasurementResult(duration_s, 1000 / duration_s, offered_count=1000, loss_count=lost))
            ours.add(duration_s, lost / 1000)
            assert ours.verdict == verdicts[theirs.estimates()]
            seen.add(ours.verdict)
            if ours.verdict == "lower":
                assert ours.quantile_loss_ratio() == theirs.pessimistic_loss_ratio <= 0.005
    assert seen == set(verdicts.values())


@pytest.mark.parametrize("name", ["hard knee", "soft knee", "periodic", "bursty", "bimodal"])
@pytest.mark.parametrize("loss_ratio", [0.0, 0.005])
def test_binary_search_with_loss_verification_finds_the_true_rates(name: str, loss_ratio: float) -> None:
    """With two repeats a load fails when three trials in a row do: the truth is where that has an even
    chance.

    Each load is judged once, so where the chance rises slowly the result may lie anywhere that it is
    neither small nor large. A DUT that is slow four times in five has an even chance everywhere: no truth,
    no test.
    """
    doubt = 0.05 if (name, loss_ratio) == ("soft knee", 0.0) else 0.2
    between = (doubt ** (1 / 3), (1 - doubt) ** (1 / 3))
    hits = 0
    for seed in range(SEEDS):
        dut = simulated(name, seed)
        max_pps = dut.capacity_pps * 1.5
        result = bswlv(dut, MIN_PPS, max_pps, Bswlv(loss_ratio, trial_s=0.2))
        low, high = dut.truth(loss_ratio, 0.2, between)
        if result.outcome == "found" and result.passed_pps is not None and result.failed_pps is not None:
            step_pps = result.failed_pps - result.passed_pps
            assert step_pps <= 0.0051 * max_pps
            hits += low - step_pps <= middle(result.passed_pps, result.failed_pps) <= high + step_pps
    assert hits >= ENOUGH * SEEDS
