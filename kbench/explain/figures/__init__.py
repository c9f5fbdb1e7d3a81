# SPDX-License-Identifier: GPL-2.0-only
"""The charts of a report.

A datapath has the same colour, marker and line in all of them; exact and wall-clock figures never share one.
"""

from __future__ import annotations

from kbench.explain.comparison import Comparison
from kbench.explain.figures import cpu, latency, ledger, loss, rates
from kbench.explain.figures.base import Chart, Topic, style
from kbench.explain.figures.files import write_files
from kbench.explain.figures.sweep import sweeps
from kbench.explain.method_results import COMMON
from kbench.explain.methods import Methods

__all__ = ["Chart", "Topic", "charts", "style", "sweeps", "write_files"]


def charts(prefix: str, comparison: Comparison, methods: Methods) -> list[Chart]:
    """All of one comparison that it, its methods and its probes have figures for; their names start with `prefix`."""
    made = [
        rates.rates(f"{prefix}-rates", comparison),
        rates.instructions(f"{prefix}-instructions", comparison),
    ]
    found = methods.found
    if found is not None:
        made += [
            rates.throughput(f"{prefix}-throughput", found.bounds),
            loss.losses(f"{prefix}-losses", found.curves),
        ]
    made.append(latency.distribution(f"{prefix}-latency", comparison))
    if found is not None:
        loads = [at for at in found.latencies if at.load != COMMON]
        made.append(latency.by_load(f"{prefix}-latency-by-load", loads))
    made.append(cpu.dut_time(f"{prefix}-cpu-time", comparison))
    made += cpu.at_load(f"{prefix}-cpu-at-load", found.cpu) if found is not None else []
    made += cpu.counted(f"{prefix}-counted", methods.probed)
    made += [cpu.states(f"{prefix}-cpu-states", comparison), ledger.ledger(f"{prefix}-ledger", comparison)]
    return [chart for chart in made if chart is not None]
