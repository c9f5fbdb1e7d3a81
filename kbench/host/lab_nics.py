# SPDX-License-Identifier: GPL-2.0-only
"""NICs of the lab: which emulated ports a guest gets, and where their cables end.

In the guest eth0 is the management port: it has an address and the default route, like a machine's port that must
not be touched. The ports to measure on follow from eth1, down and without addresses: first those of `pairs`
(eth1 is cabled to eth2, eth3 to eth4), then one for each of `cables`, then `plugs`.

A virtio-net port waits while the other end of its cable is down, and its driver complains after 5 s: set both up.
Overload can lose frames that no port counts, within a guest in igb, between guests in all but virtio-net.
"""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kbench.errors import EnvironmentProblem
from kbench.host.base import Host

Model = Literal["e1000e", "virtio-net", "vmxnet3", "e1000", "igb"]

MANAGEMENT = "eth0"
MANAGEMENT_MODULE = "virtio_net"
ADDRESS, GATEWAY = "10.0.2.15", "10.0.2.2"
"""What QEMU's user network expects of its guest."""
SSH = 22

_machines = itertools.count(1)


@dataclass(frozen=True)
class Device:
    """How a model is called, and where it is plugged in."""

    device: str
    """By QEMU."""
    module: str
    """By Linux."""
    root_port: bool
    """A PCI Express endpoint: has a root port of its own, as in a machine."""


DEVICES: dict[Model, Device] = {
    "e1000e": Device("e1000e", "e1000e", True),
    "virtio-net": Device("virtio-net-pci", "virtio_net", False),
    "vmxnet3": Device("vmxnet3", "vmxnet3", False),
    "e1000": Device("e1000", "e1000", False),
    "igb": Device("igb", "igb", True),
}


@dataclass(frozen=True)
class LabSsh:
    """An ssh server in the guest, on a port of this machine's loopback, for root with one key."""

    public_key: str
    """A line of authorized_keys."""


@dataclass(frozen=True)
class LabNics:
    """The ports of a guest besides its management port."""

    model: Model = "e1000e"
    pairs: int | None = None
    """Pairs of ports cabled to each other; None: two, or none where `cables` or `plugs` are given."""
    models: Sequence[Model] = ()
    """One model for each pair, instead of `model` and `pairs`."""
    cables: Sequence[socket.socket] = ()
    """Ends of cables that lead out of this guest (see `cabled`); booting takes and closes them."""
    plugs: int = 0
    """Ports whose cable ends in themselves, as a loopback plug does."""
    ssh: LabSsh | None = None
    newer_qemu: bool = False
    """Emulate by a newer QEMU (fetched where this machine's own is old): in Debian 12's, the driver of e1000e doesn't
    notice a pulled cable. igb is always emulated by it."""

    def pair_models(self) -> list[Model]:
        """The model of each pair. Raises ValueError where both ways to say so are used."""
        if self.models:
            if self.pairs is not None:
                raise ValueError("models stand for the pairs, of which there is one for each")
            return list(self.models)
        pairs = self.pairs
        if pairs is None:
            pairs = 0 if self.cables or self.plugs else 2
        return [self.model] * pairs


def cabled(count: int = 1) -> list[tuple[socket.socket, socket.socket]]:
    """Cables between two guests: give the first ends to one, the second to the other.

    A frame is a datagram. QEMU takes them one by one, slower than a guest sends: a virtio-net port then waits, as
    with flow control; of the other models QEMU keeps 10,000 frames and loses the rest, which no guest counts.
    """
    return [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count)]


@dataclass(frozen=True)
class LabPort:
    """One port of the guest, and its cable."""

    number: int
    model: Model
    far: int | None
    """Number of the port of the same guest at the other end; None: it leads out of the guest."""
    hub: int | None = None
    """The hub of QEMU that is the cable of a pair."""
    end: socket.socket | None = None
    """The end of a cable that is none of a pair."""

    @property
    def name(self) -> str:
        """As the guest calls it."""
        return f"eth{self.number}"

    @property
    def device(self) -> str:
        """As QEMU calls it."""
        return f"port{self.number}"


class Wiring:
    """The ports of one guest, made for one boot, as arguments for QEMU. Close it when QEMU has them."""

    def __init__(self, nics: LabNics) -> None:
        self.ssh = nics.ssh
        self._machine = next(_machines)
        self.ports: list[LabPort] = []
        for hub, model in enumerate(nics.pair_models(), start=1):
            first = len(self.ports) + 1
            self.ports += [LabPort(first, model, first + 1, hub), LabPort(first + 1, model, first, hub)]
        for end in nics.cables:
            self.ports.append(LabPort(len(self.ports) + 1, nics.model, None, end=end))
        for _ in range(nics.plugs):
            number = len(self.ports) + 1
            self.ports.append(LabPort(number, nics.model, number, end=_plug()))
        self.needs_newer_qemu = nics.newer_qemu or "igb" in self.models

    @property
    def models(self) -> list[Model]:
        """Each model that is there, once, in the order of the ports."""
        return list(dict.fromkeys(port.model for port in self.ports))

    @property
    def macs(self) -> dict[str, str]:
        """The address of each port by its name, no two alike in all guests that this process boots."""
        return {name: self._mac(number) for number, name in enumerate([MANAGEMENT, *self._names()])}

    def _names(self) -> list[str]:
        return [port.name for port in self.ports]

    def _mac(self, number: int) -> str:
        high, low = divmod(self._machine % 65536, 256)
        return f"52:54:00:{high:02x}:{low:02x}:{number:02x}"

    def port(self, name: str) -> LabPort:
        """The port that the guest calls so. Raises ValueError where it has none."""
        for port in self.ports:
            if port.name == name:
                return port
        raise ValueError(f"the lab has no port {name} with a cable: {', '.join(self._names()) or 'none'}")

    def one_cable(self, name: str) -> list[LabPort]:
        """The ports of this guest that lose their carrier when the cable of this one is pulled.

        Raises ValueError where the guest would not notice.
        """
        port = self.port(name)
        if port.model == "e1000e" and not self.needs_newer_qemu:
            raise ValueError("e1000e notices a pulled cable only with LabNics(newer_qemu=True)")
        numbers = {port.number, port.far}
        return [other for other in self.ports if other.number in numbers]

    @property
    def fds(self) -> list[int]:
        """Sockets that QEMU inherits."""
        return [port.end.fileno() for port in self.ports if port.end]

    def arguments(self) -> list[str]:
        """For QEMU's command line; the management port comes first, so that the kernel finds it first."""
        # The guest reaches nothing by it; without a far end, frames would stay in its queue and hang it.
        backend = "user,restrict=on"
        if self.ssh:
            backend += f",hostfwd=tcp:127.0.0.1:0-:{SSH}"  # on a free port, which is asked for afterwards
        found = ["-netdev", f"{backend},id=management"]
        found += ["-device", f"virtio-net-pci,netdev=management,mac={self._mac(0)},romfile="]
        for port in self.ports:
            cable = f"cable{port.number}"
            if port.end:
                found += ["-netdev", f"dgram,id={cable},local.type=fd,local.str={port.end.fileno()}"]
            else:
                found += ["-netdev", f"hubport,id={cable},hubid={port.hub}"]
            kind = DEVICES[port.model]
            words = f"{kind.device},id={port.device},netdev={cable},mac={self._mac(port.number)},romfile="
            if kind.root_port:
                slot = f"slot{port.number}"
                found += ["-device", f"pcie-root-port,id={slot},chassis={port.number}"]
                words += f",bus={slot}"
            found += ["-device", words]
        return found

    def close(self) -> None:
        """This process's copies of the cables' ends, so that a cable ends when QEMU does."""
        for port in self.ports:
            if port.end:
                port.end.close()


def _plug() -> socket.socket:
    """A datagram socket that is connected to itself."""
    end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    end.bind("")  # the kernel chooses an abstract name
    end.connect(end.getsockname())
    return end


def set_up(host: Host, wiring: Wiring) -> None:
    """In the guest: load the drivers, give each port its name, and the management port its address.

    Raises EnvironmentProblem when the guest does not find all ports.
    """
    drivers = [MANAGEMENT_MODULE, *(DEVICES[model].module for model in wiring.models)]
    host.run(["/sbin/modprobe", "-a", *dict.fromkeys(drivers)], timeout_s=60.0)
    links = json.loads(host.run(["/sbin/ip", "-json", "link"]).stdout)
    names = {link["address"]: link["ifname"] for link in links}
    lacking = [name for name, mac in wiring.macs.items() if mac not in names]
    if lacking:
        raise EnvironmentProblem(
            f"Linux {host.kernel_release} in the lab has no driver for {', '.join(lacking)} ({', '.join(drivers)})"
        )
    # Drivers number ports in the order of their loading. All wrong names are freed before any is given.
    wrong = [(names[mac], name) for name, mac in wiring.macs.items() if names[mac] != name]
    commands = [f"link set {old} name kb-{new}" for old, new in wrong]
    commands += [f"link set kb-{new} name {new}" for _old, new in wrong]
    commands += [
        f"link set {MANAGEMENT} up",
        f"addr add {ADDRESS}/24 dev {MANAGEMENT}",
        f"route add default via {GATEWAY}",
    ]
    host.run(["/sbin/ip", "-batch", "-"], stdin="\n".join(commands).encode())
