# SPDX-License-Identifier: GPL-2.0-only
"""The two tidy tables that CSV and Parquet have in common: a row per trial, and a row per result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from kbench.errors import StoreError
from kbench.explain.compare import handled_pps
from kbench.explain.comparison import CPU_STATES, PERCENTS
from kbench.explain.export.document import Table
from kbench.explain.export.results import Result, results
from kbench.explain.nic import topology
from kbench.explain.stats import percentile_ns
from kbench.model import Case, Trial
from kbench.store import Run

Values = list[Any]
TEXT, WHOLE, NUMBER, YES_NO = "string", "Int64", "Float64", "boolean"
"""Types that can lack a value without turning whole numbers into floats."""

CASE_COLUMNS = {
    "rules": WHOLE, "shape": TEXT, "routes": WHOLE, "flows": WHOLE, "match_share": NUMBER,
    "rules_file": TEXT, "routes_file": TEXT, "seed": WHOLE, "queues": WHOLE,
}  # fmt: skip
"""Fields of the case; `function` and `frame_bytes` are in every record."""


def frame(run: Run, table: Table, text: Callable[[str], str]) -> pd.DataFrame:
    """A table of the run, its text and column names put through `text`.

    StoreError where a record has a value that its column can't hold.
    """
    columns = _trials(run) if table == "trials" else _results(run)
    made = {}
    for name, (kind, values) in columns.items():
        if kind == TEXT:
            values = [None if value is None else text(str(value)) for value in values]
        try:
            made[text(name)] = pd.Series(values, dtype=kind)
        except (TypeError, ValueError, ArithmeticError) as error:
            raise StoreError(
                f"{run.path}: {name} is not a {kind.lower()} in some record ({error})"
            ) from error
    return pd.DataFrame(made)


Columns = dict[str, tuple[str, Values]]


def _about(run: Run, count: int) -> Columns:
    label = run.run.get("label")
    texts = {"run_id": run.run_id, "label": None if label is None else str(label)}
    return {name: (TEXT, [text] * count) for name, text in texts.items()}


def _case(cases: Sequence[Case | None]) -> Columns:
    return {
        name: (kind, [getattr(case, name) if case else None for case in cases])
        for name, kind in CASE_COLUMNS.items()
    }


def _fields(items: Sequence[Any], kinds: dict[str, str]) -> Columns:
    return {name: (kind, [getattr(item, name) for item in items]) for name, kind in kinds.items()}


WORK = {"part": TEXT, "kind": TEXT, "case_id": TEXT, "function": TEXT, "frame_bytes": WHOLE}
DONE = {
    "generator": TEXT, "datapath": TEXT, "placement": TEXT, "purpose": TEXT, "round": WHOLE, "block": WHOLE,
    "started_at": TEXT, "warm_up": YES_NO, "valid": YES_NO,
}  # fmt: skip
SEEN = {
    "load_pps": NUMBER, "duration_s": NUMBER, "offered_pps": NUMBER, "forwarded_pps": NUMBER,
    "cpu_ns_per_packet": NUMBER, "dut_cpu_ns_per_packet": NUMBER, "instructions_per_packet": NUMBER,
    "dut_instructions_per_packet": NUMBER, "foreign_cpu_share": NUMBER, "steal_share": NUMBER,
}  # fmt: skip
COUNTED: dict[str, Callable[[Trial], int | None]] = {
    "offered_packets": lambda t: t.counters.offered,
    "intended_packets": lambda t: t.counters.intended,
    "received_packets": lambda t: t.counters.received,
    "forwarded_packets": lambda t: t.counters.forwarded,
    "handled_packets": lambda t: t.counters.handled,
    "lost_packets": lambda t: t.counters.lost,
    "unexplained_packets": lambda t: t.counters.unexplained,
}


def _trials(run: Run) -> Columns:
    trials = run.trials
    cases = {case.case_id: case for case in run.cases}
    made = _about(run, len(trials)) | _fields(trials, WORK) | _case([cases.get(t.case_id) for t in trials])
    made |= _fields(trials, DONE)
    made["contaminated"] = (TEXT, ["; ".join(t.contaminated) or None for t in trials])
    made["problems"] = (TEXT, ["; ".join(t.problems) or None for t in trials])
    made |= _fields(trials, SEEN)
    made["handled_pps"] = (NUMBER, [handled_pps(t) for t in trials])
    made["loss_ratio"] = (NUMBER, [t.counters.loss_ratio for t in trials])
    made |= {name: (WHOLE, [pick(t) for t in trials]) for name, pick in COUNTED.items()}
    drivers = _drivers(run)
    made["driver"] = (TEXT, [drivers.get(t.part) for t in trials])
    for prefix, counts in (
        ("dropped", [t.counters.dropped for t in trials]),
        ("lost_by", [t.counters.lost_by for t in trials]),
    ):
        for reason in sorted({name for each in counts for name in each}):
            made[f"{prefix}.{reason}"] = (WHOLE, [each.get(reason) for each in counts])
    for state in CPU_STATES:
        made[f"cpu_{state}_s"] = (
            NUMBER,
            [sum(getattr(cpu, f"{state}_s") for cpu in t.cpus) if t.cpus else None for t in trials],
        )
    made["latency_samples"] = (WHOLE, [t.latency.count if t.latency else None for t in trials])
    made["latency_min_ns"] = (WHOLE, [t.latency.min_ns if t.latency else None for t in trials])
    for percent in PERCENTS:
        found = [percentile_ns(t.latency, percent) if t.latency else None for t in trials]
        made[f"latency_p{percent:g}_ns"] = (NUMBER, found)
    made["latency_max_ns"] = (WHOLE, [t.latency.max_ns if t.latency else None for t in trials])
    return made


def _drivers(run: Run) -> dict[str, str | None]:
    """Part -> drivers of its DUT's NICs; None on veth."""
    wired = {part.name: topology(part) for part in run.parts}
    return {name: ",".join(found.drivers) or None if found else None for name, found in wired.items()}


FIGURE = {
    "generator": TEXT, "datapath": TEXT, "method": TEXT, "metric": TEXT, "load": TEXT, "load_pps": NUMBER,
    "unit": TEXT, "value": NUMBER, "low": NUMBER, "high": NUMBER, "level": NUMBER, "n": WHOLE, "counted": TEXT,
    "blocks": WHOLE, "at_least": YES_NO, "reference": TEXT, "told_apart": YES_NO,
}  # fmt: skip


def _results(run: Run) -> Columns:
    found: list[Result] = results(run)
    made = _about(run, len(found)) | _fields(found, WORK) | _case([result.case for result in found])
    made |= _fields(found, FIGURE)
    made["grade"] = (TEXT, [result.grade.letter if result.grade else None for result in found])
    why = ["; ".join(r.saw for r in result.grade.deciding) if result.grade else None for result in found]
    made["grade_reasons"] = (TEXT, [text or None for text in why])
    made |= _fields(found, {"verified": YES_NO, "note": TEXT, "driver": TEXT})
    return made
