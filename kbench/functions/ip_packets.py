# SPDX-License-Identifier: GPL-2.0-only
"""Verification packets that any table gets: valid ones, and each way in which a header can be wrong.

See packets.py for what is left out and why. Each function yields (name, frame).
"""

from __future__ import annotations

import dataclasses
import ipaddress
import struct
from collections.abc import Iterator

from kbench.functions.frames import (
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    ICMP,
    ICMP6,
    MIN_FRAME,
    Ends,
    authentication_header,
    extension,
    fragment_header,
    pad_options,
    padded,
)
from kbench.functions.model import SCTP, TCP, UDP
from kbench.functions.reference import AUTHENTICATION, DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ROUTING

Named = tuple[str, bytes]

PROTOCOLS4 = {"udp": UDP, "tcp": TCP, "sctp": SCTP, "icmp": ICMP, "gre": 47}
PROTOCOLS6 = {"udp": UDP, "tcp": TCP, "sctp": SCTP, "icmp6": ICMP6, "no-next-header": 59}
UNKNOWN_ETHERTYPE = 0x88B5  # IEEE 802 local experimental
VLAN, SERVICE_VLAN = 0x8100, 0x88A8
VID = 5
MAX_FRAME = 1514
ROUTING_EXPERIMENT = 253  # RFC 4727; with no segments left it is for nobody on the way


def ethernet_packets(base4: Ends, base6: Ends) -> Iterator[Named]:
    """Frames that are not plain IP to this router."""
    other_macs = {
        "to broadcast MAC": b"\xff" * 6,
        "to IPv4 multicast MAC": bytes.fromhex("01005e000001"),
        "to IPv6 multicast MAC": bytes.fromhex("333300000001"),
        "to another host's MAC": bytes.fromhex("02deadbeef99"),
        "to our MAC but for the last bit": base4.dst_mac[:5] + bytes([base4.dst_mac[5] ^ 0x40]),
        "to our MAC but for the first byte": bytes([base4.dst_mac[0] ^ 0x40]) + base4.dst_mac[1:],
    }
    for name, mac in other_macs.items():
        yield f"eth: {name}", padded(dataclasses.replace(base4, dst_mac=mac).udp())
    yield (
        "eth: IPv6 to another host's MAC",
        dataclasses.replace(base6, dst_mac=bytes.fromhex("02deadbeef99")).udp(),
    )
    ipv4 = base4.udp()[14:]
    yield "eth: unknown ethertype", padded(base4.ethernet(ipv4, UNKNOWN_ETHERTYPE))
    yield "eth: 802.3 length", padded(base4.ethernet(ipv4, len(ipv4)))
    yield "eth: VLAN tag", _tagged(base4.udp(), VLAN)
    yield "eth: VLAN tag, IPv6", _tagged(base6.udp(), VLAN)
    yield "eth: two VLAN tags", _tagged(_tagged(base4.udp(), VLAN), SERVICE_VLAN)
    yield "eth: IPv4 with the ethertype of IPv6", padded(base4.ethernet(ipv4, ETHERTYPE_IPV6))
    yield "eth: IPv6 with the ethertype of IPv4", base6.ethernet(base6.udp()[14:], ETHERTYPE_IPV4)
    yield "eth: header only, IPv4", base4.ethernet(b"")
    yield "eth: header only, IPv6", base6.ethernet(b"")


def _tagged(frame: bytes, ethertype: int) -> bytes:
    return padded(frame[:12] + struct.pack("!HH", ethertype, VID) + frame[12:])


def ipv4_packets(base: Ends) -> Iterator[Named]:
    """IPv4, right and wrong."""
    for name, protocol in PROTOCOLS4.items():
        yield f"ip4: {name}", padded(base.frame(protocol, base.upper(protocol)))
    udp = base.upper(UDP)
    yield "ip4: largest frame", base.udp(bytes(MAX_FRAME - 42))
    yield "ip4: no payload, padded", padded(base.udp(b""))
    yield "ip4: not padded", base.udp(b"")
    yield "ip4: header only", padded(base.frame(UDP, b""))
    yield "ip4: padding that is not zero", base.udp(b"") + b"\xa5" * (MIN_FRAME - 42)
    for ttl in (0, 1, 2, 255):
        yield f"ip4: TTL {ttl}", padded(base.udp(hops=ttl))
    yield "ip4: DSCP and ECN", padded(_patched(base.udp(), 15, b"\xb9"))

    def packet(name: str, **fields: int | bytes | None) -> Named:
        return f"ip4: {name}", padded(base.ethernet(base.ipv4(UDP, udp, **fields)))  # type: ignore[arg-type]

    yield packet("do not fragment", fragment=0x4000)
    yield packet("first fragment", fragment=0x2000)
    yield packet("middle fragment", fragment=0x2000 | 185)
    yield packet("last fragment", fragment=370)
    yield packet("fragment offset 1", fragment=1)
    yield packet("options, 4 bytes", options=b"\1\1\1\0")
    yield packet("options, 12 bytes", options=b"\1" * 8 + b"\0" * 4)
    yield packet("options, 40 bytes", options=b"\1" * 39 + b"\0")
    yield packet("options and wrong checksum", options=b"\1" * 3 + b"\0", checksum=0x1234)
    yield packet("options that a first fragment has too", options=b"\1\1\1\0", fragment=0x2000)
    yield packet("version 6", version_ihl=0x65)
    yield packet("version 0", version_ihl=0x05)
    yield packet("IHL 0", version_ihl=0x40)
    yield packet("IHL 4", version_ihl=0x44)
    yield packet("IHL 15 in a short packet", version_ihl=0x4F)
    yield packet("total length 0", total=0)
    yield packet("total length 19", total=19)
    yield packet("total length beyond the frame", total=1500)
    yield packet("total length one beyond the frame", total=MIN_FRAME - 14 + 1)
    yield packet("wrong checksum", checksum=0x1234)
    right = struct.unpack_from("!H", base.ipv4(UDP, udp), 10)[0]
    yield packet("checksum off by one", checksum=(right + 1) & 0xFFFF)
    yield packet("checksum with its bytes swapped", checksum=right >> 8 | (right & 0xFF) << 8)
    # The sums at which an update without carry, or with one too many, goes wrong (RFC 1624 section 3).
    for value in (0x0000, 0xFEFF, 0xFF00, 0xFEFE, 0x00FF):
        yield packet(f"checksum {value:#06x}", ident=base.ident_for(UDP, udp, value))
    # The other zero of one's complement: a sum of -0 passes RFC 1071's check.
    yield packet("checksum 0xffff for 0x0000", ident=base.ident_for(UDP, udp, 0), checksum=0xFFFF)
    for source in ("0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.5", "239.1.1.1", "255.255.255.255"):
        ends = dataclasses.replace(base, src=int(ipaddress.IPv4Address(source)))
        yield f"ip4: from {source}", padded(ends.udp())
    for destination in ("0.0.0.0", "0.0.0.1", "127.0.0.1", "224.0.0.251", "239.1.1.1", "255.255.255.255"):
        ends = dataclasses.replace(base, dst=int(ipaddress.IPv4Address(destination)))
        yield f"ip4: to {destination}", padded(ends.udp())
    yield from _truncated4(base)


def _truncated4(base: Ends) -> Iterator[Named]:
    """Cut at each boundary: frames that end too early, and packets that say so in their length."""
    frame = base.frame(TCP, base.upper(TCP))
    options = base.ethernet(base.ipv4(UDP, base.upper(UDP), options=b"\1" * 7 + b"\0"))
    for at, what in ((1, "after a byte"), (19, "a byte before the header's end"), (20, "after the header")):
        yield f"ip4: cut {what}", frame[: 14 + at]
    yield "ip4: cut in the options", options[: 14 + 24]
    yield "ip4: cut after the options", options[: 14 + 28]
    yield "ip4: cut in the ports", frame[: 14 + 22]
    yield "ip4: cut a byte before the packet's end", frame[:-1]
    for bytes_ in (0, 1, 3, 4, 7):
        yield f"ip4: {bytes_} bytes of UDP", padded(base.frame(UDP, base.upper(UDP)[:bytes_]))
        yield f"ip4: {bytes_} bytes of TCP, not padded", base.frame(TCP, base.upper(TCP)[:bytes_])


def ipv6_packets(base: Ends, link_local: bool) -> Iterator[Named]:
    """IPv6, right and wrong. `link_local`: with sources that only kbench's datapaths must drop in silence."""
    for name, protocol in PROTOCOLS6.items():
        yield f"ip6: {name}", base.frame(protocol, base.upper(protocol))
    udp = base.upper(UDP)
    yield "ip6: largest frame", base.udp(bytes(MAX_FRAME - 62))
    yield "ip6: padding behind the packet", base.udp() + b"\xa5" * 8
    yield "ip6: no payload", padded(base.frame(59, b""))
    for hops in (0, 1, 2, 255):
        yield f"ip6: hop limit {hops}", base.udp(hops=hops)
    yield "ip6: traffic class and flow label", _patched(base.udp(), 14, bytes.fromhex("6b9abcde"))
    for version in (4, 5, 0):
        yield f"ip6: version {version}", base.ethernet(base.ipv6(UDP, udp, version=version))
    yield "ip6: payload length one too long", base.ethernet(base.ipv6(UDP, udp, payload_bytes=len(udp) + 1))
    yield "ip6: payload length 65535", base.ethernet(base.ipv6(UDP, udp, payload_bytes=65535))
    yield "ip6: payload length too short", base.ethernet(base.ipv6(UDP, udp, payload_bytes=len(udp) - 2))
    sources = ["::", "::1", "ff0e::1", "::ffff:192.0.2.1"] + (["fe80::1", "febf::1"] if link_local else [])
    for source in sources:
        yield f"ip6: from {source}", dataclasses.replace(base, src=int(ipaddress.IPv6Address(source))).udp()
    for destination in ["::1", "ff0e::1"] + (["::", "fe80::7"] if link_local else []):
        yield (
            f"ip6: to {destination}",
            dataclasses.replace(base, dst=int(ipaddress.IPv6Address(destination))).udp(),
        )
    full = base.udp()
    for at, what in ((1, "after a byte"), (39, "a byte before the header's end"), (40, "after the header")):
        yield f"ip6: cut {what}", full[: 14 + at]
    yield "ip6: cut a byte before the packet's end", full[:-1]
    for bytes_ in (0, 1, 3, 4, 7):
        yield f"ip6: {bytes_} bytes of UDP", base.frame(UDP, udp[:bytes_])
    yield from _extensions(base)


def _extensions(base: Ends) -> Iterator[Named]:
    udp, tcp = base.upper(UDP), base.upper(TCP)
    small = pad_options(6)

    def chain(*protocols: int, last: int = UDP, upper: bytes = udp) -> bytes:
        """A frame with these extension headers, in this order, 8 bytes each (AH 16)."""
        data, following = upper, last
        for protocol in reversed(protocols):
            if protocol == FRAGMENT:
                data = fragment_header(following, 0, False) + data
            elif protocol == AUTHENTICATION:
                data = authentication_header(following, bytes(4)) + data
            elif protocol == ROUTING:
                data = extension(following, bytes([ROUTING_EXPERIMENT, 0, 0, 0, 0, 0])) + data
            else:
                data = extension(following, small) + data
            following = protocol
        return base.frame(following, data)

    yield "ip6: hop-by-hop options", chain(HOP_BY_HOP)
    yield "ip6: hop-by-hop options and TCP", chain(HOP_BY_HOP, last=TCP, upper=tcp)
    yield "ip6: destination options", chain(DESTINATION_OPTIONS)
    yield "ip6: routing header", chain(ROUTING)
    yield "ip6: fragment header of a whole packet", chain(FRAGMENT)
    yield "ip6: authentication header", chain(AUTHENTICATION)
    yield "ip6: authentication header and TCP", chain(AUTHENTICATION, last=TCP, upper=tcp)
    yield "ip6: hop-by-hop and nothing more", chain(HOP_BY_HOP, last=59, upper=b"")
    longest = (HOP_BY_HOP, DESTINATION_OPTIONS, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION_OPTIONS)
    yield "ip6: three extension headers", chain(*longest[:3])
    yield "ip6: six extension headers", chain(*longest)
    yield "ip6: seven extension headers", chain(*longest, DESTINATION_OPTIONS)
    for blocks, what in ((25, "just in reach"), (26, "at the end of reach"), (27, "out of reach")):
        # 40 bytes of IPv6 and `blocks` of 8: ports at 240, 248 (readable) and 256 (beyond HEADERS_WITHIN_BYTES).
        yield (
            f"ip6: ports {what}",
            base.frame(DESTINATION_OPTIONS, extension(UDP, pad_options(8 * blocks - 2)) + udp),
        )
    for blocks, what in ((26, "at the end of reach"), (27, "out of reach")):
        data = extension(DESTINATION_OPTIONS, pad_options(8 * blocks - 2)) + extension(59, small)
        yield f"ip6: last extension header {what}", base.frame(DESTINATION_OPTIONS, data)
    beyond = extension(59, pad_options(14))[:8]
    yield "ip6: options that reach beyond the packet", base.frame(DESTINATION_OPTIONS, beyond)
    for offset, more, what in ((0, True, "first"), (1448, True, "middle"), (2896, False, "last")):
        data = fragment_header(UDP, offset, more) + udp
        yield f"ip6: {what} fragment", base.frame(FRAGMENT, data)
    behind = extension(UDP, small) + udp
    yield (
        "ip6: first fragment with options in it",
        base.frame(FRAGMENT, fragment_header(DESTINATION_OPTIONS, 0, True) + behind),
    )
    yield (
        "ip6: later fragment of options",
        base.frame(FRAGMENT, fragment_header(DESTINATION_OPTIONS, 8, False) + behind),
    )
    headers = {
        "destination options": (DESTINATION_OPTIONS, extension(UDP, pad_options(14)) + udp, 16),
        "routing header": (ROUTING, extension(UDP, bytes([ROUTING_EXPERIMENT]) + bytes(5)) + udp, 8),
        "fragment header": (FRAGMENT, fragment_header(UDP, 0, False) + udp, 8),
        "authentication header": (AUTHENTICATION, authentication_header(UDP, bytes(12)) + udp, 24),
    }
    for name, (protocol, data, size) in headers.items():
        frame = base.frame(protocol, data)
        yield f"ip6: frame cut in the {name}", frame[: 54 + size - 4]
        yield f"ip6: frame cut after the {name}", frame[: 54 + size]
        yield f"ip6: packet that ends in the {name}", base.frame(protocol, data[: size - 4])
        yield f"ip6: packet that ends after the {name}", base.frame(protocol, data[:size])


def _patched(frame: bytes, at: int, with_: bytes) -> bytes:
    """The frame with bytes replaced and, for IPv4, its checksum made right again."""
    frame = frame[:at] + with_ + frame[at + len(with_) :]
    if frame[12:14] == b"\x08\x00":
        from_sum = struct.unpack("!10H", frame[14:24] + b"\0\0" + frame[26:34])
        total = sum(from_sum)
        while total > 0xFFFF:
            total = (total & 0xFFFF) + (total >> 16)
        frame = frame[:24] + struct.pack("!H", ~total & 0xFFFF) + frame[26:]
    return frame
