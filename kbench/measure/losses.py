# SPDX-License-Identifier: GPL-2.0-only
"""Where packets get lost, by name: PLACES, and how the counters of ports and datapath are put together.

Several counters see the same loss: a full ring of the peer is an error of the sender's driver, a drop of
its port and of the receiving port, and a failed system call or redirect of the datapath. Here each loss is given to
the place that is nearest to the cause, once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kbench.places import PLACES

__all__ = ["PLACES", "PortLosses", "Reading", "Told", "outgoing", "port_losses"]

Told = Literal["never", "each", "attempts"]
"""Whether a datapath learns that the outgoing port refused a packet. ``never``: it has counted it as forwarded.
``each``: it counts it as lost. ``attempts``: so, but it tries again first, and the port counts each attempt."""

Reading = Mapping[str, Any]
"""One `counters` event of kb-ports."""


@dataclass(frozen=True)
class PortLosses:
    """What the ports say they lost during a trial, in packets."""

    entry: dict[str, int] = field(default_factory=dict)
    """On the way in, before the datapath, by place."""
    rx_driver: int = 0
    """By the receiving driver: for want of memory, or, with XDP, what could not be redirected."""
    refused: dict[str, int] = field(default_factory=dict)
    """By the outgoing port, by place, one for each attempt."""
    told: int = 0
    """Of those on the way in, the ones that the generator was told of as failed."""
    arrival: dict[str, int] = field(default_factory=dict)
    """After the DUT, by place."""


def port_losses(before: Reading, after: Reading, wire: Literal["veth", "nic"]) -> PortLosses:
    """Losses between two readings of kb-ports, whose roles are generator, rx, tx and sink.

    veth (drivers/net/veth.c, veth_get_stats64()): what a ring refuses is tx_dropped of the sending port; of that,
    XDP frames are rx_dropped of the receiving port as well. rx_dropped also has the driver's own drops, and the
    backlog's, which softnet_stat counts for the whole machine.
    """
    roles = after["ports"]
    change = {role: _change(before["ports"][role], roles[role]) for role in roles}
    rx, tx = change["rx"], change["tx"]
    rx_driver = _driver(rx, r"rx_queue_\d+_drops")
    entry = {
        "nic_rx_missed": rx["rx_missed_errors"],
        "nic_rx_fifo": rx["rx_fifo_errors"] + rx["rx_over_errors"],
    }
    entry["rx_errors"] = max(0, rx["rx_errors"] - sum(entry.values()))
    in_ring = told = by_xdp = 0
    if wire == "veth":
        in_ring = told = change["generator"]["tx_dropped"]
        by_xdp = _driver(change["generator"], r"tx_queue_\d+_xdp_xmit_errors")
    in_backlog = after["backlog_dropped"] - before["backlog_dropped"]
    entry["backlog"] = min(in_backlog, max(0, rx["rx_dropped"] - rx_driver - by_xdp))
    if not _driver(rx, r"rx_queue_\d+_xdp_packets"):
        # Nothing came out of the ring: socket buffers that GRO is not for go to the backlog instead (veth_xmit()), and
        # the sender is told of a drop there. What neither refused was no packet: pktgen, whose first one is dropped,
        # sends that buffer again and again, without the header that was taken off.
        in_ring, told = min(told, by_xdp), min(told, by_xdp + entry["backlog"])
    entry["veth_rx_ring"] = in_ring
    sink = _driver(change["sink"], r"rx_queue_\d+_drops") if "sink" in change else 0
    return PortLosses(
        entry=_some(entry),
        told=told,
        rx_driver=rx_driver,
        # The kernel counts a discipline's drops in 32 bits.
        refused=_some({"qdisc": tx["qdisc_drops"] % (1 << 32), "tx_port": tx["tx_dropped"]}),
        arrival=_some({"sink_port": sink}),
    )


def _change(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    change: dict[str, Any] = {name: n - before[name] for name, n in after.items() if name != "driver"}
    change["driver"] = {name: n - before["driver"].get(name, 0) for name, n in after["driver"].items()}
    return change


def _driver(change: Mapping[str, Any], pattern: str) -> int:
    return sum(n for name, n in change["driver"].items() if re.fullmatch(pattern, name))


def _some(places: Mapping[str, int]) -> dict[str, int]:
    return {place: n for place, n in places.items() if n}


def outgoing(
    told: Told, lost_tx: int, missing: int, redirect: int, refused: Mapping[str, int]
) -> dict[str, int]:
    """Losses at the outgoing port by place, each once.

    `lost_tx`: packets that the datapath knows to be refused; `missing`: handed over but never arrived;
    `redirect`: refused before the port saw them; `refused`: what the port says, by place.
    """
    named = dict(refused)
    if told == "attempts":
        room = lost_tx + max(0, missing)
        for place, n in refused.items():
            named[place] = min(n, room)
            room -= named[place]
    # What the port refused without the datapath's knowing is missing at the sink; the rest is in `lost_tx`.
    both = sum(named.values()) + redirect - max(0, missing)
    named["tx"] = max(0, lost_tx - max(0, both))
    return _some(named)
