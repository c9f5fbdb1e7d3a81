# SPDX-License-Identifier: GPL-2.0-only
"""How ports are cabled for a run: which is the DUT's, which the tester's, and on which machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from kbench.errors import UsageError
from kbench.host.base import Host
from kbench.host.nic.port import PortState

Kind = Literal["hairpin", "two-port", "loopback"]

EMULATED_DRIVERS = frozenset({"virtio_net", "vmxnet3", "xen-netfront", "vif", "hv_netvsc"})
"""Drivers of ports that exist only in virtual machines."""
LOOPBACK = "loopback"
"""What ``--peer`` says for a port that is to hear itself."""


@dataclass(frozen=True)
class End:
    """A port on a machine; `label` is the machine's name for people."""

    host: Host
    label: str
    name: str


@dataclass(frozen=True)
class Topology:
    """The four roles of a testbed, each a port; some are the same.

    hairpin: the DUT sends packets back out of the port they came in by, so rx is tx and the generator's port the
    sink's. two-port: four ports. loopback: one port, which hears what it sends.
    """

    kind: Kind
    found: Literal["probe frames", "named"]
    generator: End
    rx: End
    tx: End
    sink: End
    driver_loopback: bool = False
    """The driver sends back what the port is to send: no cable and no plug."""

    @property
    def dut(self) -> Host:
        """The machine that is measured."""
        return self.rx.host

    @property
    def tester(self) -> Host:
        """The machine that offers load and counts."""
        return self.generator.host

    def ends(self) -> dict[str, End]:
        """By role, those that a reader needs to know: loopback has neither tx nor sink."""
        roles = {"generator": self.generator, "rx": self.rx}
        if self.kind != "loopback":
            roles |= {"tx": self.tx, "sink": self.sink}
        return roles

    def ports(self) -> list[End]:
        """Each port once, the DUT's first."""
        return list(dict.fromkeys((self.rx, self.tx, self.generator, self.sink)))

    def document(self, states: dict[End, PortState]) -> dict[str, Any]:
        """As `Part.nic` stores it (docs/results.md)."""
        return {
            "kind": self.kind,
            "found": self.found,
            "dut": self.rx.label,
            "tester": self.generator.label,
            "driver_loopback": self.driver_loopback,
            "ports": {
                role: port_document(end.host, end.label, end.name, states[end])
                for role, end in self.ends().items()
            },
        }


def port_document(host: Host, label: str, name: str, state: PortState) -> dict[str, Any]:
    """What is stored and shown of a port."""
    return {
        "host": label,
        "name": name,
        "driver": state.driver,
        "bus": state.bus,
        "mac": state.settings["mac"],
        "speed_mbps": state.speed_mbps,
        "duplex": state.duplex,
        "emulated": host.kind == "lab" or state.driver in EMULATED_DRIVERS,
    }


def topology_of(
    dut: list[End], tester: list[End], found: Literal["probe frames", "named"], driver_loopback: bool = False
) -> Topology:
    """The topology that these ports make; UsageError when they make none."""
    if dut == tester and len(dut) == 1:
        (port,) = dut
        return Topology("loopback", found, port, port, port, port, driver_loopback)
    if len(dut) != len(tester) or len(dut) not in (1, 2) or len({*dut, *tester}) != 2 * len(dut):
        raise UsageError(
            f"{_names(dut)} and {_names(tester)} make no topology: name one port and its peer, or two ports and the"
            " two peers that they are cabled to, in the same order (--nic eth1,eth3 --peer eth2,eth4)"
        )
    kind: Kind = "hairpin" if len(dut) == 1 else "two-port"
    return Topology(kind, found, tester[0], dut[0], dut[-1], tester[-1])


def _names(ends: list[End]) -> str:
    return ",".join(end.name for end in ends) or "no port"
