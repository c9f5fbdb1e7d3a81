# SPDX-License-Identifier: GPL-2.0-only
"""One run's trials, made comparable: a comparison per part, case, generator and load, a row per datapath.

Wall-clock rates, exact instruction counts and functional counters never meet in one comparison.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from statistics import median

from kbench.explain import stats
from kbench.explain.grade import Grade
from kbench.explain.stats import Estimate
from kbench.model import Case, Histogram, Kind, Part, Placement, Trial, Verification
from kbench.store import Run

REFERENCES = ("kernel", "netfilter")
"""The reference datapath is the first of these that was measured, else the first datapath of the part."""
PERCENTS = (50.0, 90.0, 99.0, 99.9, 99.99)
USERSPACE = frozenset({"af_packet", "af_xdp", "dpdk", "nfqueue"})
CPU_STATES = ("user", "system", "irq", "softirq", "steal", "idle")
SCORED: dict[Kind, str] = {"wall": "rate", "exact": "exact", "functional": "account"}
"""The purpose of the trials that a part's ranking (functional: its ledger only) rests on."""
WALL_RESOLUTION = 0.02
"""A/A bias between two topologies is up to 1.2 %: closer than 2 % is not told apart."""
EXACT_RESOLUTION = 0.002
"""Instruction counts repeat within 0.1 % between boots: closer than 0.2 % is not told apart."""

OUTLIER_DEVIATIONS = 3.5
"""Beyond so many scaled MADs from the median a round is shown as an outlier (Iglewicz and Hoaglin 1993)."""
GENERATOR_LIMITED = 0.95
"""From this share of the generator's ceiling on, a figure may be the generator's rather than the datapath's."""


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
    """Distance from the median in scaled MADs; the rule is `OUTLIER_DEVIATIONS`."""


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
    gross_ns: Estimate | None = None
    latency: Latency | None = None
    """At the load that all datapaths had in common."""
    latencies: list[Latency] = field(default_factory=list)
    """At each load that was tried, ascending; the common one is among them."""
    loss_share: float | None = None
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
    """Reason -> how many trials of the ranked purpose were set aside for it; a trial can have several."""
    contaminated_trials: int = 0
    """Trials of the ranked purpose that were set aside as contaminated."""
    warm_ups: int = 0
    """Trials of the ranked purpose that were set aside as the first after attaching."""
    outliers: list[Outlier] = field(default_factory=list)
    """Rounds far from the others by rule; still in every figure."""
    ceiling_share: float | None = None
    """Offered rate as a share of what the generator can offer here into a bare drop (`Comparison.ceiling`)."""
    generator_limited: bool | None = None
    """Whether that is within 5 % of all it can: the figure is then a lower bound. None: no ceiling is known."""
    grade: Grade = field(default_factory=Grade)
    """How far the figure can be trusted, with reasons."""
    verification: Verification | None = None
    missing: str | None = None
    """Why a planned datapath has no figure."""


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
    ceiling: Estimate | None = None
    """Packets/s that the generator can offer on this testbed into a bare drop: the baseline trials' rate. Wall clock
    parts at maximum load only."""
    rows: list[Row] = field(default_factory=list)

    @property
    def kind(self) -> Kind:
        """wall, exact or functional."""
        return self.part.kind

    @property
    def placements(self) -> set[Placement]:
        """Placements of all rows; more than one means that rows do not use the same CPUs."""
        return {p for row in self.rows for p in row.placements}


def handled_pps(trial: Trial) -> float | None:
    """Packets/s that the datapath decided about (forwarded, or dropped because the function says so).

    The sink's rate times decided/forwarded; where nothing is forwarded, the offered rate times the
    share that was decided.
    """
    counters = trial.counters
    decided = counters.forwarded + sum(counters.dropped.values())
    if counters.forwarded and trial.forwarded_pps is not None:
        return trial.forwarded_pps * decided / counters.forwarded
    if not counters.forwarded and counters.offered and trial.offered_pps is not None:
        return trial.offered_pps * decided / counters.offered
    return None


def compare(run: Run) -> list[Comparison]:
    """All comparisons of a run, in the order of its plan. Ranked rows come first, best first."""
    found: list[Comparison] = []
    parts: dict[str, Part] = {p.name: p for p in run.parts}
    cases = {c.case_id: c for c in run.cases}
    groups: dict[tuple[str, str, str, str], list[Trial]] = {}
    for trial in run.trials:
        if trial.purpose != "baseline":
            groups.setdefault((trial.part, trial.kind, trial.case_id, trial.generator), []).append(trial)
    order = {name: n for n, name in enumerate((*parts, *cases))}
    for key in sorted(groups, key=lambda k: (order.get(k[0], 99), k[1], order.get(k[2], 9999), k[3])):
        trials = groups[key]
        part = _part_of(trials, parts)
        scored = SCORED[part.kind]
        loads = _sorted_loads([t for t in trials if t.purpose == scored])
        for number, load in enumerate(loads or [None]):
            # Latency and other trials ride with the first load, so that nothing is told twice.
            mine = [t for t in trials if (t.load_pps == load if t.purpose == scored else number == 0)]
            found.append(_compare_group(run, part, cases.get(key[2]), load, mine))
    return found


def _sorted_loads(trials: list[Trial]) -> list[float | None]:
    """The loads that were asked for; None, the maximum, comes first."""
    return sorted({t.load_pps for t in trials}, key=lambda load: (load is not None, load or 0))


def _part_of(trials: list[Trial], parts: dict[str, Part]) -> Part:
    first = trials[0]
    seen = tuple(dict.fromkeys(t.datapath for t in trials))
    planned = parts.get(first.part)
    if planned is not None and planned.kind == first.kind:
        return Part(
            planned.name, planned.kind, tuple(dict.fromkeys((*planned.datapaths, *seen))),
            first.generator, planned.placement, planned.reason, planned.kernel,
        )  # fmt: skip
    return Part(first.part, first.kind, seen, first.generator, first.placement, "")  # type: ignore[arg-type]


def _compare_group(
    run: Run, part: Part, case: Case | None, load: float | None, trials: list[Trial]
) -> Comparison:
    scored = SCORED[part.kind]
    first = trials[0]
    counted = [t for t in trials if t.purpose == scored and t.valid]
    dut_only = bool(counted) and all(t.dut_instructions_per_packet is not None for t in counted)
    rows = []
    for datapath in part.datapaths:
        row = _row(datapath, [t for t in trials if t.datapath == datapath], part.kind, dut_only)
        proofs = [
            v for v in run.verifications
            if (v.part, v.case_id, v.datapath) == (part.name, first.case_id, datapath)
        ]  # fmt: skip
        row.verification = proofs[-1] if proofs else None
        row.missing = _why_missing(row, part.kind)
        applies = datapath != "kernel" or first.function == "forward"
        if row.ledger.trials or row.verification or applies:
            rows.append(row)
    measured = [r.datapath for r in rows if r.by_round]
    reference = next((d for d in REFERENCES if d in measured), measured[0] if measured else None)
    base = next((r for r in rows if r.datapath == reference), None)
    if base is not None:
        for row in rows:
            _relate(row, base, part.kind)
        sign = 1 if part.kind == "exact" else -1
        rows.sort(key=lambda r: (r.figure is None, sign * r.figure.value if r.figure else 0))
    return Comparison(
        part, first.case_id, case, first.function, first.frame_bytes, first.generator, load,
        reference, dut_only and part.kind == "exact", rows=rows,
    )  # fmt: skip


def _row(datapath: str, trials: list[Trial], kind: Kind, dut_only: bool) -> Row:
    row = Row(datapath)
    problems: Counter[str] = Counter()
    for trial in trials:
        row.ledger.add(trial)
        if not trial.valid:
            row.invalid_trials += 1
            row.invalid_scored += trial.purpose == SCORED[kind]
            problems.update(set(trial.problems) or {"no reason was recorded"})
    row.invalid = dict(problems)
    valid = [t for t in trials if t.valid]
    scored = [t for t in valid if t.purpose == SCORED[kind]]
    row.valid = len(scored)
    row.placements = sorted({t.placement for t in scored or valid})
    row.by_round = _by_round(scored, kind, dut_only)
    values = list(row.by_round.values())
    if kind == "exact":
        row.figure = stats.spread(values)
    elif kind == "wall":
        row.figure = stats.median_ci(values, "round")
        row.dut_ns = _median_of([t.dut_cpu_ns_per_packet for t in scored])
        row.gross_ns = _median_of([t.cpu_ns_per_packet for t in scored])
        row.latency = _latency(datapath, [t for t in valid if t.purpose == "latency"])
        row.cpus = _cpu_shares(scored)
        row.foreign_share = _middle([t.foreign_cpu_share for t in scored])
        row.steal_share = _middle([t.steal_share for t in scored])
    offered = sum(t.counters.offered for t in scored)
    row.loss_share = sum(t.counters.lost for t in scored) / offered if offered else None
    return row


def _by_round(scored: list[Trial], kind: Kind, dut_only: bool) -> dict[int, float]:
    rounds: dict[int, list[float]] = {}
    for trial in scored:
        value = None
        if kind == "wall":
            value = handled_pps(trial)
        elif kind == "exact":
            value = trial.dut_instructions_per_packet if dut_only else trial.instructions_per_packet
        if value is not None and value > 0:
            rounds.setdefault(trial.round, []).append(value)
    return {number: float(median(values)) for number, values in sorted(rounds.items())}


def _median_of(values: list[float | None]) -> Estimate | None:
    return stats.median_ci([v for v in values if v is not None])


def _middle(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return median(known) if known else None


def _latency(datapath: str, trials: list[Trial]) -> Latency | None:
    merged = stats.merge([t.latency for t in trials if t.latency is not None])
    if merged is None:
        return None
    return Latency(
        samples=merged.count,
        loads_pps=_sorted_loads(trials),
        percentiles_ns={f"{p:g}": stats.percentile_ns(merged, p) for p in PERCENTS},
        min_ns=merged.min_ns,
        max_ns=merged.max_ns,
        wake_up_included=datapath in USERSPACE or any(t.placement == "split" for t in trials),
        histogram=merged,
    )


def _cpu_shares(trials: list[Trial]) -> dict[int, dict[str, float]]:
    sums: dict[int, dict[str, float]] = {}
    for trial in trials:
        for cpu in trial.cpus:
            states = sums.setdefault(cpu.cpu, dict.fromkeys(CPU_STATES, 0.0))
            for state in CPU_STATES:
                states[state] += getattr(cpu, f"{state}_s")
    shares = {}
    for number, states in sorted(sums.items()):
        total = sum(states.values())
        if total > 0:
            shares[number] = {state: seconds / total for state, seconds in states.items()}
    return shares


def _why_missing(row: Row, kind: Kind) -> str | None:
    if row.by_round or (kind == "functional" and row.ledger.trials):
        return None
    if row.verification is not None and not row.verification.passed:
        return "not measured: it does not do the same work (verification failed)"
    if row.invalid_trials:
        return f"no valid trial: {'; '.join(row.invalid)}"
    return "no trial that could be scored"


def _relate(row: Row, base: Row, kind: Kind) -> None:
    """Fill the ratio to the reference, from rounds that both have."""
    if row.figure is None:
        return
    if kind == "wall":
        row.ratio = stats.paired_ratio(row.by_round, base.by_round)
    else:
        rounds = row.by_round.keys() & base.by_round.keys()
        row.ratio = stats.spread([row.by_round[r] / base.by_round[r] for r in rounds])
    if row is not base and row.ratio is not None:
        row.told_apart = apart(row.ratio, kind)


def apart(ratio: Estimate, kind: Kind) -> bool | None:
    """Whether a ratio differs from 1: outside its interval and beyond the method's resolution."""
    if ratio.low is None or ratio.high is None:
        return None
    resolution = WALL_RESOLUTION if kind == "wall" else EXACT_RESOLUTION
    return not ratio.low <= 1 <= ratio.high and abs(ratio.value - 1) >= resolution


def same_rank(one: Row, other: Row, kind: Kind) -> bool | None:
    """Whether two rows are not told apart: overlapping intervals; None without intervals."""
    if one.figure is None or other.figure is None:
        return None
    if kind == "exact":
        return abs(one.figure.value / other.figure.value - 1) < EXACT_RESOLUTION
    if one.ratio is None or other.ratio is None:
        return None
    # The reference's own ratio is 1 without width, so its neighbours are judged against 1.
    return one.ratio.overlaps(other.ratio)
