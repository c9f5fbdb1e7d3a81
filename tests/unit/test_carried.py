# SPDX-License-Identifier: GPL-2.0-only
"""Which verification packets a cable carries as they are."""

from __future__ import annotations

from kbench.functions.packets import Packet
from kbench.measure.carried import unchanged

ETHERNET = bytes(12)
IPV4 = ETHERNET + b"\x08\x00" + b"\x45\x00\x00\x14" + bytes(16)
IPV6 = ETHERNET + b"\x86\xdd" + b"\x60\x00\x00\x00\x00\x00" + bytes(34)
ARP = ETHERNET + b"\x08\x06" + b"\x01" * 20


def named(*frames: bytes) -> list[Packet]:
    return [Packet(str(number), frame) for number, frame in enumerate(frames)]


def names(packets: list[Packet]) -> list[str]:
    return [packet.name for packet in packets]


def test_padding_is_no_change() -> None:
    packets = named(IPV4, IPV6, ARP)
    assert names(unchanged(packets, [frame.ljust(60, b"\0") for frame in (ARP, IPV4, IPV6)])) == [
        "0",
        "1",
        "2",
    ]


def test_what_is_changed_or_dropped_is_not_carried() -> None:
    mended = IPV6[:18] + b"\x00\x06" + IPV6[20:] + bytes(6)
    assert names(unchanged(named(IPV4, IPV6, ARP), [mended, ARP])) == ["2"]


def test_each_frame_counts_once() -> None:
    assert names(unchanged(named(IPV4, IPV4, ARP), [IPV4, ARP])) == ["0", "2"]
