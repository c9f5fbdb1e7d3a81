# SPDX-License-Identifier: GPL-2.0-only
"""A lab with the netfilter module, the veth testbed and cases in it, for the module's own tests."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kbench.errors import MeasureError
from kbench.host import net
from kbench.host.lab import LabHost, Parts
from kbench.host.process import Process
from kbench.measure.prepare import Prepared, prepare
from kbench.measure.testbeds.base import Cpus
from kbench.measure.testbeds.veth import VethTestbed
from kbench.model import Case

_numbers = itertools.count()
DRAIN_S = 20.0


def boot(series: str, log_dir: Path) -> LabHost:
    """A lab of this kernel series, not exact."""
    parts = Parts.prepare(series, lambda _text: None)
    return LabHost.boot(parts, mode="fast", log_dir=log_dir, progress=lambda _text: None)


def loaded(lab: LabHost) -> bool:
    """Whether the module is there."""
    return lab.exists("/sys/module/kbench_nf")


def _start_sink(lab: LabHost, veth: VethTestbed) -> Process:
    argv = [lab.program("kb-sink"), "--if", veth.sink.name, "--mode", "count"]
    return lab.start(argv, netns=veth.sink.netns)


@dataclass
class Bed:
    """A testbed with a sink, on which kb-netfilter and kb-offer-pktgen are run."""

    lab: LabHost
    veth: VethTestbed
    sink: Process
    datapaths: list[Process] = field(default_factory=list)

    @classmethod
    def make(cls, lab: LabHost) -> Bed:
        """Builds it; close it with `close`."""
        veth = VethTestbed(lab, f"kbN{next(_numbers)}", "same", Cpus(0, 0, 1), None).__enter__()
        return cls(lab, veth, _start_sink(lab, veth))

    def restart_sink(self) -> None:
        """After a test that stopped it."""
        self.sink = _start_sink(self.lab, self.veth)

    def close(self) -> None:
        """Stops the sink and whatever a failed test left running, and removes the namespaces."""
        for datapath in self.datapaths:
            with contextlib.suppress(MeasureError):  # those whose end a test brought about
                datapath.stop()
        self.sink.stop()
        self.veth.__exit__(None, None, None)

    def prepare(self, case: Case) -> Prepared:
        """The case's files, in the lab."""
        scratch = f"/tmp/kbN-{next(_numbers)}"
        self.lab.make_dir(scratch)
        return prepare(case, self.lab, scratch, self.veth.image_ports)

    def arguments(self, function: str, image: str, *more: str, module: bool = True) -> list[str]:
        """kb-netfilter's command line."""
        argv = [self.lab.program("kb-netfilter"), "--rx", self.veth.rx.name, "--tx", self.veth.tx.name]
        argv += ["--function", function, "--image", image, *more]
        return [*argv, "--module", self.lab.module("kbench_nf")] if module else argv

    def attach(self, function: str, image: str, *more: str) -> Process:
        """kb-netfilter, forwarding."""
        argv = self.arguments(function, image, *more)
        self.datapaths.append(self.lab.start(argv, netns=self.veth.rx.netns, timeout_s=120))
        return self.datapaths[-1]

    def refuse(self, function: str, image: str, *more: str, module: bool = True) -> tuple[int, str]:
        """Exit code and message of a kb-netfilter that is not to start."""
        argv = self.arguments(function, image, *more, module=module)
        done = self.lab.run(argv, netns=self.veth.rx.netns, check=False, timeout_s=60)
        assert not done.stdout, done.stdout
        return done.code, done.stderr.strip()

    def pktgen(self, traffic: str, *options: object) -> list[str]:
        """kb-offer-pktgen's command line, on CPU 0."""
        argv = [self.lab.program("kb-offer-pktgen"), "--if", self.veth.generator.name, "--traffic", traffic]
        return [*argv, "--cpu", "0", *map(str, options)]

    def offer(
        self, traffic: str, count: int = 0, *, rate_pps: int = 0, duration_ms: int = 0, frame_bytes: int = 64
    ) -> dict[str, Any]:
        """Offers packets with pktgen, and waits until the DUT has received them; pktgen's counters."""
        before = self.reached()
        options: Sequence[object] = (
            "--frame-bytes", frame_bytes, "--count", count,
            "--rate-pps", rate_pps, "--duration-ms", duration_ms,
        )  # fmt: skip
        process = self.lab.start(self.pktgen(traffic, *options), netns=self.veth.generator.netns)
        offered = process.wait(120.0).events[-1]
        # On a busy machine the guest's ksoftirqd may still have packets to deliver.
        deadline = time.monotonic() + DRAIN_S
        while self.reached() - before < offered["sent"] and time.monotonic() < deadline:
            time.sleep(0.01)
        return offered

    def arrived(self) -> int:
        """Packets that the sink has counted so far."""
        return int(self.sink.snapshot()["packets"])

    def reached(self) -> int:
        """Packets that have come to the DUT's port so far, by its own count."""
        stats = net.link_stats(self.lab, self.veth.rx.netns)
        return stats[self.veth.rx.name]["rx"]["packets"]
