# SPDX-License-Identifier: GPL-2.0-only
"""What offers load; one file per kind."""

from __future__ import annotations

from collections.abc import Callable

from kbench.measure.generators.base import Generator
from kbench.measure.generators.pktgen import Pktgen
from kbench.measure.generators.xdp import XdpLiveFrames

GENERATORS: dict[str, type[Generator]] = {g.name: g for g in (Pktgen, XdpLiveFrames)}


def stamping(generator: Generator, notice: Callable[[str], None]) -> Generator:
    """A generator that stamps packets: this one, or the first that does, which is told."""
    if generator.timestamps:
        return generator
    other = next(g for g in GENERATORS.values() if g.timestamps)()
    notice(f"latency is measured with generator {other.name}, which stamps each packet")
    return other
