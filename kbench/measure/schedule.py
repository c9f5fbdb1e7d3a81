# SPDX-License-Identifier: GPL-2.0-only
"""What a run would do and how long it would take, before anything is touched: for --dry-run.

Numbers of trials come from the methods themselves, run on a datapath that exists in a formula only. So they are
what a quiet machine needs; the upper limits are those at which the methods give up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from random import Random
from statistics import fmean

from kbench.measure import exact, wall
from kbench.measure.block import ATTEMPTS
from kbench.measure.datapaths import DATAPATHS
from kbench.measure.drivers import searches
from kbench.measure.drivers.job import CEILING_S
from kbench.measure.methods.back_to_back import Bursts, back_to_back
from kbench.measure.methods.base import Budget, Effort
from kbench.measure.methods.goals import Goal
from kbench.measure.methods.loads import IDLE_PPS
from kbench.measure.methods.loss_curve import STEP_PERCENT, loss_curve
from kbench.measure.methods.mlrsearch import mlrsearch
from kbench.measure.methods.tst009 import Bswlv, bswlv
from kbench.measure.plan import Options, Plan
from kbench.measure.probes import PROBES
from kbench.measure.profile import RFC2544, SECTIONS, for_method, goals, latency_shares
from kbench.model import Case, Counters, Part, Trial

TRIAL_S = 0.2
"""Set-up, drain and counters of a trial: 0.05 s in the kernel, 0.3 s with a program in userspace."""
BLOCK_S = 0.5
"""Building and removing one datapath's topology."""
VERIFY_S = 1.0
EXACT_TRIAL_S = 8.0
"""Real time of an exact trial under emulation; the boot is `BOOT_S`."""
BOOT_S = 15.0
BASELINE = "generator"
BUFFER_FRAMES = 256
CEILING_PPS, CAPACITY_PPS, WAVER = 5e6, 1.5e6, 0.02
"""Of the datapath in a formula: the generator's ceiling, the rate forwarded and its standard deviation."""
SEEDS = 20
"""Runs of the formula that numbers of trials are the mean of."""


@dataclass(frozen=True)
class Step:
    """One method on one datapath and case, with all its repeats. Seconds include pauses and set-up."""

    part: str
    case_id: str
    datapath: str
    what: str
    sections: str
    """Of the standard that the method follows; empty for what only prepares."""
    repeats: int
    trials: int
    trials_at_most: int
    seconds_each: float
    """Of a full-length trial."""
    seconds: float
    seconds_at_most: float
    note: str = ""


@dataclass(frozen=True)
class Cost:
    """Trials, and seconds of traffic in them."""

    trials: int
    traffic_s: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.trials + other.trials, self.traffic_s + other.traffic_s)

    def __mul__(self, times: int) -> Cost:
        return Cost(self.trials * times, self.traffic_s * times)

    def seconds(self, settle_s: float) -> float:
        """With what passes between trials."""
        return self.traffic_s + self.trials * (TRIAL_S + settle_s)


NOTHING = Cost(0, 0.0)


def schedule(plan: Plan, options: Options, given: frozenset[str] = frozenset()) -> list[Step]:
    """All steps of a run in the order in which they are made; `given` as for `profile.apply`."""
    steps: list[Step] = []
    for part in plan.parts:
        if part.name == "lab":
            steps.append(Step(part.name, "", "lab", "boot", "", 1, 0, 0, 0.0, BOOT_S, 4 * BOOT_S))
        for case in plan.cases:
            names = [name for name in part.datapaths if case.function in DATAPATHS[name].functions]
            steps += [
                _step(part, case, n, "verify", "", 1, NOTHING, NOTHING, 0.0, 0.0, VERIFY_S) for n in names
            ]
            if part.kind == "exact":
                steps += _exact(part, case, names)
            elif part.kind in ("wall", "emulated"):
                for method in options.methods:
                    asked = for_method(options, method, given)
                    steps += METHOD_STEPS[method](part, case, names, asked)
    return steps


def _step(
    part: Part,
    case: Case,
    name: str,
    what: str,
    sections: str,
    repeats: int,
    about: Cost,
    most: Cost,
    each_s: float,
    settle_s: float,
    set_up_s: float,
    note: str = "",
) -> Step:
    return Step(
        part.name,
        case.case_id,
        name,
        what,
        sections,
        repeats,
        about.trials,
        most.trials,
        each_s,
        about.seconds(settle_s) + set_up_s,
        most.seconds(settle_s) + set_up_s,
        note,
    )


def _exact(part: Part, case: Case, names: list[str]) -> Iterator[Step]:
    for name in (BASELINE, *names):
        count = exact.ROUNDS * len(exact.COUNTS)
        seconds = exact.ROUNDS * EXACT_TRIAL_S + BLOCK_S
        yield Step(
            part.name,
            case.case_id,
            name,
            "instructions",
            "kbench's own",
            exact.ROUNDS,
            count,
            count,
            EXACT_TRIAL_S / 2,
            seconds,
            seconds * 4,
            "emulated: real time depends on this machine",
        )


def _maximum(part: Part, case: Case, names: list[str], options: Options) -> Iterator[Step]:
    warm_ups = Cost(options.blocks, options.blocks * options.duration_s)
    rounds = Cost(options.rounds, options.rounds * options.duration_s)
    most = rounds * ATTEMPTS + warm_ups
    more_s, note = 0.0, ""
    if options.until_ci is not None:
        more_s = options.budget_s / (len(names) + 1)
        note = f"--until-ci may add blocks until {options.budget_s:g} s have passed"
    for name in (BASELINE, *names):
        step = _step(part, case, name, "max", SECTIONS["max"], options.rounds, warm_ups + rounds, most,
                     options.duration_s, 0.0, options.blocks * BLOCK_S, note)  # fmt: skip
        yield Step(**{**vars(step), "seconds_at_most": step.seconds_at_most + more_s})
    lasting = [probe.profile_s or options.duration_s for probe in PROBES if probe.costly]
    cost = Cost(len(lasting), sum(lasting))
    for name in names:
        yield _step(part, case, name, "max: profile", "kbench's own", 1, cost, cost * ATTEMPTS, max(lasting), 0.0,
                    0.0, "probes that cost something, not scored")  # fmt: skip
    if options.latency and case.function != "drop":
        each_s = max(wall.LATENCY_TRIAL_S, options.duration_s)
        cost = Cost(wall.LATENCY_ROUNDS, wall.LATENCY_ROUNDS * each_s)
        for name in names:
            yield _step(part, case, name, "max: latency", "RFC 8219, 7.2", wall.LATENCY_ROUNDS, cost,
                        cost * ATTEMPTS, each_s, 0.0, BLOCK_S)  # fmt: skip


def _throughput(part: Part, case: Case, names: list[str], options: Options) -> Iterator[Step]:
    yield _ceiling(part, case, options, options.repeats)
    most = Cost(searches.TRIALS_MAX, searches.TRIALS_MAX * options.trial_s)
    if options.search == "tst009":  # one goal a search
        about, most = tst009_cost(options.trial_s) * 2, most * 2
    else:
        about = mlr_cost(goals(options))
    yield from _repeated(part, case, names, "throughput", options, about, most, "NDR and PDR")


def _curve(part: Part, case: Case, names: list[str], options: Options) -> Iterator[Step]:
    yield _ceiling(part, case, options, options.repeats)
    steps = 100 // STEP_PERCENT
    about, most = curve_cost(options.trial_s), Cost(steps, steps * options.trial_s) * ATTEMPTS
    yield from _repeated(part, case, names, "loss-curve", options, about, most)


def _bursts(part: Part, case: Case, names: list[str], options: Options) -> Iterator[Step]:
    yield _ceiling(part, case, options, 1)
    for name in names:
        # On the generator's CPU a path holds the generator up: it loses nothing, and the burst lasts longer.
        waits = part.placement == "same" and not DATAPATHS[name].userspace
        one = Cost(1, Bursts.max_burst_s * CEILING_PPS / CAPACITY_PPS) if waits else burst_cost()
        note = "paths on the generator's CPU lose nothing, so one burst each" if waits else ""
        about = one * options.repeats
        yield _step(part, case, name, "back-to-back", SECTIONS["back-to-back"], options.repeats, about,
                    about * (2 * ATTEMPTS), Bursts.max_burst_s, options.settle_s, BLOCK_S, note)  # fmt: skip


def _latency(part: Part, case: Case, names: list[str], options: Options) -> Iterator[Step]:
    yield _ceiling(part, case, options, options.repeats)
    loads = len(latency_shares(options)) + (options.profile != RFC2544)
    about = Cost(loads, loads * options.trial_s)
    note = "at the throughput rate" if options.profile == RFC2544 else f"{loads} loads"
    search = _pdr_search(options, "latency")
    sections = SECTIONS["latency"] if options.profile == RFC2544 else "RFC 8219, 7.2"
    for name in names:
        yield _step(part, case, name, "latency", sections, options.repeats, about * options.repeats + search[0],
                    about * options.repeats * ATTEMPTS + search[1], options.trial_s, options.settle_s,
                    options.repeats * BLOCK_S, note)  # fmt: skip


def _cpu(part: Part, case: Case, names: list[str], options: Options) -> Iterator[Step]:
    yield _ceiling(part, case, options, 1)
    # Each repeat has a trial under load and as long a look at the path when nothing comes.
    about = Cost(2, 2 * options.trial_s)
    search = _pdr_search(options, "cpu-at-load")
    for name in (BASELINE, *names):
        own = search if name != BASELINE else (NOTHING, NOTHING)
        yield _step(part, case, name, "cpu-at-load", SECTIONS["cpu-at-load"], options.repeats,
                    about * options.repeats + own[0], about * options.repeats * ATTEMPTS + own[1],
                    options.trial_s, options.settle_s, (options.repeats + 1) * BLOCK_S)  # fmt: skip


def _pdr_search(options: Options, method: str) -> tuple[Cost, Cost]:
    """The short search that a method needs for its loads, when none before it has found the PDR."""
    before = options.methods[: options.methods.index(method)]
    if set(before) & {"throughput", "latency", "cpu-at-load"}:
        return NOTHING, NOTHING
    goal = Goal("pdr", options.pdr_loss, width=0.02, duration_sum_s=0.4)
    about = mlr_cost((goal,))
    return about, about * ATTEMPTS


def _ceiling(part: Part, case: Case, options: Options, repeats: int) -> Step:
    """The generator into a bare drop, as fast as it can and paced, on each topology."""
    cost = Cost(2, 2 * CEILING_S) * repeats
    return _step(part, case, BASELINE, "ceiling", "", repeats, cost, cost, CEILING_S,
                 options.settle_s, repeats * BLOCK_S)  # fmt: skip


def _repeated(
    part: Part,
    case: Case,
    names: list[str],
    what: str,
    options: Options,
    about: Cost,
    most: Cost,
    note: str = "",
) -> Iterator[Step]:
    for name in names:
        yield _step(part, case, name, what, SECTIONS[what], options.repeats, about * options.repeats,
                    most * options.repeats, options.trial_s, options.settle_s, options.repeats * BLOCK_S,
                    note)  # fmt: skip


METHOD_STEPS: dict[str, Callable[[Part, Case, list[str], Options], Iterator[Step]]] = {
    "max": _maximum,
    "throughput": _throughput,
    "loss-curve": _curve,
    "latency": _latency,
    "back-to-back": _bursts,
    "cpu-at-load": _cpu,
}
"""By method, as plan.METHODS."""


class _Formula:
    """A datapath in a formula: a limit that wavers from trial to trial, and a buffer."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def offer(self, load_pps: float, duration_s: float) -> Trial:
        """A trial at a load."""
        offered = round(load_pps * duration_s)
        forwarded = round(CAPACITY_PPS * self._random.gauss(1.0, WAVER) * duration_s)
        return _trial(offered, max(0, offered - forwarded))

    def burst(self, frames: int) -> Trial:
        """A trial with a burst."""
        share = 1 - CAPACITY_PPS * self._random.gauss(1.0, WAVER) / CEILING_PPS
        return _trial(frames, max(0, round(frames * share) - BUFFER_FRAMES))


def _trial(offered: int, lost: int) -> Trial:
    counters = Counters(offered=offered, received=None, forwarded=offered - lost, lost=lost)
    return Trial("host", "wall", "search", "", "forward", "", "", "same", 0, "", 64, None, 1.0, counters)


def _mean(efforts: Iterable[Effort]) -> Cost:
    made = list(efforts)
    return Cost(round(fmean(e.trials for e in made)), fmean(e.measured_s for e in made))


def _formulas() -> list[_Formula]:
    return [_Formula(seed) for seed in range(SEEDS)]


def _allowed(trial_s: float) -> Budget:
    return Budget(searches.TRIALS_MAX, searches.TRIALS_MAX * trial_s)


@cache
def mlr_cost(wanted: tuple[Goal, ...]) -> Cost:
    """Of an MLRsearch for these goals."""
    allowed = _allowed(max(goal.final_trial_s for goal in wanted))
    return _mean(mlrsearch(dut.offer, IDLE_PPS, CEILING_PPS, wanted, allowed).effort for dut in _formulas())


@cache
def tst009_cost(trial_s: float) -> Cost:
    """Of a binary search with loss verification."""
    ask, allowed = Bswlv(trial_s=trial_s), _allowed(trial_s)
    return _mean(bswlv(dut.offer, IDLE_PPS, CEILING_PPS, ask, allowed).effort for dut in _formulas())


@cache
def curve_cost(trial_s: float) -> Cost:
    """Of a loss curve."""
    return _mean(loss_curve(dut.offer, CEILING_PPS, trial_s).effort for dut in _formulas())


@cache
def burst_cost() -> Cost:
    """Of one search for the longest burst."""
    ask = Bursts(CEILING_PPS, step_frames=searches.BURST_STEP_FRAMES, repeats=1)
    return _mean(back_to_back(dut.burst, ask).effort for dut in _formulas())
