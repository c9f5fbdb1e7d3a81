# SPDX-License-Identifier: GPL-2.0-only
"""A userspace program on AF_PACKET sockets: memory-mapped receive ring, batched sends."""

from __future__ import annotations

from kbench.measure.datapaths.base import ProgramDatapath


class AfPacket(ProgramDatapath):
    """kb-af-packet on the application's CPU."""

    name = "af_packet"
    program = "kb-af-packet"
    functions = frozenset(("drop", "forward", "filter"))
    userspace = True
    told = "attempts"

    def arguments(self) -> list[str]:
        """TPACKET_V3 has the higher throughput, V2 the lower latency."""
        return [
            "--ring", self.options.af_packet_ring,
            "--cpu", str(self.testbed.cpus.application),
        ]  # fmt: skip
