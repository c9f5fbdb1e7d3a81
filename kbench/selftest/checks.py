# SPDX-License-Identifier: GPL-2.0-only
"""`kbench selftest`: aa compares a datapath with itself, ab with a slower build of it, overhead what probes cost.

docs/method.md, "Self-tests", says how and why.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from kbench.errors import MeasureError, UsageError
from kbench.estimate import Estimate
from kbench.explain.compare import usable
from kbench.host import builds
from kbench.measure.block import Contenders
from kbench.measure.datapaths import DATAPATHS
from kbench.measure.datapaths.base import Datapath, ProgramDatapath
from kbench.measure.plan import one_of
from kbench.measure.reporter import Reporter
from kbench.selftest import verdict
from kbench.selftest.room import Request, Room, room
from kbench.selftest.verdict import Comparison, Tally

PILOTS = {"near": 64, "far": 192}
"""Operations of the builds for calibration: about 5 and 17 % of xdp's time per packet."""
PILOT_BLOCKS = 10


@dataclass(frozen=True)
class Outcome:
    """What a check found, for programs and for people, and why it does not pass (None: it does)."""

    data: dict[str, Any]
    lines: list[str]
    failure: str | None


def selftest(request: Request, *, quiet: bool, as_json: bool) -> int:
    """Makes one of the checks and prints what came of it; raises MeasureError if it does not pass."""
    one_of("datapath", request.datapath, list(DATAPATHS))
    refuse_bad_numbers(request)
    check = {"aa": _aa, "ab": _ab, "overhead": _overhead}[request.check]
    outcome = check(request, Reporter(quiet=quiet))
    if as_json:
        print(json.dumps({**outcome.data, "failure": outcome.failure}, indent=1))
    else:
        print("\n".join(outcome.lines))
    if outcome.failure is not None:
        raise MeasureError(outcome.failure)
    return 0


def refuse_bad_numbers(request: Request) -> None:
    """UsageError for what can't be measured."""
    for flag, number, low, high in (
        ("--rounds", request.rounds, 1, 10_000),
        ("--blocks", request.blocks, 3, 1000),
        ("--slices", request.slices, 2, 1000),
        ("--duration", request.slice_s, 0.02, 60),
    ):
        if not low <= number <= high:
            raise UsageError(f"{flag} must be between {low} and {high}")
    if not 0.5 <= request.confidence <= 0.9999:
        raise UsageError("--confidence must be between 50 and 99.99")
    if not 0.001 <= request.slow_down <= 1:
        raise UsageError("--slowdown must be between 0.1% and 100%")
    program = getattr(DATAPATHS[request.datapath], "program", None)
    if request.check == "ab" and program not in builds.SLOWABLE:
        able = [
            n for n, d in DATAPATHS.items() if d.default and getattr(d, "program", None) in builds.SLOWABLE
        ]
        raise UsageError(f"{request.datapath} has no slower build: choose from {', '.join(able)}")


def _aa(request: Request, reporter: Reporter) -> Outcome:
    with room(request, ("a", "b"), reporter) as made:
        comparisons, pooled = _compare(made, {"a": made.datapath, "b": made.datapath})
        where = made.place.store.path
    seen = verdict.tally(comparisons)
    lines = [
        *_said(seen, request),
        f"claimed          {_share(seen.claimed, seen.decided)}, at most {verdict.FALSE_CLAIMS:.0%} may be",
        f"all together     b/a {_with_interval(pooled)}",
        f"results          {where}",
    ]
    return Outcome(_data(request, where, seen, pooled), lines, verdict.aa_failure(seen))


def _ab(request: Request, reporter: Reporter) -> Outcome:
    with room(request, ("plain", *PILOTS, "a", "b"), reporter) as made:
        plain = made.datapath
        pilots = {name: slowed(plain, operations, reporter) for name, operations in PILOTS.items()}
        with reporter.timed("calibrating the slow-down"):
            trials = made.alternate({"plain": plain, **pilots}, PILOT_BLOCKS)
        ratios = [
            (PILOTS[name], verdict.ratio_of(trials, name, "plain", request.confidence)) for name in PILOTS
        ]
        operations = verdict.operations_for(request.slow_down, ratios)
        plain_ns = statistics.median(
            1e9 / t.forwarded_pps for t in trials if t.datapath == "plain" and usable(t) and t.forwarded_pps
        )
        calibrated = f"{operations} operations on top of {plain_ns:.0f} ns per packet"
        reporter.say(f"calibrated: {calibrated}")
        b = slowed(plain, operations, reporter)
        comparisons, pooled = _compare(made, {"a": plain, "b": b})
        where = made.place.store.path
    seen = verdict.tally(comparisons)
    lines = [
        *_said(seen, request),
        f"slow-down        {request.slow_down:.1%} asked for ({calibrated}), {_slow_down(pooled)} over all comparisons",
        f"found            {_share(seen.found_slower, seen.comparisons)}, at least {verdict.FOUND:.0%} must be",
        f"results          {where}",
    ]
    data = _data(request, where, seen, pooled) | {
        "slow_down_asked": request.slow_down,
        "slow_down": verdict.slow_down(pooled) if pooled else None,
        "operations": operations,
        "plain_ns": plain_ns,
    }
    return Outcome(data, lines, verdict.ab_failure(seen, request.slow_down, pooled))


def _overhead(request: Request, reporter: Reporter) -> Outcome:
    blocks = max(request.blocks, -(-request.rounds // request.slices))
    with room(request, (request.datapath,), reporter) as made:
        with reporter.timed("measuring with and without probes"):
            trials = made.with_and_without_probes(blocks)
        where = made.place.store.path
    cost = verdict.probes_cost(trials, request.confidence)
    lines = [
        f"probes cost      {_percent(cost)} of the maximum forwarding rate; the upper end may be at most"
        f" {verdict.PROBES_COST:.0%}",
        f"interval         {request.confidence:.4g} over {cost.blocks} blocks, {cost.n} pairs of trials",
        f"results          {where}",
    ]
    data = {"check": "overhead", "run": str(where), "datapath": request.datapath, "cost": _numbers(cost)}
    return Outcome(data, lines, verdict.overhead_failure(cost))


def slowed(datapath: type[Datapath], operations: int, reporter: Reporter) -> type[Datapath]:
    """The datapath with a test build of its program in place of the shipped one. Only on this machine itself."""
    assert issubclass(datapath, ProgramDatapath), "its program was looked up in builds.SLOWABLE"
    path = builds.slowed(datapath.program, operations, reporter.step)
    return cast(type[Datapath], type(f"Slowed{datapath.__name__}", (datapath,), {"program": str(path)}))


def _compare(made: Room, contenders: Contenders) -> tuple[list[Comparison], Estimate | None]:
    """As many comparisons as were asked for, and the ratio over all their trials."""
    request, reporter = made.request, made.place.reporter
    comparisons: list[Comparison] = []
    pooled = []
    for number in range(1, request.rounds + 1):
        began = time.monotonic()
        trials = made.alternate(contenders, request.blocks)
        elapsed_s = time.monotonic() - began
        pooled += trials
        ratio = verdict.ratio_of(trials, "b", "a", request.confidence)
        left_out = sum(not usable(t) for t in trials)
        comparisons.append(Comparison(ratio, elapsed_s, left_out))
        reporter.say(f"{number}/{request.rounds}: b/a {comparisons[-1]}")
    return comparisons, verdict.ratio_of(pooled, "b", "a", request.confidence)


def _said(seen: Tally, request: Request) -> list[str]:
    """What is printed of any comparisons."""
    width = "none" if seen.median_half_width is None else f"+-{seen.median_half_width:.2%} (median)"
    return [
        f"comparisons      {seen.comparisons} of {request.datapath}, {seen.decided} with an interval",
        f"each             {request.blocks} blocks of {request.slices} pairs of {request.slice_s * 1e3:.0f} ms,"
        f" {seen.median_s:.1f} s (median), {seen.longest_s:.1f} s (longest)",
        f"interval         {request.confidence:.4g}, {width}",
        f"without 1 in it  {_share(seen.without_one, seen.decided)}, before differences below 2 % are set aside",
        f"left out         {seen.left_out} trials, contaminated or invalid",
    ]


def _data(request: Request, where: Path, seen: Tally, pooled: Estimate | None) -> dict[str, Any]:
    return {
        "check": request.check,
        "run": str(where),
        "datapath": request.datapath,
        "confidence": request.confidence,
        **dataclasses.asdict(seen),
        "ratio": _numbers(pooled) if pooled else None,
    }


def _numbers(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "blocks": estimate.blocks}


def _share(count: int, of: int) -> str:
    return f"{count} of {of}" + (f" ({count / of:.1%})" if of else "")


def _with_interval(estimate: Estimate | None) -> str:
    if estimate is None or estimate.low is None or estimate.high is None:
        return "without an interval"
    return f"{estimate.value:.4f} ({estimate.low:.4f} to {estimate.high:.4f})"


def _percent(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2%}"
    return f"{estimate.value:.2%} ({estimate.low:.2%} to {estimate.high:.2%})"


def _slow_down(pooled: Estimate | None) -> str:
    if pooled is None:
        return "unknown"
    value, low, high = verdict.slow_down(pooled)
    return f"{value:.2%}" if low is None or high is None else f"{value:.2%} ({low:.2%} to {high:.2%})"
