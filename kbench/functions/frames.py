# SPDX-License-Identifier: GPL-2.0-only
"""Builds frames for verification, field by field, so that any field can also be wrong."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from kbench.functions.model import SCTP, TCP, UDP
from kbench.functions.reference import ones_complement_sum

ETHERTYPE_IPV4, ETHERTYPE_IPV6 = 0x0800, 0x86DD
ICMP, ICMP6 = 1, 58
MIN_FRAME = 60
"""Shortest Ethernet frame, without FCS."""
TTL = 64


@dataclass(frozen=True)
class Ends:
    """Source and destination of a packet: MACs, family, addresses as numbers, ports."""

    src_mac: bytes
    dst_mac: bytes
    family: int
    src: int
    dst: int
    sport: int = 1024
    dport: int = 9

    def ethernet(self, packet: bytes, ethertype: int | None = None) -> bytes:
        """The packet in a frame, without padding."""
        if ethertype is None:
            ethertype = ETHERTYPE_IPV4 if self.family == 4 else ETHERTYPE_IPV6
        return self.dst_mac + self.src_mac + struct.pack("!H", ethertype) + packet

    def addresses(self) -> bytes:
        """Source and destination in network order."""
        size = 4 if self.family == 4 else 16
        return self.src.to_bytes(size, "big") + self.dst.to_bytes(size, "big")

    def upper(self, protocol: int, payload: bytes = b"kbench") -> bytes:
        """The transport layer's bytes, with its checksum; any other protocol is just the payload."""
        ports = struct.pack("!HH", self.sport, self.dport)
        if protocol == UDP:
            header = ports + struct.pack("!HH", 8 + len(payload), 0)
            checksum = self._checksum(protocol, header + payload) or 0xFFFF  # RFC 768: 0 means none
            return ports + struct.pack("!HH", 8 + len(payload), checksum) + payload
        if protocol == TCP:
            header = ports + struct.pack("!IIBBHHH", 1, 0, 5 << 4, 0x02, 1024, 0, 0)
            checksum = self._checksum(protocol, header + payload)
            return header[:16] + struct.pack("!H", checksum) + header[18:] + payload
        if protocol == SCTP:
            # An INIT chunk's type with no body; the CRC32c is left 0, for nobody on the way looks at it.
            return ports + struct.pack("!IIBBH", 0, 0, 1, 0, 4) + payload
        if protocol in (ICMP, ICMP6):
            echo = 8 if protocol == ICMP else 128
            body = struct.pack("!HH", self.sport, 1) + payload
            message = struct.pack("!BBH", echo, 0, 0) + body
            checksum = self._checksum(protocol, message)
            return struct.pack("!BBH", echo, 0, checksum) + body
        return payload

    def _checksum(self, protocol: int, data: bytes) -> int:
        pseudo = (
            b"" if protocol == ICMP else self.addresses() + struct.pack("!IHBB", len(data), 0, 0, protocol)
        )
        return ~ones_complement_sum(pseudo + data + bytes(len(data) % 2)) & 0xFFFF

    def ipv4(
        self,
        protocol: int,
        upper: bytes,
        *,
        ttl: int = TTL,
        fragment: int = 0,
        options: bytes = b"",
        ident: int = 1,
        version_ihl: int | None = None,
        total: int | None = None,
        checksum: int | None = None,
    ) -> bytes:
        """An IPv4 packet. `options` is a multiple of 4 bytes; None fields are made right."""
        header_bytes = 20 + len(options)
        if version_ihl is None:
            version_ihl = 0x40 | header_bytes // 4
        if total is None:
            total = header_bytes + len(upper)
        head = struct.pack("!BBHHHBB", version_ihl, 0, total, ident, fragment, ttl, protocol)
        tail = self.addresses() + options
        if checksum is None:
            checksum = ~ones_complement_sum(head + b"\0\0" + tail) & 0xFFFF
        return head + struct.pack("!H", checksum) + tail + upper

    def ident_for(self, protocol: int, upper: bytes, checksum: int) -> int:
        """The identification that gives a plain header (TTL 64) this checksum."""
        packet = self.ipv4(protocol, upper, ident=0, checksum=0)
        return ((~checksum & 0xFFFF) - ones_complement_sum(packet[:20])) % 0xFFFF

    def ipv6(
        self,
        next_header: int,
        upper: bytes,
        *,
        hop_limit: int = TTL,
        version: int = 6,
        payload_bytes: int | None = None,
    ) -> bytes:
        """An IPv6 packet; `upper` begins with the extension headers."""
        if payload_bytes is None:
            payload_bytes = len(upper)
        head = struct.pack("!IHBB", version << 28, payload_bytes, next_header, hop_limit)
        return head + self.addresses() + upper

    def udp(self, payload: bytes = b"kbench", hops: int = TTL) -> bytes:
        """A whole frame with a UDP datagram."""
        return self.frame(UDP, self.upper(UDP, payload), hops)

    def frame(self, protocol: int, upper: bytes, hops: int = TTL) -> bytes:
        """A whole frame with this above IP, without padding."""
        if self.family == 4:
            return self.ethernet(self.ipv4(protocol, upper, ttl=hops))
        return self.ethernet(self.ipv6(protocol, upper, hop_limit=hops))


def padded(frame: bytes, to_bytes: int = MIN_FRAME) -> bytes:
    """The frame with Ethernet padding."""
    return frame + bytes(max(0, to_bytes - len(frame)))


def pad_options(bytes_: int) -> bytes:
    """Options for an extension header: one PadN option of this many bytes, type and length included."""
    return bytes([1, bytes_ - 2]) + bytes(bytes_ - 2)


def extension(next_header: int, data: bytes) -> bytes:
    """A hop-by-hop, destination options or routing header; `data` begins at its third byte."""
    if (2 + len(data)) % 8:
        raise ValueError("an extension header is a multiple of 8 bytes")
    return bytes([next_header, (2 + len(data)) // 8 - 1]) + data


def fragment_header(next_header: int, offset_bytes: int, more: bool, ident: int = 1) -> bytes:
    """RFC 8200 4.5."""
    return struct.pack("!BBHI", next_header, 0, offset_bytes | more, ident)


def authentication_header(next_header: int, icv: bytes) -> bytes:
    """RFC 4302 section 2; the length counts 4-byte words less 2."""
    return struct.pack("!BBHII", next_header, (12 + len(icv)) // 4 - 2, 0, 256, 1) + icv
