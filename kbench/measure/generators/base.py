# SPDX-License-Identifier: GPL-2.0-only
"""A generator offers packets of a traffic file and says what it really offered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from kbench.errors import MeasureError
from kbench.host.base import Host
from kbench.host.journal import Journal
from kbench.measure.testbeds.base import Port, Testbed


@dataclass(frozen=True)
class Load:
    """What to offer: ``rate_pps`` None is the maximum; ends at count or duration, whichever is first."""

    rate_pps: float | None
    duration_s: float
    count: int = 0
    timestamp: bool = False


@dataclass(frozen=True)
class Offered:
    """What a generator did. Times are CLOCK_MONOTONIC nanoseconds of the first and last packet."""

    sent: int
    failed: int
    first_ns: int
    last_ns: int
    elapsed_ns: int
    raw: dict[str, Any]

    @property
    def rate_pps(self) -> float | None:
        """Offered packets per second between the first and the last packet."""
        if self.sent < 2 or self.elapsed_ns <= 0:
            return None
        return self.sent / self.elapsed_ns * 1e9


class Generator:
    """Runs its program once per trial, in the generator's namespace, pinned to its CPU."""

    name: ClassVar[str]
    program: ClassVar[str]
    timestamps: ClassVar[bool]
    """Whether it can stamp packets with the nanosecond at which they left."""

    def setup(self, host: Host, journal: Journal | None) -> None:
        """Makes the host able to run it, where that takes a change; the journal undoes it."""

    def arguments(self, load: Load) -> list[str]:
        """Options of this kind of generator only."""
        return []

    def offer(self, testbed: Testbed, port: Port, traffic: str, frame_bytes: int, load: Load) -> Offered:
        """Offers `load` out of `port` and returns when it is done.

        Raises MeasureError if the program fails or offers nothing.
        """
        argv = [
            testbed.host.program(self.program),
            "--if", port.name,
            "--traffic", traffic,
            "--frame-bytes", str(frame_bytes),
            "--rate-pps", str(round(load.rate_pps or 0)),
            "--duration-ms", str(max(1, round(load.duration_s * 1000))),
            "--count", str(load.count),
            "--cpu", str(testbed.cpus.generator),
            *self.arguments(load),
        ]  # fmt: skip
        process = testbed.host.start(argv, netns=port.netns, ready=False)
        finished = process.wait(timeout_s=load.duration_s * 4 + 120)
        last = [e for e in finished.events if e.get("event") == "counters"]
        if not last or not last[-1]["sent"]:
            raise MeasureError(
                f"generator {self.name} offered nothing: {finished.stderr or 'no reason given'}"
            )
        raw = last[-1]
        return Offered(
            sent=raw["sent"],
            failed=raw["failed"],
            first_ns=raw["first_ns"],
            last_ns=raw["last_ns"],
            elapsed_ns=raw["elapsed_ns"],
            raw=raw,
        )
