# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's counter files are read as proc(5) and the kernel's sources describe them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kbench.measure.contamination import contaminated
from kbench.measure.datapaths.kernel import parse_snmp, parse_snmp6
from kbench.measure.latency_cost import percentiles
from kbench.measure.probes.base import Absent, per_packet
from kbench.measure.probes.cpu import (
    CpuReading,
    cpu_times,
    parse_softirqs,
    parse_softnet,
    parse_stat,
    softirq_counts,
    softnet_counts,
)
from kbench.measure.probes.energy import Meter, joules
from kbench.measure.probes.foreign import ForeignReading, Spent, foreign_s, foreign_share, read_foreign
from kbench.measure.probes.hardware import summed
from kbench.measure.probes.threads import Times, between, waited_s
from kbench.model import Counters, CpuTime, Histogram

STAT = """cpu  30 2 4 100 6 1 8 2 0 0
cpu0 10 1 2 60 3 1 4 1 0 0
cpu1 20 1 2 40 3 0 4 1 0 0
intr 12345 0 0
ctxt 99
"""
SOFTIRQS = """                    CPU0       CPU1
          HI:          0          1
      NET_TX:          5          6
      NET_RX:         70         80
"""
SOFTNET = "0000000a 00000001 00000002 00000000\n000000ff 00000000 00000000 00000000\n"


def reading(stat: str = STAT, softirqs: str = SOFTIRQS, softnet: str = SOFTNET) -> CpuReading:
    return CpuReading(parse_stat(stat), parse_softirqs(softirqs), parse_softnet(softnet))


def test_cpu_times_are_differences_in_seconds() -> None:
    later = STAT.replace("cpu0 10 1 2 60 3 1 4 1", "cpu0 110 1 52 60 3 1 204 31")
    first, second = cpu_times(reading(), reading(stat=later))
    assert (first.cpu, first.user_s, first.system_s, first.softirq_s, first.steal_s) == (
        0,
        1.0,
        0.5,
        2.0,
        0.3,
    )
    assert second.user_s == second.idle_s == 0.0


def test_softirqs_and_softnet_are_counted_per_cpu() -> None:
    later = reading(softirqs=SOFTIRQS.replace("80", "95"), softnet=SOFTNET.replace("000000ff", "00000101"))
    assert softirq_counts(reading(), later)["NET_RX/cpu1"] == 15
    assert softirq_counts(reading(), later)["NET_RX/cpu0"] == 0
    assert softnet_counts(reading(), later) == {
        "processed/cpu0": 0, "dropped/cpu0": 0, "time_squeeze/cpu0": 0,
        "processed/cpu1": 2, "dropped/cpu1": 0, "time_squeeze/cpu1": 0,
    }  # fmt: skip


def test_snmp_pairs_names_with_values() -> None:
    text = "Ip: Forwarding DefaultTTL ForwDatagrams\nIp: 1 64 12\nIcmp: InMsgs\nIcmp: 3\n"
    assert parse_snmp(text)["Ip"]["ForwDatagrams"] == 12
    assert parse_snmp6("Ip6InReceives  7\nIcmp6InMsgs 1\nIp6OutForwDatagrams 5\n") == {
        "InReceives": 7,
        "OutForwDatagrams": 5,
    }


def test_snmp_of_an_unknown_form_is_not_guessed_at() -> None:
    with pytest.raises(ValueError, match="zip"):
        parse_snmp("Ip: A B\nIp: 1\n")


class FakeProc:
    """Files of /proc that `read_foreign` reads; times in clock ticks, exact ones in nanoseconds."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def process(
        self, pid: int, parent: int, *, ticks: int = 0, exact_ns: int = 0, reaped: int = 0, threads: int = 1
    ) -> None:
        directory = self.root / str(pid)
        directory.mkdir(exist_ok=True)
        fields = ["S", parent, *[0] * 9, ticks, 0, reaped, 0, 20, 0, threads, 0, 1000 + pid]
        (directory / "stat").write_text(f"{pid} (a ) b) {' '.join(map(str, fields))}\n")
        (directory / "schedstat").write_text(f"{exact_ns} 0 1\n")

    def end(self, pid: int) -> None:
        shutil.rmtree(self.root / str(pid))


@pytest.fixture
def proc(tmp_path: Path) -> FakeProc:
    made = FakeProc(tmp_path)
    made.process(1, 0)
    (tmp_path / "uptime").write_text("not a process")
    return made


OWN = 100
TICK_NS = 10_000_000


def taken(proc: FakeProc, change: Callable[[], None]) -> float:
    before = read_foreign(proc.root, own=OWN)
    change()
    return foreign_s(before, read_foreign(proc.root, own=OWN))


def test_foreign_time_leaves_out_kbench_and_kernel_threads(proc: FakeProc) -> None:
    proc.process(2, 0)

    def change() -> None:
        proc.process(2, 0, ticks=50, exact_ns=50 * TICK_NS)
        proc.process(3, 2, ticks=50, exact_ns=50 * TICK_NS)
        proc.process(OWN, 1, ticks=50, exact_ns=50 * TICK_NS)
        proc.process(101, OWN, ticks=50, exact_ns=50 * TICK_NS)
        proc.process(102, 101, ticks=50, exact_ns=50 * TICK_NS)
        proc.process(7, 1, ticks=1, exact_ns=12_000_000)

    assert taken(proc, change) == pytest.approx(0.012)


def test_foreign_time_is_exact_below_a_tick(proc: FakeProc) -> None:
    proc.process(7, 1, ticks=3, exact_ns=3 * TICK_NS + 9_999_999)
    assert taken(proc, lambda: proc.process(7, 1, ticks=4, exact_ns=4 * TICK_NS)) == pytest.approx(1e-9)


def test_foreign_time_of_many_threads_is_the_process_s(proc: FakeProc) -> None:
    proc.process(7, 1, ticks=10, exact_ns=1, threads=8)
    assert taken(proc, lambda: proc.process(7, 1, ticks=30, exact_ns=2, threads=8)) == pytest.approx(0.2)
    # The others have ended: the last one's own time has nothing of what they used.
    assert taken(proc, lambda: proc.process(7, 1, ticks=50, exact_ns=3)) == pytest.approx(0.2)
    assert taken(proc, lambda: proc.process(7, 1, ticks=90, exact_ns=4)) == pytest.approx(0.4)


def test_foreign_time_of_a_process_that_came_and_went_is_in_its_parent(proc: FakeProc) -> None:
    proc.process(7, 1, reaped=5)
    proc.process(8, 7, ticks=200, exact_ns=200 * TICK_NS)

    def change() -> None:
        proc.end(8)  # had used 200 ticks before, and 3 more
        proc.process(7, 1, reaped=5 + 203 + 4)  # and one that no reading saw used 4

    assert taken(proc, change) == pytest.approx(0.07)


def test_foreign_share_is_of_one_cpu() -> None:
    before = ForeignReading(0.0, {(7, 1): Spent(0, 0, 0)})
    after = ForeignReading(2.0, {(7, 1): Spent(TICK_NS * 100, TICK_NS * 100, 0)})
    assert foreign_share(before, after) == pytest.approx(0.5)


# --- The rule of contamination ----------------------------------------------------------------------------------


def judged(
    *,
    steal_s: float = 0.0,
    cpu: int = 0,
    foreign_s: float = 0.0,
    waited_s: float | None = None,
    window_s: float = 0.1,
) -> list[str]:
    time = CpuTime(cpu, 0, 0, 0, 0, steal_s, 0)
    return contaminated(
        [time], {0, 1}, foreign_s=foreign_s, window_s=window_s, waited_s=waited_s, offered_s=0.1
    )


def test_one_tick_of_steal_says_nothing_two_do() -> None:
    assert judged(steal_s=0.01) == []
    assert judged(steal_s=0.02) == ["the hypervisor took 20 ms of CPU 0 in 100 ms"]
    assert judged(steal_s=0.02, cpu=5) == []


def test_steal_over_a_long_trial_is_a_share() -> None:
    assert judged(steal_s=0.19, window_s=10.0) == []
    assert judged(steal_s=0.21, window_s=10.0)


def test_foreign_load_counts_as_far_as_the_testbed_waited() -> None:
    assert judged(foreign_s=0.09, waited_s=0.001) == []
    assert judged(foreign_s=0.001, waited_s=0.09) == []
    (reason,) = judged(foreign_s=0.09, waited_s=0.04)
    assert "other processes ran 90.0 ms" in reason and "waited 40.0 ms" in reason


def test_foreign_load_counts_whole_where_waits_are_unknown() -> None:
    assert judged(foreign_s=0.002) == []
    assert judged(foreign_s=0.004) == ["other processes ran 4.0 ms in 100 ms"]


# --- Values of probes -------------------------------------------------------------------------------------------

HANDLED = Counters(offered=1000, received=1000, forwarded=600, dropped={"policy": 400})


def perf_event(**counts: dict[str, Any]) -> dict[str, Any]:
    return {"event": "counters", "counters": counts, "absent": {"branches": "no PMU (ENOENT)"}}


def test_hardware_counts_are_summed_and_never_made_up() -> None:
    whole = {"multiplexed": False}
    values = summed(
        [
            perf_event(cycles={"value": 5000, **whole}, instructions={"value": 100, **whole}),
            perf_event(cycles={"value": 3000, "multiplexed": True}, instructions={"multiplexed": True}),
        ],
        HANDLED,
        cpus=[0, 1],
        includes_generator=True,
    )
    assert values["counts"] == {"cycles": 8000} and values["per_packet"] == {"cycles": 8.0}
    assert values["scaled"] == ["cycles"]
    assert set(values["not_counted"]) == {"branches", "instructions"}


def test_nothing_per_packet_without_packets() -> None:
    with pytest.raises(Absent, match="no packet"):
        per_packet(5.0, Counters(offered=10, received=10, forwarded=0, lost=10))


def test_energy_of_a_meter_that_started_again() -> None:
    before = {"intel-rapl:0": Meter(262_143_000_000, 262_143_328_850), "intel-rapl:1": Meter(10, 1000)}
    after = {"intel-rapl:0": Meter(671_150, 262_143_328_850), "intel-rapl:1": Meter(500_010, 1000)}
    assert joules(before, after) == pytest.approx(1.0 + 0.5)


def test_thread_times_are_differences_of_threads_that_stayed() -> None:
    before = {"napi/7": Times(100, 10), "napi/8": Times(5, 5)}
    after = {"napi/7": Times(350, 30), "napi/9": Times(1, 1)}
    assert between(before, after) == {"napi/7": Times(250, 20)}


def test_waits_are_unknown_without_the_generator_s() -> None:
    assert waited_s({"waited_ns": {"napi/7": 5}}) is None
    assert waited_s({"absent": "no threads"}) is None
    assert waited_s({"waited_ns": {"napi/7": 5, "generator": 10}}) == pytest.approx(15e-9)


def test_percentiles_need_samples_beyond_them() -> None:
    histogram = Histogram(5, {10: 1000}, 1000, 10, 10)
    assert percentiles(histogram) == {"p50": 10.0, "p90": 10.0, "p99": 10.0, "p99.9": None, "p99.99": None}
