# SPDX-License-Identifier: GPL-2.0-only
"""The ledger of a trial: where every offered packet went, and what is wrong if that can't be told."""

from __future__ import annotations

from typing import Any

from kbench.measure.datapaths.base import Seen
from kbench.measure.generators.base import Offered
from kbench.measure.losses import PortLosses, outgoing
from kbench.model import Counters, Trial

UNEXPLAINED_SHARE = 0.001
"""Packets that no counter names, as a share of the offered, beyond which a trial is invalid."""


def ledger(offered: Offered, seen: Seen | None, sink: dict[str, Any] | None, ports: PortLosses) -> Counters:
    """Where every offered packet went: offered = forwarded + dropped + lost.

    What the ring of the DUT's port, or the backlog, refused was offered: the generator had it ready in time.
    """
    count = offered.sent + min(offered.failed, ports.told)
    known = dict(ports.entry)
    if seen is None:
        received = sink["packets"] if sink else offered.sent
        forwarded, dropped = 0, {"baseline": received}
        known["rx_memory"] = ports.rx_driver
    else:
        received, forwarded = seen.received, sink["packets"] if sink else seen.forwarded
        dropped = dict(seen.dropped)
        if seen.passed:
            dropped["passed"] = seen.passed
        known |= seen.lost | ports.arrival
        lost_tx = known.pop("tx", 0)
        unseen = count - received - sum(ports.entry.values()) - seen.lost.get("socket_ring", 0)
        memory = min(max(0, unseen), ports.rx_driver) if seen.redirects else ports.rx_driver
        redirect = ports.rx_driver - memory
        if seen.redirects:
            verdicts = sum(seen.dropped.values()) + seen.lost.get("xdp_aborted", 0)
            redirect += max(0, ports.xdp_drops - verdicts)
        known |= {"rx_memory": memory, "xdp_redirect": redirect}
        missing = seen.forwarded - forwarded - sum(ports.arrival.values())
        known |= outgoing(seen.told, lost_tx, missing, redirect, ports.refused)
    lost = count - forwarded - sum(dropped.values())
    return Counters(
        offered=count,
        received=received,
        forwarded=forwarded,
        dropped=dropped,
        lost=lost,
        lost_by={place: n for place, n in known.items() if n},
        intended=offered.intended,
    )


def not_offered(offered: Offered, ports: PortLosses) -> int:
    """Frames that the generator's own port refused, so that they never came near the DUT."""
    return max(0, offered.failed - ports.told)


def judge_ledger(trial: Trial) -> None:
    """Counters that disagree make a trial invalid; `problems` says how."""
    counters = trial.counters
    refused = trial.raw.get("not_offered", 0)
    if trial.load_pps is None and trial.raw.get("testbed") == "nic":
        refused = 0  # at full speed a NIC's own ring is full all the time
    if refused > UNEXPLAINED_SHARE * counters.offered:
        trial.problems.append(f"{refused} packets were refused by the generator's own port: not offered")
    if counters.lost < 0:
        trial.valid = False
        trial.problems.append(f"{-counters.lost} more packets came out than were offered")
    elif counters.unexplained > UNEXPLAINED_SHARE * counters.offered:
        trial.valid = False
        trial.problems.append(f"{counters.unexplained} of {counters.offered} packets are unexplained")
    elif -counters.unexplained > UNEXPLAINED_SHARE * counters.offered:
        trial.valid = False
        trial.problems.append(
            f"{-counters.unexplained} more packets are named as lost than the {counters.lost}"
            f" of {counters.offered} that are"
        )
