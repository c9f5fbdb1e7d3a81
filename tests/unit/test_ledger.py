# SPDX-License-Identifier: GPL-2.0-only
"""The ledger: offered = forwarded + dropped + lost, and what it can't explain makes a trial invalid."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kbench.measure.datapaths.base import Seen
from kbench.measure.generators.base import Offered
from kbench.measure.ledger import ledger
from kbench.measure.observe import Observed
from kbench.measure.trial import judge, rate_pps, shared_cpu
from kbench.model import Counters, CpuTime, Trial


def observed(
    seen: Seen | None, sink: dict[str, Any] | None, losses: dict[str, int] | None = None
) -> Observed:
    return Observed(Offered(1000, 0, 0, 10**9, 10**9, {}), seen, sink, losses or {})


def test_every_packet_has_its_place() -> None:
    seen = Seen(
        received=990, forwarded=900, dropped={"policy": 60, "ttl": 10}, passed=5, lost={"socket_ring": 15}
    )
    counters = ledger(observed(seen, {"packets": 895}, {"veth_rx": 10, "veth_tx": 5}))
    assert counters.forwarded == 895
    assert counters.dropped == {"policy": 60, "ttl": 10, "passed": 5}
    assert counters.lost == 30
    assert counters.lost_by == {"socket_ring": 15, "veth_rx": 10, "veth_tx": 5}
    assert counters.offered == counters.forwarded + sum(counters.dropped.values()) + counters.lost
    assert counters.unexplained == 0


def test_the_baseline_ends_in_the_sink() -> None:
    counters = ledger(observed(None, {"packets": 998}, {"veth_rx": 2}))
    assert (counters.forwarded, counters.dropped, counters.lost_by) == (0, {"baseline": 998}, {"veth_rx": 2})


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
    counters = ledger(made)
    # Between 100 ns and 0.9 s 900 packets came; the sample after the generator's end does not count.
    assert rate_pps("forward", made, counters) == pytest.approx(900 / (0.9 - 1e-7), rel=1e-9)


def test_the_rate_of_drop_is_what_was_dropped() -> None:
    seen = Seen(received=1000, forwarded=0, dropped={"policy": 1000})
    made = observed(seen, {"packets": 0, "samples": []})
    assert rate_pps("drop", made, ledger(made)) == pytest.approx(1000.0)


def test_what_userspace_drops_after_the_end_does_not_raise_its_rate() -> None:
    seen = Seen(received=1000, forwarded=0, dropped={"policy": 1000}, cpu_ns=2 * 10**9)
    made = observed(seen, {"packets": 0, "samples": []})
    assert rate_pps("drop", made, ledger(made)) == pytest.approx(500.0)


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
