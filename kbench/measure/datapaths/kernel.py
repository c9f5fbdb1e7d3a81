# SPDX-License-Identifier: GPL-2.0-only
"""Plain ip_forward with the kernel's own FIB: the baseline that everyone knows.

Routes are installed by iproute2. Sources of test traffic are blackholed, so that the ICMP errors which this
datapath alone would send back have no way to go.
"""

from __future__ import annotations

from typing import ClassVar

from kbench.functions.model import Route
from kbench.host import net
from kbench.host.base import Host
from kbench.measure.datapaths.base import Datapath, Seen, Work

NEXT_HOPS = {4: {"rx": "169.254.0.1", "tx": "169.254.0.2"}, 6: {"rx": "fe80::1", "tx": "fe80::2"}}
SOURCES = ("198.18.0.0/15", "2001:2::/48")
"""RFC 2544 and RFC 5180 ranges for benchmarks."""

DROPS = {
    "Ip": {"InHdrErrors": "header", "InAddrErrors": "address"},
    "IpExt": {"InNoRoutes": "no_route", "InTruncatedPkts": "header", "InCsumErrors": "checksum"},
    "Ip6": {
        "InHdrErrors": "header",
        "InAddrErrors": "address",
        "InNoRoutes": "no_route",
        "InTruncatedPkts": "header",
    },
}
"""An expired TTL is a header error to the kernel. A route that discards is counted nowhere (ip_error())."""
LOST = {
    "Ip": {"FragFails": "too_big", "InDiscards": "memory"},
    "Ip6": {"InTooBigErrors": "too_big", "InDiscards": "memory"},
}
FORWARDED = {"Ip": "ForwDatagrams", "Ip6": "OutForwDatagrams"}


class Kernel(Datapath):
    """The DUT namespace's own forwarding."""

    name = "kernel"
    functions: ClassVar = frozenset(("forward",))

    _attached = False

    def attach(self, work: Work) -> None:
        """Installs neighbours and routes, then turns forwarding on."""
        bed = self.testbed
        lines = [
            f"neigh replace {hops[out]} lladdr {mac} dev {device} nud permanent"
            for out, device, mac in (
                ("rx", bed.rx.name, bed.generator.mac),
                ("tx", bed.tx.name, bed.sink.mac),
            )
            for hops in NEXT_HOPS.values()
        ]
        lines += [f"route replace blackhole {prefix}" for prefix in SOURCES]
        lines += [self._route_line(route) for route in work.tables.routes]
        net.batch(bed.host, bed.rx.netns, lines, timeout_s=60 + len(lines) / 500)
        self._forwarding("1")
        self._attached = True
        self.facts = {"routes": len(work.tables.routes)}

    def _route_line(self, route: Route) -> str:
        if route.out == "discard":
            return f"route replace blackhole {route.prefix}"
        bed = self.testbed
        device = bed.rx.name if route.out == "rx" else bed.tx.name
        hop = NEXT_HOPS[route.prefix.version][route.out]
        return f"route replace {route.prefix} via {hop} dev {device} onlink"

    def _forwarding(self, value: str) -> None:
        host, dut = self.testbed.host, self.testbed.rx.netns
        # A packet that goes back out of the port it came in by must not cause an ICMP redirect.
        host.write_text("/proc/sys/net/ipv4/conf/all/send_redirects", "0", netns=dut)
        host.write_text(f"/proc/sys/net/ipv4/conf/{self.testbed.rx.name}/send_redirects", "0", netns=dut)
        host.write_text("/proc/sys/net/ipv4/ip_forward", value, netns=dut)
        host.write_text("/proc/sys/net/ipv6/conf/all/forwarding", value, netns=dut)

    def detach(self) -> None:
        """Forwarding off and the tables flushed; the rest goes with the namespace."""
        if not self._attached:
            return
        self._attached = False
        self._forwarding("0")
        for family in ("-4", "-6"):
            self.testbed.host.run(
                ["ip", family, "route", "flush", "table", "main"], netns=self.testbed.rx.netns
            )

    def seen(self) -> Seen:
        """The namespace's SNMP counters (RFC 4293)."""
        counters = read_snmp(self.testbed.host, self.testbed.rx.netns)
        dropped = by_reason(counters, DROPS)
        # InHdrErrors counts wrong checksums as well (ip_rcv_core()).
        dropped["header"] -= counters["IpExt"].get("InCsumErrors", 0)
        return Seen(
            received=counters["Ip"]["InReceives"] + counters["Ip6"]["InReceives"],
            forwarded=sum(counters[group][name] for group, name in FORWARDED.items()),
            dropped=dropped,
            lost=by_reason(counters, LOST),
            told="never",
            raw={group: counters[group] for group in DROPS},
        )


def read_snmp(host: Host, netns: str | None) -> dict[str, dict[str, int]]:
    """A namespace's IP counters by group: Ip, IpExt, Ip6 and others."""
    counters = parse_snmp(host.read_text("/proc/net/snmp", netns=netns))
    counters |= parse_snmp(host.read_text("/proc/net/netstat", netns=netns))
    counters["Ip6"] = parse_snmp6(host.read_text("/proc/net/snmp6", netns=netns))
    return counters


def by_reason(counters: dict[str, dict[str, int]], table: dict[str, dict[str, str]]) -> dict[str, int]:
    """Sums of the counters that `table` maps to reasons; kernels differ in which they have."""
    sums: dict[str, int] = {}
    for group, names in table.items():
        for counter, reason in names.items():
            sums[reason] = sums.get(reason, 0) + counters[group].get(counter, 0)
    return sums


def parse_snmp(text: str) -> dict[str, dict[str, int]]:
    """/proc/net/snmp and netstat: pairs of lines, names and then values, each with the group's name first."""
    lines = text.splitlines()
    groups = {}
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        group, _, rest = names.partition(":")
        groups[group] = dict(zip(rest.split(), map(int, values.partition(":")[2].split()), strict=True))
    return groups


def parse_snmp6(text: str) -> dict[str, int]:
    """/proc/net/snmp6: one counter per line; those of IPv6 itself, without their prefix."""
    pairs = (line.split() for line in text.splitlines())
    return {name[3:]: int(value) for name, value in pairs if name.startswith("Ip6")}
