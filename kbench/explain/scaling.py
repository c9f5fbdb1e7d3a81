# SPDX-License-Identifier: GPL-2.0-only
"""What several receive queues, each on a CPU of its own, make of a datapath: scaling, and how evenly packets spread."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kbench.explain.comparison import Comparison, Row
from kbench.explain.stats import Estimate, unpaired_ratio

PER_QUEUE = re.compile(
    r"rx[-_]?(?:queue[-_])?(\d+)[-_.](?:packets|pkts)|queue_(\d+)_rx_(?:cnt|packets)|\[(\d+)\]: rx_ucast_packets"
)
"""How drivers call the packets of one receive queue in ethtool -S (igb, ixgbe, ice, mlx5, virtio_net; ena; bnxt_en)."""
IN_THE_STACK = 0.5
"""Below this share of the packets offered, softnet's counters miss what native XDP decided before the stack."""


@dataclass(frozen=True)
class Step:
    """One datapath with so many queues, against itself with the fewest."""

    comparison: Comparison
    queues: int
    row: Row
    times: Estimate | None
    """Its rate over that with the fewest queues, which is measured at another time: unpaired. None for that itself."""
    efficiency: Estimate | None
    """`times` over the number of times that it has the queues: 1 is ideal."""


def families(comparisons: Sequence[Comparison]) -> list[list[Comparison]]:
    """Comparisons that differ in nothing but their queues, fewest first; those of a single number are left out."""
    found: dict[tuple[object, ...], dict[int, Comparison]] = {}
    for made in comparisons:
        if made.case is None or not made.case.queues or not made.timed:
            continue
        others = dataclasses.replace(made.case, queues=0)
        key = (made.part.name, made.kind, made.generator, made.load_pps, others)
        found.setdefault(key, {})[made.case.queues] = made
    return [[of[queues] for queues in sorted(of)] for of in found.values() if len(of) > 1]


def steps(family: Sequence[Comparison]) -> list[Step]:
    """All datapaths over a family's queues, datapath by datapath."""
    names = dict.fromkeys(row.datapath for made in family for row in made.rows if row.figure is not None)
    found = []
    for name in names:
        base: tuple[int, Row] | None = None
        for made in family:
            row = next((r for r in made.rows if r.datapath == name and r.figure is not None), None)
            if row is None or made.case is None:
                continue
            queues = made.case.queues
            if base is None:
                base = (queues, row)
                found.append(Step(made, queues, row, None, None))
                continue
            fewest, first = base
            times = unpaired_ratio(row.by_round, first.by_round, row.block_of, first.block_of)
            found.append(Step(made, queues, row, times, _scaled(times, fewest / queues)))
    return found


def _scaled(estimate: Estimate | None, by: float) -> Estimate | None:
    if estimate is None:
        return None
    low, high = (None if edge is None else edge * by for edge in (estimate.low, estimate.high))
    return dataclasses.replace(estimate, value=estimate.value * by, low=low, high=high)


def by_queue(stats: Mapping[str, int]) -> dict[int, int]:
    """Receive queue -> packets, of a port's own counters; empty where its driver does not count them."""
    found: dict[int, int] = {}
    for name, count in stats.items():
        if counted := PER_QUEUE.fullmatch(name):
            queue = int(next(number for number in counted.groups() if number is not None))
            found[queue] = found.get(queue, 0) + count
    return dict(sorted(found.items()))


def told_by_cpu(row: Row) -> bool:
    """Whether the kernel's counters per CPU hold this datapath's packets."""
    return bool(row.packets_by_cpu) and sum(row.packets_by_cpu.values()) >= IN_THE_STACK * row.offered
