# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's counter files are read as proc(5) and the kernel's sources describe them."""

from __future__ import annotations

import pytest

from kbench.measure.datapaths.kernel import parse_snmp, parse_snmp6
from kbench.measure.probes.cpu import (
    CpuReading,
    cpu_times,
    parse_softirqs,
    parse_softnet,
    parse_stat,
    softirq_counts,
    softnet_counts,
)
from kbench.measure.probes.foreign import ForeignReading, foreign_share

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


def test_foreign_share_counts_only_what_grew() -> None:
    before = ForeignReading(0.0, {(1, 0.0): 5.0, (2, 0.0): 1.0})
    after = ForeignReading(2.0, {(1, 0.0): 5.5, (3, 9.0): 0.5})
    assert foreign_share(before, after) == pytest.approx(0.5)
