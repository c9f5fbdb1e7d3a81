# SPDX-License-Identifier: GPL-2.0-only
"""The ledger of a trial: where every offered packet went, and what is wrong if that can't be told."""

from __future__ import annotations

from kbench.measure.observe import Observed
from kbench.model import Counters, Trial

UNEXPLAINED_SHARE = 0.001
"""Packets that no counter names, as a share of the offered, beyond which a trial is invalid."""


def ledger(observed: Observed) -> Counters:
    """Where every offered packet went: offered = forwarded + dropped + lost."""
    offered, seen, sink = observed.offered, observed.seen, observed.sink
    if seen is None:
        arrived = sink["packets"] if sink else offered.sent
        dropped = {"baseline": arrived}
        forwarded, received, known = 0, arrived, {}
    else:
        forwarded = sink["packets"] if sink else seen.forwarded
        dropped = dict(seen.dropped)
        if seen.passed:
            dropped["passed"] = seen.passed
        received, known = seen.received, dict(seen.lost)
    lost = offered.sent - forwarded - sum(dropped.values())
    for place, count in observed.losses.items():
        known[place] = known.get(place, 0) + count
    return Counters(
        offered=offered.sent,
        received=received,
        forwarded=forwarded,
        dropped=dropped,
        lost=lost,
        lost_by={place: n for place, n in known.items() if n} if lost else {},
    )


def judge_ledger(trial: Trial) -> None:
    """Counters that disagree make a trial invalid; `problems` says how."""
    counters = trial.counters
    if counters.lost < 0:
        trial.valid = False
        trial.problems.append(f"{-counters.lost} more packets came out than were offered")
    elif abs(counters.unexplained) > UNEXPLAINED_SHARE * counters.offered:
        trial.valid = False
        trial.problems.append(f"{counters.unexplained} of {counters.offered} packets are unexplained")
