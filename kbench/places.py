# SPDX-License-Identifier: GPL-2.0-only
"""Where packets of a trial can get lost: the names of `Counters.lost_by`, each with a sentence for people."""

from __future__ import annotations

PLACES: dict[str, str] = {
    "generator": "Refused by the generator's own port before it reached the DUT; not offered, so not a loss.",
    "veth_rx_ring": "The 256-entry ring of the DUT's receiving veth was full: the DUT did not keep up.",
    "nic_rx_missed": "The NIC had no descriptor or no room in its FIFO for a frame (rx_missed_errors).",
    "nic_rx_fifo": "The NIC's or its driver's receive queue overran (rx_fifo_errors, rx_over_errors).",
    "rx_errors": "The receiving NIC refused a broken frame (rx_errors less the two above).",
    "rx_dropped": "The receiving port dropped it, for want of buffers as a rule, and says no more (rx_dropped).",
    "rx_memory": "The receiving driver had no memory to turn a frame into what the datapath takes.",
    "backlog": "A CPU's backlog queue was full (net.core.netdev_max_backlog, or the flow limit).",
    "socket_ring": "The AF_PACKET receive ring was full: the program did not empty it in time.",
    "memory": "The kernel had no memory for a writable copy of the packet.",
    "too_big": "Longer than the outgoing port's MTU, or than a slot of the receive ring.",
    "socket_buffer": "The sending socket's buffer stayed full; given up after 16 attempts.",
    "xdp_aborted": "The XDP program had nowhere to redirect to: the port is gone from its map (XDP_ABORTED).",
    "xdp_redirect": "The kernel refused an XDP redirect after the program: the port was down, or memory was short.",
    "qdisc": "The queueing discipline of the outgoing port dropped it.",
    "tx_port": "The outgoing port's driver dropped it: its ring was full; on a veth, that of the sink's port.",
    "tx": "The outgoing port refused it without counting it: down, or unable to take XDP frames.",
    "sink_missed": "The sink's NIC had no descriptor or no room in its FIFO: the tester did not keep up.",
    "sink_port": "Dropped by the sink's port after the DUT had sent it.",
}
"""Every place of `Counters.lost_by`, and ``generator``, with a sentence for people."""
