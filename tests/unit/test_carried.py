# SPDX-License-Identifier: GPL-2.0-only
"""Which verification packets a cable carries as they are."""

from __future__ import annotations

from kbench.functions.packets import Packet
from kbench.measure.carried import unchanged
from kbench.measure.verify import on_ethernet

ETHERNET = bytes(12)
IPV4 = ETHERNET + b"\x08\x00" + b"\x45\x00\x00\x14" + bytes(16)
IPV6 = ETHERNET + b"\x86\xdd" + b"\x60\x00\x00\x00\x00\x00" + bytes(34)
ARP = ETHERNET + b"\x08\x06" + b"\x01" * 20


def named(*frames: bytes) -> list[Packet]:
    return [Packet(str(number), frame) for number, frame in enumerate(frames)]


def names(packets: list[Packet]) -> list[str]:
    return [packet.name for packet in packets]


def test_packets_are_sent_padded_so_that_adapters_need_not() -> None:
    packets = on_ethernet(named(IPV4, IPV6, ARP), without=("2",))
    assert names(packets) == ["0", "1"] and {len(packet.frame) for packet in packets} == {60}
    assert names(unchanged(packets, [packet.frame for packet in reversed(packets)])) == ["0", "1"]


def test_what_is_changed_or_dropped_is_not_carried() -> None:
    mended = IPV6[:18] + b"\x00\x06" + IPV6[20:]
    assert names(unchanged(named(IPV4, IPV6, ARP), [mended, ARP])) == ["2"]


def test_each_frame_counts_once() -> None:
    assert names(unchanged(named(IPV4, IPV4, ARP), [IPV4, ARP])) == ["0", "2"]
