# SPDX-License-Identifier: GPL-2.0-only
"""Self-tests: what counts as a claim, how the slow-down is calibrated, and what passes. No machine is touched."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from kbench import cli
from kbench.errors import MeasureError, UsageError
from kbench.estimate import Estimate
from kbench.host import builds
from kbench.model import Counters, Trial
from kbench.selftest import checks, verdict
from kbench.selftest.room import Request
from kbench.selftest.verdict import Comparison, Tally
from tests.unit.simulated_rounds import Noise, comparisons


def trial(datapath: str, round_: int, pps: float | None, block: int = 0, **fields: Any) -> Trial:
    return Trial(
        part="host", kind="wall", purpose="rate", case_id="forward", function="forward", datapath=datapath,
        generator="xdp", placement="same", round=round_, started_at="2000-01-01T00:00:00Z", frame_bytes=64,
        load_pps=None, duration_s=0.1, counters=Counters(10, 10, 10), forwarded_pps=pps, block=block, **fields,
    )  # fmt: skip


def estimate(value: float, low: float | None, high: float | None, blocks: int = 8) -> Estimate:
    return Estimate(value, low, high, 64, None, blocks, 0.99)


def compared(value: float, half_width: float) -> Comparison:
    return Comparison(estimate(value, value - half_width, value + half_width), 9.0)


def steady(names: tuple[str, str], ratio: float, blocks: int = 4, rounds: int = 3) -> list[Trial]:
    """Blocks that differ a little, so that there is an interval; rounds drift, which pairing must cancel."""
    trials = []
    for round_ in range(blocks * rounds):
        block = round_ // rounds
        pps = 1e6 * (1 + 0.1 * math.sin(round_))
        trials.append(trial(names[0], round_, pps, block))
        trials.append(trial(names[1], round_, pps * ratio * (1 + 0.001 * (-1) ** block), block))
    return trials


def test_ratio_is_that_of_the_rounds_that_both_have() -> None:
    got = verdict.ratio_of(steady(("a", "b"), 0.97), "b", "a", 0.99)
    assert got is not None and got.low is not None and got.high is not None
    assert (
        got.value == pytest.approx(0.97, rel=1e-4) and got.blocks == 4 and got.n == 12 and got.level == 0.99
    )
    assert got.low < 0.97 < got.high < 0.98


@pytest.mark.parametrize(
    "fields", [{"warm_up": True}, {"valid": False}, {"contaminated": ["other processes ran"]}]
)
def test_trials_without_a_say(fields: dict[str, Any]) -> None:
    wrong = [trial("b", r, 2e6, block=r % 4, **fields) for r in range(100, 140)]
    wrong += [trial("a", r, 1e6, block=r % 4) for r in range(100, 140)]
    right = steady(("a", "b"), 1.0)
    assert verdict.ratio_of(right + wrong, "b", "a", 0.99) == verdict.ratio_of(right, "b", "a", 0.99)


def test_other_contenders_and_trials_without_a_rate_are_not_taken() -> None:
    right = steady(("a", "b"), 1.0)
    others = [*steady(("plain", "pilot"), 0.8), trial("b", 0, None)]
    assert verdict.ratio_of(right + others, "b", "a", 0.99) == verdict.ratio_of(right, "b", "a", 0.99)
    assert verdict.ratio_of(others, "b", "a", 0.99) is None


@pytest.mark.parametrize(
    ("value", "half_width", "claimed", "without_one", "slower"),
    [
        (1.0, 0.01, False, False, False),
        (0.97, 0.02, True, True, True),
        (1.03, 0.02, True, True, False),
        (0.985, 0.01, False, True, False),  # below what the method resolves
        (0.96, 0.05, False, False, False),
    ],
)
def test_what_counts_as_a_claim(
    value: float, half_width: float, claimed: bool, without_one: bool, slower: bool
) -> None:
    one = compared(value, half_width)
    assert (one.claimed, one.without_one, one.found_slower) == (claimed, without_one, slower)


@pytest.mark.parametrize(
    "ratio", [None, estimate(0.9, None, None, blocks=2), estimate(0.9, 0.89, 0.91, blocks=1)]
)
def test_without_an_interval_over_blocks_nothing_is_claimed(ratio: Estimate | None) -> None:
    one = Comparison(ratio, 9.0)
    assert not one.decided and not one.claimed and not one.without_one and not one.found_slower
    assert "not enough data" in str(one)


def test_tally_counts() -> None:
    seen = verdict.tally(
        [compared(1.0, 0.01), compared(0.95, 0.02), compared(1.05, 0.03), Comparison(None, 30.0, left_out=7)]
    )
    assert (seen.comparisons, seen.decided, seen.claimed, seen.found_slower, seen.without_one) == (
        4, 3, 2, 1, 2,
    )  # fmt: skip
    assert seen.left_out == 7 and seen.longest_s == 30.0 and seen.median_s == 9.0
    assert seen.median_half_width == pytest.approx(0.02 / 0.95)
    assert verdict.tally([Comparison(None, 1.0)]).median_half_width is None


def tallied(comparisons: int = 100, decided: int = 100, claimed: int = 0, found: int = 0) -> Tally:
    return Tally(comparisons, decided, claimed, found, claimed, 0, 0.01, 9.0, 10.0)


def test_aa_passes_up_to_two_claims_in_a_hundred() -> None:
    assert verdict.aa_failure(tallied(claimed=2)) is None
    assert "3 of 100" in str(verdict.aa_failure(tallied(claimed=3)))
    assert "2 of 90" in str(verdict.aa_failure(tallied(decided=90, claimed=2)))
    assert "too busy" in str(verdict.aa_failure(tallied(decided=0)))


def test_ab_passes_from_95_in_a_hundred_on() -> None:
    asked = estimate(1 / 1.03, 0.968, 0.974)
    assert verdict.ab_failure(tallied(found=95), 0.03, asked) is None
    assert "94 of 100" in str(verdict.ab_failure(tallied(claimed=100, found=94), 0.03, asked))
    assert "94 of 100" in str(verdict.ab_failure(tallied(decided=94, found=94), 0.03, asked))


def test_ab_does_not_pass_on_a_slow_down_that_is_easier_to_find() -> None:
    assert verdict.ab_failure(tallied(found=100), 0.03, estimate(1 / 1.034, 0.96, 0.97)) is None
    assert "came out at 4.0%" in str(
        verdict.ab_failure(tallied(found=100), 0.03, estimate(1 / 1.04, 0.95, 0.97))
    )


def test_slow_down_turns_the_interval_round() -> None:
    value, low, high = verdict.slow_down(estimate(0.8, 0.5, 1.0))
    assert (value, low, high) == (pytest.approx(0.25), 0.0, 1.0)


NEAR, FAR = estimate(1 / 1.05, 0.94, 0.96), estimate(1 / 1.18, 0.84, 0.86)


def test_calibration_is_on_the_line_through_both_pilots() -> None:
    # 100 operations from 60 to 160 cost 13 %, so 3 % take 15.4 fewer than the nearer pilot's 60.
    assert verdict.operations_for(0.03, [(60, NEAR), (160, FAR)]) == 45
    assert verdict.operations_for(0.18, [(60, NEAR), (160, FAR)]) == 160
    assert verdict.operations_for(0.0001, [(10, NEAR), (160, FAR)]) == 1


@pytest.mark.parametrize(
    ("near", "far"),
    [
        (NEAR, None),
        (None, FAR),
        (NEAR, estimate(0.99, 0.97, 1.01)),
        (NEAR, estimate(0.97, 0.96, 0.98)),
        (NEAR, estimate(0.8, None, None, 2)),
        (estimate(0.95, 0.94, 0.96, 1), FAR),
    ],
)
def test_calibration_that_shows_nothing(near: Estimate | None, far: Estimate | None) -> None:
    with pytest.raises(MeasureError, match="calibration failed"):
        verdict.operations_for(0.03, [(60, near), (160, far)])


def with_probes(cost: float, spread: float = 0.0005) -> list[Trial]:
    trials = []
    for round_ in range(40):
        block = round_ // 5
        trials.append(trial("xdp", round_, 1e6, block))
        on = 1e6 * (1 - cost) * (1 + spread * (-1) ** block)
        trials.append(trial("xdp", round_, on, block, probes={"threads": {}}))
    return trials


def test_cost_of_the_probes() -> None:
    cost = verdict.probes_cost(with_probes(0.006), 0.99)
    assert cost.value == pytest.approx(0.006, abs=1e-5) and cost.low is not None and cost.high is not None
    assert cost.low < 0.006 < cost.high < 0.01
    assert verdict.overhead_failure(cost) is None
    assert "1.20%" in str(verdict.overhead_failure(verdict.probes_cost(with_probes(0.012), 0.99)))


def test_cost_that_is_not_known_well_enough_does_not_pass() -> None:
    cost = verdict.probes_cost(with_probes(0.002, spread=0.02), 0.99)
    assert verdict.overhead_failure(cost) is not None


def test_contaminated_trials_have_a_say_about_the_probes_on_both_sides() -> None:
    trials = with_probes(0.006)
    expected = verdict.probes_cost(trials, 0.99)
    for one in trials:
        if one.probes:
            one.contaminated = ["other processes ran"]
    assert verdict.probes_cost(trials, 0.99) == expected
    with pytest.raises(MeasureError, match="no interval"):
        verdict.probes_cost([t for t in trials if t.block < 2], 0.99)


SHARED_MACHINE = Noise(block_sd=0.005, slice_sd=0.03)


def judged(ratio: float) -> Tally:
    made = []
    for ours, theirs, blocks in comparisons(SHARED_MACHINE, 200, 8, 24, ratio, seed=7):
        trials = [trial("b", r, pps * 1e6, blocks[r]) for r, pps in ours.items()]
        trials += [trial("a", r, pps * 1e6, blocks[r]) for r, pps in theirs.items()]
        made.append(Comparison(verdict.ratio_of(trials, "b", "a", 0.99), 9.0))
    return verdict.tally(made)


def test_defaults_pass_both_checks_on_a_simulated_machine() -> None:
    assert verdict.aa_failure(judged(1.0)) is None
    assert verdict.ab_failure(judged(1 / 1.03), 0.03, None) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rounds": 0}, "--rounds"),
        ({"blocks": 2}, "--blocks"),
        ({"slices": 1}, "--slices"),
        ({"slice_s": 0.01}, "--duration"),
        ({"confidence": 1.0}, "--confidence"),
        ({"slow_down": 0.0}, "--slowdown"),
        ({"check": "ab", "datapath": "kernel"}, "no slower build: choose from xdp, af_packet"),
    ],
)
def test_bad_numbers_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        checks.refuse_bad_numbers(Request(**{"check": "aa", "rounds": 10, **change}))


@pytest.mark.parametrize(("failure", "code"), [(None, 0), ("it found nothing", 5)])
def test_exit_code_and_output(
    failure: str | None, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Request] = []

    def check(request: Request, _reporter: object) -> checks.Outcome:
        asked.append(request)
        return checks.Outcome({"check": "ab"}, ["found nothing"], failure)

    monkeypatch.setattr(checks, "_ab", check)
    arguments = ["selftest", "ab", "--slowdown", "4%", "--rounds", "7", "--confidence", "98", "--slices", "5"]
    assert cli.main(arguments) == code
    printed = capsys.readouterr()
    assert printed.out == "found nothing\n" and printed.err == (f"kbench: {failure}\n" if failure else "")
    assert asked == [
        Request("ab", 7, confidence=0.98, slices=5, slow_down=0.04, results=Path("results")),
    ]
    assert cli.main([*arguments, "--json"]) == code
    assert json.loads(capsys.readouterr().out) == {"check": "ab", "failure": failure}


def test_test_builds_are_apart_from_the_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "tree"
    for name in ("core", "kmods", "userspace/bpf"):
        (root / name).mkdir(parents=True)
    (root / "userspace" / "Makefile").write_text(
        "all:\n\tmkdir -p $(O)/bin\n\techo plain > $(O)/bin/kb-xdp\n"
    )
    slow = "all:\n\tmkdir -p $(O)/bin\n\techo '$(CFLAGS) $(BPF_CFLAGS)' > $(O)/bin/kb-xdp\n"
    (root / "userspace" / "bpf" / "Makefile").write_text(slow)
    monkeypatch.setattr(builds, "source_root", lambda: root)
    monkeypatch.setattr(builds, "missing", dict)
    monkeypatch.setenv("KBENCH_CACHE", str(tmp_path / "cache"))
    plain, first, second = (
        builds.programs() / "kb-xdp", builds.slowed("kb-xdp", 24), builds.slowed("kb-xdp", 25),
    )  # fmt: skip
    assert plain.read_text() == "plain\n"
    assert first.read_text().count("-DKB_TEST_SLOWDOWN=24") == 2
    assert second.read_text().count("-DKB_TEST_SLOWDOWN=25") == 2
    assert builds.slowed("kb-xdp", 24) == first


def test_slowable_programs_are_where_it_says() -> None:
    for program, directory in builds.SLOWABLE.items():
        text = (builds.source_root() / "userspace" / directory / "Makefile").read_text()
        assert f"PROGS := {program}\n" in text
