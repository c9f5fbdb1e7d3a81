# SPDX-License-Identifier: GPL-2.0-only
"""What a comparison is made of: a row per datapath, with its ledger, latency, outliers and grade."""

from __future__ import annotations

from dataclasses import dataclass, field

from kbench.explain.grade import Grade
from kbench.explain.nic import LINE_LIMITED, NO_LIMIT, Topology, topology
from kbench.explain.stats import Estimate
from kbench.model import Case, Histogram, Kind, Part, Placement, Trial, Verification

PERCENTS = (50.0, 90.0, 99.0, 99.9, 99.99)
USERSPACE = frozenset({"af_packet", "af_xdp", "dpdk", "nfqueue"})
CPU_STATES = ("user", "system", "irq", "softirq", "steal", "idle")
TIMED: frozenset[Kind] = frozenset({"wall", "emulated"})
"""Kinds whose figures are packets per second, by whatever clock."""
WALL_RESOLUTION = 0.02
"""A/A bias between two topologies is up to 1.2 %: closer than 2 % is not told apart."""
EXACT_RESOLUTION = 0.002
"""Instruction counts repeat within 0.1 % between boots: closer than 0.2 % is not told apart."""


@dataclass
class Ledger:
    """Packets of all trials but baselines, by where they went."""

    trials: int = 0
    offered: int = 0
    forwarded: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    lost_by: dict[str, int] = field(default_factory=dict)
    unexplained: int = 0
    unbalanced_trials: int = 0
    """Trials where offered is not forwarded + dropped + lost, to the packet."""
    nic_stats: dict[str, dict[str, int]] = field(default_factory=dict)
    """Role of a port -> what its NIC's own counters (ethtool -S) moved by; empty on veth."""

    def add(self, trial: Trial) -> None:
        """Enter one trial."""
        counters = trial.counters
        self.trials += 1
        self.offered += counters.offered
        self.forwarded += counters.forwarded
        self.lost += counters.lost
        self.unexplained += counters.unexplained
        for into, source in ((self.dropped, counters.dropped), (self.lost_by, counters.lost_by)):
            for reason, count in source.items():
                into[reason] = into.get(reason, 0) + count
        if counters.offered != counters.forwarded + sum(counters.dropped.values()) + counters.lost:
            self.unbalanced_trials += 1
        for role, stats in trial.raw.get("nic_stats", {}).items():
            mine = self.nic_stats.setdefault(role, {})
            for name, count in stats.items():
                mine[name] = mine.get(name, 0) + count


@dataclass
class Latency:
    """Latency of one datapath over all its scored latency trials (of one load, or of the common one)."""

    samples: int
    loads_pps: list[float | None]
    percentiles_ns: dict[str, float | None]
    """By "50", "90", "99", "99.9", "99.99"; None where fewer than 10 samples lie beyond."""
    min_ns: int
    max_ns: int
    wake_up_included: bool
    histogram: Histogram


@dataclass(frozen=True)
class Outlier:
    """A round that lies far from the others. It is shown, and it stays in every figure."""

    round: int
    block: int
    value: float
    """The figure of that round, in the unit of `Row.by_round`."""
    off: float
    """Its ratio to what the other rounds led to expect: 0.7 is 30 % low."""
    deviations: float
    """Distance from the median in scaled MADs; the rule is `compare.OUTLIER_DEVIATIONS`."""


@dataclass
class Row:
    """One datapath in a comparison."""

    datapath: str
    placements: list[Placement] = field(default_factory=list)
    by_round: dict[int, float] = field(default_factory=dict)
    """The ranked figure per round: packets/s (wall) or instructions per packet (exact)."""
    block_of: dict[int, int] = field(default_factory=dict)
    """Round -> its block, for the rounds of `by_round`."""
    blocks: int = 0
    """How many blocks the figure rests on: topologies that were built anew. Old runs have 1."""
    figure: Estimate | None = None
    ratio: Estimate | None = None
    told_apart: bool | None = None
    """From the reference; None for the reference itself and where no interval can be given."""
    dut_ns: Estimate | None = None
    dut_by_round: dict[int, float] = field(default_factory=dict)
    """What `dut_ns` rests on: CPU nanoseconds per packet."""
    gross_ns: Estimate | None = None
    latency: Latency | None = None
    """At the load that all datapaths had in common."""
    latencies: list[Latency] = field(default_factory=list)
    """At each load that was tried, ascending; the common one is among them."""
    loss_share: float | None = None
    offered: int = 0
    """Packets of the scored trials."""
    foreign_share: float | None = None
    """Median over the scored trials: CPU time of other processes, as a share of one CPU."""
    steal_share: float | None = None
    ledger: Ledger = field(default_factory=Ledger)
    cpus: dict[int, dict[str, float]] = field(default_factory=dict)
    """Share of the time per CPU and state over the scored trials."""
    valid: int = 0
    invalid: dict[str, int] = field(default_factory=dict)
    """Problem of invalid trials -> how many trials had it."""
    invalid_trials: int = 0
    invalid_scored: int = 0
    """Those of them that would have been scored."""
    contaminated: dict[str, int] = field(default_factory=dict)
    """``steal``, ``foreign load``: how many trials of the ranked purpose were set aside for it; one can have both."""
    contaminated_trials: int = 0
    """Trials of the ranked purpose that were set aside as contaminated."""
    warm_ups: int = 0
    """Trials of the ranked purpose that were set aside as the first after attaching."""
    outliers: list[Outlier] = field(default_factory=list)
    """Rounds far from the others by rule; still in every figure."""
    ceiling_share: float | None = None
    """The figure as a share of what the generator can offer here into a bare drop (`Comparison.ceiling`)."""
    generator_limited: bool | None = None
    """Whether that is within 5 % of all it can: the figure is then a lower bound. None: no ceiling is known."""
    line_share: float | None = None
    """The figure as a share of what the slowest link on its way carries; None: no NIC, or a link of unknown speed."""
    packets_by_cpu: dict[int, int] = field(default_factory=dict)
    """CPU of the DUT -> packets that it put into the stack over the scored trials; empty on veth."""
    receive_cpus: int = 0
    """How many CPUs received for the DUT, one for each queue; 0 on veth."""
    grade: Grade = field(default_factory=Grade)
    """How far the figure can be trusted, with reasons."""
    verification: Verification | None = None
    missing: str | None = None
    """Why a planned datapath has no figure."""

    @property
    def line_limited(self) -> bool:
        """Whether the link may be what was measured; a link that carries more than it claims was no limit."""
        return self.line_share is not None and LINE_LIMITED <= self.line_share <= NO_LIMIT

    @property
    def at_least(self) -> bool:
        """Whether the figure is a lower bound: the generator's limit, or the wire's."""
        return bool(self.generator_limited) or self.line_limited


@dataclass
class Comparison:
    """Datapaths doing the same work in the same place under the same load."""

    part: Part
    case_id: str
    case: Case | None
    function: str
    frame_bytes: int
    generator: str
    load_pps: float | None
    reference: str | None
    dut_only: bool
    """Exact: the generator's own instructions are subtracted in every row."""
    ranks: bool = True
    """Whether trials that are ranked were made at all. Not so where a run used other methods only."""
    disturbed: bool = False
    """Contaminated trials are scored as well, because setting them aside would leave less than half of the rounds."""
    ceiling: Estimate | None = None
    """Packets/s that the generator can offer on this testbed into a bare drop: the baseline trials' rate. Wall clock
    parts at maximum load only."""
    rows: list[Row] = field(default_factory=list)

    @property
    def kind(self) -> Kind:
        """wall, exact, functional or emulated."""
        return self.part.kind

    @property
    def timed(self) -> bool:
        """Whether its figures are packets per second."""
        return self.kind in TIMED

    @property
    def claims(self) -> bool:
        """Whether its figures are set against each other: those of an emulated clock, and mere counts, are not."""
        return self.kind in ("wall", "exact")

    @property
    def unit(self) -> tuple[str, float]:
        """What its rates are written in, and how many packets/s that is. Emulated machines carry little."""
        return ("kpps", 1e3) if self.kind == "emulated" else ("Mpps", 1e6)

    @property
    def topology(self) -> Topology | None:
        """The NICs that it was measured on; None on veth."""
        return topology(self.part)

    @property
    def placements(self) -> set[Placement]:
        """Placements of all rows; more than one means that rows do not use the same CPUs."""
        return {p for row in self.rows for p in row.placements}
