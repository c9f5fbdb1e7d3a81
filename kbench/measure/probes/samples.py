# SPDX-License-Identifier: GPL-2.0-only
"""Where the CPU time of a packet goes: what the DUT's CPUs are at, 4,000 times a second, by kb-perf.

With the kernel's callers of each function, so that what many share (memory, locks) can be charged to who asked for it.
"""

from __future__ import annotations

from typing import Any

from kbench.errors import EnvironmentProblem
from kbench.host.base import Process
from kbench.measure.observe import Observed
from kbench.measure.probes.base import Absent, Probe
from kbench.model import Counters


class Samples(Probe):
    """From before the first packet until the traffic had drained: a little of what comes before and after is in it."""

    name = "samples"
    costly = "4,000 interrupts a second on each of the DUT's CPUs, which take 3 to 8 % of the rate"
    profile_s = 0.75
    """Some 3,000 samples of each CPU: a stage that takes a tenth of the time is known to a tenth of itself."""

    _process: Process | None = None

    def before(self) -> None:
        """Starts to sample. Absent where kb-perf says that it may not, or that functions have no names."""
        host, cpus = self.bench.host, self.bench.testbed.cpus
        userspace = self.bench.datapath is not None and self.bench.datapath.userspace
        watched = sorted({cpus.receive, cpus.application} if userspace else {cpus.receive})
        asked = ["--sample", "--cpu", ",".join(map(str, watched))]
        try:
            self._process = host.start([host.program("kb-perf"), *asked])
        except EnvironmentProblem as problem:
            raise Absent(str(problem)) from problem

    def after(self, observed: Observed, counters: Counters) -> dict[str, Any]:
        """By CPU its samples: of user space by thread, of the kernel by thread and chain of callers."""
        assert self._process is not None
        process, self._process = self._process, None
        last = process.stop()
        if last is None or not any(cpu["samples"] for cpu in last["cpus"]):
            raise Absent("no sample was taken")
        return {name: last[name] for name in ("sampled", "hz", "elapsed_ns", "cpus")}

    def close(self) -> None:
        """Ends it where the trial failed."""
        if self._process is not None:
            process, self._process = self._process, None
            process.stop()
