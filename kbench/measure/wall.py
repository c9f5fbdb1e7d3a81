# SPDX-License-Identifier: GPL-2.0-only
"""Measures a case in real time: blocks of short rounds for the maximum rate, and the other methods' drivers."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from dataclasses import dataclass, field

from kbench import estimate
from kbench.errors import UsageError
from kbench.measure.bench import BASELINE, Bench, SinkMode
from kbench.measure.block import Block, Contenders, turn
from kbench.measure.drivers import DRIVERS
from kbench.measure.drivers.job import Job
from kbench.measure.generators.base import Generator, Load
from kbench.measure.latency_way import latency_generator, latency_way
from kbench.measure.pacing import pacing
from kbench.measure.prepare import Prepared
from kbench.measure.profile import for_method
from kbench.measure.trial import run_trial
from kbench.measure.workplace import Workplace
from kbench.model import Trial

LATENCY_PPS = 50_000.0
"""The common load at which latency is compared, unless the slowest datapath can't keep up with it."""
LATENCY_SHARE = 0.25
"""At most this share of the slowest datapath's rate: beyond it latency is mostly queueing."""
LATENCY_ROUNDS = 5
LATENCY_TRIAL_S = 0.5
CEILING_S = 0.3


@dataclass
class Wall:
    """One case of a wall-clock part. `contenders` have passed verification."""

    place: Workplace
    prepared: Prepared
    contenders: Contenders
    generator: Generator
    trials: list[Trial] = field(default_factory=list)
    """The rounds' trials of this case, with those that a resumed run had."""

    def measure(self) -> None:
        """By all methods that were asked for."""
        for method in self.place.options.methods:
            if method == "max":
                self._maximum()
            else:
                self._by_driver(method)

    def _by_driver(self, method: str) -> None:
        options = for_method(self.place.options, method, frozenset(self.place.options.given))
        DRIVERS[method](Job(self.place, self.prepared, self.contenders, self.generator, options))

    def _block(self, number: int) -> Block:
        return Block(self.place, self.prepared, self.contenders, self.generator, number=number)

    def _maximum(self) -> None:
        place, options, case = self.place, self.place.options, self.prepared.case
        self.trials = place.done_before(case, "rate") + place.done_before(case, "baseline")
        load = Load(options.load_pps, options.duration_s)
        per_block = -(-options.rounds // options.blocks)
        done = place.first_round(case, "rate")
        number = max((t.block for t in self.trials), default=-1) + 1
        deadline = time.monotonic() + options.budget_s
        with place.reporter.bar(place.title(case, "rate"), max(0, options.rounds - done)) as bar:
            while done < options.rounds or self._goes_on(number, deadline):
                count = min(per_block, options.rounds - done) if done < options.rounds else per_block
                with self._block(number) as block:
                    if not number:
                        self._refuse_impossible_load(block)
                    self.trials += block.rounds(load, done, count, bar.advance)
                    if not number and place.part.kind == "wall":
                        block.profile(load)
                done, number = done + count, number + 1
        if options.latency and case.function != "drop":
            self._latency(number)

    def _goes_on(self, blocks: int, deadline: float) -> bool:
        """Whether `--until-ci` wants one more block; says so if there is no time left for it."""
        goal = self.place.options.until_ci
        if goal is None:
            return False
        wide = {name: more for name, more in self._lacking(goal).items() if more != 0}
        if not wide:
            return False
        if time.monotonic() < deadline:
            return True
        lacking = ", ".join(
            f"{name} {'many' if more is None else f'about {more}'}" for name, more in wide.items()
        )
        self.place.notice(
            f"{self.prepared.case.case_id}: not known to +-{goal:.1%} after {blocks} blocks, when --budget ended;"
            f" more blocks needed: {lacking}"
        )
        return False

    def _lacking(self, goal: float) -> dict[str, int | None]:
        """By datapath how many more blocks its ratio to the first needs for that half-width; None: out of reach."""
        rates: dict[str, dict[int, float]] = defaultdict(dict)
        blocks: dict[int, int] = {}
        for trial in self.trials:
            if trial.valid and not trial.contaminated and not trial.warm_up and trial.forwarded_pps:
                rates[trial.datapath][trial.round] = trial.forwarded_pps
                blocks[trial.round] = trial.block
        names = [name for name in rates if name != BASELINE]
        lacking: dict[str, int | None] = {}
        for name in names[1:]:
            ratio = estimate.paired_ratio(rates[name], rates[names[0]], blocks)
            lacking[name] = estimate.more_for(ratio, goal) if ratio else 1
        return lacking

    def _refuse_impossible_load(self, block: Block) -> None:
        wanted = self.place.options.load_pps
        if wanted is None:
            return
        load = Load(None, CEILING_S)
        probe = run_trial(block.baseline, block.setting, load, purpose="baseline", round_=-1)
        ceiling = probe.offered_pps or 0.0
        if wanted > ceiling:
            raise UsageError(
                f"--load {wanted:.0f} is above what generator {self.generator.name} can offer here"
                f" ({ceiling:.0f} packets/s into a bare drop)"
            )

    def _latency(self, number: int) -> None:
        """Latency of all datapaths at one common load, with paced and stamped packets."""
        place, case = self.place, self.prepared.case
        rates: dict[str, list[float]] = defaultdict(list)
        for trial in self.trials:
            if trial.purpose == "rate" and trial.forwarded_pps:
                rates[trial.datapath].append(trial.forwarded_pps)
        load_pps = min(LATENCY_PPS, LATENCY_SHARE * min(map(statistics.median, rates.values()), default=0.0))
        if load_pps < 1:
            return
        first = place.first_round(case, "latency")
        generator = latency_generator(place, self.generator)
        title = place.title(case, f"latency at {load_pps:.0f} packets/s")
        with (
            Block(place, self.prepared, self.contenders, generator, number=number) as block,
            place.reporter.bar(title, (LATENCY_ROUNDS - first) * len(block.benches)) as bar,
        ):
            way = latency_way(block)
            load = way.load(load_pps, max(LATENCY_TRIAL_S, place.options.duration_s))
            if not first and generator.timestamps:
                paced = pacing(
                    block.baseline,
                    block.setting,
                    rates_pps=(load_pps,),
                    duration_s=LATENCY_TRIAL_S,
                    keep=place.keep,
                )
                place.store.append_finding(paced)
            for round_ in range(first, LATENCY_ROUNDS):
                for bench in turn(block.benches, round_):
                    latency_trial(block, bench, load, round_, way.sink)
                    bar.advance()


def latency_trial(block: Block, bench: Bench, load: Load, round_: int, sink: SinkMode) -> Trial:
    """One trial whose latency is taken."""
    return block.trial(
        lambda: run_trial(bench, block.setting, load, purpose="latency", round_=round_, sink=sink)
    )
