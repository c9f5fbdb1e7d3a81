# SPDX-License-Identifier: GPL-2.0-only
"""The tables of a function, and the address space that all of kbench treats as special."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Literal, NamedTuple

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Out = Literal["tx", "rx", "discard"]
Action = Literal["accept", "drop"]
Family = Literal[4, 6]
PortRange = tuple[int, int]
"""Lowest and highest port, both included."""

RULES_MAX = 10_000
"""KB_RULES_MAX of core/image.h."""
ROUTES_MAX = 1_000_000

PORT_RX, PORT_TX = 0, 1
"""Port numbers of the image: packets come in by rx; generated tables send them out by tx."""

TCP, UDP, SCTP = 6, 17, 132
PROTOCOLS_WITH_PORTS = frozenset({TCP, UDP, SCTP})

MARTIAN_DESTINATIONS: tuple[Network, ...] = tuple(
    ipaddress.ip_network(p)
    for p in (
        "0.0.0.0/32",
        "127.0.0.0/8",
        "224.0.0.0/4",
        "255.255.255.255/32",
        "::/128",
        "::1/128",
        "fe80::/10",
        "ff00::/8",
    )
)
"""Destinations that are discarded whatever the routes say (RFC 1812 5.3.7, RFC 4291 2.5 and 2.7).

The rest of 0.0.0.0/8 is ordinary space, as it is to the kernel since commit 96125bf9985a.
"""

BENCH_SOURCES4 = ipaddress.IPv4Network("198.18.0.0/15")
"""Sources of generated traffic (RFC 2544 C.2.2). The DUT blackholes them: no ICMP error comes back."""
BENCH_SOURCES6 = ipaddress.IPv6Network("2001:2::/48")
"""The same for IPv6 (RFC 5180 section 8)."""


class Port(NamedTuple):
    """A port of the DUT: its own MAC, and the MAC of whom packets that leave by it are sent to."""

    mac: bytes
    next_hop: bytes


@dataclass(frozen=True, slots=True)
class Route:
    """Where packets to a prefix go: out of a port, or nowhere."""

    prefix: Network
    out: Out


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a filter. What is None is not looked at.

    `family` is that of the prefixes; without prefixes, None matches both families. A rule with
    ports matches only packets that have ports: TCP, UDP and SCTP, and of these not the second and
    later fragments. A port range must not be empty.
    """

    action: Action
    family: Family | None = None
    src: Network | None = None
    dst: Network | None = None
    sport: PortRange | None = None
    dport: PortRange | None = None
    protocol: int | None = None

    def __post_init__(self) -> None:
        for prefix in (self.src, self.dst):
            if prefix is not None and prefix.version != self.family:
                raise ValueError(f"rule of family {self.family} with {prefix}")


@dataclass(frozen=True)
class Tables:
    """Routes (each prefix once) and rules (the first match wins), as `Reference` and the image read them."""

    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    default_accept: bool = True


def mac_bytes(text: str) -> bytes:
    """The six bytes of a MAC address such as ``02:00:00:00:00:01``. ValueError if it is none."""
    mac = bytes.fromhex(text.replace(":", ""))
    if len(mac) != 6:
        raise ValueError(f"not a MAC address: {text}")
    return mac


def inside(prefix: Network, others: tuple[Network, ...]) -> Network | None:
    """The first of `others` that holds all of `prefix`, or None."""
    for other in others:
        if isinstance(prefix, ipaddress.IPv4Network):
            if isinstance(other, ipaddress.IPv4Network) and prefix.subnet_of(other):
                return other
        elif isinstance(other, ipaddress.IPv6Network) and prefix.subnet_of(other):
            return other
    return None
