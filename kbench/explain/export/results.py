# SPDX-License-Identifier: GPL-2.0-only
"""A run's results as a flat list: one per part, case, datapath, load and metric. docs/export.md lists the metrics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from kbench.explain.compare import compare
from kbench.explain.comparison import Comparison, Row
from kbench.explain.findings import Found
from kbench.explain.grade import Grade
from kbench.explain.methods import beside
from kbench.explain.repeats import over_repeats
from kbench.explain.stats import Estimate
from kbench.model import Case, Kind
from kbench.store import Run

MAXIMUM = "maximum"
"""The load of a trial that asks for no rate: all that the generator can offer."""
PPS, INSTRUCTIONS, NS_PER_PACKET, RATIO = "packets/s", "instructions/packet", "ns/packet", "1"


@dataclass(frozen=True)
class Result:
    """One figure. What it has not is None."""

    part: str
    kind: Kind
    case_id: str
    function: str
    frame_bytes: int
    case: Case | None
    generator: str
    method: str
    datapath: str
    metric: str
    unit: str
    load: str
    """In words: ``maximum``, ``50 % of PDR``, ``common``, or packets per second."""
    load_pps: float | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    """Values that went in; `counted` says what they are."""
    counted: str | None = None
    blocks: int | None = None
    level: float | None = None
    """Confidence level of low and high. Without one, they are the smallest and largest value."""
    at_least: bool = False
    """The generator, or the wire, may be what was measured: the value is a lower bound."""
    reference: str | None = None
    """Of a ratio: the datapath that it is to."""
    told_apart: bool | None = None
    grade: Grade | None = None
    verified: bool | None = None
    driver: str | None = None
    """Of the DUT's NICs; None on veth."""
    note: str | None = None
    """Why there is no value or no interval."""

    def of(self, metric: str, unit: str, found: Estimate | None, note: str | None = None) -> Result:
        """Another metric of the same work, with an estimate's figures."""
        if found is None:
            return replace(self, metric=metric, unit=unit, note=note)
        ranged = found.low is not None and found.high is not None
        level = found.level if ranged and found.reason is None else None
        return replace(
            self, metric=metric, unit=unit, value=found.value, low=found.low, high=found.high, n=found.n,
            counted=found.noun, blocks=found.blocks, level=level, note=found.reason or note,
        )  # fmt: skip

    def plain(self, metric: str, unit: str, value: float | None, n: int | None = None) -> Result:
        """Another metric of the same work, without an interval."""
        return replace(self, metric=metric, unit=unit, value=value, n=n)


def results(run: Run) -> list[Result]:
    """All results, in the order of the run's plan. A planned datapath without a figure has a row that says why."""
    comparisons = compare(run)
    made: list[Result] = []
    for comparison, methods in zip(comparisons, beside(run, comparisons), strict=True):
        timed = bool(methods.found and methods.found.latencies)
        made += _compared(comparison, timed)
        if methods.found is not None:
            made += _found(comparison, methods.found)
    return made


def load_text(load_pps: float | None) -> str:
    """A load in words."""
    return MAXIMUM if load_pps is None else f"{load_pps:.0f}/s"


def _work(c: Comparison, method: str, datapath: str, load_pps: float | None) -> Result:
    """A result without a figure yet."""
    return Result(
        part=c.part.name, kind=c.kind, case_id=c.case_id, function=c.function, frame_bytes=c.frame_bytes,
        case=c.case, generator=c.generator, method=method, datapath=datapath, metric="", unit="",
        load=load_text(load_pps), load_pps=load_pps, driver=_driver(c),
    )  # fmt: skip


def _driver(c: Comparison) -> str | None:
    return ",".join(c.topology.drivers) or None if c.topology is not None else None


def _compared(c: Comparison, timed: bool) -> Iterator[Result]:
    """Of a comparison; `timed`: its latencies are a method's, which has them by load."""
    if c.ranks and c.ceiling is not None:
        yield _work(c, "max", "baseline", c.load_pps).of("rate", PPS, c.ceiling)
    for row in c.rows:
        proof = row.verification.passed if row.verification else None
        work = replace(_work(c, "max", row.datapath, c.load_pps), verified=proof)
        if c.ranks and c.kind != "functional":
            yield from _ranked(c, row, replace(work, grade=row.grade))
        elif row.missing:
            yield work.of("packets_offered", "packets", None, row.missing)
        if row.ledger.trials:
            yield from _ledger(row, work)
        for quick in () if timed else row.latencies:
            (load,) = quick.loads_pps
            at = replace(work, method="latency", load=load_text(load), load_pps=load)
            for percent, value in quick.percentiles_ns.items():
                yield at.plain(f"latency_p{percent}", "ns", value, quick.samples)
            yield at.plain("latency_max", "ns", float(quick.max_ns), quick.samples)


def _ranked(c: Comparison, row: Row, work: Result) -> Iterator[Result]:
    figure, unit = ("rate", PPS) if c.timed else ("instructions", INSTRUCTIONS)
    yield replace(work.of(figure, unit, row.figure, row.missing), at_least=row.at_least)
    if row.datapath != c.reference and row.ratio is not None:
        yield replace(
            work.of(f"{figure}_ratio", RATIO, row.ratio), reference=c.reference, told_apart=row.told_apart
        )
    if row.dut_ns is not None:
        yield work.of("dut_cpu", NS_PER_PACKET, row.dut_ns)
    if row.gross_ns is not None:
        yield work.of("cpu", NS_PER_PACKET, row.gross_ns)
    if row.loss_share is not None:
        yield work.plain("loss_ratio", RATIO, row.loss_share, row.valid)


def _ledger(row: Row, work: Result) -> Iterator[Result]:
    """Over all trials but baselines, whatever they were made for."""
    ledger = row.ledger
    counts = {
        "offered": ledger.offered, "forwarded": ledger.forwarded, "dropped": sum(ledger.dropped.values()),
        "lost": ledger.lost, "unexplained": ledger.unexplained,
    }  # fmt: skip
    all_loads = replace(work, method="all", load="all", load_pps=None, counted="trial")
    for fate, count in counts.items():
        yield all_loads.plain(f"packets_{fate}", "packets", float(count), ledger.trials)


def _found(c: Comparison, found: Found) -> Iterator[Result]:
    """Of what the methods found."""
    for bound in found.bounds:
        work = replace(_work(c, "throughput", bound.datapath, None), grade=bound.grade, load="searched")
        outcomes = ", ".join(f"{name} {count} times" for name, count in bound.outcomes.items())
        yield replace(work.of(bound.goal, PPS, bound.rate, f"no rate: {outcomes}"), at_least=bound.at_least)
        if bound.ratio is not None:
            yield replace(
                work.of(f"{bound.goal}_ratio", RATIO, bound.ratio), reference=bound.reference,
                told_apart=bound.told_apart,
            )  # fmt: skip
    for curve in found.curves:
        for share, (load, losses) in curve.by_share().items():
            work = replace(_work(c, "loss-curve", curve.datapath, load), load=f"{share * 100:g} % of ceiling")
            middle = over_repeats(dict(enumerate(losses)))
            value = middle.value if middle else None
            yield replace(
                work.plain("loss_ratio", RATIO, value, len(losses)), counted="repeat", grade=curve.grade
            )
    for quick in found.latencies:
        load_name = quick.load if quick.load == "common" else f"{quick.load} % of PDR"
        work = replace(_work(c, "latency", quick.datapath, quick.load_pps), load=load_name, grade=quick.grade)
        for percent, value in quick.percentiles_ns.items():
            yield work.plain(f"latency_p{percent}", "ns", value, quick.samples)
        yield work.plain("latency_max", "ns", float(quick.max_ns), quick.samples)
    yield from _bursts(c, found)
    yield from _cpu(c, found)
    for metric, estimate in (("rate", found.generator.rate), ("paced_rate", found.generator.paced)):
        if estimate is not None:
            yield _work(c, "ceiling", "baseline", None).of(metric, PPS, estimate)


def _bursts(c: Comparison, found: Found) -> Iterator[Result]:
    for item in found.bursts:
        work = replace(_work(c, "back-to-back", item.datapath, item.max_rate_pps), grade=item.grade)
        if item.without_loss:
            longest = work.plain("longest_burst", "frames", float(item.max_frames), item.searches)
            yield replace(longest, at_least=True, counted="search")
        else:
            yield work.of("longest_burst", "frames", item.frames, "no burst without loss was found")
        for metric, seconds in (
            ("implied_buffer", item.implied_buffer_s),
            ("corrected_buffer", item.corrected_buffer_s),
        ):
            if seconds is not None:
                yield work.plain(metric, "s", seconds)


def _cpu(c: Comparison, found: Found) -> Iterator[Result]:
    for item in found.cpu:
        work = replace(_work(c, "cpu-at-load", item.datapath, item.load_pps), grade=item.grade)
        yield work.of("dut_cpu", NS_PER_PACKET, item.dut_ns, item.absent.get("CPU time"))
        for metric, unit, estimate in (
            ("receive_cpu", NS_PER_PACKET, item.receive_ns),
            ("cycles", "cycles/packet", item.cycles),
            ("idle_cpu_share", RATIO, item.idle_cpu_share),
        ):
            if estimate is not None:
                yield work.of(metric, unit, estimate)
        if item.loss_ratio is not None:
            yield work.plain("loss_ratio", RATIO, item.loss_ratio)
