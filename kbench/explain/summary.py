# SPDX-License-Identifier: GPL-2.0-only
"""A run's comparisons and findings as plain data, for ``--json``."""

from __future__ import annotations

import dataclasses
from typing import Any

from kbench.explain.answer import answer, missing
from kbench.explain.compare import compare
from kbench.explain.comparison import TIMED, Comparison, Latency, Row
from kbench.explain.grade import Grade
from kbench.explain.methods import Methods, beside
from kbench.explain.stats import Estimate
from kbench.explain.throughput import Bound
from kbench.model import SCHEMA_VERSION, Histogram
from kbench.store import Run


def plain_data(item: Any) -> Any:
    """Dataclasses, lists and dicts as JSON has them. Histograms are left out: they are in the trials."""
    if isinstance(item, Estimate):
        return _estimate(item)
    if isinstance(item, Grade):
        return _grade(item)
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        fields = {f.name: getattr(item, f.name) for f in dataclasses.fields(item)}
        return {name: plain_data(value) for name, value in fields.items() if not isinstance(value, Histogram)}
    if isinstance(item, dict):
        return {str(key): plain_data(value) for key, value in item.items()}
    if isinstance(item, (list, tuple)):
        return [plain_data(value) for value in item]
    return item


def _grade(grade: Grade) -> dict[str, Any]:
    return {
        "letter": grade.letter,
        "meaning": grade.meaning,
        "reasons": [{"rule": r.rule, "saw": r.saw, "worst": r.worst} for r in grade.reasons],
    }


def _latency(quick: Latency) -> dict[str, Any]:
    return {
        "samples": quick.samples, "loads_pps": quick.loads_pps, "percentiles_ns": quick.percentiles_ns,
        "min_ns": quick.min_ns, "max_ns": quick.max_ns, "wake_up_included": quick.wake_up_included,
    }  # fmt: skip


ESTIMATE = ("value", "low", "high", "n", "reason", "blocks", "level", "needed", "unit")


def _estimate(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {k: getattr(estimate, k) for k in ESTIMATE}


def _row(row: Row, kind: str) -> dict[str, Any]:
    ledger = row.ledger
    unit = {"wall": "rate_pps", "emulated": "rate_pps", "exact": "instructions_per_packet"}.get(kind)
    item: dict[str, Any] = {"datapath": row.datapath, "placements": row.placements}
    if unit:
        item[unit] = _estimate(row.figure)
        item["rounds"] = {str(k): v for k, v in row.by_round.items()}
        item["ratio"] = _estimate(row.ratio)
        item["told_apart"] = row.told_apart
    if kind in TIMED:
        item["dut_cpu_ns_per_packet"] = _estimate(row.dut_ns)
        item["cpu_ns_per_packet"] = _estimate(row.gross_ns)
        item["cpu_share"] = {str(k): v for k, v in row.cpus.items()}
        item["latency"] = row.latency and _latency(row.latency)
        item["latencies"] = [_latency(quick) for quick in row.latencies]
        item["ceiling_share"] = row.ceiling_share
        item["generator_limited"] = row.generator_limited
        item["outliers"] = plain_data(row.outliers)
    if row.line_share is not None:
        item |= {"line_share": row.line_share, "line_limited": row.line_limited}
    if ledger.nic_stats:
        item["nic_stats"] = ledger.nic_stats
    return item | {
        "loss_share": row.loss_share,
        "valid_trials": row.valid,
        "invalid_trials": row.invalid_trials,
        "problems": row.invalid,
        "contaminated_trials": row.contaminated_trials,
        "contaminated": row.contaminated,
        "warm_ups": row.warm_ups,
        "blocks": row.blocks,
        "grade": _grade(row.grade),
        "missing": row.missing,
        "verified": row.verification.passed if row.verification else None,
        "verified_packets": row.verification.packets if row.verification else None,
        "ledger": {
            "trials": ledger.trials, "offered": ledger.offered, "forwarded": ledger.forwarded,
            "dropped": ledger.dropped, "lost": ledger.lost, "lost_by": ledger.lost_by,
            "unexplained": ledger.unexplained, "unbalanced_trials": ledger.unbalanced_trials,
        },
    }  # fmt: skip


def summary(run: Run) -> dict[str, Any]:
    """The run's comparisons as plain JSON data; the names carry the units."""
    comparisons = compare(run)
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": run.run_id,
        "path": str(run.path),
        "complete": run.ended and run.outcome in (None, "complete"),
        "missing": missing(run, comparisons),
        "notices": [{"part": n.part, "text": n.text} for n in run.notices],
        "comparisons": [_comparison(c, m) for c, m in zip(comparisons, beside(run, comparisons), strict=True)],
    }  # fmt: skip


def _comparison(c: Comparison, methods: Methods) -> dict[str, Any]:
    said = answer(c, methods.said)
    wired: dict[str, Any] = {"topology": c.part.nic} if c.part.nic else {}
    queues: dict[str, Any] = {"queues": c.case.queues} if c.case and c.case.queues else {}
    return {
        "part": c.part.name, "kind": c.kind, "case_id": c.case_id, "function": c.function,
        "frame_bytes": c.frame_bytes, "generator": c.generator, "load_pps": c.load_pps,
        "reference": c.reference, "dut_only": c.dut_only, "ranks": c.ranks, "answer": said.headline,
        "caveats": said.caveats, "ceiling_pps": _estimate(c.ceiling), "rows": [_row(r, c.kind) for r in c.rows],
        "methods": _methods(methods), **wired, **queues,
    }  # fmt: skip


def _methods(methods: Methods) -> dict[str, Any]:
    """By method, and the probes' readings; what a run has nothing of is not there."""
    found = methods.found
    made: dict[str, Any] = {"counters": plain_data(methods.probed)}
    if found is not None:
        made |= {
            "throughput": [_bound(b) for b in found.bounds],
            "loss-curve": plain_data(found.curves),
            "latency": plain_data(found.latencies),
            "back-to-back": plain_data(found.bursts),
            "cpu-at-load": plain_data(found.cpu),
            "generator": plain_data(found.generator) if found.generator else None,
            "failed": found.failed,
        }
    return {name: value for name, value in made.items() if value}


def _bound(bound: Bound) -> dict[str, Any]:
    made: dict[str, Any] = plain_data(bound)
    made["rate_pps"] = made.pop("rate")
    pairs = {str(r): {"lower_pps": low, "upper_pps": high} for r, (low, high) in bound.by_repeat.items()}
    return made | {"by_repeat": pairs, "not_reached": bound.not_reached}
