# SPDX-License-Identifier: GPL-2.0-only
"""A datapath attaches to a testbed's DUT with an image and then forwards until it is detached."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

from kbench.functions.model import Tables
from kbench.host.base import Process
from kbench.measure.losses import Told
from kbench.measure.testbeds.base import Testbed
from kbench.model import Function


@dataclass(frozen=True)
class Work:
    """What a datapath is to do: the function, its tables, and their image on the DUT's host."""

    function: Function
    tables: Tables
    image: str


@dataclass(frozen=True)
class Options:
    """Choices that concern one kind of datapath."""

    af_packet_ring: str = "v3"
    xdp_mode: str = "native"


@dataclass
class Seen:
    """A datapath's own counters, in packets, since it was attached."""

    received: int
    forwarded: int
    dropped: dict[str, int] = field(default_factory=dict)
    passed: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    """By place (losses.PLACES); ``tx`` is all that the outgoing port is known to have refused."""
    told: Told = "each"
    redirects: bool = False
    """Whether the receiving driver hands packets to the outgoing one, and counts what that refuses (native XDP)."""
    cpu_ns: int | None = None
    """CPU time of the datapath's own thread, for those that run in userspace."""
    raw: dict[str, Any] = field(default_factory=dict)


class Datapath(ABC):
    """Base of all datapaths; `attach` and `detach` come in pairs."""

    name: ClassVar[str]
    functions: ClassVar[frozenset[Function]]
    userspace: ClassVar[bool] = False
    default: ClassVar[bool] = True
    """Whether it is measured when no datapaths were asked for."""

    @property
    def pid(self) -> int | None:
        """Process that it works in while attached; None for those without one."""
        return None

    def __init__(self, testbed: Testbed, options: Options) -> None:
        self.testbed = testbed
        self.options = options
        self.facts: dict[str, Any] = {}
        """What the datapath said of itself when it became ready (ring sizes, attach mode)."""

    @abstractmethod
    def attach(self, work: Work) -> None:
        """Forwards from its return on. Raises UsageError, EnvironmentProblem or MeasureError."""

    @abstractmethod
    def detach(self) -> None:
        """Leaves the DUT as it was; harmless when not attached."""

    @abstractmethod
    def seen(self) -> Seen:
        """Counters now."""


class ProgramDatapath(Datapath):
    """A datapath that is a program after docs/programs.md."""

    program: ClassVar[str]
    told: ClassVar[Told] = "each"

    _process: Process | None = None

    @property
    def pid(self) -> int | None:
        """The program's."""
        return self._process.pid if self._process else None

    @property
    def redirects(self) -> bool:
        """See `Seen.redirects`."""
        return False

    def arguments(self) -> list[str]:
        """Options of this program only."""
        return []

    def attach(self, work: Work) -> None:
        """Starts the program in the DUT's namespace and waits for its ready line."""
        bed = self.testbed
        argv = [
            bed.host.program(self.program),
            "--rx", bed.rx.name,
            "--tx", bed.tx.name,
            "--function", work.function,
            "--image", work.image,
            *self.arguments(),
        ]  # fmt: skip
        self._process = bed.host.start(argv, netns=bed.rx.netns, timeout_s=120)
        self.facts = {k: v for k, v in self._process.ready.items() if k != "event"}

    def detach(self) -> None:
        """Stops the program; it detaches by itself."""
        if self._process is not None:
            process, self._process = self._process, None
            process.stop()

    def seen(self) -> Seen:
        """Asks the program for a snapshot."""
        assert self._process is not None, f"{self.name} is not attached"
        raw = self._process.snapshot()
        return Seen(
            received=raw["received"],
            forwarded=raw["forwarded"],
            dropped={k: v for k, v in raw["dropped"].items() if v},
            passed=raw["passed"],
            lost=dict(raw["lost"]),
            told=self.told,
            redirects=self.redirects,
            cpu_ns=raw.get("cpu_ns"),
            raw=raw,
        )
