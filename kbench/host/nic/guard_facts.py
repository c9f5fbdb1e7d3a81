# SPDX-License-Identifier: GPL-2.0-only
"""What a machine uses its ports for, read once: the ground on which guard_rules.py judges. Nothing is changed."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from kbench.errors import MeasureError
from kbench.host.shell import HostFileError, Shell

Json = dict[str, Any]

PEERED = ("veth", "netkit")
"""Kinds whose `link` is the other end of a cable, not a port that they are made on."""
ESTABLISHED = 1
"""TCP_ESTABLISHED of include/net/tcp_states.h; connected UDP sockets have it too."""

SYSFS = """
for s in /sys/class/net/*; do
    [ -e "$s" ] || continue
    w=${s##*/}
    [ -e "$s/device" ] && w="$w device"
    [ -e "$s/phy80211" ] && w="$w wireless"
    [ -e "$s/device/sriov_numvfs" ] && w="$w $(cat "$s/device/sriov_numvfs")"
    echo "$w"
done
"""
"""For each port its name, and what it is: one program for all, since each takes a round trip."""


class ToolShell(Shell, Protocol):
    """A Shell on which kbench's programs can be run, as every Host is."""

    def program(self, name: str) -> str:
        """Path of one of kbench's programs on that machine."""


@dataclass(frozen=True)
class Connection:
    """An established TCP connection or a connected UDP socket."""

    protocol: str
    local: str
    remote: str
    remote_port: int


@dataclass(frozen=True)
class Elsewhere:
    """Another network namespace: its name or "", one of its processes or 0, and its links as kb-claims tells them."""

    name: str
    pid: int
    process: str
    links: Sequence[Json] = ()

    def __str__(self) -> str:
        holder = f"process {self.pid}, {self.process}" if self.pid else ""
        if self.name:
            return f"network namespace {self.name}" + (f" ({holder})" if holder else "")
        return f"the network namespace of {holder}" if holder else "another network namespace"


@dataclass(frozen=True)
class Machine:
    """One network namespace of a machine; `links` as ``ip -json -details link`` describes them, by name."""

    links: Mapping[str, Json]
    addresses: Mapping[str, Sequence[Json]] = field(default_factory=dict)
    routes: Sequence[Json] = ()
    connections: Sequence[Connection] = ()
    ways: Mapping[str, str] = field(default_factory=dict)
    """Address of somebody else -> name of the port by which it is reached."""
    claims: Mapping[str, Sequence[Json]] = field(default_factory=dict)
    """qdiscs, filters, programs, nftables, sockets of kb-claims."""
    elsewhere: Sequence[Elsewhere] = ()
    physical: frozenset[str] = frozenset()
    """Ports that have a device behind them."""
    wireless: frozenset[str] = frozenset()
    virtual_functions: Mapping[str, int] = field(default_factory=dict)
    """Port -> number of SR-IOV functions that are enabled on it."""

    def kind(self, name: str) -> str:
        """What kind of virtual link it is (``veth``), "" for the port of a device."""
        return str(self.links[name].get("linkinfo", {}).get("info_kind", ""))

    def lower(self, name: str) -> str:
        """The port of this namespace that a link is made on (a VLAN's, a macvlan's), or ""."""
        link = self.links[name]
        if self.kind(name) in PEERED or "link_netnsid" in link:
            return ""
        data = link.get("linkinfo", {}).get("info_data", {})
        return str(link.get("link") or data.get("link") or "")

    def peer(self, name: str) -> str:
        """The other end of a veth in this namespace, or ""."""
        link = self.links[name]
        return str(link.get("link", "")) if self.kind(name) in PEERED and "link_netnsid" not in link else ""

    def carriers(self, name: str) -> list[str]:
        """The port and all links above it, through which its traffic may go: its bridge, a VLAN on that, ..."""
        found = [name]
        for current in found:
            above = [str(self.links[current].get("master", ""))]
            above += [other for other in self.links if self.lower(other) == current]
            found += [x for x in dict.fromkeys(above) if x in self.links and x not in found]
        return found


def plain_address(text: str) -> str:
    """An address in its usual form, without a zone; IPv4 ones mapped into IPv6 (RFC 4291, 2.5.5.2) as IPv4."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)


def read_machine(shell: ToolShell, *, netns: str | None = None, session: Iterable[str] = ()) -> Machine:
    """Read it all. `session`: addresses whose ways are looked up too. MeasureError when a tool fails."""
    links = {str(link["ifname"]): link for link in _ip(shell, netns, "-details", "link", "show")}
    addresses = {
        str(entry["ifname"]): entry.get("addr_info", []) for entry in _ip(shell, netns, "address", "show")
    }
    routes = [
        route
        for family in ("-4", "-6")
        for route in _ip(shell, netns, family, "route", "show", "table", "all")
    ]
    connections = _connections(shell, netns)
    asked = [connection.remote for connection in connections] + list(session)
    claims, elsewhere = _claims(shell, netns)
    sysfs = {name: words for name, words in _sysfs(shell, netns).items() if name in links}
    return Machine(
        links=links,
        addresses=addresses,
        routes=routes,
        connections=connections,
        ways=_ways(shell, netns, asked),
        claims=claims,
        elsewhere=elsewhere,
        physical=frozenset(name for name, words in sysfs.items() if "device" in words),
        wireless=frozenset(name for name, words in sysfs.items() if "wireless" in words),
        virtual_functions={
            name: int(word) for name, words in sysfs.items() for word in words if word.isdigit() and int(word)
        },
    )


def _ip(shell: Shell, netns: str | None, *words: str) -> list[Json]:
    text = shell.run(["ip", "-json", *words], netns=netns).stdout
    try:
        found = json.loads(text or "[]")
    except ValueError as error:
        raise MeasureError(f"ip -json {' '.join(words)} printed no JSON: {error}") from error
    return [item for item in found if item]


def _sysfs(shell: Shell, netns: str | None) -> dict[str, list[str]]:
    """What SYSFS prints, by port."""
    text = shell.run(["sh", "-c", SYSFS], netns=netns).stdout
    return {words[0]: words[1:] for line in text.splitlines() if (words := line.split())}


def _claims(shell: ToolShell, netns: str | None) -> tuple[Json, list[Elsewhere]]:
    text = shell.run([shell.program("kb-claims")], netns=netns).stdout
    events = [json.loads(line) for line in text.splitlines()]
    if not events or events[0]["event"] != "claims":
        raise MeasureError("kb-claims printed nothing")
    rest = [Elsewhere(x["name"], x["pid"], x["process"], x["links"]) for x in events[1:]]
    return events[0], rest


def _connections(shell: Shell, netns: str | None) -> list[Connection]:
    found = []
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        try:
            text = shell.read_text(f"/proc/net/{protocol}", netns=netns)
        except HostFileError as error:
            if error.errno == errno.ENOENT:  # a kernel without IPv6
                continue
            raise
        found += parse_connections(protocol, text)
    return found


def parse_connections(protocol: str, text: str) -> list[Connection]:
    """The established ones of /proc/net/tcp, tcp6, udp or udp6, but for those within the machine."""
    found = []
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) < 4 or int(words[3], 16) != ESTABLISHED:
            continue
        local, _ = _endpoint(words[1])
        remote, port = _endpoint(words[2])
        if not ipaddress.ip_address(remote).is_loopback:
            found.append(Connection(protocol.rstrip("6").upper(), local, remote, port))
    return found


def _endpoint(text: str) -> tuple[str, int]:
    """``0100007F:0016`` -> address, port: 32-bit words as a little-endian machine prints them."""
    digits, port = text.split(":")
    words = [bytes.fromhex(digits[i : i + 8])[::-1] for i in range(0, len(digits), 8)]
    return plain_address(str(ipaddress.ip_address(b"".join(words)))), int(port, 16)


def _ways(shell: Shell, netns: str | None, addresses: Iterable[str]) -> dict[str, str]:
    """By which port each address is reached. One that can't be reached is left out."""
    ways = {plain_address(text): text.partition("%")[2] for text in addresses}
    asked = [address for address, zone in ways.items() if not zone]
    lines = "".join(f"route get {address}\n" for address in asked)
    if lines:
        done = shell.run(
            ["ip", "-json", "-force", "-batch", "-"], netns=netns, stdin=lines.encode(), check=False
        )
        for route in _json_stream(done.stdout):
            with contextlib.suppress(
                KeyError, ValueError
            ):  # an answer without a port: unreachable, prohibited
                ways[plain_address(route["dst"])] = str(route["dev"])
    return {address: port for address, port in ways.items() if port}


def _json_stream(text: str) -> list[Json]:
    """The items of all lists that stand one behind the other in `text`."""
    decoder, at, found = json.JSONDecoder(), 0, []
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        items, at = decoder.raw_decode(text, at)
        found += items
    return found
