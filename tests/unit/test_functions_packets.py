# SPDX-License-Identifier: GPL-2.0-only
"""The verification packets: enough of them, what they claim to be (scapy reads them too), and their files."""

from __future__ import annotations

import ipaddress
import struct

import pytest

from kbench.functions.flows import Group
from kbench.functions.generate import generate_routes
from kbench.functions.model import BENCH_SOURCES4, BENCH_SOURCES6, Route, Rule, Tables
from kbench.functions.packets import (
    MARKER,
    MARKER_SEQUENCE_AT,
    Packet,
    marker,
    packets_file,
    traffic_file,
    verification_packets,
)
from kbench.functions.reference import Reference
from kbench.functions.rulegen import generate_rules
from kbench.model import Function
from tests.unit.core_tools import PORTS

ROUTES = generate_routes(100)
FILTER = Tables(ROUTES, generate_rules(100, "acl", routes=ROUTES), default_accept=False)
TABLES: dict[str, tuple[Function, Tables]] = {
    "drop": ("drop", Tables()),
    "one route": ("forward", Tables(generate_routes(1))),
    "100 routes": ("forward", Tables(ROUTES)),
    "filter": ("filter", FILTER),
    "nothing": ("filter", Tables((), (), False)),
}


def packets_of(name: str) -> list[Packet]:
    function, tables = TABLES[name]
    return verification_packets(tables, function, PORTS, seed=1)


def frame_of(name: str, tables: str = "100 routes") -> bytes:
    return next(p.frame for p in packets_of(tables) if p.name == name)


@pytest.mark.parametrize("name", TABLES)
def test_there_are_enough_and_each_has_its_name(name: str) -> None:
    packets = packets_of(name)
    assert 60 <= len(packets) <= 300
    assert len({p.name for p in packets}) == len(packets)
    assert all(14 <= len(p.frame) <= 1514 for p in packets)


def test_each_outcome_comes_up() -> None:
    expected = {"forwarded", "passed", "no_route", "discard", "ttl", "malformed", "checksum", "martian"}
    for name, more in (("100 routes", set()), ("filter", {"policy"})):
        function, tables = TABLES[name]
        reference = Reference(function, tables, PORTS)
        reasons = [reference.process(p.frame).reason for p in packets_of(name)]
        assert set(reasons) >= (expected | more) - ({"no_route", "discard"} if name == "filter" else set())
        assert reasons.count("forwarded") >= 30


def test_what_tables_forward_is_tried_in_both_families_with_all_protocols() -> None:
    for name in ("100 routes", "filter"):
        function, tables = TABLES[name]
        reference = Reference(function, tables, PORTS)
        for wanted in (
            "ip4: tcp",
            "ip4: icmp",
            "ip4: last fragment",
            "ip6: udp",
            "ip6: icmp6",
            "ip6: six extension headers",
        ):
            assert reference.process(frame_of(wanted, name)).reason == "forwarded", f"{name}: {wanted}"


def test_sources_of_forward_lie_where_the_dut_blackholes_them() -> None:
    martian = 0
    for packet in packets_of("100 routes"):
        frame = packet.frame
        if packet.name.startswith(("ip4: from", "ip6: from")):
            martian += 1
        elif frame[12:14] == b"\x08\x00" and len(frame) >= 34 and frame[14] >> 4 == 4:
            assert ipaddress.IPv4Address(frame[26:30]) in BENCH_SOURCES4, packet.name
            assert ipaddress.IPv4Address(frame[30:34]) not in BENCH_SOURCES4, packet.name
        elif frame[12:14] == b"\x86\xdd" and len(frame) >= 54 and frame[14] >> 4 == 6:
            assert ipaddress.IPv6Address(frame[22:38]) in BENCH_SOURCES6, packet.name
    assert martian == 10


def test_scapy_reads_the_same() -> None:
    """Frames built here, rebuilt by scapy with its own lengths and checksums, are the same bytes."""
    scapy = pytest.importorskip("scapy.all")
    same = 0
    for name in ("100 routes", "filter"):
        for packet in packets_of(name):
            ip4 = packet.name.startswith(("ip4:", "route", "rule")) and packet.frame[12:14] == b"\x08\x00"
            wrong = (
                "checksum",
                "length",
                "cut",
                "version",
                "IHL",
                "bytes of",
                "not zero",
                "fragment",
                "sctp",
                "header only",
            )
            if any(word in packet.name for word in wrong) or packet.frame[12:14] not in (
                b"\x08\x00",
                b"\x86\xdd",
            ):
                continue
            read = scapy.Ether(packet.frame)
            layer = scapy.IP if packet.frame[12:14] == b"\x08\x00" else scapy.IPv6
            assert layer in read, packet.name
            if ip4:
                del read[scapy.IP].chksum
                del read[scapy.IP].len
            elif layer is scapy.IPv6:
                del read[scapy.IPv6].plen
            for upper in (scapy.UDP, scapy.TCP, scapy.ICMP):
                if upper in read:
                    del read[upper].chksum
            assert bytes(read)[: len(packet.frame)] == packet.frame, packet.name
            same += 1
    assert same > 150


def test_scapy_sees_extension_headers_and_fragments() -> None:
    scapy = pytest.importorskip("scapy.all")
    read = scapy.Ether(frame_of("ip6: six extension headers"))
    assert [type(layer).__name__ for layer in iter_layers(read)][2:7] == [
        "IPv6ExtHdrHopByHop",
        "IPv6ExtHdrDestOpt",
        "IPv6ExtHdrRouting",
        "IPv6ExtHdrFragment",
        "AH",
    ]
    # scapy does not look behind AH, whose next header (60, destination options) is its first byte.
    assert bytes(read[scapy.AH])[0] == 60
    assert scapy.UDP in scapy.Ether(frame_of("ip6: three extension headers"))
    vlan = scapy.Ether(frame_of("eth: two VLAN tags"))
    assert vlan[scapy.Dot1Q].vlan == 5 or vlan[scapy.Dot1AD].vlan == 5
    middle = scapy.Ether(frame_of("ip4: middle fragment"))[scapy.IP]
    assert (middle.flags.MF, middle.frag) == (1, 185)


def iter_layers(packet: object) -> list[object]:
    layers = []
    while type(packet).__name__ != "NoPayload":
        layers.append(packet)
        packet = packet.payload  # type: ignore[attr-defined]
    return layers


@pytest.mark.parametrize("value", [0x0000, 0xFEFF, 0xFF00, 0xFEFE, 0x00FF])
def test_checksum_corners_are_met(value: int) -> None:
    frame = frame_of(f"ip4: checksum {value:#06x}")
    assert struct.unpack_from("!H", frame, 24)[0] == value


@pytest.mark.parametrize("name", ["one route", "100 routes", "filter"])
def test_marker_goes_to_tx_with_any_sequence_number(name: str) -> None:
    function, tables = TABLES[name]
    reference = Reference(function, tables, PORTS)
    frame = marker(reference)
    assert frame is not None and len(frame) >= 60
    assert frame[42:50] == MARKER and MARKER_SEQUENCE_AT == 50
    assert frame[40:42] == b"\0\0"  # no UDP checksum: it would change with the sequence number
    for number in (0, 1, 0xFFFFFFFF):
        outcome = reference.process(frame[:50] + struct.pack("<I", number) + frame[54:])
        assert outcome.port == 1


def test_marker_of_ipv6_only_tables_and_of_those_that_forward_nothing() -> None:
    v6 = Tables((Route(ipaddress.IPv6Network("2001:db8::/32"), "tx"),))
    frame = marker(Reference("forward", v6, PORTS))
    assert frame is not None and frame[12:14] == b"\x86\xdd"
    host = Tables((Route(ipaddress.IPv6Network("2001:db8::1/128"), "tx"),))
    assert marker(Reference("forward", host, PORTS)) is None
    assert (
        marker(Reference("forward", Tables((Route(ipaddress.IPv4Network("0.0.0.0/0"), "rx"),)), PORTS))
        is None
    )
    assert marker(Reference("drop", Tables(), PORTS)) is None
    assert marker(Reference("filter", Tables(ROUTES, (Rule("drop"),), True), PORTS)) is None


def test_files_are_as_the_contract_says() -> None:
    assert packets_file([Packet("a", b"xyz")]) == b"KBPK" + struct.pack("<III", 1, 1, 3) + b"xyz"
    group = Group(
        4, int(ipaddress.ip_address("198.18.0.1")), int(ipaddress.ip_address("10.0.0.1")), 1024, 1039, 53
    )
    six = Group(6, 1 << 120, 5, 1, 2, 3)
    blob = traffic_file([group, six], src_mac=b"SSSSSS", dst_mac=b"DDDDDD")
    assert len(blob) == 24 + 2 * 40
    assert blob[:24] == b"KBTR" + struct.pack("<I", 1) + b"SSSSSSDDDDDD" + struct.pack("<I", 2)
    assert blob[24:64] == (
        bytes([4, 17]) + struct.pack("<HHH", 1024, 1039, 53)
        + bytes([198, 18, 0, 1]) + bytes(12) + bytes([10, 0, 0, 1]) + bytes(12)
    )  # fmt: skip
    assert blob[72:104] == (1 << 120).to_bytes(16, "big") + (5).to_bytes(16, "big")
    with pytest.raises(ValueError, match="65 groups"):
        traffic_file([group] * 65, b"SSSSSS", b"DDDDDD")
