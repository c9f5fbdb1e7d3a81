# SPDX-License-Identifier: GPL-2.0-only
"""OpenMetrics: the reference parser reads it back, with the comparison's figures in base units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from kbench.explain.compare import compare
from kbench.explain.export import export
from kbench.explain.export.document import clean
from kbench.explain.export.openmetrics import family_of
from kbench.explain.export.results import results
from kbench.explain.findings import findings
from kbench.store import Run
from tests.unit import export_runs
from tests.unit import synthetic_runs as synthetic

Families = dict[str, Any]


def parsed(run: Run) -> Families:
    text = export(run, "openmetrics").data.decode()
    assert text.endswith("\n# EOF\n") and text.count("# EOF") == 1
    return {family.name: family for family in text_string_to_metric_families(text)}


def value_of(families: Families, name: str, **labels: str) -> float:
    (found,) = [
        sample.value
        for sample in families[name].samples
        if all(sample.labels[key] == value for key, value in labels.items())
    ]
    return float(found)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return synthetic.write_full(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def methods() -> Run:
    return export_runs.of_methods()


def test_figures_are_those_of_the_comparison(full: Run) -> None:
    families = parsed(full)
    seen = 0
    for comparison in compare(full):
        name = {
            "wall": "kbench_handled_rate_packets_per_second",
            "exact": "kbench_cost_instructions_per_packet",
        }
        for row in comparison.rows:
            if row.figure is None:
                continue
            key = {
                "run": full.run_id, "part": comparison.part.name, "case": comparison.case_id,
                "datapath": row.datapath, "function": comparison.function, "frame_bytes": "64", "load": "maximum",
            }  # fmt: skip
            family = name[comparison.kind]
            for bound in ("value", "low", "high"):
                assert value_of(families, family, **key, bound=bound) == getattr(
                    row.figure, {"value": "value"}.get(bound, bound)
                )
            assert (
                value_of(
                    families,
                    "kbench_grade",
                    **key,
                    metric="rate" if comparison.kind == "wall" else "instructions",
                    kbench_grade=row.grade.letter,
                )
                == 1
            )
            seen += 1
    assert seen == 7
    assert value_of(
        families, "kbench_dut_cpu_seconds_per_packet", datapath="xdp", case="forward-p1-f64", bound="value"
    ) == pytest.approx(190e-9, rel=0.2)


def test_names_end_in_their_units(full: Run, methods: Run) -> None:
    for run in (full, methods):
        for name, family in parsed(run).items():
            assert name.startswith("kbench_")
            assert family.type in ("gauge", "info", "stateset")
            if family.unit:
                assert name.endswith(f"_{family.unit}")
            else:
                assert name in ("kbench_grade", "kbench_run", "kbench_part", "kbench_verification_passed")


def test_latency_is_quantiles_in_seconds(methods: Run) -> None:
    families = parsed(methods)
    (found,) = findings(methods)
    for quick in found.latencies:
        load = quick.load if quick.load == "common" else f"{quick.load} % of PDR"
        want = {f"{float(p) / 100:g}": v for p, v in quick.percentiles_ns.items() if v is not None}
        got = {
            s.labels["quantile"]: s.value
            for s in families["kbench_latency_seconds"].samples
            if (s.labels["datapath"], s.labels["load"]) == (quick.datapath, load)
        }
        assert got == {quantile: pytest.approx(ns * 1e-9) for quantile, ns in want.items()}
    assert {s.labels["quantile"] for s in families["kbench_latency_seconds"].samples} >= {
        "0.5",
        "0.9",
        "0.99",
        "0.999",
    }


def test_searches_say_their_goal(methods: Run) -> None:
    families = parsed(methods)
    (found,) = findings(methods)
    goals = {(b.datapath, b.goal): b.rate.value for b in found.bounds if b.rate is not None}
    samples = families["kbench_throughput_packets_per_second"].samples
    got = {(s.labels["datapath"], s.labels["goal"]): s.value for s in samples if s.labels["bound"] == "value"}
    assert got == goals and len(goals) > 3


def test_every_metric_has_a_family_that_is_documented(full: Run, methods: Run) -> None:
    text = (Path(__file__).parents[2] / "docs/export.md").read_text()
    metrics = {result.metric for run in (full, methods) for result in results(run)}
    assert len(metrics) > 20
    for metric in metrics:
        family = family_of(metric)
        assert family.help and f"`kbench_{family.name}_{family.unit}`" in text


def test_facts_and_verifications(full: Run) -> None:
    families = parsed(full)
    run, part = families["kbench_run"], families["kbench_part"]
    assert run.samples[0].labels["outcome"] == "complete" and run.samples[0].name == "kbench_run_info"
    assert {s.labels["part"]: s.labels.get("kernel") for s in part.samples} == {
        "host": "6.0-synthetic", "lab": "6.12.0-test",
    }  # fmt: skip
    assert value_of(families, "kbench_verification_passed", part="lab", datapath="kernel") == 0
    assert value_of(families, "kbench_verification_passed", part="lab", datapath="xdp") == 1
    assert value_of(families, "kbench_run_started_timestamp_seconds") == 946_684_800


def test_hostile_text_is_escaped(tmp_path: Path) -> None:
    run = export_runs.hostile(tmp_path)
    text = export(run, "openmetrics").data.decode()
    assert not any(ord(c) < 32 and c != "\n" for c in text)
    families = parsed(run)
    assert families["kbench_run"].samples[0].labels["label"] == clean(export_runs.FORMULA)
    assert {s.labels.get("hostname") for s in families["kbench_part"].samples} == {
        clean(export_runs.FORMULA), None,
    }  # fmt: skip
    assert "kbench_run_started_timestamp_seconds" not in families


def test_functional_parts_have_packets_only(tmp_path: Path) -> None:
    families = parsed(export_runs.functional(tmp_path))
    assert value_of(families, "kbench_ledger_packets", datapath="xdp", fate="forwarded") == 40_000
    assert not [name for name in families if "rate" in name or "cost" in name]


def test_runs_cut_short(tmp_path: Path) -> None:
    for make in (export_runs.killed, export_runs.planned_only, export_runs.bare):
        families = parsed(make(tmp_path))
        assert families["kbench_run"].samples[0].labels["outcome"] == "killed"
        assert ("kbench_handled_rate_packets_per_second" in families) == (make is export_runs.killed)
