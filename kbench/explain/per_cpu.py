# SPDX-License-Identifier: GPL-2.0-only
"""What each CPU did over a datapath's trials: its time by state, and the packets that it put into the stack."""

from __future__ import annotations

import re
from collections import Counter

from kbench.explain.comparison import CPU_STATES
from kbench.model import Trial


def cpu_shares(trials: list[Trial]) -> dict[int, dict[str, float]]:
    """CPU -> state -> share of the time."""
    sums: dict[int, dict[str, float]] = {}
    for trial in trials:
        for cpu in trial.cpus:
            states = sums.setdefault(cpu.cpu, dict.fromkeys(CPU_STATES, 0.0))
            for state in CPU_STATES:
                states[state] += getattr(cpu, f"{state}_s")
    shares = {}
    for number, states in sorted(sums.items()):
        total = sum(states.values())
        if total > 0:
            shares[number] = {state: seconds / total for state, seconds in states.items()}
    return shares


def packets_by_cpu(trials: list[Trial], shared: bool) -> dict[int, int]:
    """CPU -> packets, by softnet's `processed`.

    `shared`: the tester is on the same machine, so that only the DUT's receiving CPUs are looked at: those of the sink
    count packets as well.
    """
    found: Counter[int] = Counter()
    for trial in trials:
        receiving = trial.raw.get("cpus", {}).get("receive_all") if shared else None
        for name, count in trial.softnet.items():
            counted = re.fullmatch(r"processed/cpu(\d+)", name)
            if counted and (receiving is None or int(counted[1]) in receiving):
                found[int(counted[1])] += count
    return {cpu: count for cpu, count in sorted(found.items()) if count > 0}
