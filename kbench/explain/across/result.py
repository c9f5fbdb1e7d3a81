# SPDX-License-Identifier: GPL-2.0-only
"""What a comparison of two runs consists of: figures, what changed, what else differs, and the exit code."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kbench.errors import NOT_ENOUGH_DATA_EXIT_CODE, REGRESSION_EXIT_CODE
from kbench.explain.grade import Letter
from kbench.explain.stats import Claim, Estimate
from kbench.model import SCHEMA_VERSION, Kind

Metric = Literal[
    "rate", "cpu", "instructions", "p50", "p99", "ndr", "pdr", "throughput", "cpu-at-load"
]  # fmt: skip


@dataclass(frozen=True)
class Word:
    """How a metric is spoken of."""

    name: str
    unit: str
    higher_is_better: bool
    up: str
    down: str


WORDS: dict[Metric, Word] = {
    "rate": Word("rate", "packets/s", True, "faster", "slower"),
    "cpu": Word("DUT CPU time", "ns/packet", False, "more", "less"),
    "instructions": Word("instructions", "per packet", False, "more", "fewer"),
    "p50": Word("latency p50", "ns", False, "longer", "shorter"),
    "p99": Word("latency p99", "ns", False, "longer", "shorter"),
    "ndr": Word("NDR", "packets/s", True, "faster", "slower"),
    "pdr": Word("PDR", "packets/s", True, "faster", "slower"),
    "throughput": Word("throughput", "packets/s", True, "faster", "slower"),
    "cpu-at-load": Word("DUT CPU time", "ns/packet", False, "more", "less"),
}
"""In the order in which they are shown."""


@dataclass(frozen=True)
class Work:
    """What was done where: figures of different work are never set against each other."""

    part: str
    kind: Kind
    case_id: str
    generator: str
    load_pps: float | None
    """Of trials that are ranked; None: the maximum. Latency and searches have loads of their own."""

    def __str__(self) -> str:
        load = "" if self.load_pps is None else f" at {self.load_pps:g} packets/s"
        return f"{self.case_id} ({self.part}, {self.generator}{load})"


@dataclass(frozen=True)
class Difference:
    """A fact, setting or version that is not the same in both runs; None: not recorded."""

    part: str
    what: str
    base: str | None
    head: str | None
    cause: str
    """What kind of cause of a change that is, in words: ``another kernel``."""

    def __str__(self) -> str:
        return f"{self.part} {self.what}: {self.base or 'unknown'} -> {self.head or 'unknown'}".replace(
            "  ", " "
        )


def unlike(part: str, name: str, was: Any, is_: Any, cause: str) -> list[Difference]:
    """Differences between two values; of two mappings, or one that only one run has, those of their entries."""
    mappings = [side for side in (was, is_) if isinstance(side, Mapping)]
    if mappings and all(side is None or isinstance(side, Mapping) for side in (was, is_)):
        keys = sorted({key for side in mappings for key in side}, key=str)
        return [
            d
            for key in keys
            for d in unlike(part, f"{name} {key}".strip(), (was or {}).get(key), (is_ or {}).get(key), cause)
        ]
    before, after = (None if side is None else str(side) for side in (was, is_))
    return [] if was == is_ else [Difference(part, name, before, after, cause)]


@dataclass(frozen=True)
class Change:
    """One figure in both runs: HEAD over BASE."""

    part: str
    kind: Kind
    case_id: str
    generator: str
    load_pps: float | None
    datapath: str
    metric: Metric
    base: Estimate
    head: Estimate
    ratio: Estimate
    """HEAD's figure over BASE's. Its interval is what is judged, and holds together with all others'."""
    resolution: float
    """The smallest change that is claimed of this figure, as a share."""
    claim: Claim
    grades: tuple[Letter, Letter]
    better: bool | None
    """For a change that is claimed: whether it is one for the better."""
    at: str = ""
    """What the figure belongs to, where its metric does not say: ``at 50 kpps``."""
    notes: tuple[str, ...] = ()
    """What limits it."""

    @property
    def work(self) -> Work:
        """What was done where."""
        return Work(self.part, self.kind, self.case_id, self.generator, self.load_pps)

    @property
    def verdict(self) -> str:
        """One of the three verdicts, in words."""
        if self.claim.outcome != "changed":
            return str(self.claim)
        word = WORDS[self.metric]
        off = self.ratio.value - 1
        way = word.up if off > 0 else word.down
        return f"changed by {off * 100:+.3g} % ({way}, {'better' if self.better else 'worse'})"


@dataclass(frozen=True)
class Side:
    """One of the two runs."""

    run_id: str
    started_at: str | None = None
    label: str | None = None
    version: str | None = None
    """Of kbench."""


@dataclass
class AcrossResult:
    """What `compare_runs` found."""

    base: Side
    head: Side
    family_level: float
    """All intervals hold together at this level."""
    family: int
    """How many figures were judged together."""
    level: float
    """Level of each interval, for that."""
    forced: list[str] = field(default_factory=list)
    """What speaks against the comparison and was overruled by force; empty if nothing does."""
    differences: list[Difference] = field(default_factory=list)
    same_sources: bool | None = None
    """Whether the datapaths were built of the same sources; None where a run does not tell."""
    changes: list[Change] = field(default_factory=list)
    unjudged: list[str] = field(default_factory=list)
    """Figures that both runs have and that can't be set against each other, with the reason."""
    only_base: list[str] = field(default_factory=list)
    """Figures that HEAD does not have, in words."""
    only_head: list[str] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)

    @property
    def worse(self) -> list[Change]:
        """Regressions."""
        return [c for c in self.changes if c.better is False]

    @property
    def counts(self) -> dict[str, int]:
        """How many figures have which verdict."""
        found = Counter(
            c.claim.outcome if c.better is None else "better" if c.better else "worse" for c in self.changes
        )
        return {name: found[name] for name in ("worse", "better", "no change", "not enough data")}


def exit_code(result: AcrossResult) -> int:
    """0: nothing is worse. 10: some figure is. 11: none is shown to be, but of some figure nothing can be said, or HEAD
    does not have it."""
    if result.worse:
        return REGRESSION_EXIT_CODE
    if result.only_base or any(c.claim.outcome == "not enough data" for c in result.changes):
        return NOT_ENOUGH_DATA_EXIT_CODE
    return 0


def as_data(result: AcrossResult) -> dict[str, Any]:
    """The same as plain JSON data."""
    data = dataclasses.asdict(result)
    for item, change in zip(data["changes"], result.changes, strict=True):
        item["claim"]["text"] = change.verdict
        item["unit"] = WORDS[change.metric].unit
        item["higher_is_better"] = WORDS[change.metric].higher_is_better
    return {
        "schema_version": SCHEMA_VERSION,
        "base_id": result.base.run_id,
        "head_id": result.head.run_id,
        "exit_code": exit_code(result),
        "counts": result.counts,
        **data,
    }
