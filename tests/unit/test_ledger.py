# SPDX-License-Identifier: GPL-2.0-only
"""The ledger: offered = forwarded + dropped + lost, and what it can't explain makes a trial invalid."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kbench.measure.cpu_time import shared_cpu
from kbench.measure.datapaths.base import Seen
from kbench.measure.generators.base import Offered
from kbench.measure.ledger import not_offered
from kbench.measure.losses import PLACES, PortLosses, port_losses
from kbench.measure.observe import Observed
from kbench.measure.trial import judge, rate_pps
from kbench.model import Counters, CpuTime, Trial


def observed(
    seen: Seen | None, sink: dict[str, Any] | None, ports: PortLosses | None = None, failed: int = 0
) -> Observed:
    return Observed(Offered(1000, failed, 0, 10**9, 10**9, {}), seen, sink, ports or PortLosses())


def test_every_packet_has_its_place() -> None:
    seen = Seen(
        received=980, forwarded=900, dropped={"policy": 60, "ttl": 10}, passed=5, lost={"socket_ring": 15}
    )
    made = observed(seen, {"packets": 895}, PortLosses({"backlog": 5}, arrival={"sink_port": 5}))
    counters = made.counters
    assert counters.forwarded == 895
    assert counters.dropped == {"policy": 60, "ttl": 10, "passed": 5}
    assert counters.lost == 30
    assert counters.lost_by == {"socket_ring": 15, "backlog": 5, "sink_port": 5}
    assert counters.offered == counters.forwarded + sum(counters.dropped.values()) + counters.lost
    assert counters.unexplained == 5


def test_the_baseline_ends_in_the_sink() -> None:
    counters = observed(None, {"packets": 998}, PortLosses(rx_driver=2)).counters
    assert (counters.forwarded, counters.dropped, counters.lost_by) == (
        0,
        {"baseline": 998},
        {"rx_memory": 2},
    )


def test_what_the_ring_of_the_dut_refused_was_offered() -> None:
    seen = Seen(received=1000, forwarded=1000)
    made = observed(seen, {"packets": 1000}, PortLosses({"veth_rx_ring": 30}, told=30), failed=33)
    assert (made.counters.offered, made.counters.lost_by) == (1030, {"veth_rx_ring": 30})
    assert made.counters.unexplained == 0
    assert not_offered(made.offered, made.ports) == 3


@pytest.mark.parametrize(
    ("seen", "arrived", "ports", "places"),
    [
        # The kernel does not look at what its port answers: the port's own count is the loss.
        (Seen(1000, 1000, told="never"), 960, {"qdisc": 10, "tx_port": 30}, {"qdisc": 10, "tx_port": 30}),
        # A redirect, netfilter: the same loss is counted by both, and is the port's.
        (Seen(1000, 960, lost={"tx": 40}), 960, {"tx_port": 40}, {"tx_port": 40}),
        # A port that is down counts nothing.
        (Seen(1000, 960, lost={"tx": 40}), 960, {}, {"tx": 40}),
        # A discipline refused 10 at once, told; the driver 30 later, behind the queue, untold.
        (Seen(1000, 990, lost={"tx": 10}), 960, {"qdisc": 10, "tx_port": 30}, {"qdisc": 10, "tx_port": 30}),
        # 5 refused uncounted, 30 dropped behind the queue.
        (Seen(1000, 995, lost={"tx": 5}), 965, {"tx_port": 30}, {"tx": 5, "tx_port": 30}),
        # 40 lost, each of them after 16 more attempts, which the port counts alike.
        (Seen(1000, 960, lost={"tx": 40}, told="attempts"), 960, {"tx_port": 680}, {"tx_port": 40}),
        (Seen(1000, 1000, told="attempts"), 1000, {"qdisc": 12}, {}),
    ],
)  # fmt: skip
def test_a_loss_at_the_outgoing_port_is_counted_once(
    seen: Seen, arrived: int, ports: dict[str, int], places: dict[str, int]
) -> None:
    counters = observed(seen, {"packets": arrived}, PortLosses(refused=ports)).counters
    assert counters.lost_by == places
    assert counters.unexplained == 0


def test_a_driver_that_redirects_has_two_reasons_to_drop() -> None:
    # 7 never reached the program, 20 could not be redirected, of which the datapath knows.
    seen = Seen(993, 973, lost={"tx": 20}, redirects=True)
    counters = observed(seen, {"packets": 973}, PortLosses(rx_driver=27)).counters
    assert counters.lost_by == {"rx_memory": 7, "xdp_redirect": 20}
    assert counters.unexplained == 0


def reading(backlog: int = 0, **changes: dict[str, Any]) -> dict[str, Any]:
    """A reading of kb-ports in which all is 0 but `changes`, by role."""
    names = ("rx_errors", "rx_dropped", "tx_dropped", "rx_over_errors", "rx_fifo_errors", "rx_missed_errors",
             "qdisc_drops")  # fmt: skip
    ports = {}
    for role in ("generator", "rx", "tx", "sink"):
        own = dict(changes.get(role, {}))
        driver = {"rx_queue_0_drops": 0, "rx_queue_0_xdp_packets": 0, "tx_queue_0_xdp_xmit_errors": 0}
        driver |= own.pop("driver", {})
        ports[role] = {"driver_name": "veth"} | dict.fromkeys(names, 0) | own | {"driver": driver}
    return {"backlog_dropped": backlog, "ports": ports}


def test_a_full_veth_ring_shows_at_both_ports_and_counts_once() -> None:
    after = reading(
        generator={"tx_dropped": 50, "driver": {"tx_queue_0_xdp_xmit_errors": 50}}, rx={"rx_dropped": 50}
    )
    assert port_losses(reading(), after, "veth") == PortLosses({"veth_rx_ring": 50}, told=50)


def test_the_backlog_is_told_apart_from_the_driver() -> None:
    # 12 in the backlogs of this machine, 9 of them this port's; 4 for want of memory, 3 redirects refused.
    after = reading(
        backlog=112,
        generator={"tx_dropped": 3, "driver": {"tx_queue_0_xdp_xmit_errors": 3}},
        rx={"rx_dropped": 16, "driver": {"rx_queue_0_xdp_packets": 99, "rx_queue_0_drops": 4}},
    )
    losses = port_losses(reading(backlog=100), after, "veth")
    assert losses == PortLosses({"veth_rx_ring": 3, "backlog": 9}, rx_driver=4, told=3)


def test_a_drop_in_the_backlog_that_the_sender_is_told_of_counts_once() -> None:
    after = reading(backlog=20, generator={"tx_dropped": 20}, rx={"rx_dropped": 20})
    assert port_losses(reading(), after, "veth") == PortLosses({"backlog": 20}, told=20)


def test_what_neither_ring_nor_backlog_refused_was_not_offered() -> None:
    # pktgen's retries of a buffer that is no packet any more: 900 refused by its own port, 41 by the backlog.
    after = reading(backlog=41, generator={"tx_dropped": 941}, rx={"rx_dropped": 41})
    losses = port_losses(reading(), after, "veth")
    assert losses == PortLosses({"backlog": 41}, told=41)
    assert not_offered(Offered(3, 941, 0, 10**9, 10**9, {}), losses) == 900


def test_a_backlog_behind_the_ring_is_not_what_the_sender_is_told_of() -> None:
    # Receive packet steering: 50 came out of the ring, 30 of them found no room in the backlog; the ring refused 7.
    after = reading(
        backlog=30,
        generator={"tx_dropped": 7, "driver": {"tx_queue_0_xdp_xmit_errors": 7}},
        rx={"rx_dropped": 37, "driver": {"rx_queue_0_xdp_packets": 50}},
    )
    assert port_losses(reading(), after, "veth") == PortLosses({"backlog": 30, "veth_rx_ring": 7}, told=7)


def test_a_nic_names_what_it_missed() -> None:
    rx = {
        "driver_name": "some",
        "rx_missed_errors": 5,
        "rx_fifo_errors": 2,
        "rx_over_errors": 1,
        "rx_errors": 9,
    }
    after = reading(rx=rx)
    losses = port_losses(reading(), after, "nic")
    assert losses.entry == {"nic_rx_missed": 5, "nic_rx_fifo": 3, "rx_errors": 1}


def test_a_discipline_s_counter_may_wrap() -> None:
    before, after = reading(tx={"qdisc_drops": (1 << 32) - 2}), reading(tx={"qdisc_drops": 3})
    assert port_losses(before, after, "veth").refused == {"qdisc": 5}


def test_the_documentation_has_every_place() -> None:
    text = (Path(__file__).parents[2] / "docs/method.md").read_text()
    text = text.partition("## A trial, and its ledger")[2].partition("\n## ")[0]
    rows = set(re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|$", text, re.MULTILINE))
    assert rows == set(PLACES) - {"generator"}


def test_every_name_that_a_program_prints_has_its_sentence() -> None:
    sources = {"af_packet/counters.c": 4, "bpf/xdp.c": 2}
    for name, least in sources.items():
        text = (Path(__file__).parents[2] / "userspace" / name).read_text()
        lost = text[text.index('kb_json_obj_begin("lost")') :]
        names = re.findall(r'kb_json_u64\("(\w+)"', lost[: lost.index("kb_json_obj_end")])
        assert len(names) >= least and set(names) <= set(PLACES)


def trial(counters: Counters) -> Trial:
    return Trial(
        part="host", kind="wall", purpose="rate", case_id="x", function="forward", datapath="xdp",
        generator="xdp", placement="same", round=0, started_at="", frame_bytes=64, load_pps=None,
        duration_s=1.0, counters=counters,
    )  # fmt: skip


BENCH: Any = SimpleNamespace(
    datapath=SimpleNamespace(userspace=False), testbed=SimpleNamespace(cpus=SimpleNamespace(receive=0))
)


@pytest.mark.parametrize(
    ("counters", "valid", "words"),
    [
        (Counters(100_000, 100_000, 100_000), True, ""),
        (Counters(100_000, 99_000, 99_000, {}, 1000, {"veth_rx": 1000}), True, ""),
        (Counters(100_000, 99_000, 99_000, {}, 1000, {"veth_rx": 800}), False, "200 of 100000"),
        (Counters(100_000, 100_000, 100_001, {}, -1, {}), False, "1 more packets"),
        (
            Counters(100_000, 99_900, 99_900, {}, 100, {"tx": 300}),
            False,
            "200 more packets are named as lost",
        ),
    ],
)
def test_what_is_unexplained_makes_a_trial_invalid(counters: Counters, valid: bool, words: str) -> None:
    judged = trial(counters)
    judge(judged, BENCH)
    assert judged.valid is valid
    assert words in " ".join(judged.problems)


def test_softirqs_on_the_wrong_cpu_are_named() -> None:
    judged = trial(Counters(100_000, 100_000, 100_000))
    judged.softirqs = {"NET_RX/cpu0": 10_000, "NET_RX/cpu1": 90_000}
    judge(judged, BENCH)
    assert "another CPU than 0" in " ".join(judged.problems)


def test_rates_are_taken_between_samples_inside_the_offering_window() -> None:
    seen = Seen(received=1000, forwarded=1000)
    sink = {"packets": 1000, "samples": [[100, 50], [10**8, 150], [9 * 10**8, 950], [2 * 10**9, 1000]]}
    made = observed(seen, sink)
    counters = made.counters
    # Between 100 ns and 0.9 s 900 packets came; the sample after the generator's end does not count.
    assert rate_pps("forward", made, counters) == pytest.approx(900 / (0.9 - 1e-7), rel=1e-9)


def test_the_rate_of_drop_is_what_was_dropped() -> None:
    seen = Seen(received=1000, forwarded=0, dropped={"policy": 1000})
    made = observed(seen, {"packets": 0, "samples": []})
    assert rate_pps("drop", made, made.counters) == pytest.approx(1000.0)


def test_what_userspace_drops_after_the_end_does_not_raise_its_rate() -> None:
    seen = Seen(received=1000, forwarded=0, dropped={"policy": 1000}, cpu_ns=2 * 10**9)
    made = observed(seen, {"packets": 0, "samples": []})
    assert rate_pps("drop", made, made.counters) == pytest.approx(500.0)


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (CpuTime(0, 0.0, 0.5, 0.0, 0.5, 0.0, 0.1), None),  # idle only outside the trial
        (CpuTime(0, 0.02, 0.49, 0.0, 0.49, 0.0, 0.1), None),  # two ticks
        (CpuTime(0, 0.0, 0.5, 0.0, 0.3, 0.0, 0.3), "idled for 20%"),
        (CpuTime(0, 0.1, 0.5, 0.0, 0.4, 0.0, 0.1), "user space for 10%"),
        (CpuTime(0, 0.0, 0.5, 0.0, 0.4, 0.1, 0.1), "hypervisor for 10%"),
    ],
)
def test_a_cpu_that_others_used_gives_no_cost_per_packet(time: CpuTime, words: str | None) -> None:
    why = shared_cpu([CpuTime(1, 9, 9, 9, 9, 9, 9), time], 0, trial_s=1.0)
    assert (why is None) if words is None else (why is not None and words in why)
