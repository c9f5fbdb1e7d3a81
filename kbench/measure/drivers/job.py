# SPDX-License-Identifier: GPL-2.0-only
"""One method on one case: blocks, trials that are stored, the generator's ceiling, and the PDR that loads rest on."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kbench.measure.bench import Bench, SinkMode
from kbench.measure.block import Block, Contenders, turn
from kbench.measure.generators.base import Generator, Load
from kbench.measure.methods.base import Measure, MethodFailed
from kbench.measure.methods.goals import Goal
from kbench.measure.methods.loads import IDLE_PPS
from kbench.measure.methods.mlrsearch import SearchResult, mlrsearch
from kbench.measure.plan import Options
from kbench.measure.prepare import Prepared
from kbench.measure.reporter import Bar
from kbench.measure.trial import run_trial
from kbench.measure.workplace import Workplace
from kbench.model import Case, Placement, Purpose, Trial

FLAT_OUT_PPS = 1e9
"""A rate that no generator reaches: paced as for any rate, and always behind."""
CEILING_S = 0.3


@dataclass(frozen=True)
class Ceiling:
    """What the generator offers into a bare drop on the same testbed, in packets/s: at most, and when it paces."""

    rate_pps: float
    paced_pps: float


@dataclass
class Job:
    """A method's way to everything it needs."""

    place: Workplace
    prepared: Prepared
    contenders: Contenders
    generator: Generator
    options: Options
    """Of this method: a profile may ask for other lengths and repeats than in the rest of the run."""

    @property
    def case(self) -> Case:
        """The packet work."""
        return self.prepared.case

    @property
    def seconds(self) -> float:
        """Length of a final trial."""
        return self.options.trial_s

    def on_blocks(
        self,
        method: str,
        what: str,
        repeats: int,
        on_block: Callable[[Block, Bar], None],
        placement: Placement | None = None,
    ) -> None:
        """Builds `repeats` blocks one after the other, but for those that a resumed run has results of.

        `on_block` advances the bar once per contender.
        """
        names = list(self.contenders)
        due = [n for n in range(repeats) if any(not self._has(method, name, n) for name in names)]
        with self.place.reporter.bar(self.place.title(self.case, what), len(due) * len(names)) as bar:
            for number in due:
                with Block(
                    self.place,
                    self.prepared,
                    self.contenders,
                    self.generator,
                    number=number,
                    placement=placement,
                ) as block:
                    on_block(block, bar)

    def _has(self, method: str, name: str, repeat: int) -> bool:
        return self.place.has_found(method, self.case, name, repeat)

    def each(self, block: Block, bar: Bar, method: str, make: Callable[[Bench], dict[str, Any]]) -> None:
        """Lets each bench have its turn and stores what was found, or why nothing was."""
        for bench in turn(block.benches, block.number):
            if not self._has(method, bench.name, block.number):
                try:
                    values = make(bench)
                except MethodFailed as failed:
                    values = {"failed": str(failed)}
                    self.place.notice(f"{self.case.case_id}: {method} of {bench.name}: {failed}")
                self.place.find(method, self.case, bench.name, block.number, values)
            bar.advance()

    def measure(self, block: Block, bench: Bench, purpose: Purpose) -> Measure:
        """What a method asks for trials."""

        def make(load_pps: float, duration_s: float) -> Trial:
            return self.trial(block, bench, Load(load_pps, duration_s), purpose)

        return make

    def trial(
        self, block: Block, bench: Bench, load: Load, purpose: Purpose, sink: SinkMode = "count"
    ) -> Trial:
        """A stored trial, with the pause that was asked for after it."""
        trial = run_trial(bench, block.setting, load, purpose=purpose, round_=block.number, sink=sink)
        trial.block = block.number
        self.place.keep(trial)
        time.sleep(self.options.settle_s)
        return trial

    def steady(
        self, block: Block, bench: Bench, load: Load, purpose: Purpose, sink: SinkMode = "count"
    ) -> Trial:
        """As `trial`, for figures that are not searched for: made again when the machine was not kbench's alone."""

        def make() -> Trial:
            return run_trial(bench, block.setting, load, purpose=purpose, round_=block.number, sink=sink)

        trial = block.trial(make)
        time.sleep(self.options.settle_s)
        return trial

    def ceiling(self, block: Block) -> Ceiling:
        """Measured on this block's own baseline."""
        rates = []
        for load_pps in (None, FLAT_OUT_PPS):
            trial = self.trial(block, block.baseline, Load(load_pps, CEILING_S), "baseline")
            rates.append(trial.offered_pps or 0.0)
        ceiling = Ceiling(*rates)
        values = {"rate_pps": ceiling.rate_pps, "paced_pps": ceiling.paced_pps}
        self.place.find("ceiling", self.case, block.baseline.name, block.number, values)
        return ceiling

    def known(self, bench: Bench, goal: str) -> float | None:
        """The rate ("ndr", "pdr") that searches of this run found so far."""
        rates = self.place.rates.get((self.case.case_id, bench.name, goal))
        return statistics.median(rates) if rates else None

    def pdr(self, block: Block, bench: Bench, ceiling: Ceiling) -> float:
        """The bench's PDR: as `throughput` found it in this run, else by a short search. Raises MethodFailed."""
        known = self.known(bench, "pdr")
        if known is not None:
            return known
        goal = Goal("pdr", self.options.pdr_loss, width=0.02, duration_sum_s=0.4)
        found = mlrsearch(self.measure(block, bench, "search"), IDLE_PPS, ceiling.paced_pps, (goal,))
        self.remember(bench, found)
        known = self.known(bench, "pdr")
        if known is None:
            raise MethodFailed(f"no PDR: {found.goal('pdr').reason}")
        return known

    def remember(self, bench: Bench, found: SearchResult) -> None:
        """Keeps the rates of a search for the methods that come after it."""
        for result in found.goals:
            if result.lower_pps is not None:
                key = (self.case.case_id, bench.name, result.goal.name)
                self.place.rates.setdefault(key, []).append(result.lower_pps)
