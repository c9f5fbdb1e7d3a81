# SPDX-License-Identifier: GPL-2.0-only
"""Emulated NICs of one lab as a testbed, without the bay that a run holds its ports with."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from types import TracebackType

from kbench.host import net
from kbench.host.lab import LabHost
from kbench.host.process import Process
from kbench.measure.losses import PortLosses, Reading, port_losses
from kbench.measure.testbeds.base import Cpus, Port, Testbed, Turn
from kbench.measure.testbeds.veth import QUIET_SYSCTLS

CARRIER_S = 20.0
_numbers = itertools.count()


class NicBed(Testbed):
    """Ports `names` of the lab in the order rx, generator (hairpin), and tx, sink behind them (two-port).

    A single one hears itself (loopback).
    """

    def __init__(self, lab: LabHost, names: Sequence[str]) -> None:
        self.host = self.tester = lab
        self.wire = "nic"
        self.turn = Turn()
        self.placement = "split"
        self.cpus = Cpus(generator=0, receive=1, application=1)
        self.journal = None
        self._reader: Process | None = None
        tag = f"kbO{next(_numbers)}"
        self.dut, self.gen = f"{tag}-dut", f"{tag}-gen"
        links = json.loads(lab.run(["ip", "-json", "link"]).stdout)
        macs = {link["ifname"]: link["address"] for link in links}
        rx, generator = names[0], names[min(1, len(names) - 1)]
        tx, sink = names[2:] or (rx, generator)
        if rx == generator:
            self.gen = self.dut
        self.rx, self.tx = (Port(name, self.dut, macs[name]) for name in (rx, tx))
        self.generator, self.sink = (Port(name, self.gen, macs[name]) for name in (generator, sink))

    def __enter__(self) -> NicBed:
        for space in dict.fromkeys((self.dut, self.gen)):
            net.add_namespace(self.host, None, space)
            for name, value in QUIET_SYSCTLS.items():
                self.host.write_text(f"/proc/sys/{name}", value, netns=space)
        for port in dict.fromkeys((self.rx, self.tx, self.generator, self.sink)):
            self.host.run(["ip", "link", "set", port.name, "netns", str(port.netns)])
            # One queue keeps the order of packets, which verification relies on.
            self.host.run(["ethtool", "-L", port.name, "combined", "1"], netns=port.netns, check=False)
            # A tag that the adapter takes out of a frame is hidden from XDP.
            self.host.run(["ethtool", "-K", port.name, "rxvlan", "off"], netns=port.netns, check=False)
            net.batch(self.host, port.netns, [f"link set {port.name} multicast off up"])
        self.wait_for_carriers()
        self.start_reader()
        return self

    def start_reader(self) -> None:
        """kb-ports; anew after a port changed its queues."""
        self.stop_reader()
        roles = {"generator": self.generator, "rx": self.rx}
        if self.sink != self.rx:
            roles |= {"tx": self.tx, "sink": self.sink}
        words = [word for role, p in roles.items() for word in ("--port", f"{role}={p.name}@{p.netns}")]
        self._reader = self.host.start([self.host.program("kb-ports"), *words])

    def stop_reader(self) -> None:
        if self._reader is not None:
            self._reader.kill()
            self._reader.wait(30.0, check=False)
            self._reader = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.turn.end()
        self.stop_reader()
        for port in dict.fromkeys((self.rx, self.tx, self.generator, self.sink)):
            self.host.run(["ip", "link", "set", port.name, "netns", "1"], netns=port.netns)
        for space in dict.fromkeys((self.dut, self.gen)):
            net.del_namespace(self.host, None, space)

    def wait_for_carriers(self) -> None:
        """Of all ports; no test takes one away before."""
        deadline = time.monotonic() + CARRIER_S
        for port in dict.fromkeys((self.rx, self.tx, self.generator, self.sink)):
            path = f"/sys/class/net/{port.name}/carrier"
            while self.host.read_text(path, netns=port.netns).strip() != "1":
                assert time.monotonic() < deadline, f"{port.name} has no carrier"
                time.sleep(0.05)

    def read_ports(self) -> Reading:
        """Asks the resident kb-ports."""
        assert self._reader is not None
        return self._reader.snapshot()

    def losses(self, before: Reading, after: Reading) -> PortLosses:
        """Of both cables."""
        return port_losses(before, after, "nic")
