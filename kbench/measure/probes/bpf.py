# SPDX-License-Identifier: GPL-2.0-only
"""Run time of BPF programs, by the kernel's own accounting.

kb-perf turns the accounting on by BPF_ENABLE_STATS (kernel commit d46edd671a14), whose effect ends with the program,
also after SIGKILL; the sysctl kernel.bpf_stats_enabled would stay.
"""

from __future__ import annotations

from typing import Any

from kbench.errors import EnvironmentProblem
from kbench.host.base import Process
from kbench.measure.observe import Observed
from kbench.measure.probes.base import Absent, Probe
from kbench.model import Counters


class BpfRunTime(Probe):
    """All programs of the machine that ran during the trial: also the generator's and the sink's."""

    name = "bpf"
    costly = "the accounting adds 65-72 ns to each run of each BPF program"

    _process: Process | None = None

    def before(self) -> None:
        """Turns the accounting on."""
        host = self.bench.host
        try:
            self._process = host.start([host.program("kb-perf"), "--bpf-stats"])
        except EnvironmentProblem as problem:
            raise Absent(str(problem)) from problem

    def after(self, observed: Observed, counters: Counters) -> dict[str, Any]:
        """Runs and nanoseconds of each program; about one reading of the clock is in the time of each run."""
        assert self._process is not None
        programs = self._process.snapshot()["bpf"]
        if not programs:
            raise Absent("no BPF program ran")
        return {"programs": [p | {"ns_per_run": p["run_ns"] / p["runs"]} for p in programs]}

    def close(self) -> None:
        """Ends the accounting."""
        if self._process is not None:
            process, self._process = self._process, None
            process.stop()
