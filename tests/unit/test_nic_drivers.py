# SPDX-License-Identifier: GPL-2.0-only
"""Losses of network cards: each driver's counters, as it moves them for one and the same loss, which counts once."""

from __future__ import annotations

from typing import Any

import pytest

from kbench.measure.datapaths.base import Seen
from kbench.measure.generators.base import Offered
from kbench.measure.ledger import judge_ledger, ledger
from kbench.measure.losses import PortLosses, nic_stats, port_losses
from kbench.measure.nic_drivers import DRIVERS
from kbench.model import Counters, Trial

FIELDS = ("rx_packets", "tx_packets", "rx_errors", "rx_dropped", "tx_dropped", "rx_over_errors", "rx_fifo_errors",
          "rx_missed_errors", "qdisc_drops")  # fmt: skip
ROLES = ("generator", "rx", "tx", "sink")


def port(driver_name: str, own: dict[str, int] | None = None, /, **fields: int) -> dict[str, Any]:
    """A port in a reading of kb-ports."""
    return {"driver_name": driver_name, "driver": own or {}} | dict.fromkeys(FIELDS, 0) | fields


def losses(backlog: int = 0, roles: tuple[str, ...] = ROLES, **ports: dict[str, Any]) -> PortLosses:
    """What is lost when these ports have moved from 0 to this, and the others have not."""
    after = {role: ports.get(role) or port("other") for role in roles}
    before = {role: port(p["driver_name"], dict.fromkeys(p["driver"], 0)) for role, p in after.items()}
    return port_losses(
        {"backlog_dropped": 0, "ports": before}, {"backlog_dropped": backlog, "ports": after}, "nic"
    )


@pytest.mark.parametrize(
    ("rx", "entry", "rx_driver", "xdp_drops"),
    [
        # 7 missed; RNBC says only that there was no descriptor yet.
        (port("e1000e", {"rx_missed_errors": 7, "rx_no_buffer_count": 90}, rx_missed_errors=7),
         {"nic_rx_missed": 7}, 0, 0),
        # MPC 7 is in both fields, RQDPC 5 in rx_fifo_errors alone.
        (port("igb", {"rx_missed_errors": 7, "rx_queue_0_drops": 5, "rx_fifo_errors": 12},
              rx_missed_errors=7, rx_fifo_errors=12),
         {"nic_rx_missed": 7, "nic_rx_fifo": 5}, 0, 0),
        (port("ixgbe", {"rx_missed_errors": 7, "rx_no_dma_resources": 5, "rx_no_buffer_count": 3},
              rx_missed_errors=7, rx_errors=2),
         {"nic_rx_missed": 12, "rx_errors": 2}, 0, 0),
        # The interface's discards, before and since v6.6; the port's are others.
        (port("i40e", {"port.rx_dropped": 5}, rx_dropped=7), {"nic_rx_missed": 5, "rx_dropped": 7}, 0, 0),
        (port("i40e", {"port.rx_dropped": 5}, rx_missed_errors=7), {"nic_rx_missed": 12}, 0, 0),
        (port("ice", {"rx_dropped.nic": 7}, rx_missed_errors=7, rx_dropped=5),
         {"nic_rx_missed": 7, "rx_dropped": 5}, 0, 0),
        # rx_out_of_buffer 7, rx_discards_phy 5: before v6.9, since then, since v6.14.
        (port("mlx5_core", {"rx_out_of_buffer": 7, "rx_discards_phy": 5, "rx_xdp_drop": 90}, rx_dropped=7),
         {"nic_rx_missed": 12}, 0, 90),
        (port("mlx5_core", {"rx_out_of_buffer": 7, "rx_discards_phy": 5}, rx_missed_errors=7),
         {"nic_rx_missed": 12}, 0, 0),
        (port("mlx5_core", {"rx_out_of_buffer": 7, "rx_discards_phy": 5}, rx_missed_errors=7, rx_dropped=5),
         {"nic_rx_missed": 12}, 0, 0),
        (port("bnxt_en", {"[0]: rx_discards": 3, "[1]: rx_discards": 4}, rx_missed_errors=7),
         {"nic_rx_missed": 7}, 0, 0),
        # 90 verdicts of an XDP program, which rx_dropped has as well, and 4 packets without memory. Names: v6.8.
        (port("virtio_net", {"rx_queue_0_drops": 94, "rx_queue_0_xdp_drops": 90}, rx_dropped=94), {}, 4, 90),
        (port("virtio_net", {"rx_drops": 94, "rx0_drops": 60, "rx1_drops": 34, "rx0_xdp_drops": 60,
                             "rx1_xdp_drops": 30, "rx_xdp_drops": 90}, rx_dropped=94), {}, 4, 90),
        (port("vmxnet3", {"pkts rx OOB": 7, "drv dropped rx total": 2, "xdp drops": 90}, rx_dropped=2,
              rx_errors=1),
         {"nic_rx_missed": 7, "rx_errors": 1}, 2, 90),
        # rxbds_empty is how often there was none.
        (port("tg3", {"rx_discards": 7, "rxbds_empty": 40}, rx_missed_errors=7, rx_over_errors=40),
         {"nic_rx_missed": 7}, 0, 0),
        (port("ena", {"queue_0_rx_xdp_drop": 90}, rx_dropped=7), {"rx_dropped": 7}, 0, 90),
        # A driver that nobody knows: both fields for one overrun, and all of it in rx_errors.
        (port("other", rx_fifo_errors=5, rx_over_errors=5, rx_missed_errors=7, rx_errors=14),
         {"nic_rx_missed": 7, "nic_rx_fifo": 5, "rx_errors": 2}, 0, 0),
    ],
    ids=lambda value: value["driver_name"] if isinstance(value, dict) and "driver_name" in value else "",
)  # fmt: skip
def test_one_loss_counts_once(
    rx: dict[str, Any], entry: dict[str, int], rx_driver: int, xdp_drops: int
) -> None:
    told = losses(rx=rx)
    assert (told.entry, told.rx_driver, told.xdp_drops) == (entry, rx_driver, xdp_drops)
    assert (told.refused, told.arrival, told.told) == ({}, {}, 0)


def test_every_driver_is_tested() -> None:
    assert set(DRIVERS) == {"e1000e", "igb", "ixgbe", "i40e", "ice", "mlx5_core", "bnxt_en", "virtio_net", "vmxnet3",
                            "tg3", "ena"}  # fmt: skip


def test_the_backlog_of_the_dut_is_part_of_rx_dropped() -> None:
    assert losses(backlog=30, rx=port("e1000e", rx_dropped=30)).entry == {"backlog": 30}
    # Others of this machine lost packets there as well.
    assert losses(backlog=30, rx=port("ice", rx_dropped=12)).entry == {"backlog": 12}
    assert losses(backlog=3, rx=port("ice", rx_dropped=12)).entry == {"backlog": 3, "rx_dropped": 9}


def test_what_the_sink_s_port_lost_is_the_tester_s() -> None:
    told = losses(sink=port("igb", rx_missed_errors=7, rx_fifo_errors=12, rx_errors=2, rx_dropped=1))
    assert told == PortLosses(arrival={"sink_missed": 12, "sink_port": 3})
    # The sink's own verdicts are none.
    drops = {"rx0_drops": 5000, "rx0_xdp_drops": 5000}
    assert losses(sink=port("virtio_net", drops, rx_dropped=5000)) == PortLosses()


def test_the_outgoing_port() -> None:
    refused = {"tx0_xdp_tx": 100, "tx0_xdp_tx_drops": 7, "tx_xdp_tx_drops": 7}
    told = losses(tx=port("virtio_net", refused, tx_dropped=3, qdisc_drops=2))
    assert told == PortLosses(refused={"qdisc": 2, "tx_port": 10})
    assert losses(tx=port("vmxnet3", {"xdp xmit err": 4})).refused == {"tx_port": 4}


def test_one_port_for_two_roles() -> None:
    """Hairpin: what comes in is told once, by rx and by sink, what goes out by tx; the generator's is not offered."""
    dut = port("e1000e", rx_missed_errors=7, tx_dropped=5)
    tester = port("e1000e", rx_missed_errors=3, tx_dropped=2)
    told = losses(rx=dut, tx=dut, generator=tester, sink=tester)
    assert told == PortLosses({"nic_rx_missed": 7}, refused={"tx_port": 5}, arrival={"sink_missed": 3})


def test_a_port_that_hears_itself() -> None:
    own = port("e1000e", rx_missed_errors=7, tx_dropped=5)
    told = losses(roles=("generator", "rx"), rx=own, generator=own)
    assert told == PortLosses({"nic_rx_missed": 7})


def test_redirects_that_failed_are_told_apart_from_verdicts() -> None:
    seen = Seen(1000, 880, dropped={"no_route": 100}, lost={"tx": 20, "xdp_aborted": 0}, redirects=True)
    offered = Offered(1000, 0, 0, 10**9, 10**9, {})
    counters = ledger(offered, seen, {"packets": 880}, PortLosses(xdp_drops=120))
    assert counters.lost_by == {"xdp_redirect": 20}
    assert counters.unexplained == 0


def test_what_comes_back_by_the_same_port_was_not_redirected() -> None:
    # The driver counts what XDP_TX could not send as an XDP drop, as it does verdicts; the datapath knows the loss.
    seen = Seen(1000, 880, dropped={"no_route": 100}, lost={"tx": 20}, redirects=False)
    offered = Offered(1000, 0, 0, 10**9, 10**9, {})
    counters = ledger(offered, seen, {"packets": 880}, PortLosses(xdp_drops=120))
    assert counters.lost_by == {"tx": 20}
    assert counters.unexplained == 0


def test_statistics_of_the_drivers_are_kept() -> None:
    before = {"ports": {"rx": port("igb", {"a": 5, "b": 1}), "tx": port("igb", {"a": 2})}}
    after = {"ports": {"rx": port("igb", {"a": 9, "b": 1}), "tx": port("igb", {"a": 2})}}
    assert nic_stats(before, after) == {"rx": {"a": 4}, "tx": {}}


@pytest.mark.parametrize(
    ("testbed", "load_pps", "said"), [("nic", None, False), ("nic", 1000.0, True), (None, None, True)]
)
def test_a_full_ring_of_the_generator_s_nic_is_no_problem_at_full_speed(
    testbed: str | None, load_pps: float | None, said: bool
) -> None:
    trial = Trial(
        part="host", kind="wall", purpose="rate", case_id="x", function="forward", datapath="xdp", generator="xdp",
        placement="split", round=0, started_at="", frame_bytes=64, load_pps=load_pps, duration_s=1.0,
        counters=Counters(1000, 1000, 1000), raw={"not_offered": 500, "testbed": testbed},
    )  # fmt: skip
    judge_ledger(trial)
    assert trial.valid and bool(trial.problems) is said
