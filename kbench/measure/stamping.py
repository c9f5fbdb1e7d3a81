# SPDX-License-Identifier: GPL-2.0-only
"""Latency by the tester's network adapter: kb-stamp's own packets, sent beside an offered load.

The generator's packets have no hardware time stamp (the kernel asks an adapter for one packet by packet, for
sockets only), so a few others are sent through the datapath at the same time, a thousand a second. They are
offered packets that generator and sink do not know of: `beside` enters them into both their counts.

Many adapters stamp only received packets that look like PTP's. Ours can, by their UDP destination port (319):
where a datapath decides by that port, theirs is another verdict than the load's.

The sink must have been started with ``--pass-stamped``, or it takes them away.
"""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from kbench.errors import EnvironmentProblem, KbenchError, MeasureError
from kbench.host.base import Process
from kbench.host.nic.clocks import Choice, Kind, choose, port_clock
from kbench.measure.generators.base import Offered
from kbench.measure.testbeds.base import Testbed

RATE_PPS = 1000
"""Most adapters hold the stamp of one sent packet at a time and need some microseconds to give it away."""
START_S = 60.0
"""Limit for the program's start: some adapters start anew when told to stamp, and take seconds for a link."""
END_S = 30.0
PROOF_MS = 100
PROOF_SHARE = 0.5
"""Share of the arrived packets that must have both stamps before an adapter is believed."""
LATENCY_CLOCKS: dict[Kind, str] = {
    "hardware": "the tester's adapter stamps packets of kb-stamp as they leave and arrive, beside the load",
    "software": "the kernel stamps packets of kb-stamp as they leave and arrive, beside the load",
}


@dataclass(frozen=True)
class Stamped:
    """What became of kb-stamp's packets during one load."""

    sent: int
    received: int
    without_tx_stamp: int
    """Of the sent ones."""
    without_rx_stamp: int
    """Of the received ones."""
    backwards: int
    """Arrived before they were sent, by their stamps: the clock was set meanwhile, or they are two."""
    latency: dict[str, Any]
    """The histogram, as kb-sink prints it."""
    raw: dict[str, Any]
    """The program's counters, but for the histogram."""


def stamped(counters: dict[str, Any]) -> Stamped:
    """From a `counters` event of kb-stamp; times in it are CLOCK_MONOTONIC nanoseconds, as everywhere."""
    return Stamped(
        sent=counters["sent"],
        received=counters["received"],
        without_tx_stamp=counters["without_tx_stamp"],
        without_rx_stamp=counters["without_rx_stamp"],
        backwards=counters["backwards"],
        latency=counters["latency"],
        raw={key: value for key, value in counters.items() if key not in ("event", "latency")},
    )


def _counted(counters: dict[str, Any] | None) -> Stamped:
    if counters is None:
        raise MeasureError("kb-stamp ended without counters")
    return stamped(counters)


class Stamper:
    """As a context manager around an offered load: kb-stamp sends from its start to its end.

    It needs the ports for itself but for the generator and a sink, and leaves the adapters as they were.
    Raises EnvironmentProblem where they can't stamp.
    """

    def __init__(
        self,
        testbed: Testbed,
        traffic: str,
        frame_bytes: int,
        *,
        clock: Kind = "hardware",
        rate_pps: int = RATE_PPS,
        cpu: int | None = None,
    ) -> None:
        """`traffic` is the path of the traffic file on the tester.

        `cpu` pins the program; it is to be none of the generator's, which it would hold up.
        """
        self._testbed = testbed
        self._clock = clock
        self._argv = [
            "--out", testbed.generator.name,
            "--in", testbed.sink.name,
            "--traffic", traffic,
            "--frame-bytes", str(frame_bytes),
            "--rate-pps", str(rate_pps),
            "--clock", clock,
        ]  # fmt: skip
        if testbed.sink.netns and testbed.sink.netns != testbed.generator.netns:
            self._argv += ["--in-netns", testbed.sink.netns]
        if cpu is not None:
            self._argv += ["--cpu", str(cpu)]
        self._process: Process | None = None
        self._stamped: Stamped | None = None

    def __enter__(self) -> Self:
        """Returns when it sends."""
        self._start(0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Returns when its last packets have arrived, or are not expected any more."""
        process, self._process = self._process, None
        assert process is not None
        if error is not None:
            # It must not go on sending; that it ends in order puts the adapters back first.
            with suppress(KbenchError):
                process.stop(END_S)
            return
        self._stamped = _counted(process.stop(END_S))

    def run(self, duration_ms: int) -> Stamped:
        """Sends for that long, without another load."""
        self._start(duration_ms)
        process, self._process = self._process, None
        assert process is not None
        try:
            events = process.wait(duration_ms / 1000 + END_S).events
        except BaseException:
            process.kill()
            raise
        return _counted(next((event for event in reversed(events) if event["event"] == "counters"), None))

    def _start(self, duration_ms: int) -> None:
        tester = self._testbed.tester
        argv = [tester.program("kb-stamp"), *self._argv, "--duration-ms", str(duration_ms)]
        if self._clock == "hardware":
            sink = self._testbed.sink
            # An adapter that claims none of ours is asked for all, and refuses with its reason.
            argv += ["--rx-filter", port_clock(tester, sink.name, sink.netns).rx_filter or "all"]
        self._process = tester.start(argv, netns=self._testbed.generator.netns, timeout_s=START_S)
        self._stamped = None

    @property
    def counted(self) -> Stamped:
        """What became of the packets, once the load is over."""
        assert self._stamped is not None, "the load is not over"
        return self._stamped

    def result(self) -> dict[str, Any] | None:
        """The histogram in the form of a sink's ``latency``; None if no packet has both stamps."""
        return self.counted.latency if self.counted.latency["count"] else None

    @property
    def latency_clock(self) -> dict[str, str]:
        """``kind`` and ``what``, for the trial's record."""
        return {"kind": self._clock, "what": LATENCY_CLOCKS[self._clock]}


def beside(offered: Offered, sink: dict[str, Any], packets: Stamped) -> tuple[Offered, dict[str, Any]]:
    """A load and what a sink counted, both with kb-stamp's packets, so that the ledger holds for all."""
    intended = None if offered.intended is None else offered.intended + packets.sent
    together = dataclasses.replace(offered, sent=offered.sent + packets.sent, intended=intended)
    return together, {**sink, "packets": sink["packets"] + packets.received}


def choose_clock(testbed: Testbed, traffic: str, frame_bytes: int) -> Choice:
    """The clock for latency on a testbed, believed only after it was seen to work.

    Sends packets through the datapath, which must be attached and forward some of the traffic; a sink, if
    there is one, must pass stamped packets. Some claims are not kept: QEMU's e1000e stamps nothing.
    """
    tester, generator, sink = testbed.tester, testbed.generator, testbed.sink
    choice = choose(
        port_clock(tester, generator.name, generator.netns), port_clock(tester, sink.name, sink.netns)
    )
    if choice.kind == "software":
        return choice
    try:
        seen = Stamper(testbed, traffic, frame_bytes).run(PROOF_MS)
    except EnvironmentProblem as problem:
        return Choice("software", str(problem))
    return judge(choice, seen, generator.name, sink.name)


def judge(claimed: Choice, seen: Stamped, generator: str, sink: str) -> Choice:
    """`claimed`, or software where what was seen belies it."""
    if not seen.received:
        return Choice("software", f"none of {seen.sent} packets to prove the hardware clock arrived")
    if seen.latency["count"] >= PROOF_SHARE * seen.received:
        return claimed
    if seen.backwards:
        early = f"{seen.backwards} of {seen.received} packets"
        why = f"{early} arrived before they were sent, by the hardware's clock"
    else:
        sends = seen.without_tx_stamp >= seen.without_rx_stamp
        port, without, of = (
            (generator, seen.without_tx_stamp, seen.sent)
            if sends
            else (sink, seen.without_rx_stamp, seen.received)
        )
        why = f"{port} claims hardware time stamps, but {without} of {of} packets got none"
    return Choice("software", why)
