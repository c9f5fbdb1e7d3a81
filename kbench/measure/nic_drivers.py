# SPDX-License-Identifier: GPL-2.0-only
"""What drivers of network cards call the packets that they lose on the way in.

The kernel's own fields (struct rtnl_link_stats64) leave room: drivers count one loss in two of them, none of them, or
moved it from one to another between kernels. So for each driver this says which of its own counters (ethtool -S)
mean the same, and a loss that shows twice is taken once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Driver:
    """Patterns of a driver's own counters; the empty one is none."""

    missed: str = ""
    """The NIC had no descriptor or no room: what rx_missed_errors has as well, on kernels where it has."""
    missed_apart: str = ""
    """The same, but never in rx_missed_errors."""
    drops: str = ""
    """Dropped by the driver itself, and in rx_dropped as well."""
    xdp_drops: str = ""
    """Dropped for XDP: by the program's verdict, or since its redirect failed."""
    drops_have_xdp: bool = False
    """Whether `drops` counts those as well."""
    xdp_refused: str = ""
    """XDP frames that the driver could not send; not in tx_dropped."""
    fifo_has_missed: bool = False
    """Whether rx_fifo_errors counts what rx_missed_errors does, too."""
    over_are_events: bool = False
    """Whether rx_over_errors counts how often there was no room, and not frames."""
    errors_are_apart: bool = True
    """Whether rx_errors leaves out what is missed or overrun."""


DRIVERS: dict[str, Driver] = {
    # e1000e_get_stats64(). rx_no_buffer_count (RNBC) is none: such a frame waits in the FIFO and may still get in.
    "e1000e": Driver(),
    # igb_update_stats(): rx_fifo_errors is RQDPC + MPC, rx_missed_errors is MPC.
    "igb": Driver(missed=r"rx_missed_errors", fifo_has_missed=True),
    # ixgbe_update_stats(): total_mpc is rx_missed_errors; QPRDC, of queues that drop by themselves, is apart.
    "ixgbe": Driver(missed=r"rx_missed_errors", missed_apart=r"rx_no_dma_resources"),
    # i40e_update_vsi_stats(): rx_discards is rx_dropped, since v6.6 rx_missed_errors; the port's own are apart.
    "i40e": Driver(missed_apart=r"port\.rx_dropped"),
    # ice_update_vsi_stats(): those of the port are rx_missed_errors, those of the interface rx_dropped.
    "ice": Driver(missed=r"rx_dropped\.nic"),
    # mlx5e_get_stats(): rx_out_of_buffer was rx_dropped before v6.9; since v6.14 that has rx_discards_phy.
    "mlx5_core": Driver(missed=r"rx_out_of_buffer|rx_discards_phy", xdp_drops=r"rx_xdp_drop"),
    # bnxt_get_ring_stats(): rx_missed_errors are the rings' discards.
    "bnxt_en": Driver(missed=r"\[\d+\]: rx_discards"),
    # virtnet_stats(), receive_small_xdp(): what XDP drops, by verdict or not, is in drops as well. Names: v6.8.
    "virtio_net": Driver(
        drops=r"rx(_queue_)?\d+_drops",
        xdp_drops=r"rx(_queue_)?\d+_xdp_drops",
        drops_have_xdp=True,
        xdp_refused=r"tx(_queue_)?\d+_xdp_tx_drops",
    ),
    # vmxnet3_get_stats64(): rx_dropped is the driver's; what the device had no buffer for is in no common field.
    "vmxnet3": Driver(
        missed_apart=r"pkts rx OOB",
        drops=r"drv dropped rx total",
        xdp_drops=r"xdp drops",
        xdp_refused=r"xdp xmit err",
    ),
    # tg3_get_nstats(): rx_over_errors is rxbds_empty; the frames lost by that are rx_discards, in rx_missed_errors.
    "tg3": Driver(missed=r"rx_discards", over_are_events=True),
    # ena_get_stats64(): rx_dropped is what the device tells once a second as rx_drops.
    "ena": Driver(xdp_drops=r"queue_\d+_rx_xdp_(drop|aborted)"),
}  # fmt: skip

UNKNOWN = Driver(errors_are_apart=False)
"""Any other driver: what rx_errors has in common with the fields beside it is taken off."""


@dataclass(frozen=True)
class Arrival:
    """What one port lost on the way in, in packets, each once."""

    missed: int
    fifo: int
    errors: int
    drops: int
    """By the driver."""
    xdp_drops: int
    """For XDP, the program's own verdicts included."""
    dropped: int
    """What else rx_dropped has: the backlog's, and what the driver gives no other name."""


def arrival(change: Mapping[str, Any]) -> Arrival:
    """What a port lost, from the differences of its counters."""
    driver = DRIVERS.get(change["driver_name"], UNKNOWN)
    own = change["driver"]
    told = change["rx_missed_errors"]
    known = max(told, total(own, driver.missed))
    missed = known + total(own, driver.missed_apart)
    fifo, over = change["rx_fifo_errors"], change["rx_over_errors"]
    if driver.fifo_has_missed:
        fifo = max(0, fifo - told)
    # The two fields were used interchangeably (include/uapi/linux/if_link.h), by some drivers both for the same.
    if not driver.over_are_events and over != fifo:
        fifo += over
    errors = change["rx_errors"] if driver.errors_are_apart else max(0, change["rx_errors"] - told - fifo)
    xdp_drops, all_drops = total(own, driver.xdp_drops), total(own, driver.drops)
    return Arrival(
        missed=missed,
        fifo=fifo,
        errors=errors,
        drops=max(0, all_drops - xdp_drops) if driver.drops_have_xdp else all_drops,
        xdp_drops=xdp_drops,
        # What is missed, but not in rx_missed_errors, some kernels have here.
        dropped=max(0, change["rx_dropped"] - all_drops - (known - told)),
    )


def xdp_refused(change: Mapping[str, Any]) -> int:
    """XDP frames that a port could not send and that are not in its tx_dropped."""
    return total(change["driver"], DRIVERS.get(change["driver_name"], UNKNOWN).xdp_refused)


def total(counters: Mapping[str, int], pattern: str) -> int:
    """The sum of the counters whose whole name matches."""
    return sum(n for name, n in counters.items() if re.fullmatch(pattern, name)) if pattern else 0
