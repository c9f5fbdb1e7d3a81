# SPDX-License-Identifier: GPL-2.0-only
"""The methods at their edges: nothing carried, everything carried, trials that can't be used, budgets that end."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest

from kbench.errors import UsageError
from kbench.measure.methods.back_to_back import Bursts, back_to_back
from kbench.measure.methods.base import ATTEMPTS, Budget, Effort, MethodFailed
from kbench.measure.methods.bounds import Records, Tally
from kbench.measure.methods.goals import Goal, Target, chain, ndr_and_pdr, rfc2544_throughput
from kbench.measure.methods.loads import common_load, latency_loads
from kbench.measure.methods.loss_curve import loss_curve
from kbench.measure.methods.mlrsearch import mlrsearch
from kbench.measure.methods.seeker import Grid
from kbench.measure.methods.tst009 import Bswlv, bswlv
from kbench.model import Counters, Finding, Trial, to_record
from tests.unit.simulated_dut import Ring, make_trial

Dut = Callable[[float, float], Trial]


def knee(capacity_pps: float) -> Dut:
    """Carries that much, always and exactly."""

    def measure(load_pps: float, duration_s: float) -> Trial:
        return make_trial(load_pps, duration_s, round(max(0.0, load_pps - capacity_pps) * duration_s))

    return measure


def leaky(share: float) -> Dut:
    """Loses the same share of any load."""

    def measure(load_pps: float, duration_s: float) -> Trial:
        return make_trial(load_pps, duration_s, max(1, round(load_pps * duration_s * share)))

    return measure


def scripted(*trials: Trial) -> tuple[Dut, list[float]]:
    """Returns these trials in turn, and notes the loads asked for."""
    rest, asked = list(trials), []

    def measure(load_pps: float, duration_s: float) -> Trial:
        asked.append(load_pps)
        return rest.pop(0)

    return measure, asked


GOOD = make_trial(1e6, 0.2, 0)
DISTURBED = make_trial(1e6, 0.2, 500, contaminated=["steal 4 %"])
INVALID = make_trial(1e6, 0.2, 0, valid=False)


def storable(values: dict[str, object]) -> None:
    """Finding.values must be plain, finite JSON."""
    record = to_record("finding", Finding("host", "throughput", "forward", "xdp", 0, values))
    assert json.loads(json.dumps(record, allow_nan=False)) == record


# --- Trials that can't be used -----------------------------------------------------------------------------------


def test_unusable_trials_are_repeated() -> None:
    measure, asked = scripted(DISTURBED, INVALID, GOOD)
    effort = Effort()
    assert effort.trial(measure, 1e6, 0.2) == (GOOD, 0.0)
    assert asked == [1e6] * 3
    assert effort.values() == {
        "trials": 3,
        "measured_s": 0.6,
        "repeated_trials": 2,
        "contaminated_trials": 0,
    }


def test_a_disturbed_trial_is_taken_when_there_is_no_better() -> None:
    measure, _ = scripted(DISTURBED, DISTURBED, INVALID)
    effort = Effort()
    trial, loss_ratio = effort.trial(measure, 1e6, 0.2)
    assert trial is DISTURBED and loss_ratio == pytest.approx(500 / 200_000)
    assert (effort.repeated, effort.contaminated) == (2, 1)


def test_invalid_trials_end_the_method() -> None:
    measure, asked = scripted(*[INVALID] * 9)
    with pytest.raises(
        MethodFailed, match=r"3 trials in a row at 1000 packets/s were invalid: packets without"
    ):
        mlrsearch(measure, 10, 1000)
    assert len(asked) == ATTEMPTS


def test_a_trial_without_packets_is_no_lossless_trial() -> None:
    nothing = make_trial(1e6, 0.2, 0)
    nothing.counters = Counters(offered=0, received=0, forwarded=0)
    measure, _ = scripted(*[nothing] * ATTEMPTS)
    with pytest.raises(MethodFailed, match="nothing was offered"):
        loss_curve(measure, 1e6)


# --- MLRsearch ---------------------------------------------------------------------------------------------------


def test_ndr_is_not_reached_but_pdr_is() -> None:
    """A testbed that always loses a little has no NDR, and says so."""
    result = mlrsearch(leaky(0.001), 1e4, 1e6)
    ndr, pdr = result.goal("ndr"), result.goal("pdr")
    assert (ndr.outcome, ndr.lower_pps, ndr.conditional_pps, ndr.width) == ("not_reached", None, None, None)
    assert ndr.upper_pps == 1e4 and ndr.reason == "the minimum load of 10000 packets/s is not carried"
    assert (pdr.outcome, pdr.lower_pps, pdr.upper_pps) == ("at_max_load", 1e6, None)
    assert pdr.conditional_pps == pytest.approx(0.999e6)
    storable(result.values())


def test_nothing_is_carried_at_all() -> None:
    result = mlrsearch(leaky(1.0), 1e4, 1e6)
    assert [goal.outcome for goal in result.goals] == ["not_reached"] * 2


def test_the_maximum_load_is_carried() -> None:
    result = mlrsearch(knee(2e6), 1e4, 1e6)
    assert [(goal.outcome, goal.lower_pps) for goal in result.goals] == [("at_max_load", 1e6)] * 2
    assert result.goals[0].lower_good_s >= 0.5 * 4.2


def test_all_loads_stay_in_the_range_and_bounds_close_in() -> None:
    asked = []
    dut = knee(123_456)

    def measure(load_pps: float, duration_s: float) -> Trial:
        asked.append(load_pps)
        return dut(load_pps, duration_s)

    result = mlrsearch(measure, 1e5, 1.3e5, ndr_and_pdr(0.2, 1.0, width=0.01))
    assert min(asked) >= 1e5 and max(asked) == 1.3e5
    ndr, pdr = result.goals
    assert ndr.lower_pps <= 123_461 <= ndr.upper_pps and ndr.width <= 0.01  # half a packet in 0.2 s is none
    assert pdr.lower_pps <= 123_456 / 0.995 <= pdr.upper_pps and pdr.width <= 0.01


@pytest.mark.parametrize("budget", [Budget(trials=20), Budget(measured_s=4.1)])
def test_a_spent_budget_leaves_the_best_known_bounds(budget: Budget) -> None:
    result = mlrsearch(knee(345_678), 1e3, 8e6, budget=budget)
    assert result.effort.trials <= budget.trials and result.effort.measured_s <= budget.measured_s
    assert result.stopped is not None and result.stopped.startswith("the limit of ")
    unfinished = [goal for goal in result.goals if goal.outcome == "unfinished"]
    assert unfinished and all(goal.reason == result.stopped for goal in unfinished)
    for goal in result.goals:
        assert goal.lower_pps is None or goal.lower_pps <= 345_678 / 0.995
        assert goal.upper_pps is None or goal.upper_pps >= 345_678
    storable(result.values())


def test_a_budget_for_no_trial_at_all() -> None:
    result = mlrsearch(knee(1e5), 1e3, 1e6, budget=Budget(trials=0))
    assert [(goal.outcome, goal.lower_pps, goal.upper_pps) for goal in result.goals] == [
        ("unfinished", None, None)
    ] * 2


def test_rfc2544_throughput_ends_with_one_long_trial_per_load() -> None:
    long = []
    dut = knee(5e5)

    def measure(load_pps: float, duration_s: float) -> Trial:
        if duration_s == 60:
            long.append(load_pps)
        return dut(load_pps, duration_s)

    result = mlrsearch(measure, 1e3, 2e6, [rfc2544_throughput()], Budget(100, 3600)).goals[0]
    assert result.outcome == "found" and result.lower_pps <= 5e5 <= result.upper_pps
    assert len(set(long)) == len(long) and result.lower_pps in long
    assert (result.lower_good_s, result.lower_bad_s) == (60, 0)


def test_short_trials_can_condemn_a_load_but_not_approve_it() -> None:
    target = Target(0.0, 0.5, 0.005, 1.0, 2.0)
    good, bad, mixed = Tally(target), Tally(target), Tally(target)
    for _ in range(40):
        good.add(0.1, 0.0)
        bad.add(0.1, 0.01)
        mixed.add(0.1, 0.0)
        mixed.add(0.1, 0.01)
    assert (good.verdict, bad.verdict, mixed.verdict) == ("undecided", "upper", "undecided")


def test_a_lower_bound_above_an_upper_bound_does_not_count() -> None:
    target = Target(0.0, 0.5, 0.005, 1.0, 1.0)
    records = Records({target})
    assert records.bounds(target) == (None, None)
    for load, loss_ratio in ((10, 0.0), (30, 0.0), (20, 0.1), (40, 0.1)):
        records.add(load, 1.0, loss_ratio)
    assert records.bounds(target) == (10, 20)


def test_conditional_throughput_is_a_quantile_and_what_is_missing_is_lost() -> None:
    tally = Tally(Target(0.005, 0.5, 0.005, 1.0, 5.0))
    for loss_ratio in (0.004, 0.001):
        tally.add(1.0, loss_ratio)
    assert tally.quantile_loss_ratio() == 1.0
    tally.add(1.0, 0.002)
    assert tally.verdict == "lower" and tally.quantile_loss_ratio() == 0.004
    tally.add(1.0, 0.2)
    tally.add(1.0, 0.0)
    assert tally.quantile_loss_ratio() == 0.002


def test_the_chain_of_targets_leads_to_the_goal() -> None:
    goal = Goal("ndr", initial_trial_s=0.2, final_trial_s=1.0, duration_sum_s=20.0, preceding_targets=2)
    first, second, last = chain(goal)
    assert (first.duration_sum_s, first.trial_s, first.width) == (0.2, 0.2, 0.02)
    assert (second.duration_sum_s, second.trial_s, second.width) == (pytest.approx(2.0), 1.0, 0.01)
    assert (last.duration_sum_s, last.trial_s, last.width) == (20.0, 1.0, 0.005)


def test_the_grid_holds_the_ends_of_the_range() -> None:
    grid = Grid(1e3, 8e6, 0.005)
    assert (grid.pps(0), grid.pps(grid.last)) == (1e3, 8e6)
    assert [grid.below(grid.pps(i)) for i in (0, 1, 500, grid.last)] == [0, 1, 500, grid.last]
    assert (grid.below(1), grid.below(1e9)) == (0, grid.last)
    assert 1 - grid.pps(100) / grid.pps(100 + grid.steps(0.005)) <= 0.005


def test_senseless_searches_are_refused() -> None:
    for wrong in (
        lambda: mlrsearch(knee(1), 10, 10),
        lambda: mlrsearch(knee(1), 0, 10),
        lambda: mlrsearch(knee(1), 1, 10, []),
        lambda: mlrsearch(knee(1), 1, 10, [Goal("ndr"), Goal("ndr", 0.1)]),
        lambda: Goal("ndr", exceed_ratio=1.0),
        lambda: Goal("ndr", final_trial_s=0.1),
        lambda: Goal("ndr", duration_sum_s=0.1),
        lambda: bswlv(knee(1), 10, 5),
        lambda: Bswlv(width=0),
        lambda: loss_curve(knee(1), 1e6, step_percent=20),
        lambda: Bursts(max_rate_pps=0),
        lambda: latency_loads(0),
        lambda: common_load({"xdp": 1e6}, share=1.5),
    ):
        with pytest.raises(UsageError):
            wrong()


# --- TST009 ------------------------------------------------------------------------------------------------------


def test_bswlv_at_its_edges() -> None:
    always, never, found = (bswlv(dut, 1e4, 1e6) for dut in (knee(2e6), leaky(0.1), knee(5e5)))
    assert (always.outcome, always.passed_pps, always.failed_pps) == ("at_max_load", 1e6, None)
    assert (never.outcome, never.passed_pps, never.failed_pps) == ("not_reached", None, 1e4)
    assert never.verified == 2 * (never.effort.trials // 3) > 0
    assert found.outcome == "found" and found.passed_pps <= 5e5 <= found.failed_pps
    for result in (always, never, found):
        storable(result.values())


def test_a_hopeless_loss_is_not_verified() -> None:
    ask = Bswlv(hopeless_loss_ratio=0.05)
    assert bswlv(leaky(0.1), 1e4, 1e6, ask).verified == 0
    assert bswlv(leaky(0.04), 1e4, 1e6, ask).verified > 0


def test_bswlv_within_its_budget() -> None:
    result = bswlv(knee(5e5), 1e4, 1e6, budget=Budget(trials=3))
    assert (result.outcome, result.effort.trials) == ("unfinished", 3)
    assert result.stopped == "the limit of 3 trials was reached"


# --- Loss curve --------------------------------------------------------------------------------------------------


def test_the_loss_curve_ends_after_two_trials_without_loss() -> None:
    curve = loss_curve(knee(7.5e5), 1e6)
    assert [load for load, _ in curve.points] == [1e6, 9e5, 8e5, 7e5, 6e5]
    assert [round(loss, 4) for _, loss in curve.points] == [0.25, 0.1667, 0.0625, 0.0, 0.0]
    assert curve.outcome == "loss_free" and curve.values()["points"][1]["load_share"] == 0.9
    storable(curve.values())


def test_one_trial_without_loss_does_not_end_the_curve() -> None:
    lossy = make_trial(1e6, 1.0, 10)
    measure, asked = scripted(GOOD, lossy, GOOD, GOOD)
    assert loss_curve(measure, 1e6).outcome == "loss_free" and asked == [1e6, 9e5, 8e5, 7e5]


def test_a_loss_curve_that_never_gets_free_of_loss() -> None:
    curve = loss_curve(leaky(0.01), 1e6, step_percent=5)
    assert (curve.outcome, len(curve.points), curve.points[-1][0]) == ("always_lossy", 20, 5e4)


def test_a_lossless_path_needs_two_trials() -> None:
    assert [load for load, _ in loss_curve(knee(2e6), 1e6).points] == [1e6, 9e5]


def test_a_loss_curve_within_its_budget() -> None:
    curve = loss_curve(leaky(0.01), 1e6, trial_s=2.0, budget=Budget(measured_s=7.0))
    assert (curve.outcome, len(curve.points)) == ("unfinished", 3)
    assert curve.stopped == "the limit of 7 measured seconds was reached"


# --- Back-to-back ------------------------------------------------------------------------------------------------


def test_the_longest_burst_is_found_to_the_frame() -> None:
    """A ring of 1000 frames that is emptied at 3/4 of the rate holds a burst of 4000."""
    ring = Ring(1000, 750e3, 1e6, random.Random(1))
    result = back_to_back(ring, Bursts(1e6, repeats=3), throughput_pps=750e3)
    assert (result.outcome, result.longest_frames) == ("found", (4000, 4000, 4000))
    assert ring.sent[0] == 2_000_000 and max(ring.sent[1:9]) < 8192 * 2
    assert result.implied_buffer_s == pytest.approx(4000 / 1e6)
    assert result.corrected_buffer_s == pytest.approx(1000 / 1e6)  # the ring itself
    values = result.values()
    assert (values["average_frames"], values["stdev_frames"]) == (4000, 0)
    storable(values)


def test_bursts_that_differ_are_averaged() -> None:
    ring = Ring(1000, 0, 1e6, random.Random(2), jitter=0.02)
    values = back_to_back(ring, Bursts(1e6, repeats=20)).values()
    assert values["min_frames"] < values["average_frames"] < values["max_found_frames"]
    assert values["average_frames"] == pytest.approx(1000, rel=0.03) and 0 < values["stdev_frames"] < 60
    assert values["corrected_buffer_s"] is None  # without a throughput


def test_a_path_that_never_loses_a_burst_has_no_number() -> None:
    ring = Ring(10, 1e6, 1e6, random.Random(3))
    result = back_to_back(ring, Bursts(1e6, max_burst_s=0.5, repeats=2), throughput_pps=1e6)
    assert (result.outcome, ring.sent) == ("no_loss", [500_000] * 2)
    values = result.values()
    assert values["longest_frames"] == [500_000] * 2 == [values["max_frames"]] * 2
    for key in ("average_frames", "min_frames", "stdev_frames", "implied_buffer_s", "corrected_buffer_s"):
        assert values[key] is None
    storable(values)


def test_a_path_that_sometimes_loses_no_burst_has_no_average() -> None:
    trials = [make_trial(1e3, 1, 0, intended=10), *[make_trial(1e3, 1, 5, intended=10)] * 9]
    result = back_to_back(lambda frames: trials.pop(0), Bursts(1e3, 0.01, start_frames=1, repeats=2))
    assert (result.outcome, result.longest_frames, result.average_frames) == ("partly_no_loss", (10, 0), None)


def test_a_path_that_carries_no_burst_at_all() -> None:
    ring = Ring(0, 0, 1e6, random.Random(4))
    assert back_to_back(ring, Bursts(1e6, repeats=1)).outcome == "not_reached"
    assert ring.sent[-1] == 1


def test_a_burst_lost_to_a_disturbance_is_verified() -> None:
    ring, count = Ring(1000, 0, 1e6, random.Random(5)), [0]

    def burst(frames: int) -> Trial:
        count[0] += 1
        trial = ring(frames)
        return make_trial(1e6, 1, 1, intended=frames) if count[0] % 4 == 0 else trial

    assert back_to_back(burst, Bursts(1e6, repeats=3)).longest_frames == (1000, 1000, 1000)


def test_back_to_back_within_its_budget() -> None:
    """The longest burst alone costs 2 s."""
    ring = Ring(1000, 0, 1e6, random.Random(6))
    result = back_to_back(ring, Bursts(1e6, repeats=9), budget=Budget(measured_s=5.0))
    assert (result.outcome, result.longest_frames) == ("unfinished", (1000, 1000))
    assert result.average_frames == 1000 and result.stopped == "the limit of 5 measured seconds was reached"
    none = back_to_back(ring, Bursts(1e6), budget=Budget(measured_s=1.0))
    assert (none.outcome, none.longest_frames, none.average_frames) == ("unfinished", (), None)
    storable(none.values())


def test_invalid_bursts_end_the_method() -> None:
    with pytest.raises(MethodFailed, match="a burst of 2000 frames"):
        back_to_back(lambda _: INVALID, Bursts(1e3))


# --- Loads -------------------------------------------------------------------------------------------------------


def test_latency_is_measured_at_shares_of_the_paths_own_pdr() -> None:
    loads = latency_loads(2e6)
    assert [load.name for load in loads] == ["0", "10", "50", "90"]
    assert [load.load_pps for load in loads] == [1000, 2e5, 1e6, 1.8e6]
    assert loads[2].values() == {"load": "50", "load_share": 0.5, "load_pps": 1e6}
    assert [load.load_pps for load in latency_loads(5000)] == [500, 500, 2500, 4500]


def test_the_common_load_is_the_slowest_paths() -> None:
    load = common_load({"xdp": 2e6, "af_packet": 4e5, "kernel": 8e5, "odd": None})
    assert (load.load_pps, load.slowest, load.left_out) == (2e5, "af_packet", ("odd",))
    assert load.values()["left_out"] == ["odd"]
    with pytest.raises(MethodFailed, match="no path has a PDR"):
        common_load({"xdp": None})
