# SPDX-License-Identifier: GPL-2.0-only
"""How latency is taken on a testbed: by the generator's own stamps, or by packets of kb-stamp beside the load."""

from __future__ import annotations

from dataclasses import dataclass

from kbench.host.nic.clocks import Kind
from kbench.measure.bench import SinkMode
from kbench.measure.block import Block
from kbench.measure.generators import stamping
from kbench.measure.generators.base import Generator, Load
from kbench.measure.stamping import choose_clock
from kbench.measure.workplace import Workplace


@dataclass(frozen=True)
class LatencyWay:
    """What the sink does, and which clock kb-stamp uses; None: the generator stamps its packets."""

    sink: SinkMode
    clock: Kind | None

    def load(self, rate_pps: float, duration_s: float) -> Load:
        """A load whose latency is taken."""
        return Load(round(rate_pps), duration_s, timestamp=self.clock is None, clock=self.clock)


def latency_generator(place: Workplace, generator: Generator) -> Generator:
    """The one for loads at which latency is taken: on veth it has to stamp, on NICs kb-stamp does where it can't."""
    return generator if place.bay is not None else stamping(generator, place.notice)


def latency_way(block: Block) -> LatencyWay:
    """On NICs the hardware's clock, where it is seen to work; tells the user which it is, and why."""
    bay = block.place.bay
    if bay is None:
        return LatencyWay("latency", None)
    if bay.clock is None:
        bench = block.benches[0]
        bench.take_turn()
        bench.start_sink("beside")
        bay.clock = choose_clock(bench.testbed, block.setting.traffic, block.setting.case.frame_bytes)
        block.place.notice(f"latency is measured by {bay.clock.kind} clocks: {bay.clock.why}")
    if bay.clock.kind == "software" and block.generator.timestamps:
        return LatencyWay("latency", None)
    return LatencyWay("beside", bay.clock.kind)
