# SPDX-License-Identifier: GPL-2.0-only
"""What every testbed lends: a generator's port, the DUT's two ports and a sink's port, with their CPUs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from kbench.host.base import Host
from kbench.host.journal import Journal
from kbench.measure.losses import PortLosses, Reading
from kbench.model import Placement


@dataclass(frozen=True)
class Port:
    """An interface, the network namespace it is in, and its MAC address as ``02:00:...``."""

    name: str
    netns: str | None
    mac: str

    @property
    def mac_bytes(self) -> bytes:
        """The address as the six bytes of the wire."""
        return bytes.fromhex(self.mac.replace(":", ""))


@dataclass(frozen=True)
class Cpus:
    """Who runs where. ``receive`` is where the DUT's receive softirq runs, ``application`` where a
    userspace datapath does; with one CPU all are 0."""

    generator: int
    receive: int
    application: int


def cpus_for(placement: Placement, count: int) -> Cpus:
    """CPUs of a placement on a machine with `count` of them.

    same: generator and the DUT's softirq share CPU 0 (veth receives inline: natural back-pressure);
    split: the DUT's softirq has CPU 1 of its own, and a userspace datapath CPU 2 where there is one.
    """
    last = count - 1
    if placement == "same":
        return Cpus(generator=0, receive=0, application=min(1, last))
    return Cpus(generator=0, receive=min(1, last), application=min(2, last) if last >= 2 else 0)


class Turn:
    """Ports that several benches share carry one datapath at a time: the last one that took its turn."""

    def __init__(self) -> None:
        self._leave: Callable[[], None] | None = None
        self._holder: object | None = None

    def take(self, holder: object, enter: Callable[[], None], leave: Callable[[], None]) -> None:
        """Ends the turn of the one before and begins that of `holder`; nothing changes if it has it already."""
        if self._holder is holder:
            return
        self.end()
        self._holder, self._leave = holder, leave
        enter()

    def end(self, holder: object | None = None) -> None:
        """Ends the turn, if it is that of `holder` (None: whoever has it)."""
        if self._leave is not None and holder in (None, self._holder):
            leave, self._leave, self._holder = self._leave, None, None
            leave()


class Testbed(ABC):
    """Lends ports between `__enter__` and `__exit__`, and takes back everything it changed.

    Port 0 of the DUT is ``rx`` (faces the generator), port 1 is ``tx`` (faces the sink).
    """

    host: Host
    """The DUT's."""
    tester: Host
    """Where generator and sink are; the DUT's host unless a second machine offers the load."""
    wire: Literal["veth", "nic"]
    generator: Port
    rx: Port
    tx: Port
    sink: Port
    cpus: Cpus
    placement: Placement
    journal: Journal | None
    """Of this machine; None in the lab, which is thrown away whole."""
    turn: Turn
    """Whose turn it is on these ports."""

    @abstractmethod
    def __enter__(self) -> Testbed: ...

    @abstractmethod
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    @abstractmethod
    def read_ports(self) -> Reading:
        """The ports' counters now; they run on."""

    @abstractmethod
    def losses(self, before: Reading, after: Reading) -> PortLosses:
        """What the ports lost between two readings."""

    def check(self) -> None:  # noqa: B027 - a veth's peer can't go
        """Raises MeasureError when a cable is gone: what was just measured means nothing."""

    @property
    def receive_cpus(self) -> tuple[int, ...]:
        """CPUs of the DUT that receive: one for each queue."""
        return (self.cpus.receive,)

    @property
    def all_cpus(self) -> frozenset[int]:
        """CPUs of the DUT's machine that the testbed is on."""
        generator = {self.cpus.generator} if self.tester is self.host else set()
        return frozenset({*generator, *self.receive_cpus, self.cpus.application})

    def nic_stats(self, before: Reading, after: Reading) -> dict[str, dict[str, int]]:
        """By role, how far the drivers' own counters moved; nothing on veth, whose ledger has them all."""
        return {}

    def settle(self) -> None:  # noqa: B027 - most ports are ready at once
        """Waits until the ports carry packets again after a datapath was attached; MeasureError if they don't."""

    def host_of(self, port: Port) -> Host:
        """The machine that one of the four ports is on."""
        return self.host if port in (self.rx, self.tx) else self.tester

    @property
    def image_ports(self) -> list[tuple[bytes, bytes]]:
        """The DUT's ports as an image wants them: own address and next hop's, rx first."""
        return [
            (self.rx.mac_bytes, self.generator.mac_bytes),
            (self.tx.mac_bytes, self.sink.mac_bytes),
        ]
