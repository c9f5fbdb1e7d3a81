# SPDX-License-Identifier: GPL-2.0-only
"""The reference model: what a function has to do with a frame, written from the RFCs, to be read.

Every datapath is compared with it before it is measured. It shares nothing with core/ and with the
image's compiler: it keeps routes and rules as they are, and tries the rules one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kbench.functions.model import (
    MARTIAN_DESTINATIONS,
    PORT_RX,
    PORT_TX,
    PROTOCOLS_WITH_PORTS,
    Network,
    Out,
    Port,
    PortRange,
    Rule,
    Tables,
)
from kbench.model import Function

REASONS = (
    "forwarded",
    "passed",
    "policy",
    "no_route",
    "discard",
    "ttl",
    "malformed",
    "checksum",
    "martian",
)
"""KB_REASONS of core/function.h, in order."""

ETHERNET_BYTES = 14
IPV4, IPV6 = 0x0800, 0x86DD

HEADERS_WITHIN_BYTES = 256
"""How far from the IP header's start the filter looks for headers; beyond is malformed."""
EXTENSIONS_MAX = 6
"""Extension headers that the filter follows; one more is malformed."""

HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION_OPTIONS = 0, 43, 44, 51, 60
_EXTENSIONS = (HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION_OPTIONS)

_PORT_OF_OUT: dict[Out, int] = {"rx": PORT_RX, "tx": PORT_TX}


@dataclass(frozen=True)
class Outcome:
    """What becomes of a frame: `reason` is one of REASONS.

    Forwarded frames have a port (0 rx, 1 tx) and the frame as it leaves, cut at the IP packet's
    end: Ethernet padding is no part of the packet (RFC 894), so a datapath may carry it on or not.
    """

    reason: str
    port: int | None = None
    frame: bytes | None = None


@dataclass(frozen=True)
class Flow:
    """What a filter knows of a packet. Ports are None where the packet has none to look at."""

    family: int
    src: int
    dst: int
    protocol: int
    sport: int | None = None
    dport: int | None = None


class Dropped(Exception):
    """Ends the way of a packet inside `Reference`; the reason."""


class _Prefixes:
    """Longest-prefix match over {(length, network): value}, one look per length, longest first."""

    def __init__(self, width: int, entries: Iterable[tuple[Network, Out]]) -> None:
        self._width = width
        self._by_length: dict[int, dict[int, Out]] = {}
        for prefix, out in entries:
            self._by_length.setdefault(prefix.prefixlen, {})[int(prefix.network_address)] = out
        self._lengths = sorted(self._by_length, reverse=True)

    def longest(self, address: int) -> Out | None:
        for length in self._lengths:
            low_bits = self._width - length
            out = self._by_length[length].get(address >> low_bits << low_bits)
            if out is not None:
                return out
        return None


class _Matcher:
    """One rule, with its prefixes as address ranges."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._src = _address_range(rule.src)
        self._dst = _address_range(rule.dst)

    def matches(self, flow: Flow, look_at_sport: bool = True) -> bool:
        rule = self.rule
        return (
            rule.family in (None, flow.family)
            and _within(flow.src, self._src)
            and _within(flow.dst, self._dst)
            and rule.protocol in (None, flow.protocol)
            and _within(flow.dport, rule.dport)
            and (not look_at_sport or _within(flow.sport, rule.sport))
        )


def _address_range(prefix: Network | None) -> tuple[int, int] | None:
    if prefix is None:
        return None
    return int(prefix.network_address), int(prefix.broadcast_address)


def _within(value: int | None, bounds: PortRange | None) -> bool:
    """A field that the rule does not look at always fits; one that the packet lacks never fits a range."""
    return bounds is None or (value is not None and bounds[0] <= value <= bounds[1])


class Reference:
    """A DUT with its tables and its two ports (rx, tx), as a model."""

    def __init__(
        self, function: Function, tables: Tables, ports: Sequence[Port | tuple[bytes, bytes]]
    ) -> None:
        self.function = function
        self.tables = tables
        self.ports = tuple(Port(*port) for port in ports)
        self._routes = {
            4: _Prefixes(32, ((r.prefix, r.out) for r in tables.routes if r.prefix.version == 4)),
            6: _Prefixes(128, ((r.prefix, r.out) for r in tables.routes if r.prefix.version == 6)),
        }
        self._rules = [_Matcher(rule) for rule in tables.rules]

    def process(self, frame: bytes) -> Outcome:
        """What becomes of a frame (without FCS) that arrives on port rx."""
        try:
            return self._process(frame)
        except Dropped as dropped:
            return Outcome(str(dropped))

    def route(self, family: int, dst: int) -> Out | None:
        """Where a destination's packets go; None is no route. Martian destinations are discarded."""
        if any(
            m.version == family and int(m.network_address) <= dst <= int(m.broadcast_address)
            for m in MARTIAN_DESTINATIONS
        ):
            return "discard"
        return self._routes[family].longest(dst)

    def matching_rule(self, flow: Flow) -> Rule | None:
        """The first rule that matches, or None: the default policy."""
        return next((m.rule for m in self._rules if m.matches(flow)), None)

    def accepts(self, flow: Flow) -> bool:
        """Does the filter let this pass?"""
        rule = self.matching_rule(flow)
        return self.tables.default_accept if rule is None else rule.action == "accept"

    def source_ports_that_matter(self, flow: Flow) -> set[int]:
        """Source ports at which the first matching rule of a flow can change, beginnings of spans."""
        at = set()
        for matcher in self._rules:
            if matcher.rule.sport is not None and matcher.matches(flow, look_at_sport=False):
                at |= {matcher.rule.sport[0], matcher.rule.sport[1] + 1}
        return at

    def _process(self, frame: bytes) -> Outcome:
        if len(frame) < ETHERNET_BYTES:
            raise Dropped("malformed")
        if frame[:6] != self.ports[PORT_RX].mac:
            raise Dropped("passed")  # RFC 1812 5.3.4: not to our link-layer address
        ethertype = int.from_bytes(frame[12:14], "big")
        if ethertype not in (IPV4, IPV6):
            raise Dropped("passed")
        if self.function == "drop":
            raise Dropped("policy")
        payload = frame[ETHERNET_BYTES:]
        out, packet = self._ipv4(payload) if ethertype == IPV4 else self._ipv6(payload)
        if out is None:
            raise Dropped("no_route")
        if out == "discard":
            raise Dropped("discard")
        port = _PORT_OF_OUT[out]
        header = self.ports[port].next_hop + self.ports[port].mac + frame[12:14]
        return Outcome("forwarded", port, header + packet)

    def _ipv4(self, payload: bytes) -> tuple[Out | None, bytes]:
        """Checks and forwards as RFC 1812 5.2 and 5.3 say. Route, and the packet one hop on."""
        if len(payload) < 20 or payload[0] >> 4 != 4:
            raise Dropped("malformed")
        header_bytes = (payload[0] & 15) * 4
        total = int.from_bytes(payload[2:4], "big")
        if not 20 <= header_bytes <= total <= len(payload):
            raise Dropped("malformed")
        packet = payload[:total]
        if ones_complement_sum(packet[:header_bytes]) != 0xFFFF:
            raise Dropped("checksum")
        src, dst = int.from_bytes(packet[12:16], "big"), int.from_bytes(packet[16:20], "big")
        # RFC 1812 5.3.7: "this" host, loopback, multicast and broadcast can't be sources. The rest of 0.0.0.0/8
        # can, as it can in the kernel since commit 96125bf9985a.
        if src == 0 or src >> 24 == 127 or src >> 28 == 14 or src == 0xFFFFFFFF:
            raise Dropped("martian")
        ttl, protocol = packet[8], packet[9]
        if self.function == "filter":
            later_fragment = int.from_bytes(packet[6:8], "big") & 0x1FFF != 0
            sport = dport = None
            if protocol in PROTOCOLS_WITH_PORTS and not later_fragment:
                sport, dport = _ports(packet, header_bytes)
            self._filter(Flow(4, src, dst, protocol, sport, dport))
        if ttl < 2:
            raise Dropped("ttl")
        # RFC 1624 equation 3: HC' = ~(~HC + ~m + m'), m being the word of TTL and protocol.
        old = int.from_bytes(packet[8:10], "big")
        checksum = int.from_bytes(packet[10:12], "big")
        checksum = ~fold((~checksum & 0xFFFF) + (~old & 0xFFFF) + (old - 0x100)) & 0xFFFF
        changed = bytes([ttl - 1, protocol]) + checksum.to_bytes(2, "big")
        return self.route(4, dst), packet[:8] + changed + packet[12:]

    def _ipv6(self, payload: bytes) -> tuple[Out | None, bytes]:
        """Checks and forwards as RFC 8200 says. Route, and the packet one hop on."""
        if len(payload) < 40 or payload[0] >> 4 != 6:
            raise Dropped("malformed")
        total = 40 + int.from_bytes(payload[4:6], "big")
        if total > len(payload):
            raise Dropped("malformed")
        packet = payload[:total]
        src, dst = int.from_bytes(packet[8:24], "big"), int.from_bytes(packet[24:40], "big")
        # RFC 4291 2.5 and 2.7: unspecified, loopback, link-local, multicast.
        if src in (0, 1) or src >> 118 == 0xFE80 >> 6 or src >> 120 == 0xFF:
            raise Dropped("martian")
        if self.function == "filter":
            self._filter(ipv6_flow(packet, src, dst))
        if packet[7] < 2:
            raise Dropped("ttl")
        return self.route(6, dst), packet[:7] + bytes([packet[7] - 1]) + packet[8:]

    def _filter(self, flow: Flow) -> None:
        if not self.accepts(flow):
            raise Dropped("policy")


def ipv6_flow(packet: bytes, src: int, dst: int) -> Flow:
    """Follows the chain of extension headers (RFC 8200 section 4) to the upper-layer protocol.

    Raises Dropped("malformed") if a header does not lie wholly in the packet and within
    HEADERS_WITHIN_BYTES, or if there are more than EXTENSIONS_MAX.
    """
    protocol, at = packet[6], 40
    followed = 0
    while protocol in _EXTENSIONS:
        if followed == EXTENSIONS_MAX:
            raise Dropped("malformed")
        followed += 1
        header = packet[at : at + 8]
        if len(header) < 8 or at + 8 > HEADERS_WITHIN_BYTES:
            raise Dropped("malformed")
        if protocol == FRAGMENT:
            length = 8
            if int.from_bytes(header[2:4], "big") >> 3:
                return Flow(6, src, dst, header[0])  # not the first fragment: no ports here
        elif protocol == AUTHENTICATION:
            length = (header[1] + 2) * 4  # RFC 4302 2.2
        else:
            length = (header[1] + 1) * 8
        protocol, at = header[0], at + length
        if at > len(packet):
            raise Dropped("malformed")
    sport = dport = None
    if protocol in PROTOCOLS_WITH_PORTS:
        sport, dport = _ports(packet, at)
    return Flow(6, src, dst, protocol, sport, dport)


def _ports(packet: bytes, at: int) -> tuple[int, int]:
    """The ports of UDP, TCP and SCTP. A packet too short for them is dropped, as RFC 1858 advises filters."""
    if at + 4 > min(len(packet), HEADERS_WITHIN_BYTES):
        raise Dropped("malformed")
    return int.from_bytes(packet[at : at + 2], "big"), int.from_bytes(packet[at + 2 : at + 4], "big")


def fold(total: int) -> int:
    """A sum of 16-bit words with its carries added in (RFC 1071)."""
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def ones_complement_sum(data: bytes) -> int:
    """RFC 1071's sum over an even number of bytes; 0xffff over a header whose checksum is right."""
    return fold(sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)))
