# SPDX-License-Identifier: GPL-2.0-only
"""Which clock can measure latency between two ports: the adapter's own, or only the kernel's.

`ethtool -T` tells what a driver claims (Documentation/networking/timestamping.rst). It has no JSON.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from kbench.host.shell import Shell

Kind = Literal["hardware", "software"]

RxFilter = Literal["all", "ptp"]

PTP_FILTERS = {"ptpv2-event", "ptpv2-l4-event"}
"""Under these an adapter stamps what looks like PTP version 2 over UDP: many can't stamp more."""


@dataclass(frozen=True)
class PortClock:
    """What a port's driver claims to stamp."""

    name: str
    hardware_tx: bool
    hardware_rx: bool
    rx_filters: tuple[str, ...]
    """Which received packets the adapter can stamp, as ethtool calls them."""
    software_tx: bool
    software_rx: bool
    phc: int | None
    """Number of the adapter's clock (PTP hardware clock, /dev/ptpN); ports with the same one share it."""

    @property
    def rx_filter(self) -> RxFilter | None:
        """Which packets its adapter can be told to stamp when it receives them; None: none of ours."""
        if not self.hardware_rx:
            return None
        if "all" in self.rx_filters:
            return "all"
        return "ptp" if PTP_FILTERS & set(self.rx_filters) else None

    def lacks(self, *, sends: bool, receives: bool) -> str | None:
        """Why its adapter can't stamp what it sends or receives; None if it can."""
        if self.phc is None:
            return f"{self.name} has no hardware clock"
        if sends and not self.hardware_tx:
            return f"{self.name} does not stamp the packets that it sends in hardware"
        if receives and not self.hardware_rx:
            return f"{self.name} does not stamp the packets that it receives in hardware"
        if receives and self.rx_filter is None:
            some = ", ".join(self.rx_filters) or "none"
            return f"{self.name} can't stamp received UDP packets in hardware, only: {some}"
        return None

    def fact(self) -> dict[str, bool | int | str | None]:
        """For the record of a run: ``hardware``, ``phc`` and ``why``."""
        why = self.lacks(sends=True, receives=True)
        return {
            "hardware": why is None,
            "phc": self.phc,
            "why": why or f"the driver of {self.name} claims hardware time stamps",
        }


@dataclass(frozen=True)
class Choice:
    """The clock that latency is measured by, and why that one."""

    kind: Kind
    why: str
    phc: int | None = None
    rx_filter: RxFilter | None = None
    """With hardware: ``ptp`` where packets must look like PTP's (UDP port 319) to be stamped on arrival."""


def port_clock(shell: Shell, name: str, netns: str | None = None) -> PortClock:
    """What the driver of a port claims. Raises MeasureError if there is no such port or it can't be asked."""
    return parse(name, shell.run(["ethtool", "-T", name], netns=netns).stdout)


def parse(name: str, text: str) -> PortClock:
    """The output of `ethtool -T`, of any version from 4.x on."""
    sections: dict[str, list[str]] = {}
    phc: int | None = None
    section: list[str] = []
    for line in text.splitlines():
        if line[:1].isspace():
            section += line.split()[:1]  # old versions add the constant's name in parentheses
            continue
        title, _, value = line.partition(":")
        section = sections.setdefault(title, [])
        # The second is what ethtool calls it from 6.14 on, where the kernel tells of several clocks.
        if title in ("PTP Hardware Clock", "Hardware timestamp provider index") and re.fullmatch(
            r"\d+", value.strip()
        ):
            phc = int(value)
    can = sections.get("Capabilities", [])
    return PortClock(
        name,
        hardware_tx="hardware-transmit" in can
        and "on" in sections.get("Hardware Transmit Timestamp Modes", []),
        hardware_rx="hardware-receive" in can and "hardware-raw-clock" in can,
        rx_filters=tuple(f for f in sections.get("Hardware Receive Filter Modes", []) if f != "none"),
        software_tx="software-transmit" in can,
        software_rx="software-receive" in can,
        phc=phc,
    )


def choose(generator: PortClock, sink: PortClock) -> Choice:
    """The clock for packets from one port to the other (or itself) of the same machine, by what is claimed.

    Two adapters' clocks are not the same to the nanosecond, nor run at the same speed: so it takes one clock.
    """
    lacking = generator.lacks(sends=True, receives=False) or sink.lacks(sends=False, receives=True)
    if lacking:
        return Choice("software", lacking)
    if generator.phc != sink.phc:
        return Choice(
            "software",
            f"{generator.name} and {sink.name} have different hardware clocks"
            f" (ptp{generator.phc}, ptp{sink.phc}), which do not tell the same time",
        )
    where = (
        f"{generator.name} stamps what it sends and receives"
        if generator.name == sink.name
        else f"{generator.name} and {sink.name} stamp packets"
    )
    only = ", on arrival only such as look like PTP's" if sink.rx_filter == "ptp" else ""
    why = f"{where} by one hardware clock (ptp{generator.phc}){only}"
    return Choice("hardware", why, generator.phc, sink.rx_filter)
