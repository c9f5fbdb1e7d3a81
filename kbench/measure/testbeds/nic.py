# SPDX-License-Identifier: GPL-2.0-only
"""A testbed on network cards: a view of the bay that holds them, on which one datapath at a time is attached."""

from __future__ import annotations

from types import TracebackType

from kbench.measure.losses import PortLosses, Reading, nic_stats, port_losses
from kbench.measure.nics.bay import Bay
from kbench.measure.testbeds.base import Testbed


class NicTestbed(Testbed):
    """Ports that a Bay has set up. Building and removing it costs nothing: nothing changes but whose turn it is."""

    def __init__(self, bay: Bay) -> None:
        self._bay = bay
        self.host = bay.dut
        self.tester = bay.tester
        self.wire = "nic"
        self.turn = bay.turn
        self.placement = "split"
        self.journal = bay.journal
        self.cpus = bay.seats.cpus
        self.generator, self.rx, self.tx, self.sink = bay.generator, bay.rx, bay.tx, bay.sink

    def __enter__(self) -> NicTestbed:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    @property
    def receive_cpus(self) -> tuple[int, ...]:
        """One for each queue."""
        return self._bay.seats.receive

    def settle(self) -> None:
        """Waits for the carrier: some adapters reset when a program is attached."""
        self._bay.wait_for_carrier()

    def check(self) -> None:
        """Raises MeasureError when a cable is gone."""
        self._bay.check_carrier()

    def read_ports(self) -> Reading:
        """Asks the resident kb-ports of both machines."""
        return self._bay.read_ports()

    def nic_stats(self, before: Reading, after: Reading) -> dict[str, dict[str, int]]:
        """As ``ethtool -S`` names them, those that moved."""
        return nic_stats(before, after)

    def losses(self, before: Reading, after: Reading) -> PortLosses:
        """Of both cables."""
        return port_losses(before, after, "nic")
