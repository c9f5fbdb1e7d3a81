# SPDX-License-Identifier: GPL-2.0-only
"""A bench: one testbed with one datapath attached and a sink behind it, resident for as long as a case is measured.

Benches of all datapaths stand side by side, so that trials can alternate between them without set-up in between.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal

from kbench.host.base import Host, Process
from kbench.measure.datapaths.base import Datapath, Seen, Work
from kbench.measure.testbeds.base import Port, Testbed

BASELINE = "baseline"
"""Name of the bench that shows what the generator and the way to the DUT cost by themselves."""

SinkMode = Literal["count", "latency", "stamp", "beside"]
"""beside: it counts, but leaves the packets of kb-stamp to kb-stamp."""


SINK_OPTIONS: dict[SinkMode, tuple[str, ...]] = {
    "count": ("--mode", "count"),
    "latency": ("--mode", "latency"),
    "stamp": ("--mode", "stamp"),
    "beside": ("--mode", "count", "--pass-stamped"),
}


@dataclass
class Bench:
    """A resident datapath; `datapath` is None for the baseline."""

    name: str
    host: Host
    testbed: Testbed
    datapath: Datapath | None
    into: Port
    """Where the generator's packets leave from."""
    counts_at: Port | None
    """Where the sink counts; None if nothing counts (packets end in a dummy device)."""
    work: Work | None = None
    """What the datapath does, once it has its turn."""
    sink: Process | None = field(default=None)
    sink_mode: SinkMode | None = None
    offloads: dict[str, list[str] | None] = field(default_factory=dict)
    """By port of the DUT the features that are on; None where that can't be told."""

    def take_turn(self) -> None:
        """Has its ports to itself from now on: attaches the datapath, unless it is attached already."""
        self.testbed.turn.take(self, self._enter, self._leave)

    def end_turn(self) -> None:
        """Stops the sink and detaches the datapath, if it is attached."""
        self.testbed.turn.end(self)

    def _enter(self) -> None:
        if self.datapath is not None:
            assert self.work is not None
            self.datapath.attach(self.work)
            self.testbed.settle()

    def _leave(self) -> None:
        self.stop_sink()
        if self.datapath is not None:
            self.datapath.detach()

    def start_sink(self, mode: SinkMode) -> None:
        """Starts the sink, or starts it again in another mode."""
        if self.counts_at is None or self.sink_mode == mode:
            return
        self.stop_sink()
        host = self.testbed.host_of(self.counts_at)
        # On veth always native, so that all runs are alike; a NIC's driver may have no native XDP.
        xdp = ("--xdp", "auto") if self.testbed.wire == "nic" else ()
        self.sink = host.start(
            [host.program("kb-sink"), "--if", self.counts_at.name, *SINK_OPTIONS[mode], *xdp],
            netns=self.counts_at.netns,
        )
        self.sink_mode = mode
        self.testbed.settle()

    def stop_sink(self) -> None:
        """Stops the sink; it takes its XDP program off the port."""
        if self.sink is not None:
            sink, self.sink, self.sink_mode = self.sink, None, None
            sink.stop()

    def seen(self) -> Seen | None:
        """The datapath's counters, if there is one."""
        return self.datapath.seen() if self.datapath else None

    def counted(self) -> dict[str, Any] | None:
        """The sink's counters, if there is one."""
        if self.sink is None or self.counts_at is None:
            return None
        counted = self.sink.snapshot()
        if self.testbed.host_of(self.counts_at) is not self.testbed.tester:
            counted["samples"] = []  # by another machine's clock than the generator's
        return counted


class Benches:
    """Builds benches and takes them down again in reverse order."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Benches:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def add(self, name: str, testbed: Testbed, datapath: type[Datapath], options: Any, work: Work) -> Bench:
        """A bench called `name` with `datapath` attached; its sink is not started yet."""
        self._stack.enter_context(testbed)
        bench = Bench(
            name=name,
            host=testbed.host,
            testbed=testbed,
            datapath=datapath(testbed, options),
            into=testbed.generator,
            # A port that hears itself has its datapath's program, beside which there is no place for a sink's.
            counts_at=None if testbed.sink == testbed.rx else testbed.sink,
            work=work,
        )
        self._stack.callback(bench.end_turn)
        bench.take_turn()
        return bench

    def add_baseline(self, testbed: Testbed) -> Bench:
        """A bench whose packets end in a bare XDP drop on the DUT's receiving port."""
        self._stack.enter_context(testbed)
        bench = Bench(
            name=BASELINE,
            host=testbed.host,
            testbed=testbed,
            datapath=None,
            into=testbed.generator,
            counts_at=testbed.rx,
        )
        self._stack.callback(bench.end_turn)
        return bench

    def add_dummy_baseline(self, testbed: Testbed) -> Bench:
        """A bench whose packets end in a dummy device, which frees them: the generator and nothing else.

        For exact parts, where pktgen's shared buffers make a bare XDP drop dearer than a drop in netfilter:
        veth copies each of them for XDP, so it can't be what is subtracted from the others.
        """
        self._stack.enter_context(testbed)
        space = testbed.generator.netns
        dummy = Port("dummy0", space, testbed.generator.mac)
        testbed.host.run(["ip", "-n", str(space), "link", "add", dummy.name, "type", "dummy"])
        testbed.host.run(["ip", "-n", str(space), "link", "set", dummy.name, "up"])
        return Bench(
            name=BASELINE,
            host=testbed.host,
            testbed=testbed,
            datapath=None,
            into=dummy,
            counts_at=None,
        )
