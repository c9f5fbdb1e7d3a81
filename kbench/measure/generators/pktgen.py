# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's packet generator (Documentation/networking/pktgen.rst)."""

from __future__ import annotations

from typing import Any

from kbench.errors import EnvironmentProblem, UsageError
from kbench.host.base import Host
from kbench.host.journal import Journal
from kbench.measure.generators.base import Generator, Load


class Pktgen(Generator):
    """Program kb-offer-pktgen, which drives /proc/net/pktgen of its namespace."""

    name = "pktgen"
    program = "kb-offer-pktgen"
    timestamps = False
    resident = False

    def setup(self, host: Host, journal: Journal | None) -> None:
        """Loads the module unless it is there; the run's end unloads what it loaded."""
        if host.exists("/proc/net/pktgen"):
            return
        if journal is not None:
            journal.record("module", name="pktgen")
        loaded = host.run(["modprobe", "pktgen"], check=False)
        if loaded.code:
            raise EnvironmentProblem(
                f"pktgen can't be loaded: {loaded.stderr.strip()}; use --generator xdp or --where lab"
            )

    def arguments(self, load: Load) -> list[str]:
        """pktgen's own time stamp has microseconds only, so latency is not measured with it."""
        if load.timestamp:
            raise UsageError(
                "pktgen can't stamp packets by the nanosecond: measure latency with --generator xdp"
            )
        if load.gaps:
            raise UsageError("pktgen does not tell the times between packets: use --generator xdp")
        return []

    def intended(self, load: Load, raw: dict[str, Any]) -> int | None:
        """The rate times the time that it ran: pktgen does not say what it gave up."""
        return None if load.rate_pps is None else round(load.rate_pps * raw["elapsed_ns"] / 1e9)
