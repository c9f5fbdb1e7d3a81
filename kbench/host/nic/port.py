# SPDX-License-Identifier: GPL-2.0-only
"""PortState: everything about one network port that a run may change, and what names the port for good."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, replace
from typing import Any

Scalar = bool | int | str

_PCI_ADDRESS = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_LISTS = ("altnames", "addresses", "routes", "neighbours", "only_up")
NAMESPACE_KEPT = "sysctl."
"""Settings that belong to a namespace's view of a port: they start anew wherever the port is moved to."""


@dataclass(frozen=True)
class PortState:
    """A port as `state.read_state` found it.

    `settings` has flat names (``channels.rx``, ``features.generic-receive-offload``, ``irq.45.smp_affinity_list``);
    what the driver does not support is not in it.
    """

    name: str
    altnames: tuple[str, ...]
    ifindex: int
    device: str
    """Directory of the device in /sys/devices; "" for virtual ports."""
    dev_port: int
    """Which of several ports of one PCI function."""
    bus_driver: str
    """The driver that holds the bus device: virtio-pci where `driver` is virtio_net."""
    driver_override: str
    driver: str
    driver_version: str
    firmware: str
    kind: str
    """Of virtual ports, as `ip` calls it: veth."""
    permanent_mac: str
    """ "" where the driver knows none."""
    speed_mbps: int | None
    duplex: str
    ntuple_rules: int
    master: str
    """The bridge or bond that it is a member of, or ""."""
    xdp: tuple[tuple[str, int], ...]
    """Attached XDP programs: (mode as `ip` writes it, id)."""
    settings: dict[str, Scalar]
    limits: dict[str, int]
    """The greatest value that the driver takes, of rings and channels."""
    requests: dict[str, bool]
    """Features that can be changed: what was asked for, which another feature may keep from being active."""
    fixed: dict[str, bool]
    """Features that can't be changed; they are not among the settings."""
    irq_names: dict[str, str]
    """Interrupt number -> the name that the driver gave it, while it has one."""
    addresses: tuple[str, ...] = field(default=())
    routes: tuple[str, ...] = field(default=())
    neighbours: tuple[str, ...] = field(default=())
    """As `ip address|route|neighbour add` takes them, without ``dev`` (routes with ``-4`` or ``-6`` before them). What
    comes by itself is not in them."""

    only_up: tuple[str, ...] = field(default=())
    """Settings that the driver shows only while the port is up, and it was down when the rest was read."""

    @property
    def pci(self) -> str:
        """PCI address, "" for what is not on that bus."""
        return pci_address(self.device)

    @property
    def bus_device(self) -> str:
        """Directory of the device on the machine's bus; a virtio device hangs below it."""
        return bus_device(self.device)

    @property
    def bus(self) -> str:
        """The bus address (``0000:00:03.0``), "" for virtual ports."""
        return self.bus_device.rpartition("/")[2]

    @property
    def up(self) -> bool:
        """Administratively up."""
        return bool(self.settings["up"])

    def with_shown(self, up: PortState) -> PortState:
        """This state of a port that was down, and what shows now that it is up (RSS, affinity of interrupts)."""
        new = {key: value for key, value in up.flat().items() if key not in self.settings}
        return replace(
            self,
            settings={**self.settings, **new},
            irq_names=up.irq_names,
            only_up=tuple(new),
            limits=up.limits,
        )

    def flat(self) -> dict[str, Scalar]:
        """Settings for the record: all but the sysctls of the namespace."""
        return {key: value for key, value in self.settings.items() if not key.startswith(NAMESPACE_KEPT)}

    def to_json(self) -> dict[str, Any]:
        """As JSON has it; `from_json` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PortState:
        """Raises TypeError for what `to_json` did not write."""
        lists = {key: tuple(data[key]) for key in _LISTS}
        xdp = tuple((str(mode), int(number)) for mode, number in data["xdp"])
        return cls(**{**data, **lists, "xdp": xdp})


def bus_device(device: str) -> str:
    """The directory of the bus device of a port's `device`: a virtio device's parent, else itself."""
    parent, _, last = device.rpartition("/")
    return parent if re.fullmatch(r"virtio\d+", last) else device


def pci_address(device: str) -> str:
    """PCI address of a port's `device`, "" for what is not on that bus."""
    last = bus_device(device).rpartition("/")[2]
    return last if _PCI_ADDRESS.fullmatch(last) else ""
