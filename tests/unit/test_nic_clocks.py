# SPDX-License-Identifier: GPL-2.0-only
"""Which clock measures latency, from what `ethtool -T` prints: captured, or typed where it says so."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kbench.errors import MeasureError
from kbench.host.nic.clocks import PortClock, choose, parse, port_clock
from kbench.host.shell import Completed, LocalShell

VETH = """Time stamping parameters for g0:
Capabilities:
\tsoftware-transmit
\tsoftware-receive
\tsoftware-system-clock
PTP Hardware Clock: none
Hardware Transmit Timestamp Modes: none
Hardware Receive Filter Modes: none
"""
"""Captured: ethtool 6.1, Linux 6.18; virtio-net prints the same."""

VMXNET3 = VETH.replace("\tsoftware-transmit\n", "")
"""Captured: Linux 6.12."""

E1000E = """Time stamping parameters for eth1:
Capabilities:
\thardware-transmit
\tsoftware-transmit
\thardware-receive
\tsoftware-receive
\tsoftware-system-clock
\thardware-raw-clock
PTP Hardware Clock: 0
Hardware Transmit Timestamp Modes:
\toff
\ton
Hardware Receive Filter Modes:
\tnone
\tall
\tptpv1-l4-sync
\tptpv1-l4-delay-req
\tptpv2-l4-sync
\tptpv2-l4-delay-req
\tptpv2-l2-sync
\tptpv2-l2-delay-req
\tptpv2-event
\tptpv2-sync
\tptpv2-delay-req
"""
"""Captured: QEMU 7.2's 82574L, Linux 6.12."""

IGB = """Time stamping parameters for enp1s0f0:
Capabilities:
\thardware-transmit
\tsoftware-transmit
\thardware-receive
\tsoftware-receive
\tsoftware-system-clock
\thardware-raw-clock
PTP Hardware Clock: 2
Hardware Transmit Timestamp Modes:
\toff
\ton
Hardware Receive Filter Modes:
\tnone
\tall
"""
"""Typed: an I350 or I210."""

IGB_QEMU = """Time stamping parameters for eth1:
Capabilities:
\thardware-transmit
\tsoftware-transmit
\thardware-receive
\tsoftware-receive
\tsoftware-system-clock
\thardware-raw-clock
PTP Hardware Clock: 0
Hardware Transmit Timestamp Modes:
\toff
\ton
Hardware Receive Filter Modes:
\tnone
\tptpv1-l4-sync
\tptpv1-l4-delay-req
\tptpv2-event
"""
"""Captured: QEMU 10's 82576, Linux 6.12."""

I40E = """Time stamping parameters for eno1:
Capabilities:
\thardware-transmit
\tsoftware-transmit
\thardware-receive
\tsoftware-receive
\tsoftware-system-clock
\thardware-raw-clock
PTP Hardware Clock: 1
Hardware Transmit Timestamp Modes:
\toff
\ton
Hardware Receive Filter Modes:
\tnone
\tptpv1-l4-event
\tptpv2-l4-event
\tptpv2-l2-event
\tptpv2-event
"""
"""Typed: an X710."""

MLX5_OLD = """Time stamping parameters for ens1f0np0:
Capabilities:
\thardware-transmit     (SOF_TIMESTAMPING_TX_HARDWARE)
\thardware-receive      (SOF_TIMESTAMPING_RX_HARDWARE)
\thardware-raw-clock    (SOF_TIMESTAMPING_RAW_HARDWARE)
PTP Hardware Clock: 4
Hardware Transmit Timestamp Modes:
\toff                   (HWTSTAMP_TX_OFF)
\ton                    (HWTSTAMP_TX_ON)
Hardware Receive Filter Modes:
\tnone                  (HWTSTAMP_FILTER_NONE)
\tall                   (HWTSTAMP_FILTER_ALL)
"""
"""Typed: a ConnectX-5, ethtool 4.x."""

MLX5_NEW = """Time stamping parameters for ens1f0np0:
Capabilities:
\thardware-transmit
\tsoftware-transmit
\thardware-receive
\tsoftware-receive
\tsoftware-system-clock
\thardware-raw-clock
Hardware timestamp provider index: 4
Hardware timestamp provider qualifier: Precise (IEEE 1588 quality)
Hardware Transmit Timestamp Modes:
\toff
\ton
Hardware Receive Filter Modes:
\tnone
\tall
Statistics:
  tx_pkts: 8
  tx_lost: 0
"""
"""Typed, after ethtool's source: a ConnectX-5, ethtool 6.14."""


def test_software_only() -> None:
    assert parse("g0", VETH) == PortClock("g0", False, False, (), True, True, None)
    assert parse("eth5", VMXNET3).software_tx is False
    assert parse("g0", VETH).fact() == {"hardware": False, "phc": None, "why": "g0 has no hardware clock"}


@pytest.mark.parametrize(("text", "phc"), [(E1000E, 0), (IGB, 2), (MLX5_OLD, 4), (MLX5_NEW, 4)])
def test_hardware(text: str, phc: int) -> None:
    clock = parse("eth1", text)
    assert (clock.hardware_tx, clock.rx_filter, clock.phc) == (True, "all", phc)
    assert clock.fact()["hardware"] is True
    choice = choose(clock, clock)
    assert (choice.kind, choice.phc, choice.rx_filter) == ("hardware", phc, "all")
    assert f"ptp{phc}" in choice.why and "eth1" in choice.why


def test_an_adapter_that_stamps_only_ptp_gets_packets_that_look_like_it() -> None:
    clock = parse("eno1", I40E)
    assert clock.rx_filters == ("ptpv1-l4-event", "ptpv2-l4-event", "ptpv2-l2-event", "ptpv2-event")
    choice = choose(clock, clock)
    assert (choice.kind, choice.phc, choice.rx_filter) == ("hardware", 1, "ptp")
    assert "only such as look like PTP's" in choice.why
    # What counts is the port that receives.
    better = parse("eno2", IGB.replace("Clock: 2", "Clock: 1"))
    assert choose(clock, better).rx_filter == "all"
    assert choose(better, clock).rx_filter == "ptp"


def test_the_82576_of_qemu_too() -> None:
    clock = parse("eth1", IGB_QEMU)
    assert (clock.rx_filter, clock.phc) == ("ptp", 0)


def test_ptp_over_ethernet_is_none_of_ours() -> None:
    text = I40E
    for name in ("ptpv2-l4-event", "ptpv2-event"):
        text = text.replace(f"\t{name}\n", "")
    choice = choose(parse("eno1", text), parse("eno1", text))
    assert (choice.kind, choice.rx_filter) == ("software", None)
    assert choice.why == (
        "eno1 can't stamp received UDP packets in hardware, only: ptpv1-l4-event, ptpv2-l2-event"
    )


def without(text: str, word: str) -> PortClock:
    """What a port that lacks one line prints."""
    return parse("ethX", "".join(line for line in text.splitlines(True) if line.strip() != word))


@pytest.mark.parametrize(
    ("generator", "sink", "why"),
    [
        (parse("eth3", VETH), parse("eth1", IGB), "eth3 has no hardware clock"),
        (parse("eth1", IGB), parse("eth3", VETH), "eth3 has no hardware clock"),
        (
            without(IGB, "hardware-transmit"),
            parse("eth1", IGB),
            "ethX does not stamp the packets that it sends",
        ),
        (without(IGB, "on"), parse("eth1", IGB), "ethX does not stamp the packets that it sends"),
        (
            parse("eth1", IGB),
            without(IGB, "hardware-receive"),
            "ethX does not stamp the packets that it receives",
        ),
        (
            parse("eth1", IGB),
            without(IGB, "hardware-raw-clock"),
            "ethX does not stamp the packets that it receiv",
        ),
        (
            parse("eth1", IGB),
            without(IGB, "all"),
            "ethX can't stamp received UDP packets in hardware, only: none",
        ),
        (
            parse("eth1", IGB),
            parse("eth2", E1000E),
            "eth1 and eth2 have different hardware clocks (ptp2, ptp0)",
        ),
    ],
)
def test_software_says_why(generator: PortClock, sink: PortClock, why: str) -> None:
    choice = choose(generator, sink)
    assert (choice.kind, choice.phc) == ("software", None)
    assert choice.why.startswith(why)


def test_only_what_a_port_has_to_do_is_asked_of_it() -> None:
    assert choose(without(IGB, "all"), parse("eth2", IGB)).kind == "hardware"
    assert choose(parse("eth2", IGB), without(IGB, "hardware-transmit")).kind == "hardware"


class Recorded(LocalShell):
    """Answers any command with one text, and remembers it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked: list[list[str]] = []

    def _execute(self, argv: Sequence[str], stdin: bytes, timeout_s: float) -> Completed:
        self.asked.append(list(argv))
        return Completed(self.text, "", 0)


def test_the_port_is_asked_in_its_namespace() -> None:
    shell = Recorded(IGB)
    assert port_clock(shell, "eth1", "kbench-x-gen").phc == 2
    assert shell.asked == [["ip", "netns", "exec", "kbench-x-gen", "ethtool", "-T", "eth1"]]


def test_a_port_that_is_not_there() -> None:
    with pytest.raises(MeasureError, match="kbnone0"):
        port_clock(LocalShell(), "kbnone0")
