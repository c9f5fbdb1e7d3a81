# SPDX-License-Identifier: GPL-2.0-only
"""A probe reads something around a trial, outside of its measured window, and gives values or says why not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from kbench.errors import KbenchError
from kbench.measure.bench import Bench
from kbench.measure.observe import Observed, Setting
from kbench.model import Counters


class Absent(KbenchError):
    """This machine, datapath or kind of trial has not what a probe reads; the message says why."""


class Probe(ABC):
    """One object per trial. Every method may raise Absent."""

    name: ClassVar[str]
    costly: ClassVar[str | None] = None
    """What it costs the datapath, if it does: then it runs only in trials of its own (``profile``), never scored."""
    profile_s: ClassVar[float | None] = None
    """How long such a trial lasts; None: as long as the others."""

    def __init__(self, bench: Bench, setting: Setting) -> None:
        self.bench = bench
        self.setting = setting

    @abstractmethod
    def before(self) -> None:
        """Takes the reading before the first packet."""

    @abstractmethod
    def after(self, observed: Observed, counters: Counters) -> dict[str, Any]:
        """Takes the reading after the last packet has drained, and returns the values of this trial."""

    def close(self) -> None:  # noqa: B027 - most turn nothing on
        """Undoes what `before` turned on; called also when the trial failed."""


def per_packet(value: float, counters: Counters) -> float:
    """`value` per packet that met the fate the function decided."""
    if not counters.handled:
        raise Absent("no packet was handled")
    return value / counters.handled
