# SPDX-License-Identifier: GPL-2.0-only
"""The dataclasses that flow through all of kbench, and the version of their stored form.

Units are in the names. A record is stored as one JSON object (see docs/results.md); fields that
a trial could not fill are None, never zero.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA_VERSION = 1
"""Version of run.json and trials.jsonl. A reader refuses versions above its own."""

Function = Literal["drop", "forward", "filter"]
Placement = Literal["same", "split"]
Kind = Literal["wall", "exact", "functional", "emulated"]
"""How far figures of a part go. wall: real time on real CPUs; exact: guest instructions per packet
under instruction-driven time; functional: counters only (wall clock under emulation is no result); emulated: rates
by the clock of an emulated machine with emulated NICs, which show that a path works and are never ranked."""
Purpose = Literal[
    "rate", "baseline", "latency", "exact", "account", "search", "loss", "burst", "load", "profile"
]
"""What a trial was made for. rate, exact, account: scored by a part's comparison; baseline: the generator alone;
search: a step of a throughput search; loss: a step of a loss curve; burst: back-to-back frames; load: CPU cost at
a given load; profile: with probes that cost something, never scored."""

FCS_BYTES = 4
"""Ethernet frame check sequence: part of the frame size (RFC 2544), never part of the buffer."""

ETHERNET_MAX_FRAME_BYTES = 1518


@dataclass(frozen=True)
class Case:
    """One piece of packet work: the same for every datapath that is compared on it."""

    function: Function
    frame_bytes: int = 64
    routes: int = 1
    rules: int = 0
    shape: str = "acl"
    flows: int = 256
    match_share: float = 1.0
    routes_file: str | None = None
    rules_file: str | None = None
    seed: int = 1
    queues: int = 0
    """Receive queues of the DUT's ports, each on a CPU of its own; 0: the testbed has no choice (veth)."""

    @property
    def case_id(self) -> str:
        """Short, stable name, for example ``filter-r100acl-p1000-f64``."""
        name: str = self.function
        if self.function == "filter":
            rules = "file" if self.rules_file else f"{self.rules}{self.shape}"
            name += f"-r{rules}"
        if self.function != "drop":
            name += f"-p{'file' if self.routes_file else self.routes}"
        name += f"-f{self.frame_bytes}"
        if self.flows != 256:
            name += f"-fl{self.flows}"
        if self.match_share != 1.0:
            name += f"-m{self.match_share:g}"
        if self.seed != 1:
            name += f"-s{self.seed}"
        if self.queues:
            name += f"-q{self.queues}"
        return name


@dataclass(frozen=True)
class Part:
    """One place of a run: a host or a lab, with what it measures and why there."""

    name: Literal["host", "lab", "remote"]
    """Where the DUT is; `facts` of the run are stored under it."""
    kind: Kind
    datapaths: tuple[str, ...]
    generator: str
    placement: Placement
    reason: str
    kernel: str | None = None
    nic: dict[str, Any] | None = None
    """Of a part on NICs: the topology, as docs/results.md describes it; None on veth."""


@dataclass
class Counters:
    """The ledger of one trial, in packets. offered = forwarded + sum(dropped) + lost."""

    offered: int
    received: int | None
    forwarded: int
    dropped: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    lost_by: dict[str, int] = field(default_factory=dict)
    intended: int | None = None
    """Packets that the load called for: what was offered, and what the generator had to give up because it was held
    up (by the DUT's back-pressure on a shared CPU, or by a stall). None: at maximum load nothing is intended."""

    @property
    def handled(self) -> int:
        """Packets that met the fate the function decided: forwarded, or dropped because it says so."""
        return self.forwarded + sum(self.dropped.values())

    @property
    def loss_ratio(self) -> float | None:
        """Share of the intended (at maximum load: offered) packets that were not handled; None without packets.

        What the generator could not offer counts as lost, so that back-pressure does not pass for throughput
        (ETSI GS NFV-TST 009, 12.3: the offered load must be the intended one).
        """
        called_for = self.offered if self.intended is None else max(self.intended, self.offered)
        return max(0.0, 1 - self.handled / called_for) if called_for else None

    @property
    def unexplained(self) -> int:
        """Packets that no counter names: lost minus the places that own up to it."""
        return self.lost - sum(self.lost_by.values())


@dataclass
class CpuTime:
    """Seconds one CPU spent in each state between two readings of /proc/stat."""

    cpu: int
    user_s: float
    system_s: float
    irq_s: float
    softirq_s: float
    steal_s: float
    idle_s: float


@dataclass
class Histogram:
    """Log-linear histogram of nanoseconds: 2**sub_bits sub-buckets per octave.

    ``buckets`` maps bucket index to count; `bucket_low_ns` gives a bucket's lower edge.
    """

    sub_bits: int
    buckets: dict[int, int]
    count: int
    min_ns: int
    max_ns: int

    def bucket_low_ns(self, index: int) -> int:
        """Lower edge of bucket `index` in nanoseconds."""
        sub = 1 << self.sub_bits
        if index < sub:
            return index
        exponent = index // sub - 1
        return (sub + index % sub) << exponent

    def percentile_ns(self, percent: float) -> float | None:
        """Upper edge of the bucket that holds the percentile, or None when the histogram is empty."""
        if not self.count:
            return None
        need = percent / 100 * self.count
        seen = 0
        for index in sorted(self.buckets):
            seen += self.buckets[index]
            if seen >= need:
                return float(min(self.bucket_low_ns(index + 1), self.max_ns))
        return float(self.max_ns)


@dataclass
class Trial:
    """One offered load for one duration on one datapath (RFC 2544), and all that was seen."""

    part: str
    kind: Kind
    purpose: Purpose
    case_id: str
    function: Function
    datapath: str
    generator: str
    placement: Placement
    round: int
    started_at: str
    frame_bytes: int
    load_pps: float | None
    """Requested load; None is the maximum that the generator can offer."""
    duration_s: float
    counters: Counters
    offered_pps: float | None = None
    forwarded_pps: float | None = None
    cpu_ns_per_packet: float | None = None
    """Gross CPU nanoseconds per packet: generator, veth and DUT; see docs/method.md."""
    dut_cpu_ns_per_packet: float | None = None
    """The above less the generator baseline of the same round."""
    instructions_per_packet: float | None = None
    """Exact parts only: guest instructions per packet, generator included."""
    dut_instructions_per_packet: float | None = None
    latency: Histogram | None = None
    cpus: list[CpuTime] = field(default_factory=list)
    softnet: dict[str, int] = field(default_factory=dict)
    softirqs: dict[str, int] = field(default_factory=dict)
    foreign_cpu_share: float | None = None
    """CPU time of processes that are not kbench's, as a share of one CPU over the trial."""
    steal_share: float | None = None
    valid: bool = True
    problems: list[str] = field(default_factory=list)
    block: int = 0
    """Trials of a block share their topology, which is built anew for the next."""
    warm_up: bool = False
    """The first of its block: kept, never scored."""
    contaminated: list[str] = field(default_factory=list)
    """Why the machine was not kbench's alone during this trial, by the stated rule: kept and counted, never scored."""
    probes: dict[str, Any] = field(default_factory=dict)
    """By probe what it read, or {"absent": why}. Never zero for what was not read."""
    raw: dict[str, Any] = field(default_factory=dict)
    """The programs' own last words (generator, datapath, sink), as they were printed."""


@dataclass
class Finding:
    """What a method found out about one datapath (or the baseline) by its trials; `values` by docs/results.md."""

    part: str
    method: str
    case_id: str
    datapath: str
    repeat: int
    values: dict[str, Any] = field(default_factory=dict)


@dataclass
class Verification:
    """Outcome of sending the verification packets through one datapath."""

    part: str
    case_id: str
    datapath: str
    packets: int
    passed: bool
    differences: list[str] = field(default_factory=list)


def to_record(kind: str, item: Any) -> dict[str, Any]:
    """A stored line: the item's fields plus ``record``, its kind."""
    return {"record": kind, **dataclasses.asdict(item)}


def trial_from_record(record: dict[str, Any]) -> Trial:
    """Inverse of `to_record` for a trial; unknown fields of newer minor writers are ignored."""
    known = {f.name for f in dataclasses.fields(Trial)}
    fields = {k: v for k, v in record.items() if k in known}
    fields["counters"] = Counters(**fields["counters"])
    fields["cpus"] = [CpuTime(**c) for c in fields.get("cpus", [])]
    if fields.get("latency"):
        hist = dict(fields["latency"])
        hist["buckets"] = {int(k): v for k, v in hist["buckets"].items()}
        fields["latency"] = Histogram(**hist)
    return Trial(**fields)
