# SPDX-License-Identifier: GPL-2.0-only
"""A generator offers packets of a traffic file and says what it really offered."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

from kbench.errors import KbenchError, MeasureError
from kbench.host.base import Host, Process
from kbench.host.journal import Journal
from kbench.measure.testbeds.base import Port, Testbed

START_S = 120.0
"""Limit for a program's start; an emulated CPU on a busy machine takes long to verify a BPF program."""


@dataclass(frozen=True)
class Load:
    """What to offer: ``rate_pps`` None is the maximum; ends at count or duration, whichever is first."""

    rate_pps: float | None
    duration_s: float
    count: int = 0
    timestamp: bool = False
    gaps: bool = False
    """Whether the times between packets are wanted (`Offered.raw`); needs a rate."""
    clock: Literal["hardware", "software"] | None = None
    """Packets of kb-stamp are sent beside the load, for their latency by this clock."""


@dataclass(frozen=True)
class Offered:
    """What a generator did. Times are CLOCK_MONOTONIC nanoseconds of the first and last packet."""

    sent: int
    failed: int
    first_ns: int
    last_ns: int
    elapsed_ns: int
    raw: dict[str, Any]
    intended: int | None = None
    """Packets that the rate called for while the load ran, see docs/programs.md; None without a rate."""

    @property
    def rate_pps(self) -> float | None:
        """Offered packets per second between the first and the last packet."""
        if self.sent < 2 or self.elapsed_ns <= 0:
            return None
        return self.sent / self.elapsed_ns * 1e9


class Generator:
    """Runs its program in the generator's namespace, pinned to its CPU.

    A resident one is started at its first load and kept for the following ones, because starting costs about as much
    as a short trial: one process for each port, traffic file, frame size and kind of mark. `close` ends them; as a
    context manager it closes itself. The others run once for each load.
    """

    name: ClassVar[str]
    program: ClassVar[str]
    timestamps: ClassVar[bool]
    """Whether it can stamp packets with the nanosecond at which they left."""
    resident: ClassVar[bool]
    """Whether the program takes one load after the other from its stdin."""

    def __init__(self) -> None:
        self._processes: dict[tuple[Host, str | None, tuple[str, ...]], Process] = {}

    def setup(self, host: Host, journal: Journal | None) -> None:
        """Makes the host able to run it, where that takes a change; the journal undoes it."""

    def arguments(self, load: Load) -> list[str]:
        """Options of this kind of generator only."""
        return []

    def intended(self, load: Load, raw: dict[str, Any]) -> int | None:
        """Packets that the load called for while it ran; None without a rate."""
        return None if load.rate_pps is None else int(raw["intended"])

    def offer(self, testbed: Testbed, port: Port, traffic: str, frame_bytes: int, load: Load) -> Offered:
        """Offers `load` out of `port` and returns when it is done.

        Raises MeasureError if the program fails or offers nothing. A resident one that fails is given up: the next
        load starts another. The traffic file must not change as long as one runs.
        """
        argv = [
            testbed.tester.program(self.program),
            "--if", port.name,
            "--traffic", traffic,
            "--frame-bytes", str(frame_bytes),
            "--cpu", str(testbed.cpus.generator),
            *self.arguments(load),
        ]  # fmt: skip
        rate = 0 if load.rate_pps is None else max(1, round(load.rate_pps))  # 0 would be the maximum
        numbers = (str(rate), str(max(1, round(load.duration_s * 1000))), str(load.count))
        timeout_s = load.duration_s * 4 + START_S
        if self.resident:
            raw = self._next_load(testbed.tester, port.netns, argv, " ".join(numbers), timeout_s)
            if port in (testbed.rx, testbed.sink):
                self._free(testbed.tester, port.netns, argv)
        else:
            raw = _only_load(testbed.tester, port.netns, argv, numbers, timeout_s)
        if not raw["sent"]:
            raise MeasureError(
                f"generator {self.name} offered nothing: {port.name} took none of {raw['failed']} packets"
            )
        return Offered(
            sent=raw["sent"],
            failed=raw["failed"],
            first_ns=raw["first_ns"],
            last_ns=raw["last_ns"],
            elapsed_ns=raw["elapsed_ns"],
            raw=raw,
            intended=self.intended(load, raw),
        )

    def _next_load(
        self, host: Host, netns: str | None, argv: list[str], line: str, timeout_s: float
    ) -> dict[str, Any]:
        key = (host, netns, tuple(argv))
        process = self._processes.get(key)
        if process is None:
            process = host.start([*argv, "--resident"], netns=netns, timeout_s=START_S, stdin_open=True)
            self._processes[key] = process
        try:
            process.send_line(line)
            return process.wait_event("counters", timeout_s)
        except BaseException:
            # An interrupted load would answer for the next one.
            del self._processes[key]
            process.kill()
            raise

    def _free(self, host: Host, netns: str | None, argv: list[str]) -> None:
        """Ends a process that has an XDP program on its port, where a sink or a datapath may need the place next."""
        key = (host, netns, tuple(argv))
        if self._processes[key].ready.get("tx_program", "none") != "none":
            self._processes.pop(key).stop()

    def forget(self, netns: str | None) -> None:
        """Ends the resident processes of one namespace, which is about to go."""
        for key in [key for key in self._processes if key[1] == netns]:
            # Its loads are done and counted: how it ends changes no result.
            with suppress(KbenchError):
                self._processes.pop(key).stop()

    def close(self) -> None:
        """Ends all resident processes; the generator may be used again."""
        for netns in {key[1] for key in self._processes}:
            self.forget(netns)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _only_load(
    host: Host, netns: str | None, argv: list[str], numbers: tuple[str, str, str], timeout_s: float
) -> dict[str, Any]:
    """Runs the program for one load."""
    rate, duration, count = numbers
    argv = [*argv, "--rate-pps", rate, "--duration-ms", duration, "--count", count]
    process = host.start(argv, netns=netns, ready=False)
    try:
        finished = process.wait(timeout_s)
    except BaseException:
        # It would go on offering into whatever is measured next.
        with suppress(KbenchError):
            process.stop()
        raise
    last = [event for event in finished.events if event["event"] == "counters"]
    if not last:
        raise MeasureError(f"{argv[0]} printed no counters: {finished.stderr or 'no reason given'}")
    return last[-1]
