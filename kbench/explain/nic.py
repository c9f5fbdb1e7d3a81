# SPDX-License-Identifier: GPL-2.0-only
"""The NICs that a part was measured on: which ports are cabled how, in words, and what their link can carry.

Read from `Part.nic` (docs/results.md). Runs on veth have none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kbench.model import Part

ROLES = ("generator", "rx", "tx", "sink")
"""In the order in which a packet meets the ports; rx and tx are the DUT's."""
TESTER_ROLES = ("generator", "sink")
PARAVIRTUAL = frozenset({"virtio_net", "vmxnet3", "xen-netfront", "vif", "hv_netvsc", "ena", "gve"})
"""Drivers of NICs that a hypervisor makes up for its guests; xen-netfront calls itself vif."""
WIRE_OVERHEAD_BYTES = 20
"""What each frame takes on the wire beside itself: preamble (8) and gap (12), RFC 2544, section 20 and IEEE 802.3."""
LINE_LIMITED = 0.95
"""From this share of the line rate on, a figure may be the wire's rather than the datapath's."""
NO_LIMIT = 1.02
"""Beyond this share the link carries more than the speed it claims (virtual NICs do), so that is no limit."""


@dataclass(frozen=True)
class Port:
    """One port of a topology. What was not recorded is None."""

    host: str
    name: str
    driver: str | None = None
    bus: str | None = None
    mac: str | None = None
    speed_mbps: float | None = None
    emulated: bool = False
    duplex: str | None = None


@dataclass(frozen=True)
class Topology:
    """Which port does what, and where it is."""

    kind: str
    """``hairpin``, ``two-port`` or ``loopback``."""
    found: str
    """``named``, or how the cabling was found."""
    dut: str
    tester: str
    driver_loopback: bool
    ports: Mapping[str, Port]
    """Role -> port; one port can have several roles."""

    @property
    def one_machine(self) -> bool:
        """Whether generator and DUT are on the same machine."""
        return self.dut == self.tester

    @property
    def drivers(self) -> list[str]:
        """Of the DUT's ports, each once."""
        return _once(p.driver for role, p in self.ports.items() if role not in TESTER_ROLES)

    @property
    def all_drivers(self) -> list[str]:
        """Of all ports, each once."""
        return _once(p.driver for p in self.ports.values())

    @property
    def distinct(self) -> list[tuple[Port, list[str]]]:
        """Each port once, with its roles; the DUT's first."""
        found: dict[tuple[str, str], tuple[Port, list[str]]] = {}
        for role in ("rx", "tx", "generator", "sink"):
            port = self.ports.get(role)
            if port is not None:
                found.setdefault((port.host, port.name), (port, []))[1].append(role)
        return list(found.values())

    def path(self, function: str) -> list[Port]:
        """The ports that a packet of a function passes: what is dropped leaves by none."""
        roles = ("generator", "rx") if function == "drop" else ROLES
        return [self.ports[role] for role in roles if role in self.ports]

    def line_rate_pps(self, function: str, frame_bytes: int) -> float | None:
        """The most frames/s that the slowest link on the way carries; None where a link's speed is unknown."""
        speeds = [port.speed_mbps for port in self.path(function)]
        known = [speed for speed in speeds if speed]
        return line_rate_pps(min(known), frame_bytes) if known and len(known) == len(speeds) else None

    @property
    def pair(self) -> str:
        """``eth1 (e1000e) ⇄ eth2``: the DUT's ports, and the tester's (with their machine if it is another)."""
        mine = [p for p, roles in self.distinct if "rx" in roles or "tx" in roles]
        theirs = [p for p, roles in self.distinct if p not in mine]
        left = _ports(mine, self.drivers)
        if not theirs:
            return f"{left}, looped back"
        others = _once(p.driver for p in theirs)
        right = _ports(theirs, others if others != self.drivers else [])
        where = "" if self.one_machine else f" on {machine(self.tester)}"
        return f"{left} \N{RIGHTWARDS ARROW OVER LEFTWARDS ARROW} {right}{where}"


def line_rate_pps(speed_mbps: float, frame_bytes: int) -> float:
    """Frames/s that a link carries (RFC 2544, section 20): 1,488,095 of 64 bytes at 1000 Mbit/s."""
    return speed_mbps * 1e6 / ((frame_bytes + WIRE_OVERHEAD_BYTES) * 8)


def machine(host: str) -> str:
    """A host in words: ``10.0.0.2`` of ``ssh://root@10.0.0.2:22``."""
    found = re.fullmatch(r"ssh://(?:[^@/]*@)?(\[[^\]]*\]|[^/:]*)(?::\d+)?(?:/.*)?", host)
    return found[1] if found and found[1] else host


def speed(mbps: float | None) -> str:
    """``25 Gbit/s``, ``100 Mbit/s``; the unknown is called that."""
    if not mbps:
        return "unknown"
    return f"{mbps / 1000:g} Gbit/s" if mbps >= 1000 else f"{mbps:g} Mbit/s"


def topology(part: Part) -> Topology | None:
    """Of a part on NICs; None for veth and for runs from before there were any."""
    stored = part.nic
    if not isinstance(stored, Mapping) or not isinstance(stored.get("ports"), Mapping):
        return None
    ports = {
        role: _port(stored["ports"][role]) for role in ROLES if isinstance(stored["ports"].get(role), Mapping)
    }
    dut, tester = (str(stored.get(name) or "unknown") for name in ("dut", "tester"))
    return Topology(
        str(stored.get("kind") or "unknown"), str(stored.get("found") or "unknown"), dut, tester,
        bool(stored.get("driver_loopback")), ports,
    )  # fmt: skip


def _port(stored: Mapping[str, Any]) -> Port:
    driver, bus, mac, duplex = (
        None if stored.get(key) is None else str(stored[key]) for key in ("driver", "bus", "mac", "duplex")
    )
    mbps = stored.get("speed_mbps")
    known = float(mbps) if isinstance(mbps, (int, float)) and mbps > 0 else None
    return Port(
        str(stored.get("host") or "unknown"), str(stored.get("name") or "?"), driver, bus, mac, known,
        bool(stored.get("emulated")), duplex if duplex in ("half", "full") else None,
    )  # fmt: skip


def _once(names: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(name for name in names if name))


def _ports(ports: Iterable[Port], drivers: list[str]) -> str:
    names = ", ".join(port.name for port in ports)
    return f"{names} ({', '.join(drivers)})" if drivers else names
