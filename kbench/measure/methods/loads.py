# SPDX-License-Identifier: GPL-2.0-only
"""At which loads `latency` and `cpu-at-load` measure, given each path's partial drop rate (PDR)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kbench.errors import UsageError
from kbench.measure.methods.base import MethodFailed

LATENCY_SHARES = (0.0, 0.1, 0.5, 0.9)
"""Shares of a path's own PDR; 0 stands for a load that builds no queue."""
IDLE_PPS = 1000.0
"""The load called 0: one packet per millisecond, so that each finds the path idle."""
COMMON_SHARE = 0.5
"""Share of the slowest path's PDR that all are measured at: a load that each carries without queues
growing."""


@dataclass(frozen=True)
class Load:
    """A load of one path. `share` is of the path's own PDR, `name` is what tables call it."""

    name: str
    share: float
    load_pps: float

    def values(self) -> dict[str, Any]:
        """For the `values` of a finding. load: `0`, `10`, `50`, `90` (percent of the path's own PDR) or
        `common`. load_share: the same as a share; of the slowest path's PDR for `common`. load_pps:
        packets/s."""
        return {"load": self.name, "load_share": self.share, "load_pps": self.load_pps}


@dataclass(frozen=True)
class CommonLoad(Load):
    """One load for all paths. Those without a PDR can't carry any stated load, and are left out."""

    slowest: str
    left_out: tuple[str, ...]

    def values(self) -> dict[str, Any]:
        """As `Load.values`. slowest: the path whose PDR decides. left_out: paths without a PDR."""
        return {**super().values(), "slowest": self.slowest, "left_out": list(self.left_out)}


def latency_loads(
    pdr_pps: float, shares: tuple[float, ...] = LATENCY_SHARES, idle_pps: float = IDLE_PPS
) -> tuple[Load, ...]:
    """The loads of one path. The idle load is never above the smallest of the others.

    Raises UsageError for a rate that is not positive, or a share outside 0 to 1.
    """
    if pdr_pps <= 0 or idle_pps <= 0 or not all(0 <= share <= 1 for share in shares):
        raise UsageError(
            f"loads need a PDR and shares of 0 to 1 of it, not {pdr_pps:g} packets/s and {shares}"
        )
    smallest = min([share * pdr_pps for share in shares if share > 0] or [pdr_pps])
    idle = min(idle_pps, smallest)
    return tuple(Load(f"{share * 100:g}", share, share * pdr_pps if share else idle) for share in shares)


def common_load(pdr_pps: Mapping[str, float | None], share: float = COMMON_SHARE) -> CommonLoad:
    """The same load for all paths: a share of the slowest one's PDR; for `latency` and `cpu-at-load`.

    Raises MethodFailed when no path has a PDR, UsageError for a share outside 0 to 1.
    """
    if not 0 < share <= 1:
        raise UsageError(f"a common load is a share above 0 and up to 1, not {share:g}")
    known = {path: rate for path, rate in pdr_pps.items() if rate is not None}
    if not known:
        raise MethodFailed("no path has a PDR, so there is no load that all could carry")
    slowest = min(known, key=lambda path: known[path])
    left_out = tuple(path for path in pdr_pps if path not in known)
    return CommonLoad("common", share, share * known[slowest], slowest, left_out)
