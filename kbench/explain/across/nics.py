# SPDX-License-Identifier: GPL-2.0-only
"""What differs between the NICs of two runs: cards, drivers, firmware, settings, wiring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kbench.explain.across.result import Difference, unlike
from kbench.explain.answer import part_name
from kbench.explain.nic import Topology, topology
from kbench.store import Run

CAUSES = {
    "bus": "another NIC", "mac": "another NIC", "driver": "another driver of the NIC",
    "driver_version": "another driver of the NIC", "firmware": "other firmware of the NIC",
    "speed_mbps": "another link speed", "during": "other settings of the NIC", "clock": "another clock of latency",
}  # fmt: skip
"""Facts of a port, and what a change of each is called as a cause."""
WIRING, PROFILE = "other wiring", "another NIC profile"


def other_testbed(base: Run, head: Run) -> list[str]:
    """Parts that were measured on NICs in one run only: their figures are of different things."""
    theirs, ours = _wired(base), _wired(head)
    found = []
    for part in [name for name in theirs if name in ours]:
        was, is_ = theirs[part], ours[part]
        if (was is None) != (is_ is None):
            words = [side.pair if side is not None else "veth" for side in (was, is_)]
            found.append(
                f"another testbed: {part_name(part)} is on {words[0]} in BASE and on {words[1]} in HEAD"
            )
    return found


def differences_of_nics(base: Run, head: Run) -> list[Difference]:
    """Of the ports, their settings during the run, the profile, and who is cabled to whom."""
    theirs, ours = _wired(base), _wired(head)
    found = []
    for part in [name for name in theirs if name in ours]:
        was, is_ = theirs[part], ours[part]
        if was is not None and is_ is not None:
            for what in ("kind", "pair", "tester", "driver_loopback"):
                pair = getattr(was, what), getattr(is_, what)
                found += unlike(part, what.replace("_", " "), *pair, WIRING)
            found += unlike(part, "MAC", _macs(was), _macs(is_), CAUSES["mac"])
    for part in [name for name in base.facts if name in head.facts]:
        sides = [run.facts[part] for run in (base, head)]
        found += unlike(
            part, "NIC profile", sides[0].get("nic_profile"), sides[1].get("nic_profile"), PROFILE
        )
        ports = [_by_name(side.get("nics")) for side in sides]
        for name in [port for port in ports[0] if port in ports[1]]:
            for key, cause in CAUSES.items():
                pair = ports[0][name].get(key), ports[1][name].get(key)
                about = name if key == "during" else f"{name} {key.replace('_', ' ')}"
                found += unlike(part, about, *pair, cause)
    return found


def _wired(run: Run) -> dict[str, Topology | None]:
    return {part.name: topology(part) for part in run.parts}


def _macs(wired: Topology) -> dict[str, str | None]:
    return {port.name: port.mac for port, _ in wired.distinct}


def _by_name(nics: Any) -> dict[str, Mapping[str, Any]]:
    """Ports by their names; of the same name on another machine, by that as well."""
    found: dict[str, Mapping[str, Any]] = {}
    for nic in nics if isinstance(nics, list) else ():
        if isinstance(nic, Mapping):
            name = str(nic.get("name"))
            found[f"{name} on {nic.get('host')}" if name in found else name] = nic
    return found
