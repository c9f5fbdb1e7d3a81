# SPDX-License-Identifier: GPL-2.0-only
"""Three namespaces in a row: generator, veth, DUT, veth, sink.

The DUT's namespace has no address and no route of its own, sends nothing by itself (no IPv6
autoconfiguration, no neighbour discovery: neighbours are permanent) and, unless the `kernel` datapath
turns it on, forwards nothing.
"""

from __future__ import annotations

from types import TracebackType

from kbench.errors import EnvironmentProblem
from kbench.host import net
from kbench.host.base import Host, Process
from kbench.host.journal import Journal
from kbench.measure.losses import PortLosses, Reading, port_losses
from kbench.measure.testbeds.base import Cpus, Port, Testbed, Turn
from kbench.model import Placement

MACS = {
    "generator": "02:00:00:00:00:01",
    "rx": "02:00:00:00:00:02",
    "tx": "02:00:00:00:00:03",
    "sink": "02:00:00:00:00:04",
}

QUIET_SYSCTLS = {
    # No router solicitations, duplicate address detection or link-local addresses: nothing may
    # come out of a port that the generator did not put in.
    "net/ipv6/conf/default/accept_ra": "0",
    "net/ipv6/conf/default/autoconf": "0",
    "net/ipv6/conf/default/dad_transmits": "0",
    "net/ipv6/conf/default/addr_gen_mode": "1",
    # Sources of test traffic are not reachable through the port they come in by.
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
}


STOP_S = 30.0


class VethTestbed(Testbed):
    """A veth testbed on `host`; `tag` makes its namespaces' names unique on the machine."""

    def __init__(
        self, host: Host, tag: str, placement: Placement, cpus: Cpus, journal: Journal | None
    ) -> None:
        self.host = self.tester = host
        self.wire = "veth"
        self.turn = Turn()
        self.placement = placement
        self.cpus = cpus
        self.journal = journal
        gen, dut, sink = (f"kbench-{tag}-{role}" for role in ("gen", "dut", "sink"))
        self._made: list[str] = []
        self._reader: Process | None = None
        self.generator = Port("gen0", gen, MACS["generator"])
        self.rx = Port("rx0", dut, MACS["rx"])
        self.tx = Port("tx0", dut, MACS["tx"])
        self.sink = Port("sink0", sink, MACS["sink"])

    def __enter__(self) -> VethTestbed:
        try:
            self._build()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._remove()

    def _build(self) -> None:
        for space in (self.generator.netns, self.rx.netns, self.sink.netns):
            assert space is not None
            net.add_namespace(self.host, self.journal, space)
            self._made.append(space)
            for name, value in QUIET_SYSCTLS.items():
                self.host.write_text(f"/proc/sys/{name}", value, netns=space)
        self._cable(self.generator, self.rx)
        self._cable(self.tx, self.sink)
        # Without NAPI (GRO or XDP) on the receiving veth, redirected frames are dropped on the way in
        # (veth_xdp_xmit()); it is on for all datapaths alike.
        self.host.run(["ethtool", "-K", self.rx.name, "gro", "on"], netns=self.rx.netns)
        if self.placement == "split":
            self._split()
        self._reader = self.host.start([self.host.program("kb-ports"), *self._roles()])

    def _roles(self) -> list[str]:
        ports = {"generator": self.generator, "rx": self.rx, "tx": self.tx, "sink": self.sink}
        return [word for role, p in ports.items() for word in ("--port", f"{role}={p.name}@{p.netns}")]

    def _cable(self, left: Port, right: Port) -> None:
        net.batch(
            self.host,
            None,
            [
                f"link add {left.name} netns {left.netns} address {left.mac} type veth "
                f"peer name {right.name} netns {right.netns} address {right.mac}"
            ],
        )
        # With multicast on, a router joins the all-routers groups and reports that twice, seconds apart
        # (dev_forward_change() in the kernel, RFC 3810 6.1): packets that nobody offered, in the middle of a trial.
        for port in (left, right):
            net.batch(self.host, port.netns, [f"link set {port.name} multicast off up"])

    def _split(self) -> None:
        """Gives the DUT's receive side a NAPI thread of its own and pins it.

        Threaded NAPI moves its poll out of the generator's softirq (kernel commit 29863d41bb6e).
        """
        if self.cpus.receive == self.cpus.generator:
            raise EnvironmentProblem(
                "--placement split needs at least 2 CPUs: use --placement same on this machine"
            )
        dut = self.rx.netns
        self.host.write_text(f"/sys/class/net/{self.rx.name}/threaded", "1", netns=dut)
        self.host.run(
            [
                self.host.program("kb-pin"),
                "--comm",
                f"napi/{self.rx.name}-",
                "--cpu",
                str(self.cpus.receive),
            ],
            netns=dut,
        )

    def _remove(self) -> None:
        if self._reader is not None:
            reader, self._reader = self._reader, None
            # It has nothing to undo, and its last words are of no use: a port may be gone, which it would die of.
            reader.kill()
            reader.wait(STOP_S, check=False)
        while self._made:
            net.del_namespace(self.host, self.journal, self._made.pop())

    def read_ports(self) -> Reading:
        """Asks the resident kb-ports."""
        assert self._reader is not None, "the testbed is not there"
        return self._reader.snapshot()

    def losses(self, before: Reading, after: Reading) -> PortLosses:
        """Of both cables."""
        return port_losses(before, after, "veth")
