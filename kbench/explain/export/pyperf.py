# SPDX-License-Identifier: GPL-2.0-only
"""JSON for ``python -m pyperf``: seconds per packet, a benchmark per datapath, a pyperf run per block.

pyperf's tools show the spread and compare two files. Its verdict is not kbench's: docs/export.md says why.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from statistics import median
from typing import Any

import pyperf

from kbench import __version__
from kbench.errors import UsageError
from kbench.explain.compare import Comparison, Row, compare, handled_pps
from kbench.explain.export.document import Document, clean, when
from kbench.model import Trial
from kbench.store import Run

Metadata = dict[str, str | int | float]


def document(run: Run) -> Document:
    """The run's wall-clock rates at their loads. UsageError when it has none."""
    benchmarks: list[Any] = []
    left_out: dict[str, str] = {}
    for comparison in compare(run):
        if comparison.kind != "wall":
            why = "an emulated clock's seconds are none" if comparison.timed else "no seconds per packet"
            left_out[f"{comparison.part.name} ({comparison.kind})"] = why
        elif not comparison.ranks:
            left_out[f"{comparison.case_id} on the {comparison.part.name}"] = "no trials of the maximum rate"
        else:
            for row in comparison.rows:
                if row.by_round:
                    benchmarks.append(_benchmark(run, comparison, row))
                else:
                    name = f"{row.datapath} on {comparison.case_id} ({comparison.part.name})"
                    left_out[name] = row.missing or "no trial that could be scored"
    if not benchmarks:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items()) or "it has no trials"
        raise UsageError(clean(f"run {run.run_id} has nothing that pyperf could show ({why}): use csv"))
    text = io.StringIO()
    pyperf.BenchmarkSuite(benchmarks).dump(text)
    return Document(
        text.getvalue().encode(),
        tuple(clean(f"not in the pyperf file: {name}: {reason}") for name, reason in left_out.items()),
    )


def _benchmark(run: Run, comparison: Comparison, row: Row) -> Any:
    """The values are those of the row's rounds: scored trials only, so that pyperf's mean is over the same ones."""
    mine = [
        t for t in run.trials
        if t.purpose == "rate" and t.valid and t.datapath == row.datapath
        and (t.part, t.case_id, t.kind) == (comparison.part.name, comparison.case_id, "wall")
        and (t.generator, t.load_pps) == (comparison.generator, comparison.load_pps)
    ]  # fmt: skip
    by_block: dict[int, list[Trial]] = {}
    for trial in mine:
        by_block.setdefault(trial.block, []).append(trial)
    shared = _metadata(run, comparison, row)
    return pyperf.Benchmark([
        _run(row, block, by_block[block], shared) for block in dict.fromkeys(row.block_of.values())
    ])  # fmt: skip


def _run(row: Row, block: int, trials: list[Trial], shared: Metadata) -> Any:
    """One block: its rounds' values, and the trials marked as warm-ups."""
    values = [1 / pps for round_, pps in row.by_round.items() if row.block_of[round_] == block]
    warm_ups = [
        (max(1, t.counters.handled), 1 / pps) for t in trials if t.warm_up and (pps := handled_pps(t))
    ]  # fmt: skip
    scored = [t for t in trials if not t.warm_up and t.round in row.by_round]
    own: Metadata = {
        # A value is per packet: the packets of a trial are what pyperf calls its loops.
        "loops": max(1, round(median(t.counters.handled for t in scored))),
        "duration": float(sum(t.duration_s for t in trials)),
        "kbench_block": block,
    }
    started = min((moment for t in trials if (moment := when(t.started_at))), default=None)
    if started is not None:
        own["date"] = started.isoformat(sep=" ")
    return pyperf.Run(values, warmups=warm_ups, metadata={**shared, **own}, collect_metadata=False)


def _metadata(run: Run, comparison: Comparison, row: Row) -> Metadata:
    """pyperf's own keys where it has one; what was not recorded is left out."""
    facts = run.facts.get(comparison.part.name, {})
    cpu, kernel = (_mapping(facts.get(name)) for name in ("cpu", "kernel"))
    names = [comparison.part.name, comparison.generator, comparison.case_id, row.datapath]
    if comparison.load_pps is not None:
        names.append(f"{comparison.load_pps:.0f}pps")
    release = kernel.get("release")
    found: dict[str, Any] = {
        "name": "/".join(names),
        "unit": "second",
        "hostname": facts.get("hostname"),
        "cpu_model_name": cpu.get("model"),
        "cpu_count": cpu.get("online"),
        "platform": f"Linux-{release}" if release else None,
        "description": "seconds per packet that the datapath handled",
        "kbench_run": run.run_id,
        "kbench_version": run.run.get("kbench_version", "unknown"),
        "kbench_exported_by": __version__,
        "kbench_kernel": release,
        "kbench_label": run.run.get("label"),
        "kbench_part": comparison.part.name,
        "kbench_case": comparison.case_id,
        "kbench_datapath": row.datapath,
        "kbench_generator": comparison.generator,
        "kbench_grade": row.grade.letter,
    }
    made: Metadata = {}
    for key, value in found.items():
        if isinstance(value, (int, float)):
            made[key] = value
        elif value is not None and (text := clean(str(value)).strip()):
            made[key] = text
    return made


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
