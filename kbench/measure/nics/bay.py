# SPDX-License-Identifier: GPL-2.0-only
"""Holds the ports of a topology for a run: in namespaces of kbench's own, set to a profile, and put back at the end.

Namespaces keep everything else away: no route of the machine leads to the ports, no daemon configures them, and
forwarding is turned on in the DUT's only.
"""

from __future__ import annotations

import dataclasses
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from kbench.errors import EnvironmentProblem, MeasureError
from kbench.host import net
from kbench.host.base import Host, Process
from kbench.host.journal import Journal
from kbench.host.nic.clocks import Choice
from kbench.host.nic.lend import Lent, has_carrier, lend
from kbench.host.nic.port import PortState
from kbench.host.nic.profile import Applied, NicProfile, apply
from kbench.host.shell import HostFileError
from kbench.measure.losses import Reading
from kbench.measure.nics.cpus import Seats, near, seats
from kbench.measure.nics.topology import End, Topology
from kbench.measure.testbeds.base import Port, Turn
from kbench.measure.testbeds.veth import QUIET_SYSCTLS

CARRIER_S = 15.0
"""Gigabit negotiation takes 2 to 4 s, with a spanning tree or a slow transceiver more."""
CARRIER_STEP_S = 0.05
STOP_S = 30.0


class Bay:
    """Use as a context manager: the ports are lent from `__enter__` to `__exit__`, which puts everything back.

    `tag` makes names of namespaces unique; `journal` is this machine's (None for the lab, which is thrown away).
    """

    def __init__(
        self,
        topology: Topology,
        profile: NicProfile,
        tag: str,
        journal: Journal | None,
        scratches: tuple[str, str],
    ) -> None:
        self.topology = topology
        self.dut, self.tester = topology.dut, topology.tester
        self.scratch, self.tester_scratch = scratches
        self.journal = journal
        self.turn = Turn()
        self.clock: Choice | None = None
        """What latency is measured by, once that was found out."""
        self.applied: dict[End, Applied] = {}
        self._profile = profile
        self._queues = 0
        self._links: dict[End, dict[str, Any]] = {}
        self._spaces = {"dut": f"kbench-{tag}-dut", "gen": f"kbench-{tag}-gen"}
        self._stack = ExitStack()
        self._lent: dict[End, Lent] = {}
        self._readers: list[Process] = []
        self._near: dict[Host, list[int]] = {}

    def __enter__(self) -> Self:
        try:
            self._take()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _take(self) -> None:
        top = self.topology
        for host in dict.fromkeys((self.dut, self.tester)):
            self._near[host] = near(host, [end.name for end in top.ports() if end.host is host])
        for side, host in (("dut", self.dut), ("gen", self.tester)):
            if side == "gen" and top.kind == "loopback":
                continue
            self._add_space(host, self._spaces[side])
        for end in top.ports():
            lent = lend(end.host, self.journal, end.name, self.space(end))
            self._stack.callback(lent.give_back)
            self._lent[end] = lent
        self.generator, self.rx, self.tx, self.sink = map(
            self._port, (top.generator, top.rx, top.tx, top.sink)
        )
        for end in top.ports():
            if top.driver_loopback:
                end.host.run(["ethtool", "-K", end.name, "loopback", "on"], netns=self.space(end))
            # No reports of multicast groups in the middle of a trial (see testbeds/veth.py).
            net.batch(end.host, self.space(end), [f"link set {end.name} multicast off up"])
        self._stack.callback(self._stop_readers)
        self._stack.callback(self.turn.end)
        self.set_queues(0)

    def space(self, end: End) -> str:
        """The namespace that a port is in."""
        dut = end in (self.topology.rx, self.topology.tx)
        return self._spaces["dut" if dut else "gen"]

    def _port(self, end: End) -> Port:
        return Port(end.name, self.space(end), str(self._lent[end].state.settings["mac"]))

    def _add_space(self, host: Host, space: str) -> None:
        net.add_namespace(host, self.journal, space)
        self._stack.callback(net.del_namespace, host, self.journal, space)
        for name, value in QUIET_SYSCTLS.items():
            host.write_text(f"/proc/sys/{name}", value, netns=space)

    def set_queues(self, queues: int) -> None:
        """Sets the ports to the profile, the DUT's with so many queues (0: as the profile says), each on its CPU."""
        queues = queues or self._profile.queues
        if queues == self._queues:
            return
        other = None if self.tester is self.dut else self._near[self.tester]
        self.turn.end()
        self._stop_readers()
        self.seats: Seats = seats(self._near[self.dut], other, queues)
        profile = dataclasses.replace(self._profile, queues=queues)
        for end, lent in self._lent.items():
            mine = end in (self.topology.rx, self.topology.tx)
            cpus = self.seats.receive if mine else self._tester_cpus(queues)
            # What a file asks for must be had on the DUT; the tester's ports may be of another kind.
            self.applied[end] = apply(end.host, lent, profile, cpus, strict=mine)
        self.wait_for_carrier()
        self._links = {end: self._link(end) for end in self._lent}
        self._queues = queues
        self._start_readers()  # anew: a driver's counters depend on its queues

    def _link(self, end: End) -> dict[str, Any]:
        def read(name: str) -> str:
            try:
                return end.host.read_text(f"/sys/class/net/{end.name}/{name}", netns=self.space(end)).strip()
            except HostFileError:
                return ""  # EINVAL: the driver does not tell

        speed = read("speed")
        return {
            "speed_mbps": int(speed) if speed.isdigit() and int(speed) else None,
            "duplex": read("duplex"),
        }

    def _tester_cpus(self, queues: int) -> tuple[int, ...]:
        """Where the sink's queues are: beside the generator's CPU on a machine of its own, on it otherwise."""
        if self.tester is self.dut:
            return (self.seats.generator,) * queues
        cpus = self._near[self.tester]
        beside = [c for c in cpus if c != self.seats.generator] or cpus
        return tuple(beside[i % len(beside)] for i in range(queues))

    @property
    def cpu_count(self) -> int:
        """CPUs of the DUT that are online."""
        return len(self._near[self.dut])

    def native_xdp(self) -> bool:
        """Whether the receiving port's driver takes an XDP program itself: by trying."""
        program = [self.dut.program("kb-sink"), "--if", self.rx.name, "--mode", "count", "--xdp", "native"]
        try:
            self.dut.start(program, netns=self.rx.netns).stop()
        except EnvironmentProblem:
            return False
        self.wait_for_carrier()
        return True

    @property
    def states(self) -> dict[End, PortState]:
        """The ports as they were before anything was changed, but with the speed that they have while they are up."""
        return {end: dataclasses.replace(lent.state, **self._links[end]) for end, lent in self._lent.items()}

    # Carrier --------------------------------------------------------------------------------------

    def _dark(self) -> list[End]:
        return [end for end in self.topology.ports() if not has_carrier(end.host, end.name, self.space(end))]

    def wait_for_carrier(self) -> None:
        """Until all ports have it; MeasureError after CARRIER_S."""
        deadline = time.monotonic() + CARRIER_S
        while dark := self._dark():
            if time.monotonic() > deadline:
                raise MeasureError(_gone(dark))
            time.sleep(CARRIER_STEP_S)

    def check_carrier(self) -> None:
        """Raises MeasureError when a port has none now."""
        if dark := self._dark():
            raise MeasureError(_gone(dark))

    # Counters -------------------------------------------------------------------------------------

    def _start_readers(self) -> None:
        sides: dict[Host, list[str]] = {self.dut: [], self.tester: []}
        one_way = self.topology.kind == "loopback"  # what a port that hears itself lost counts once
        for host, role, port in (
            (self.dut, "rx", self.rx),
            (self.dut, "tx", None if one_way else self.tx),
            (self.tester, "generator", self.generator),
            (self.tester, "sink", None if one_way else self.sink),
        ):
            if port is None:
                continue
            sides[host] += ["--port", f"{role}={port.name}@{port.netns}"]
        for host, words in sides.items():
            self._readers.append(host.start([host.program("kb-ports"), *words]))

    def _stop_readers(self) -> None:
        while self._readers:
            reader = self._readers.pop()
            reader.kill()  # it has nothing to undo, and its last words are of no use
            reader.wait(STOP_S, check=False)

    def read_ports(self) -> Reading:
        """Counters of all four roles; the backlog's drops are the DUT's."""
        first, *others = (reader.snapshot() for reader in self._readers)
        merged: dict[str, Any] = {**first, "ports": dict(first["ports"])}
        for other in others:
            merged["ports"] |= other["ports"]
        return merged


def _gone(dark: list[End]) -> str:
    ports = " and ".join(f"{end.name} ({end.label})" for end in dark)
    return f"no carrier on {ports}: the cable, or the machine at its other end, is gone; finished trials are kept"
