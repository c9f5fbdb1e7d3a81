# SPDX-License-Identifier: GPL-2.0-only
"""Packets of kb-stamp in a trial's counts, and when a hardware clock is believed."""

from __future__ import annotations

from typing import Any

import pytest

from kbench.host.nic.clocks import Choice
from kbench.measure.datapaths.base import Seen
from kbench.measure.generators.base import Offered
from kbench.measure.ledger import ledger
from kbench.measure.losses import PortLosses
from kbench.measure.stamping import beside, judge, stamped

CLAIMED = Choice("hardware", "eth1 stamps what it sends and receives", 3)


def counters(sent: int = 100, received: int = 100, taken: int | None = None, **more: Any) -> dict[str, Any]:
    """A `counters` event of kb-stamp."""
    taken = received if taken is None else taken
    latency = {
        "sub_bits": 5,
        "buckets": [[90, taken]] if taken else [],
        "count": taken,
        "min_ns": 9,
        "max_ns": 9,
    }
    zero = dict.fromkeys(("failed", "duplicates", "without_tx_stamp", "without_rx_stamp", "backwards"), 0)
    return {
        "event": "counters",
        "clock": "hardware",
        **zero,
        "sent": sent,
        "received": received,
        "latency": latency,
    } | more


def offered(sent: int, intended: int | None) -> Offered:
    return Offered(sent, 0, 5, 10**9 + 5, 10**9, {"sent": sent}, intended)


def test_the_ledger_holds_with_the_packets_beside_the_load() -> None:
    load, sink = beside(offered(1000, 1000), {"packets": 990, "samples": []}, stamped(counters(50, 40)))
    assert (load.sent, load.intended, load.raw) == (1050, 1050, {"sent": 1000})
    assert sink == {"packets": 1030, "samples": []}
    # The datapath saw and forwarded both kinds, and dropped 20.
    seen = Seen(received=1050, forwarded=1030, dropped={"no_route": 20})
    made = ledger(load, seen, sink, PortLosses())
    assert (made.offered, made.received, made.forwarded, made.lost) == (1050, 1050, 1030, 0)
    assert made.unexplained == 0


def test_without_a_rate_nothing_was_intended() -> None:
    assert beside(offered(1000, None), {"packets": 1000}, stamped(counters(50, 50)))[0].intended is None


def test_counters_are_kept_but_for_the_histogram() -> None:
    kept = stamped(counters(7, 6, without_rx_stamp=2, taken=4))
    assert (kept.sent, kept.received, kept.without_rx_stamp, kept.latency["count"]) == (7, 6, 2, 4)
    assert kept.raw["clock"] == "hardware" and "latency" not in kept.raw and "event" not in kept.raw


def test_a_clock_that_works_is_believed() -> None:
    assert judge(CLAIMED, stamped(counters()), "eth1", "eth2") is CLAIMED
    # Most adapters miss a stamp now and then.
    assert judge(CLAIMED, stamped(counters(taken=60, without_tx_stamp=40)), "eth1", "eth2") is CLAIMED


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (
            counters(received=0, without_tx_stamp=100),
            "none of 100 packets to prove the hardware clock arrived",
        ),
        (
            counters(taken=0, without_tx_stamp=100, without_rx_stamp=100),
            "eth1 claims hardware time stamps, but 100 of 100 packets got none",
        ),
        (
            counters(received=90, taken=10, without_rx_stamp=80),
            "eth2 claims hardware time stamps, but 80 of 90 packets got none",
        ),
        (
            counters(taken=1, backwards=99),
            "99 of 100 packets arrived before they were sent, by the hardware's clock",
        ),
    ],
)
def test_a_clock_that_does_not_is_not(seen: dict[str, Any], why: str) -> None:
    choice = judge(CLAIMED, stamped(seen), "eth1", "eth2")
    assert (choice.kind, choice.why, choice.phc) == ("software", why, None)
