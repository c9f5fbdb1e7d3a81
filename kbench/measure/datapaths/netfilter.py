# SPDX-License-Identifier: GPL-2.0-only
"""The kernel module kbench_nf: a hook at PRE_ROUTING that does the whole work by itself."""

from __future__ import annotations

from kbench.host.journal import Entry
from kbench.measure.datapaths.base import ProgramDatapath, Seen, Work
from kbench.measure.datapaths.kernel import by_reason, read_snmp

MODULE = "kbench_nf"

BEFORE_HOOK = {
    "Ip": {"InHdrErrors": "header"},
    "IpExt": {"InTruncatedPkts": "header", "InCsumErrors": "checksum"},
    "Ip6": {"InHdrErrors": "header", "InTruncatedPkts": "header"},
}
"""What ip_rcv() and ipv6_rcv() drop ahead of PRE_ROUTING."""


class Netfilter(ProgramDatapath):
    """kb-netfilter loads the module and drives it by generic netlink."""

    name = "netfilter"
    program = "kb-netfilter"
    functions = frozenset(("drop", "forward", "filter"))

    _entry: Entry | None = None

    def attach(self, work: Work) -> None:
        """Loads the module unless it is there; a killed kb-netfilter can't unload it, so the journal says so."""
        bed = self.testbed
        if bed.journal is not None and not bed.host.exists(f"/sys/module/{MODULE}"):
            self._entry = bed.journal.record("module", name=MODULE)
        super().attach(work)

    def detach(self) -> None:
        """kb-netfilter unloads what it loaded."""
        super().detach()
        if self._entry is not None and self.testbed.journal is not None:
            self.testbed.journal.done(self._entry)
            self._entry = None

    def arguments(self) -> list[str]:
        """The module that was built for this host's kernel."""
        return ["--module", self.testbed.host.module(MODULE)]

    def seen(self) -> Seen:
        """The module's counters, and what the stack dropped before the module saw it."""
        seen = super().seen()
        counters = read_snmp(self.testbed.host, self.testbed.rx.netns)
        before = by_reason(counters, BEFORE_HOOK)
        before["header"] -= counters["IpExt"].get("InCsumErrors", 0)
        for reason, count in before.items():
            seen.dropped[reason] = seen.dropped.get(reason, 0) + count
        seen.received += sum(before.values())
        return seen
