# SPDX-License-Identifier: GPL-2.0-only
"""What offers load; one file per kind."""

from __future__ import annotations

from kbench.measure.generators.base import Generator
from kbench.measure.generators.pktgen import Pktgen
from kbench.measure.generators.xdp import XdpLiveFrames

GENERATORS: dict[str, type[Generator]] = {g.name: g for g in (Pktgen, XdpLiveFrames)}
