# SPDX-License-Identifier: GPL-2.0-only
"""Where packets get lost, by name: PLACES, and how the counters of ports and datapath are put together.

Several counters see the same loss: a full ring of the peer is an error of the sender's driver, a drop of
its port and of the receiving port, and a failed system call or redirect of the datapath. Here each loss is given to
the place that is nearest to the cause, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kbench.measure.nic_drivers import arrival, total, xdp_refused
from kbench.places import PLACES

__all__ = ["PLACES", "PortLosses", "Reading", "Told", "nic_stats", "outgoing", "port_losses"]

Told = Literal["never", "each", "attempts"]
"""Whether a datapath learns that the outgoing port refused a packet. ``never``: it has counted it as forwarded.
``each``: it counts it as lost. ``attempts``: so, but it tries again first, and the port counts each attempt."""

Reading = Mapping[str, Any]
"""One `counters` event of kb-ports, or those of two machines put together."""


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
    xdp_drops: int = 0
    """What the receiving driver counts as dropped for XDP, where it does: the program's verdicts, and what could not be
    redirected. Not in `rx_driver`."""
    arrival: dict[str, int] = field(default_factory=dict)
    """After the DUT, by place."""


def port_losses(before: Reading, after: Reading, wire: Literal["veth", "nic"]) -> PortLosses:
    """Losses between two readings of kb-ports, whose roles are generator, rx, tx and sink.

    Two roles may be one port: what comes in is told by rx and sink, what goes out by tx and generator. A port that
    hears itself is generator and rx only.
    """
    roles = after["ports"]
    change = {role: _change(before["ports"][role], roles[role]) for role in roles}
    in_backlog = after["backlog_dropped"] - before["backlog_dropped"]
    return (_nic if wire == "nic" else _veth)(change, in_backlog)


def _veth(change: dict[str, dict[str, Any]], in_backlog: int) -> PortLosses:
    """veth (drivers/net/veth.c, veth_get_stats64()): what a ring refuses is tx_dropped of the sending port; of that,
    XDP frames are rx_dropped of the receiving port as well. rx_dropped also has the driver's own drops, and the
    backlog's, which softnet_stat counts for the whole machine.
    """
    rx = change["rx"]
    rx_driver = total(rx["driver"], r"rx_queue_\d+_drops")
    in_ring = told = change["generator"]["tx_dropped"]
    by_xdp = total(change["generator"]["driver"], r"tx_queue_\d+_xdp_xmit_errors")
    backlog = min(in_backlog, max(0, rx["rx_dropped"] - rx_driver - by_xdp))
    if not total(rx["driver"], r"rx_queue_\d+_xdp_packets"):
        # Nothing came out of the ring: socket buffers that GRO is not for go to the backlog instead (veth_xmit()), and
        # the sender is told of a drop there. What neither refused was no packet: pktgen, whose first one is dropped,
        # sends that buffer again and again, without the header that was taken off.
        in_ring, told = min(told, by_xdp), min(told, by_xdp + backlog)
    sink = total(change["sink"]["driver"], r"rx_queue_\d+_drops") if "sink" in change else 0
    return PortLosses(
        entry=_some({"backlog": backlog, "veth_rx_ring": in_ring}),
        told=told,
        rx_driver=rx_driver,
        refused=_refused(change),
        arrival=_some({"sink_port": sink}),
    )


def _nic(change: dict[str, dict[str, Any]], in_backlog: int) -> PortLosses:
    """Network cards: the generator is told of nothing behind its own port."""
    rx = arrival(change["rx"])
    backlog = min(in_backlog, rx.dropped)
    entry = {
        "nic_rx_missed": rx.missed,
        "nic_rx_fifo": rx.fifo,
        "rx_errors": rx.errors,
        "backlog": backlog,
        "rx_dropped": rx.dropped - backlog,
    }
    end = {}
    if "sink" in change:
        sink = arrival(change["sink"])
        end = {
            "sink_missed": sink.missed + sink.fifo,
            "sink_port": sink.errors + sink.drops + sink.dropped,
        }
    return PortLosses(
        entry=_some(entry),
        rx_driver=rx.drops,
        xdp_drops=rx.xdp_drops,
        refused=_refused(change),
        arrival=_some(end),
    )


def _refused(change: dict[str, dict[str, Any]]) -> dict[str, int]:
    """By the outgoing port."""
    if "tx" not in change:
        return {}
    tx = change["tx"]
    # The kernel counts a discipline's drops in 32 bits.
    return _some({"qdisc": tx["qdisc_drops"] % (1 << 32), "tx_port": tx["tx_dropped"] + xdp_refused(tx)})


def nic_stats(before: Reading, after: Reading) -> dict[str, dict[str, int]]:
    """How far each counter of a driver went, by role; those that did."""
    changes = {role: _change(before["ports"][role], port)["driver"] for role, port in after["ports"].items()}
    return {role: _some(change) for role, change in changes.items()}


def _change(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    change: dict[str, Any] = {
        name: n - before[name] for name, n in after.items() if name not in ("driver", "driver_name")
    }
    change["driver_name"] = after["driver_name"]
    change["driver"] = {name: n - before["driver"].get(name, 0) for name, n in after["driver"].items()}
    return change


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
