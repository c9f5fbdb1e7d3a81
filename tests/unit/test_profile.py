# SPDX-License-Identifier: GPL-2.0-only
"""The profile rfc2544 and the forecast of a run: the RFC's numbers, the user's choices, sums that add up."""

from __future__ import annotations

import dataclasses

import pytest

from kbench.errors import UsageError
from kbench.measure import profile
from kbench.measure.dry_run import duration, render
from kbench.measure.methods.goals import Goal
from kbench.measure.methods.loads import LATENCY_SHARES
from kbench.measure.plan import METHODS, Options, Plan, make_cases
from kbench.measure.schedule import BASELINE, METHOD_STEPS, Step, burst_cost, mlr_cost, schedule
from kbench.model import Part

NONE: frozenset[str] = frozenset()
HOST = Part("host", "wall", ("xdp", "kernel"), "xdp", "same", "as asked")
LAB = Part("lab", "exact", ("netfilter", "xdp", "kernel"), "pktgen", "same", "as asked", kernel="6.12")


def planned(options: Options, *parts: Part) -> Plan:
    return Plan(make_cases(options), parts or (HOST,), "everything on the host")


def rfc(**chosen: object) -> tuple[Options, frozenset[str]]:
    given = frozenset(chosen)
    return profile.apply(Options(profile="rfc2544", **chosen), given), given  # type: ignore[arg-type]


def of(steps: list[Step], what: str, datapath: str) -> list[Step]:
    return [step for step in steps if (step.what, step.datapath) == (what, datapath)]


def test_without_a_profile_nothing_changes() -> None:
    options = Options(frame_bytes=(64, 1518))
    assert profile.apply(options, NONE) == options
    assert profile.for_method(options, "latency", NONE) == options
    assert profile.deviations(options, [HOST]) == []
    assert profile.latency_shares(options) == LATENCY_SHARES


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(UsageError, match="rfc9999"):
        profile.apply(Options(profile="rfc9999"), NONE)


def test_rfc2544_asks_for_its_sizes_methods_and_times() -> None:
    options, given = rfc()
    assert options.frame_bytes == (64, 128, 256, 512, 1024, 1280, 1518)
    assert options.methods == ("throughput", "latency", "loss-curve", "back-to-back")
    by_method = {name: profile.for_method(options, name, given) for name in options.methods}
    assert {name: o.trial_s for name, o in by_method.items() if name != "back-to-back"} == {
        "throughput": 60,
        "latency": 120,
        "loss-curve": 60,
    }
    assert (by_method["latency"].repeats, by_method["back-to-back"].repeats) == (20, 50)
    assert (by_method["throughput"].settle_s, by_method["back-to-back"].settle_s) == (7, 2)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("frame_bytes", (64,)),
        ("methods", ("max",)),
        ("functions", ("filter",)),
        ("rules", (7,)),
        ("routes", (5,)),
        ("flows", 1),
        ("trial_s", 1.0),
        ("repeats", 3),
    ],
)
def test_what_the_user_gave_wins(field: str, value: object) -> None:
    options, given = rfc(**{field: value})
    for method in METHODS:
        assert getattr(profile.for_method(options, method, given), field) == value


def test_a_given_default_is_a_choice_too() -> None:
    options, _ = rfc(frame_bytes=Options.frame_bytes, repeats=Options.repeats)
    assert options.frame_bytes == (64,)
    assert profile.for_method(options, "latency", frozenset({"repeats"})).repeats == 5


def test_files_of_rules_and_routes_keep_their_numbers_out() -> None:
    options, _ = rfc(rules_file="r.toml", routes_file="r.toml")
    assert (options.rules, options.routes) == (Options.rules, Options.routes)


def test_rfc2544_throughput_is_one_full_trial_without_loss() -> None:
    options, _ = rfc()
    ndr, pdr = profile.goals(options)
    assert (ndr.name, pdr.name) == ("ndr", "pdr")
    assert (ndr.loss_ratio, ndr.exceed_ratio, ndr.final_trial_s, ndr.duration_sum_s) == (0, 0, 60, 60)
    assert pdr.loss_ratio == options.pdr_loss
    assert profile.latency_shares(options) == (1.0,)


def test_goals_without_a_profile_are_medians() -> None:
    ndr, pdr = profile.goals(Options(trial_s=0.5, pdr_loss=0.01))
    assert (ndr.exceed_ratio, ndr.final_trial_s, ndr.duration_sum_s) == (
        0.5,
        0.5,
        0.5 * profile.SUM_OF_TRIALS,
    )
    assert (ndr.loss_ratio, pdr.loss_ratio) == (0, 0.01)


def test_each_section_that_is_left_out_has_its_reason() -> None:
    sections = [ask.section for ask in profile.ASKS]
    assert sections == sorted(set(sections), key=lambda s: [int(n) for n in s.split(".")])
    assert {"9.1", "23", "24", "26.1", "26.2", "26.3", "26.4", "26.5", "26.6"} <= set(sections)
    assert all(ask.here for ask in profile.ASKS)
    assert {ask.section for ask in profile.ASKS if ask.done == "no"} >= {"14", "26.5", "26.6"}


def test_deviations_speak_of_the_run_that_is_planned() -> None:
    full, _ = rfc()
    same = profile.deviations(full, [HOST])
    split = profile.deviations(full, [dataclasses.replace(HOST, placement="split")])
    assert any("not RFC 2544 conformance" in text for text in same)
    assert len(same) == len(split) + 1
    short, _ = rfc(trial_s=1.0, frame_bytes=(64,))
    said = profile.deviations(short, [HOST])
    assert any("section 24" in text for text in said)
    assert any("9.1" in text for text in said)


def test_every_method_has_a_schedule_and_sections() -> None:
    assert set(METHOD_STEPS) == set(METHODS) == set(profile.SECTIONS)
    options = Options(methods=tuple(METHODS))
    steps = schedule(planned(options), options)
    for method in METHODS:
        for datapath in HOST.datapaths:
            mine = of(steps, method, datapath)
            assert mine, f"{method} of {datapath}"
            assert all(step.sections and step.trials > 0 for step in mine)


def test_a_step_for_each_case_and_datapath_that_can_do_it() -> None:
    options = Options(methods=("throughput",), frame_bytes=(64, 512))
    steps = schedule(planned(options), options)
    assert [s.case_id for s in of(steps, "throughput", "xdp")] == [
        "forward-p1000-f64",
        "forward-p1000-f512",
        "filter-r100acl-p1000-f64",
        "filter-r100acl-p1000-f512",
    ]
    assert {s.case_id.split("-")[0] for s in of(steps, "throughput", "kernel")} == {"forward"}


def test_trials_of_max_are_rounds_and_warm_ups() -> None:
    options = Options(functions=("forward",), rounds=30, blocks=5, latency=False)
    steps = schedule(planned(options), options)
    assert {s.datapath: s.trials for s in steps if s.what == "max"} == dict.fromkeys(
        (BASELINE, *HOST.datapaths), 35
    )
    assert not of(steps, "max: latency", "xdp")


def test_costly_probes_have_trials_of_their_own_once_a_case() -> None:
    for duration_s, longest_s in ((0.1, 0.75), (2.0, 2.0)):
        options = Options(functions=("forward",), duration_s=duration_s, latency=False)
        steps = [s for s in schedule(planned(options), options) if s.what == "max: profile"]
        assert [s.datapath for s in steps] == list(HOST.datapaths)
        assert {(s.trials, s.trials_at_most, s.seconds_each) for s in steps} == {(2, 6, longest_s)}


def test_rfc2544_latency_takes_twenty_times_two_minutes() -> None:
    options, given = rfc(frame_bytes=(64,))
    (step,) = of(schedule(planned(options), options, given), "latency", "xdp")
    assert (step.trials, step.seconds_each, step.repeats) == (20, 120, 20)
    assert 20 * 127 < step.seconds < 20 * 132
    assert step.sections == "RFC 2544, 26.2"


def test_bursts_are_searched_for_only_where_they_can_be_lost() -> None:
    options = Options(methods=("back-to-back",), functions=("forward",), repeats=3)
    split = dataclasses.replace(HOST, placement="split")
    held_up, lossy = (
        of(schedule(planned(options, p), options), "back-to-back", "xdp")[0] for p in (HOST, split)
    )
    assert held_up.trials == 3
    assert lossy.trials == 3 * burst_cost().trials > 3


def test_the_user_sees_shorter_times_for_shorter_trials() -> None:
    long, given = rfc(frame_bytes=(64,))
    short, fewer = rfc(frame_bytes=(64,), trial_s=1.0, repeats=1)
    total = sum(s.seconds for s in schedule(planned(long), long, given))
    assert sum(s.seconds for s in schedule(planned(short), short, fewer)) < total / 20


def test_latency_searches_for_its_loads_only_when_nothing_before_did() -> None:
    alone = Options(methods=("latency",), functions=("forward",))
    after = Options(methods=("throughput", "latency"), functions=("forward",))
    (first,) = of(schedule(planned(alone), alone), "latency", "xdp")
    (second,) = of(schedule(planned(after), after), "latency", "xdp")
    assert first.trials > second.trials == 5 * after.repeats


def test_about_is_never_above_at_most() -> None:
    for options, given in ((Options(methods=tuple(METHODS), until_ci=0.02), NONE), rfc()):
        for step in schedule(planned(options, HOST, LAB), options, given):
            assert 0 <= step.trials <= step.trials_at_most
            assert 0 < step.seconds <= step.seconds_at_most


def test_until_ci_may_take_its_budget_in_each_case() -> None:
    fixed, until = Options(), Options(until_ci=0.01, budget_s=300)
    more = [sum(s.seconds_at_most for s in schedule(planned(o), o)) for o in (fixed, until)]
    assert more[1] - more[0] == pytest.approx(2 * 300)


def test_a_lab_is_scheduled_too() -> None:
    options = Options(functions=("forward",))
    steps = schedule(planned(options, LAB), options)
    assert next(s.what for s in steps) == "boot"
    assert {s.datapath for s in steps if s.what == "instructions"} == {BASELINE, *LAB.datapaths}


def test_costs_come_from_the_methods_and_repeat() -> None:
    narrow, wide = Goal("ndr", width=0.005), Goal("ndr", width=0.05)
    assert mlr_cost((narrow,)).trials >= mlr_cost((wide,)).trials > 3
    assert mlr_cost((narrow,)) == mlr_cost((narrow,))
    # The longest burst, doublings from 64 frames up to the loss, then halves.
    assert 4 <= burst_cost().trials <= 20


def test_the_text_fits_and_its_total_is_the_sum() -> None:
    options, given = rfc()
    plan = planned(options)
    lines = render(plan, options, given)
    assert max(map(len, lines)) <= 100
    text = "\n".join(lines)
    steps = schedule(plan, options, given)
    total = f"{sum(s.trials for s in steps)} trials, about {duration(sum(s.seconds for s in steps))}"
    assert total in text
    for word in ("RFC 2544, 26.1", "26.3", "RFC 9004, 6", "forward-p256-f1518", "can't claim", "26.5"):
        assert word in text


def test_without_a_profile_the_text_has_no_rfc_part() -> None:
    options = Options(methods=tuple(METHODS))
    lines = render(planned(options, HOST, LAB), options)
    assert max(map(len, lines)) <= 100
    assert not [line for line in lines if "can't claim" in line]
    assert all(any(f" {method} " in line for line in lines) for method in METHODS)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (45, "45 s"),
        (90, "2 min"),
        (3600, "1 h 00 min"),
        (11_400, "3 h 10 min"),
        (3599, "1 h 00 min"),
        (86_400 + 7200, "1 d 2 h"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
