# SPDX-License-Identifier: GPL-2.0-only
"""Energy per packet, from the processor's own meter (RAPL; Documentation/power/powercap/powercap.rst).

The meter is of whole packages: generator, sink, idle CPUs and everybody else on the machine are in it.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from typing import Any

from kbench.host.base import Host, HostFileError
from kbench.measure.observe import Observed
from kbench.measure.probes.base import Absent, Probe, per_packet
from kbench.model import Counters

POWERCAP = "/sys/class/powercap"
PACKAGE = re.compile(r"intel-rapl:\d+")
"""Packages only: their parts (intel-rapl:0:1) are in them. AMD's are called the same."""


@dataclass(frozen=True)
class Meter:
    """A package's meter in microjoules; it starts again at zero behind `range_uj`."""

    energy_uj: int
    range_uj: int


def read_meters(host: Host) -> dict[str, Meter]:
    """All packages' meters. Raises Absent with the reason that there is none to be read."""
    try:
        names = [name for name in host.list_dir(POWERCAP) if PACKAGE.fullmatch(name)]
        if not names:
            raise Absent(f"no RAPL: nothing like intel-rapl:0 in {POWERCAP}")
        return {
            name: Meter(
                int(host.read_text(f"{POWERCAP}/{name}/energy_uj")),
                int(host.read_text(f"{POWERCAP}/{name}/max_energy_range_uj")),
            )
            for name in names
        }
    except HostFileError as error:
        if error.errno == errno.ENOENT:
            raise Absent(f"no RAPL: no {POWERCAP} (virtual machines seldom have it)") from error
        raise Absent(f"RAPL can't be read: {error}") from error


def joules(before: dict[str, Meter], after: dict[str, Meter]) -> float:
    """Energy between two readings. A meter that is behind its first reading has started again, once."""
    spent = 0
    for name, late in after.items():
        delta = late.energy_uj - before[name].energy_uj
        spent += delta if delta >= 0 else delta + late.range_uj
    return spent / 1e6


class Energy(Probe):
    """Meters change about every millisecond, so that short trials are coarse."""

    name = "energy"

    def before(self) -> None:
        """Reads the meters."""
        self._before = read_meters(self.bench.host)

    def after(self, observed: Observed, counters: Counters) -> dict[str, Any]:
        """Joules of all packages, and joules per packet."""
        spent = joules(self._before, read_meters(self.bench.host))
        return {
            "packages": sorted(self._before),
            "joules": spent,
            "joules_per_packet": per_packet(spent, counters),
        }
