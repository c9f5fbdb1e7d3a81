# SPDX-License-Identifier: GPL-2.0-only
"""Offers a load to a bench, waits until the traffic has drained, and only then reads every counter."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from kbench.errors import MeasureError
from kbench.measure.bench import Bench
from kbench.measure.datapaths.base import Seen
from kbench.measure.generators.base import Generator, Load, Offered
from kbench.measure.ledger import UNEXPLAINED_SHARE, ledger
from kbench.measure.losses import PortLosses, Reading
from kbench.measure.stamping import Stamper, beside
from kbench.model import Case, Counters, Kind

DRAIN_STEP_S = 0.01
DRAIN_QUIET_STEPS = 5
"""Traffic has drained when nothing moved for this many steps; longer than a TPACKET_V3 block's time-out."""
NIC_QUIET_S = 1.2
"""Some adapters' drivers (bnxt_en, tg3, ena) take over their counters once a second: so long must it have been quiet
before packets count as unexplained there."""
DRAIN_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Setting:
    """What all trials of a case in one part share."""

    part: str
    kind: Kind
    case: Case
    generator: Generator
    traffic: str
    """Path of the traffic file on the host."""


@dataclass(frozen=True)
class Observed:
    """All readings of one offered load, as differences where counters run on."""

    offered: Offered
    seen: Seen | None
    sink: dict[str, Any] | None
    ports: PortLosses
    nic_stats: dict[str, dict[str, int]] = field(default_factory=dict)
    """On NICs, by role, how far the drivers' own counters moved (ethtool -S)."""
    stamped: dict[str, Any] | None = None
    """What became of kb-stamp's packets, where some were sent beside the load."""

    @property
    def counters(self) -> Counters:
        """The ledger."""
        return ledger(self.offered, self.seen, self.sink, self.ports)


def observe(bench: Bench, setting: Setting, load: Load) -> Observed:
    """Offers `load` to a bench and reads what became of it once the traffic has drained."""
    before, ports = bench.seen(), bench.testbed.read_ports()
    if bench.sink:
        bench.sink.reset()
    frame_bytes = setting.case.frame_bytes
    stamper = None
    if load.clock:
        stamper = Stamper(bench.testbed, setting.traffic, frame_bytes, clock=load.clock)
    try:
        with stamper or nullcontext():
            offered = setting.generator.offer(bench.testbed, bench.into, setting.traffic, frame_bytes, load)
        observed = _drain(bench, before, ports, offered, stamper)
    except MeasureError:
        bench.testbed.check()  # a cable that is gone says more than what failed for want of it
        raise
    bench.testbed.check()
    return observed


def _drain(
    bench: Bench, before: Seen | None, ports: Reading, alone: Offered, stamper: Stamper | None
) -> Observed:
    """Reads all counters until every packet is accounted for, or they stand still."""
    quiet, last = 0, None
    moved_at = time.monotonic()
    patience_s = NIC_QUIET_S if bench.testbed.wire == "nic" else 0.0
    deadline = moved_at + DRAIN_TIMEOUT_S
    while True:
        # From the end of the packets' way to its start: what moves meanwhile is missing, not counted twice.
        sink, seen = bench.counted(), bench.seen()
        seen = _difference(before, seen) if before and seen else None
        offered = alone
        if stamper is not None and sink is not None:
            offered, sink = beside(alone, sink, stamper.counted)
            sink["latency"] = stamper.result()
        read = bench.testbed.read_ports()
        losses = bench.testbed.losses(ports, read)
        stats = bench.testbed.nic_stats(ports, read)
        stamped = stamper.counted.raw if stamper is not None else None
        observed = Observed(offered, seen, sink, losses, stats, stamped)
        counters = observed.counters
        quiet = quiet + 1 if counters == last else 0
        if not quiet:
            moved_at = time.monotonic()
        still = quiet >= DRAIN_QUIET_STEPS
        settled = abs(counters.unexplained) <= UNEXPLAINED_SHARE * counters.offered
        if not counters.unexplained or (still and (settled or time.monotonic() - moved_at >= patience_s)):
            return observed
        if time.monotonic() > deadline:
            raise MeasureError(
                f"{bench.name}: packets still move {DRAIN_TIMEOUT_S:.0f} s after the generator stopped:"
                " something else sends through the testbed"
            )
        last = counters
        time.sleep(DRAIN_STEP_S)


def _difference(before: Seen, after: Seen) -> Seen:
    def minus(late: dict[str, int], early: dict[str, int]) -> dict[str, int]:
        return {k: n - early.get(k, 0) for k, n in late.items() if n != early.get(k, 0)}

    return Seen(
        received=after.received - before.received,
        forwarded=after.forwarded - before.forwarded,
        dropped=minus(after.dropped, before.dropped),
        passed=after.passed - before.passed,
        lost=minus(after.lost, before.lost),
        told=after.told,
        redirects=after.redirects,
        cpu_ns=after.cpu_ns - before.cpu_ns
        if after.cpu_ns is not None and before.cpu_ns is not None
        else None,
        raw=after.raw,
    )
