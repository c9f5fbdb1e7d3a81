# SPDX-License-Identifier: GPL-2.0-only
"""The ports of a run on NICs, as its facts tell: what they are, how they were set, and what their clocks can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kbench.explain.nic import machine
from kbench.store import Run

PER_QUEUE = ("irq.", "queue.")
"""Settings that there is one of for each interrupt or queue."""


@dataclass(frozen=True)
class Set:
    """One setting of a port. None: it was not there, or could not be read."""

    name: str
    before: Any
    during: Any
    why_not: str | None = None
    """Why it is not what the profile asks for."""

    @property
    def changed(self) -> bool:
        """Whether the run changed it."""
        return bool(self.before != self.during)


@dataclass(frozen=True)
class PortFacts:
    """One port, as `facts.nics` has it."""

    name: str
    """With its machine, where another port has the same name."""
    host: str
    about: Mapping[str, Any]
    """driver, driver_version, firmware, bus, speed_mbps."""
    settings: list[Set] = field(default_factory=list)
    hardware_clock: bool | None = None
    phc: int | None = None
    """Number of its PTP clock."""
    clock_why: str = ""


def ports(run: Run, part: str) -> list[PortFacts]:
    """All ports of a part; none on veth and in old runs."""
    stored = run.facts.get(part, {}).get("nics")
    items = [nic for nic in stored if isinstance(nic, Mapping)] if isinstance(stored, list) else []
    names = [str(nic.get("name") or "?") for nic in items]
    return [
        _port(nic, name if names.count(name) == 1 else f"{name} on {machine(str(nic.get('host')))}")
        for nic, name in zip(items, names, strict=True)
    ]


def _port(nic: Mapping[str, Any], name: str) -> PortFacts:
    before, during, not_set = (_mapping(nic.get(key)) for key in ("before", "during", "not_set"))
    settings = [
        Set(key, before.get(key), during.get(key), None if key not in not_set else str(not_set[key]))
        for key in dict.fromkeys((*before, *during, *not_set))
    ]
    clock = _mapping(nic.get("clock"))
    hardware, phc = clock.get("hardware"), clock.get("phc")
    return PortFacts(
        name, str(nic.get("host") or "unknown"), nic, settings,
        hardware if isinstance(hardware, bool) else None, phc if isinstance(phc, int) else None,
        str(clock.get("why") or ""),
    )  # fmt: skip


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def profile(run: Run, part: str) -> tuple[str, Mapping[str, Any]] | None:
    """Name of the profile that the ports were set to, and what it asks for; None where none is recorded."""
    stored = run.facts.get(part, {}).get("nic_profile")
    if not isinstance(stored, Mapping):
        return None
    return str(stored.get("name") or "unnamed"), _mapping(stored.get("settings"))


def latency_clocks(run: Run, part: str) -> list[str]:
    """By what clocks a part's latencies were timed, in sentences; none where trials do not tell (veth)."""
    seen: dict[tuple[str, str], list[str]] = {}
    for trial in run.trials:
        clock = trial.raw.get("latency_clock")
        if trial.part == part and trial.latency is not None and isinstance(clock, Mapping):
            key = str(clock.get("kind") or "unknown"), str(clock.get("what") or "")
            if trial.datapath not in (names := seen.setdefault(key, [])):
                names.append(trial.datapath)
    alone = len(seen) == 1
    return [
        f"Latency was timed by {kind} time stamps{f': {what}' if what else ''}"
        + ("." if alone else f" ({', '.join(names)}).")
        for (kind, what), names in seen.items()
    ]
