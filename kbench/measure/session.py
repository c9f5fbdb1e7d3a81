# SPDX-License-Identifier: GPL-2.0-only
"""One part of a run: each case is proven first, then measured by the methods that its kind of figures allows."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from kbench.errors import MeasureError
from kbench.measure.bench import Bench
from kbench.measure.block import Block
from kbench.measure.carried import carried
from kbench.measure.datapaths import DATAPATHS
from kbench.measure.exact import DURATION_LIMIT_S, exact_rounds
from kbench.measure.generators import GENERATORS
from kbench.measure.generators.base import Load
from kbench.measure.prepare import Prepared, prepare
from kbench.measure.testbeds.base import Testbed
from kbench.measure.trial import run_trial
from kbench.measure.verify import verify
from kbench.measure.wall import Wall
from kbench.measure.workplace import Workplace
from kbench.model import Case

ACCOUNTED = 20_000
"""Packets offered to each datapath in a functional part."""


@dataclass
class Session:
    """Measures a part's cases."""

    place: Workplace
    failed: list[str] = field(default_factory=list)
    """Datapaths that did not pass verification, as sentences."""

    def measure(self, cases: tuple[Case, ...], *, verify_only: bool = False) -> None:
        """Measures all cases one after the other."""
        for case in cases:
            names = [n for n in self.place.part.datapaths if case.function in DATAPATHS[n].functions]
            if names:
                self._case(case, names, verify_only)

    def _case(self, case: Case, names: list[str], verify_only: bool) -> None:
        place = self.place
        generator = GENERATORS[place.part.generator]()
        generator.setup(place.tester, place.journal)
        if place.bay is not None:
            place.bay.set_queues(case.queues)
        testbed = place.testbed("plan")
        prepared = prepare(
            case, place.host, place.scratch, testbed.image_ports, (place.tester, place.tester_scratch)
        )
        if place.bay is not None:
            prepared = self._on_wire(prepared, testbed)
        contenders = {name: DATAPATHS[name] for name in names}
        with Block(place, prepared, contenders, generator) as block:
            block.benches = [bench for bench in block.benches if self._proven(bench, prepared)]
            if not block.benches or verify_only:
                return
            proven = {bench.name: DATAPATHS[bench.name] for bench in block.benches}
            if place.part.kind == "functional":
                self._account(block)
            elif place.part.kind == "exact":
                exact_rounds(block)
        if place.part.kind in ("wall", "emulated"):
            Wall(place, prepared, proven, generator).measure()

    def _on_wire(self, prepared: Prepared, testbed: Testbed) -> Prepared:
        """Without the verification packets that the cable does not carry as they are."""
        testbed.turn.end()
        packets = carried(testbed, prepared.packets, prepared.scratch)
        there = {packet.name for packet in packets}
        lacking = [packet.name for packet in prepared.packets if packet.name not in there]
        if not packets:
            raise MeasureError(
                f"none of {len(lacking)} packets sent out of {testbed.generator.name} arrived at {testbed.rx.name}"
            )
        if lacking:
            self.place.notice(
                f"{len(lacking)} of {len(prepared.packets)} verification packets of {prepared.case.function} are left"
                f" out: the adapters change or drop them by themselves ({_some(lacking)})"
            )
        return dataclasses.replace(prepared, packets=packets)

    def _proven(self, bench: Bench, prepared: Prepared) -> bool:
        place = self.place
        outcome = verify(
            bench,
            place.part.name,
            prepared.case,
            prepared.packets,
            prepared.reference,
            prepared.marker,
            prepared.scratch,
        )
        place.store.append_verification(outcome)
        where = place.title(prepared.case, bench.name)
        if outcome.passed:
            place.reporter.say(f"{where}: does what the reference does on {outcome.packets} packets")
            return True
        self.failed.append(
            f"{where} differs from the reference and is not measured: {outcome.differences[0]}"
        )
        for difference in outcome.differences:
            place.reporter.warn(f"{where}: {difference}")
        return False

    def _account(self, block: Block) -> None:
        """Exact counts and nothing else: the clock of an emulated machine is no result."""
        place = self.place
        load = Load(None, DURATION_LIMIT_S, count=ACCOUNTED)
        with place.reporter.bar(place.title(block.prepared.case, "ledger"), len(block.benches)) as bar:
            for bench in block.benches:
                place.keep(run_trial(bench, block.setting, load, purpose="account", round_=0))
                bar.advance()


def _some(names: list[str], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return "; ".join(names[:shown]) + more
