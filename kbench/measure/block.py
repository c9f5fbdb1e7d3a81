# SPDX-License-Identifier: GPL-2.0-only
"""A block: topologies of all contenders, built anew, on which trials alternate until the next block.

Two topologies built alike differ by up to 1.2 % with nothing changed (memory layout, hash seeds). Within a block that
is a bias, over blocks that are built anew it is noise, which an interval over blocks shows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from kbench.errors import EnvironmentProblem
from kbench.host.facts import offloads
from kbench.measure.bench import Bench, Benches
from kbench.measure.datapaths.base import Datapath
from kbench.measure.datapaths.base import Options as DatapathOptions
from kbench.measure.generators.base import Generator, Load
from kbench.measure.observe import Setting
from kbench.measure.prepare import Prepared
from kbench.measure.probes import PROBES
from kbench.measure.trial import run_trial
from kbench.measure.workplace import Workplace
from kbench.model import Placement, Trial

Contenders = Mapping[str, type[Datapath]]
"""What is compared, by name; one datapath may stand there twice, under two names."""

Item = TypeVar("Item")

ATTEMPTS = 3
"""A contaminated trial is made again at once, so often in all. What it measured has no say in that."""


class Block:
    """Use as a context manager: benches stand between `__enter__` and `__exit__`."""

    def __init__(
        self,
        place: Workplace,
        prepared: Prepared,
        contenders: Contenders,
        generator: Generator,
        *,
        number: int = 0,
        placement: Placement | None = None,
    ) -> None:
        self.place = place
        self.prepared = prepared
        self.number = number
        self.benches: list[Bench] = []
        self.setting = Setting(place.part.name, place.part.kind, prepared.case, generator, prepared.traffic)
        self.generator = generator
        self._contenders = contenders
        self._placement = placement
        self._stack = ExitStack()
        self._made: Benches | None = None
        self._baseline: Bench | None = None

    def __enter__(self) -> Self:
        try:
            self._made = self._stack.enter_context(Benches())
            self._stack.callback(self.generator.close)
            for name in turn(list(self._contenders), self.number):
                self._attach(name)
        except BaseException:
            self._stack.close()
            raise
        order = list(self._contenders)
        self.benches.sort(key=lambda bench: order.index(bench.name))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _attach(self, name: str) -> None:
        assert self._made is not None
        options = self.place.options
        try:
            bench = self._made.add(
                name,
                self.place.testbed(name, self._placement),
                self._contenders[name],
                DatapathOptions(options.af_packet_ring, options.xdp_mode),
                self.prepared.work,
            )
        except EnvironmentProblem as problem:
            if options.datapaths is not None:
                raise
            self.place.notice(f"{name} was left out: {problem}")
        else:
            if self.place.part.kind in ("wall", "emulated"):
                ports = (bench.testbed.rx, bench.testbed.tx)
                bench.offloads = {p.name: offloads(self.place.host, p.name, p.netns) for p in ports}
            self.benches.append(bench)

    @property
    def baseline(self) -> Bench:
        """The generator into a bare XDP drop on the DUT's port; made when first asked for."""
        if self._baseline is None:
            assert self._made is not None
            self._baseline = self._made.add_baseline(self.place.testbed("base", self._placement))
        return self._baseline

    def dummy_baseline(self) -> Bench:
        """The generator into a dummy device; see `Benches.add_dummy_baseline`."""
        assert self._made is not None
        return self._made.add_dummy_baseline(self.place.testbed("base", self._placement))

    def trial(self, make: Callable[[], Trial], *, warm_up: bool = False) -> Trial:
        """Makes and stores a trial, again when the machine was not kbench's alone; the last one is returned."""
        for _ in range(ATTEMPTS):
            trial = make()
            trial.block = self.number
            trial.warm_up = warm_up
            self.place.keep(trial)
            if warm_up or not trial.contaminated:
                break
        return trial

    def rounds(self, load: Load, first: int, count: int, advance: Callable[[], None]) -> list[Trial]:
        """`count` rounds in which each contender has its turn; before them a warm-up trial each, not scored."""
        trials = [self._rate(bench, load, first, warm_up=True) for bench in (self.baseline, *self.benches)]
        for round_ in range(first, first + count):
            base = self._rate(self.baseline, load, round_)
            trials.append(base)
            own_ns = base.cpu_ns_per_packet
            trials += [self._rate(b, load, round_, baseline_ns=own_ns) for b in turn(self.benches, round_)]
            advance()
        return trials

    def profile(self, load: Load) -> None:
        """A trial each for every probe that slows a datapath down: kept, never scored."""
        for number, probe in enumerate(probe for probe in PROBES if probe.costly):
            lasting = dataclasses.replace(load, duration_s=probe.profile_s or load.duration_s)
            for bench in self.benches:
                make = partial(
                    run_trial,
                    bench,
                    self.setting,
                    lasting,
                    purpose="profile",
                    profile=probe.name,
                    round_=number,
                )
                self.trial(make)

    def _rate(
        self,
        bench: Bench,
        load: Load,
        round_: int,
        *,
        baseline_ns: float | None = None,
        warm_up: bool = False,
    ) -> Trial:
        def make() -> Trial:
            return run_trial(
                bench, self.setting, load, purpose="rate", round_=round_, baseline_ns=baseline_ns
            )

        return self.trial(make, warm_up=warm_up)


def turn(items: list[Item], round_: int) -> list[Item]:
    """Rotated by one each round, and reversed every other round (two items: A B B A), so that drift hits all alike."""
    at = round_ // 2 % len(items) if items else 0
    rotated = items[at:] + items[:at]
    return rotated[::-1] if round_ % 2 else rotated
