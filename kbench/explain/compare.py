# SPDX-License-Identifier: GPL-2.0-only
"""One run's trials, made comparable: a comparison per part, case, generator and load, a row per datapath.

Wall-clock rates, exact instruction counts, functional counters and rates by an emulated clock never meet in one
comparison.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from statistics import median

from kbench.explain import stats
from kbench.explain.comparison import (
    CPU_STATES,
    EXACT_RESOLUTION,
    PERCENTS,
    TIMED,
    USERSPACE,
    WALL_RESOLUTION,
    Comparison,
    Latency,
    Ledger,
    Outlier,
    Row,
)
from kbench.explain.grade import Evidence, Grade
from kbench.explain.grade_rules import GENERATOR_LIMITED, grade
from kbench.explain.per_cpu import cpu_shares, packets_by_cpu
from kbench.explain.stats import Estimate
from kbench.model import Case, Kind, Part, Trial
from kbench.store import Run

__all__ = [
    "CPU_STATES", "PERCENTS", "USERSPACE", "Comparison", "Latency", "Ledger", "Outlier", "Row",
    "apart", "compare", "handled_pps", "resolution", "same_rank",
]  # fmt: skip

REFERENCES = ("kernel", "netfilter")
"""The reference datapath is the first of these that was measured, else the first datapath of the part."""
SCORED: dict[Kind, str] = {"wall": "rate", "exact": "exact", "functional": "account", "emulated": "rate"}
"""The purpose of the trials that a part's ranking (functional: its ledger only; emulated: figures without a
ranking) rests on."""
OUTLIER_DEVIATIONS = 3.5
"""Beyond so many scaled MADs from the median a round is shown as an outlier (Iglewicz and Hoaglin 1993)."""


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
    baselines: dict[tuple[str, str, str, str], list[Trial]] = {}
    for trial in run.trials:
        into = baselines if trial.purpose == "baseline" else groups
        into.setdefault((trial.part, trial.kind, trial.case_id, trial.generator), []).append(trial)
    order = {name: n for n, name in enumerate((*parts, *cases))}
    for key in sorted(groups, key=lambda k: (order.get(k[0], 99), k[1], order.get(k[2], 9999), k[3])):
        trials = groups[key]
        part = _part_of(trials, parts)
        scored = SCORED[part.kind]
        loads = _sorted_loads([t for t in trials if t.purpose == scored])
        for number, load in enumerate(loads or [None]):
            # Latency and other trials ride with the first load, so that nothing is told twice.
            mine = [t for t in trials if (t.load_pps == load if t.purpose == scored else number == 0)]
            alone = [t for t in baselines.get(key, []) if t.load_pps == load]
            found.append(_compare_group(run, part, cases.get(key[2]), load, mine, alone))
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
            first.generator, planned.placement, planned.reason, planned.kernel, planned.nic,
        )  # fmt: skip
    return Part(first.part, first.kind, seen, first.generator, first.placement, "")  # type: ignore[arg-type]


def usable(trial: Trial) -> bool:
    """Whether a figure may rest on it: its counters agree, the machine was kbench's, and it was no warm-up."""
    return trial.valid and not trial.contaminated and not trial.warm_up


def _disturbed(scored: list[Trial]) -> bool:
    """Whether setting contaminated trials aside would leave a datapath less than half of its rounds."""
    rounds: dict[str, set[int]] = {}
    clean: dict[str, set[int]] = {}
    for trial in scored:
        if trial.valid and not trial.warm_up:
            rounds.setdefault(trial.datapath, set()).add(trial.round)
            if not trial.contaminated:
                clean.setdefault(trial.datapath, set()).add(trial.round)
    return any(len(clean.get(name, ())) < len(all_) / 2 for name, all_ in rounds.items())


def _as_they_are(trials: list[Trial]) -> list[Trial]:
    """Trials of a machine that was never kbench's alone: all are scored, and the grade says so."""
    return [dataclasses.replace(t, contaminated=[]) if t.contaminated else t for t in trials]


def _compare_group(
    run: Run, part: Part, case: Case | None, load: float | None, trials: list[Trial], baselines: list[Trial]
) -> Comparison:
    purpose = SCORED[part.kind]
    disturbed = _disturbed([t for t in trials if t.purpose == purpose])
    if disturbed:
        trials, baselines = _as_they_are(trials), _as_they_are(baselines)
    first = trials[0]
    counted = [t for t in trials if t.purpose == purpose and usable(t)]
    dut_only = bool(counted) and all(t.dut_instructions_per_packet is not None for t in counted)
    made = Comparison(
        part, first.case_id, case, first.function, first.frame_bytes, first.generator, load,
        None, dut_only and part.kind == "exact", any(t.purpose == purpose for t in trials), disturbed,
    )  # fmt: skip
    common = _common_load(run, first.case_id, [t for t in trials if t.purpose == "latency"])
    scored: dict[str, list[Trial]] = {}
    for datapath in part.datapaths:
        scored[datapath] = [t for t in counted if t.datapath == datapath]
        row = _row(datapath, [t for t in trials if t.datapath == datapath], part.kind, dut_only, common)
        if (wired := made.topology) is not None:
            row.packets_by_cpu = packets_by_cpu(scored[datapath], shared=wired.one_machine)
            given = [t.raw.get("cpus", {}).get("receive_all", ()) for t in scored[datapath]]
            row.receive_cpus = max(map(len, given), default=0)
        proofs = [
            v for v in run.verifications
            if (v.part, v.case_id, v.datapath) == (part.name, first.case_id, datapath)
        ]  # fmt: skip
        row.verification = proofs[-1] if proofs else None
        row.missing = _why_missing(row, made)
        applies = datapath != "kernel" or first.function == "forward"
        if row.ledger.trials or row.verification or applies:
            made.rows.append(row)
    measured = [r.datapath for r in made.rows if r.by_round]
    if made.claims:
        made.reference = next((d for d in REFERENCES if d in measured), measured[0] if measured else None)
    base = next((r for r in made.rows if r.datapath == made.reference), None)
    if part.kind == "wall" and load is None:
        _hold_against_ceiling(made, [t for t in baselines if usable(t)])
    if part.kind == "wall":
        _hold_against_line(made)
    for row in made.rows:
        if base is not None:
            _relate(row, base, part.kind)
        row.grade = _grade(run, made, row, scored[row.datapath])
    if base is not None:
        sign = 1 if part.kind == "exact" else -1
        made.rows.sort(key=lambda r: (r.figure is None, sign * r.figure.value if r.figure else 0))
    return made


def _row(datapath: str, trials: list[Trial], kind: Kind, dut_only: bool, common: list[float | None]) -> Row:
    row = Row(datapath)
    problems: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for trial in trials:
        ranked = trial.purpose == SCORED[kind]
        row.ledger.add(trial)
        row.warm_ups += ranked and trial.warm_up
        if not trial.valid:
            row.invalid_trials += 1
            row.invalid_scored += ranked and not trial.warm_up
            problems.update(set(trial.problems) or {"no reason was recorded"})
        elif ranked and trial.contaminated and not trial.warm_up:
            row.contaminated_trials += 1
            reasons.update({_sort(reason) for reason in trial.contaminated})
    row.invalid, row.contaminated = dict(problems), dict(reasons)
    fit = [t for t in trials if usable(t)]
    scored = [t for t in fit if t.purpose == SCORED[kind]]
    row.valid = len(scored)
    row.placements = sorted({t.placement for t in scored or fit})
    row.by_round = _by_round(scored, kind, dut_only)
    row.block_of = {t.round: t.block for t in scored if t.round in row.by_round}
    row.blocks = len(set(row.block_of.values()))
    values = list(row.by_round.values())
    if kind == "exact":
        row.figure = stats.spread(values)
    elif kind in TIMED:
        row.figure = stats.median_ci(values, "round", [row.block_of[r] for r in row.by_round])
        row.dut_by_round = {
            t.round: t.dut_cpu_ns_per_packet for t in scored if t.dut_cpu_ns_per_packet is not None
        }
        row.dut_ns = _median_of([(t.dut_cpu_ns_per_packet, t.block) for t in scored])
        row.gross_ns = _median_of([(t.cpu_ns_per_packet, t.block) for t in scored])
        timed = [t for t in fit if t.purpose == "latency"]
        loads = [(load, [t for t in timed if t.load_pps == load]) for load in _sorted_loads(timed)]
        row.latencies = [quick for _, same in loads if (quick := _latency(datapath, same)) is not None]
        row.latency = _latency(datapath, [t for t in timed if t.load_pps in common])
        row.cpus = cpu_shares(scored)
        row.foreign_share = _middle([t.foreign_cpu_share for t in scored])
        row.steal_share = _middle([t.steal_share for t in scored])
    row.offered = sum(t.counters.offered for t in scored)
    row.loss_share = sum(t.counters.lost for t in scored) / row.offered if row.offered else None
    return row


def _sort(reason: str) -> str:
    """What kind of contamination a trial's reason is about: its own numbers left out, so that they can be counted."""
    kinds = {"hypervisor": "steal", "other processes": "foreign load"}
    return next((kind for words, kind in kinds.items() if words in reason), reason.split(":", maxsplit=1)[0])


def _common_load(run: Run, case_id: str, trials: list[Trial]) -> list[float | None]:
    """The load at which latency is compared: the one the method named, else the highest that all datapaths had.

    As a list of one, or of none where they had none in common.
    """
    tried: dict[str, set[float | None]] = {}
    for trial in trials:
        tried.setdefault(trial.datapath, set()).add(trial.load_pps)
    shared = set.intersection(*tried.values()) if tried else set()
    named = {
        round(load["load_pps"])
        for found in run.findings
        if (found.method, found.case_id) == ("latency", case_id)
        for load in found.values.get("loads", [])
        if load["load"] == "common"
    }
    by_name = {load for load in shared if load is not None and round(load) in named}
    return _sorted_loads([t for t in trials if t.load_pps in (by_name or shared)])[-1:]


def _hold_against_ceiling(made: Comparison, baselines: list[Trial]) -> None:
    """How near each figure is to what the generator can do: by rounds, so that drift cancels."""
    ceiling = _by_round(baselines, "wall", False)
    of = {t.round: t.block for t in baselines}
    made.ceiling = stats.median_ci(list(ceiling.values()), "round", [of[r] for r in ceiling])
    for row in made.rows:
        share = stats.paired_ratio(row.by_round, ceiling, row.block_of)
        if share is not None:
            row.ceiling_share = share.value
            row.generator_limited = share.value >= GENERATOR_LIMITED


def _hold_against_line(made: Comparison) -> None:
    """How near each figure is to what the links carry."""
    wired = made.topology
    line = wired.line_rate_pps(made.function, made.frame_bytes) if wired is not None else None
    for row in made.rows:
        row.line_share = row.figure.value / line if line and row.figure is not None else None


def _grade(run: Run, made: Comparison, row: Row, scored: list[Trial]) -> Grade:
    return grade(
        Evidence(
            kind=made.kind,
            userspace=row.datapath in USERSPACE,
            facts=run.facts.get(made.part.name, {}),
            scored=scored,
            contaminated=row.contaminated_trials,
            disturbed=made.disturbed,
            invalid=row.invalid_scored,
            figure=row.figure,
            ratio=None if row.datapath == made.reference else row.ratio,
            ceiling_share=row.ceiling_share,
            line_share=row.line_share,
            nic=made.topology,
            verified=row.verification.passed if row.verification else None,
        )
    )


def _by_round(scored: list[Trial], kind: Kind, dut_only: bool) -> dict[int, float]:
    rounds: dict[int, list[float]] = {}
    for trial in scored:
        value = None
        if kind in TIMED:
            value = handled_pps(trial)
        elif kind == "exact":
            value = trial.dut_instructions_per_packet if dut_only else trial.instructions_per_packet
        if value is not None and value > 0:
            rounds.setdefault(trial.round, []).append(value)
    return {number: float(median(values)) for number, values in sorted(rounds.items())}


def _median_of(values: list[tuple[float | None, int]]) -> Estimate | None:
    """Of pairs of value and block."""
    known = [(value, block) for value, block in values if value is not None]
    return stats.median_ci([value for value, _ in known], blocks=[block for _, block in known])


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


def _why_missing(row: Row, made: Comparison) -> str | None:
    if row.by_round or (made.kind == "functional" and row.ledger.trials):
        return None
    if row.verification is not None and not row.verification.passed:
        return "not measured: it does not do the same work (verification failed)"
    if not made.ranks and row.ledger.trials:
        return None
    if row.invalid_trials:
        return f"no valid trial: {'; '.join(row.invalid)}"
    return "no trial that could be scored"


def _relate(row: Row, base: Row, kind: Kind) -> None:
    """Fill the ratio to the reference, from rounds that both have."""
    if row.figure is None:
        return
    if kind in TIMED:
        row.ratio = stats.paired_ratio(row.by_round, base.by_round, row.block_of)
        row.outliers = _outliers(row, None if row is base else base)
    else:
        rounds = row.by_round.keys() & base.by_round.keys()
        row.ratio = stats.spread([row.by_round[r] / base.by_round[r] for r in rounds])
    if row is not base and row.ratio is not None:
        row.told_apart = apart(row.ratio, kind)


def _outliers(row: Row, base: Row | None) -> list[Outlier]:
    """Rounds whose ratio to `base` (for the reference: whose figure) lies far from the others'."""
    judged = {
        r: value / (base.by_round[r] if base else 1)
        for r, value in row.by_round.items()
        if base is None or r in base.by_round
    }
    return [
        Outlier(r, row.block_of[r], row.by_round[r], off, far)
        for r, (off, far) in stats.deviations(judged).items()
        if abs(far) > OUTLIER_DEVIATIONS
    ]


def resolution(kind: Kind) -> float:
    """The smallest difference that is claimed, as a share."""
    return WALL_RESOLUTION if kind in TIMED else EXACT_RESOLUTION


def apart(ratio: Estimate, kind: Kind) -> bool | None:
    """Whether a ratio differs from 1: outside its interval and beyond the method's resolution."""
    if ratio.low is None or ratio.high is None:
        return None
    return not ratio.low <= 1 <= ratio.high and abs(ratio.value - 1) >= resolution(kind)


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
