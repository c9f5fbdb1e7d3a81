# SPDX-License-Identifier: GPL-2.0-only
"""The packets that prove a datapath right before it is measured, and the files that carry packets and traffic.

The set for `forward` is the same for kbench's own datapaths and for the kernel's ip_forward, so it leaves out
what Linux is free to treat in its own way:

- IPv4 options other than NOP and end-of-list: the kernel acts upon record-route and timestamp itself;
- VLAN ID 0 (a priority tag), which is no VLAN to the kernel, so that the frame would be forwarded;
- hop-by-hop options other than a few bytes of PadN, cut off ones and jumbograms: ip6_rcv() reads them;
- link-local IPv6 addresses (they bring neighbour discovery with them), :: as a destination, 240/4;
- broadcast frames that anybody would answer (ARP, neighbour discovery).

Sources lie in the benchmark's own networks, which the DUT blackholes, so that the ICMP errors of the kernel don't
come back.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from kbench.functions.flows import FlowFinder, Group
from kbench.functions.frames import Ends, padded
from kbench.functions.ip_packets import Named, ethernet_packets, ipv4_packets, ipv6_packets
from kbench.functions.model import Port, Tables
from kbench.functions.reference import Reference
from kbench.functions.table_packets import route_packets, rule_packets
from kbench.model import Function

MARKER = b"KBMARKER"
MARKER_SEQUENCE_AT = 50
"""Where kb-inject writes its sequence number: 32 bits, little-endian, from the frame's start."""
GROUPS_MAX = 64
_MARKER_CANDIDATES = 200


@dataclass(frozen=True)
class Packet:
    """A frame, without FCS, and what it is there for."""

    name: str
    frame: bytes


def verification_packets(
    tables: Tables, function: Function, ports: Sequence[Port | tuple[bytes, bytes]], seed: int
) -> list[Packet]:
    """The packets for these tables, at least 60, each with a name of its own.

    Most are variations of one packet that the tables forward, if they forward any.
    """
    reference = Reference(function, tables, ports)
    base4, base6 = (_base(reference, family, seed) for family in (4, 6))
    named = [
        *ethernet_packets(base4, base6),
        *ipv4_packets(base4),
        *ipv6_packets(base6, link_local=function != "forward"),
        *_routed(reference, route_packets(reference, base4, base6)),
        *(rule_packets(reference, seed) if function == "filter" else ()),
    ]
    packets: dict[str, Packet] = {}
    for name, frame in named:
        if name in packets:
            raise AssertionError(f"two packets are called {name}")
        packets[name] = Packet(name, frame)
    return list(packets.values())


def marker(reference: Reference) -> bytes | None:
    """A frame that is forwarded to tx whatever 4 bytes stand at MARKER_SEQUENCE_AT, or None: there is no such.

    In IPv4 that is behind MARKER in the payload of a UDP datagram without checksum. Where only IPv6 is
    forwarded these bytes are the end of the destination address, and the route has to leave them free.
    """
    if reference.function == "drop":
        return None
    for group in _first(FlowFinder(reference, 4, seed=0).forwarded(), 1):
        ends = group.ends(reference)
        payload = MARKER + bytes(10)
        udp = struct.pack("!HHHH", ends.sport, ends.dport, 8 + len(payload), 0) + payload
        return padded(ends.frame(17, udp))
    for group in _first(FlowFinder(reference, 6, seed=0).forwarded(), _MARKER_CANDIDATES):
        frame = group.ends(reference).udp(MARKER)
        if all(_goes_to_tx(reference, frame, number) for number in (*range(256), 1 << 24, 0xFFFFFFFF)):
            return frame
    return None


def _goes_to_tx(reference: Reference, frame: bytes, number: int) -> bool:
    at = MARKER_SEQUENCE_AT
    return reference.process(frame[:at] + struct.pack("<I", number) + frame[at + 4 :]).port == 1


def _routed(reference: Reference, named: Iterable[Named]) -> Iterator[Named]:
    """Those packets that get as far as the routes: a filter's rules stop most of them."""
    return (item for item in named if reference.process(item[1]).reason != "policy")


def _first(groups: Iterable[Group], count: int) -> Iterable[Group]:
    for group, _ in zip(groups, range(count), strict=False):
        yield group


def _base(reference: Reference, family: int, seed: int) -> Ends:
    """What packets are variations of: forwarded if that can be, best by a rule for all protocols."""
    finder = FlowFinder(reference, family, seed)
    for group in _first(finder.forwarded_with_any_protocol(), 1):
        return group.ends(reference)
    for group in finder.forwarded():
        return group.ends(reference)
    return finder.unbound().ends(reference)


def packets_file(packets: Sequence[Packet]) -> bytes:
    """The KBPK file of docs/programs.md."""
    body = b"".join(struct.pack("<I", len(p.frame)) + p.frame for p in packets)
    return b"KBPK" + struct.pack("<II", 1, len(packets)) + body


def traffic_file(groups: Sequence[Group], src_mac: bytes, dst_mac: bytes) -> bytes:
    """The KBTR file of docs/programs.md."""
    if not 1 <= len(groups) <= GROUPS_MAX:
        raise ValueError(f"{len(groups)} groups, not 1 to {GROUPS_MAX}")
    body = b"".join(_group_record(group) for group in groups)
    return b"KBTR" + struct.pack("<I6s6sI", 1, src_mac, dst_mac, len(groups)) + body


def _group_record(group: Group) -> bytes:
    size = 4 if group.family == 4 else 16
    return struct.pack(
        "<BBHHH16s16s",
        group.family,
        17,
        group.sport_lo,
        group.sport_hi,
        group.dport,
        group.src.to_bytes(size, "big"),
        group.dst.to_bytes(size, "big"),
    )
