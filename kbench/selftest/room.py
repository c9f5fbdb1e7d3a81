# SPDX-License-Identifier: GPL-2.0-only
"""Where a self-test works: a run like any other (lock, journal, store, verification), with contenders of its own."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kbench import doctor
from kbench.errors import KbenchError, VerificationFailed
from kbench.host import builds
from kbench.host.local import LocalHost
from kbench.measure import run
from kbench.measure.bench import Bench
from kbench.measure.block import Block, Contenders, turn
from kbench.measure.datapaths import DATAPATHS
from kbench.measure.datapaths.base import Datapath
from kbench.measure.generators import GENERATORS
from kbench.measure.generators.base import Generator, Load
from kbench.measure.plan import Options, Plan, make_plan
from kbench.measure.prepare import Prepared, prepare
from kbench.measure.reporter import Reporter
from kbench.measure.trial import run_trial
from kbench.measure.verify import verify
from kbench.measure.workplace import Workplace
from kbench.model import Trial
from kbench.store import RunStore, new_run_id


@dataclass(frozen=True)
class Request:
    """What the user asked for."""

    check: str
    """overhead, aa or ab."""
    rounds: int
    """Comparisons; for overhead, pairs of trials."""
    datapath: str = "xdp"
    confidence: float = 0.99
    blocks: int = 8
    slices: int = 24
    """Trials of each contender in a block, without its warm-up."""
    slice_s: float = 0.02
    slow_down: float = 0.03
    results: Path = Path("results")


@dataclass
class Room:
    """A place to measure at, and the numbers of its next block and round, which no two comparisons share."""

    request: Request
    place: Workplace
    prepared: Prepared
    generator: Generator
    block: int = 0
    round: int = 0
    proven: set[str] = field(default_factory=set)

    @property
    def datapath(self) -> type[Datapath]:
        """What is compared with itself."""
        return DATAPATHS[self.request.datapath]

    @property
    def load(self) -> Load:
        """The maximum, for one slice."""
        return Load(None, self.request.slice_s)

    @contextmanager
    def _fresh(self, contenders: Contenders) -> Iterator[Block]:
        """A block of new topologies, warmed up. A contender that is here for the first time is verified.

        Raises VerificationFailed if it does not do what the reference does.
        """
        with Block(self.place, self.prepared, contenders, self.generator, number=self.block) as block:
            for bench in block.benches:
                if bench.name not in self.proven:
                    self._prove(bench)
            for bench in block.benches:
                self._trial(block, bench, warm_up=True)
            yield block
        self.block += 1

    def _prove(self, bench: Bench) -> None:
        made = self.prepared
        outcome = verify(
            bench,
            self.place.part.name,
            made.case,
            made.packets,
            made.reference,
            made.marker,
            made.scratch,
        )
        self.place.store.append_verification(outcome)
        if not outcome.passed:
            raise VerificationFailed(f"{bench.name} differs from the reference: {outcome.differences[0]}")
        self.proven.add(bench.name)

    def _trial(self, block: Block, bench: Bench, *, warm_up: bool = False) -> Trial:
        def make() -> Trial:
            return run_trial(bench, block.setting, self.load, purpose="rate", round_=self.round)

        return block.trial(make, warm_up=warm_up)

    def alternate(self, contenders: Contenders, count: int) -> list[Trial]:
        """Trials of `count` blocks in which the contenders take turns."""
        trials = []
        for _ in range(count):
            with self._fresh(contenders) as block:
                for _ in range(self.request.slices):
                    trials += [self._trial(block, bench) for bench in turn(block.benches, self.round)]
                    self.round += 1
        return trials

    def with_and_without_probes(self, count: int) -> list[Trial]:
        """Trials of `count` blocks of one contender, in turns with and without probes.

        None is made again: without probes nothing would tell which.
        """
        trials = []
        for _ in range(count):
            with self._fresh({self.request.datapath: self.datapath}) as block:
                (bench,) = block.benches
                for _ in range(self.request.slices):
                    for probes in turn([True, False], self.round):
                        trial = run_trial(
                            bench, block.setting, self.load, purpose="rate", round_=self.round, probes=probes
                        )
                        trial.block = block.number
                        trials.append(self.place.keep(trial))
                    self.round += 1
        return trials


@contextmanager
def room(request: Request, names: Sequence[str], reporter: Reporter) -> Iterator[Room]:
    """A run directory and everything else that a run has; `names` are those of all contenders.

    Raises UsageError and EnvironmentProblem before anything is begun. What was changed is undone whatever happens.
    """
    run.need_root()
    with ExitStack() as stack:
        stack.enter_context(run.terminated_like_interrupted())
        stack.enter_context(run.one_run_at_a_time())
        run.restore_first(reporter)
        with reporter.timed("building kbench's programs"):
            programs = builds.programs(reporter.step)
        local = stack.enter_context(LocalHost(programs))
        options = Options(
            where="host",
            datapaths=(request.datapath,),
            functions=("forward",),
            duration_s=request.slice_s,
            label=f"selftest {request.check}",
            results=request.results,
        )
        plan = make_plan(options, doctor.probe(local))
        part = dataclasses.replace(plan.parts[0], datapaths=tuple(names))
        plan = Plan(plan.cases, (part,), f"a self-test of kbench with {request.datapath}")
        document = run.run_document(options, plan, local) | {"selftest": _described(request)}
        store = stack.enter_context(RunStore.create(request.results, new_run_id(), document))
        journal = stack.enter_context(run.journal_of(store.path.name, reporter))
        journal.record_process(local.agent_pid)
        stack.enter_context(_ended(store))
        place = Workplace(
            host=local,
            part=part,
            options=options,
            cpu_count=len(os.sched_getaffinity(0)),
            scratch=str(journal.make_tmpdir()),
            tag=store.path.name[-4:],
            journal=journal,
            store=store,
            reporter=reporter,
        )
        generator = GENERATORS[part.generator]()
        generator.setup(local, journal)
        prepared = prepare(plan.cases[0], local, place.scratch, place.testbed("plan").image_ports)
        yield Room(request, place, prepared, generator)


def _described(request: Request) -> dict[str, Any]:
    return {k: v for k, v in dataclasses.asdict(request).items() if k != "results"}


@contextmanager
def _ended(store: RunStore) -> Iterator[None]:
    """Writes down how it ended."""
    try:
        yield
    except KeyboardInterrupt:
        store.append_end(run.now(), "interrupted")
        raise
    except KbenchError:
        store.append_end(run.now(), "failed")
        raise
    store.append_end(run.now())
