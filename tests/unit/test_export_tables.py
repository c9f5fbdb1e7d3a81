# SPDX-License-Identifier: GPL-2.0-only
"""CSV and Parquet: every trial and every result is a row, units and types hold, and no cell is a formula."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kbench import __version__
from kbench.errors import EnvironmentProblem, StoreError
from kbench.explain.compare import compare, handled_pps
from kbench.explain.export import Table, export
from kbench.explain.export import parquet as parquet_module
from kbench.explain.export.csv import guarded
from kbench.explain.export.document import clean
from kbench.explain.findings import findings
from kbench.explain.stats import percentile_ns
from kbench.store import Run
from tests.unit import export_runs
from tests.unit import synthetic_findings as of_methods
from tests.unit import synthetic_runs as synthetic

Rows = list[dict[str, str]]


def rows_of(run: Run, table: Table) -> Rows:
    text = export(run, "csv", table=table).data.decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return synthetic.write_full(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def methods() -> Run:
    return export_runs.of_methods()


def one(rows: Rows, **wanted: str) -> dict[str, str]:
    (found,) = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return found


def test_each_trial_is_a_row_in_the_order_of_the_run(full: Run) -> None:
    rows = rows_of(full, "trials")
    assert len(rows) == len(full.trials) > 40
    for row, trial in zip(rows, full.trials, strict=True):
        assert (row["part"], row["datapath"], row["purpose"]) == (trial.part, trial.datapath, trial.purpose)
        assert int(row["round"]) == trial.round and row["valid"] == str(trial.valid)
        assert int(row["offered_packets"]) == trial.counters.offered
        assert int(row["handled_packets"]) == trial.counters.handled
        assert row["handled_pps"] == ("" if (pps := handled_pps(trial)) is None else repr(float(pps)))
        assert row["load_pps"] == ("" if trial.load_pps is None else repr(trial.load_pps))


def test_counters_and_case_have_columns_of_their_own(full: Run) -> None:
    rows = rows_of(full, "trials")
    filters = [r for r in rows if r["case_id"] == synthetic.FILTER.case_id]
    assert {(r["function"], r["rules"], r["routes"], r["shape"]) for r in filters} == {
        ("filter", "100", "1000", "acl")
    }
    assert all(int(r["dropped.policy"]) == int(r["offered_packets"]) // 4 for r in filters)
    # What a trial has no counter for is empty, not zero.
    assert all(r["dropped.policy"] == "" for r in rows if r["case_id"] == synthetic.FORWARD.case_id)
    lossy = [r for r in rows if r["datapath"] == "af_packet" and r["kind"] == "wall"]
    assert all(r["lost_by.socket_ring"] == r["lost_packets"] != "0" for r in lossy if int(r["lost_packets"]))
    (invalid,) = [r for r in rows if r["valid"] == "False"]
    assert invalid["problems"] == "foreign load: 12 % of a CPU"
    assert float(lossy[0]["cpu_user_s"]) == pytest.approx(0.02 + 0.75)


def test_percentiles_need_ten_samples_beyond_them(methods: Run) -> None:
    rows = rows_of(methods, "trials")
    seen = 0
    for row, trial in zip(rows, methods.trials, strict=True):
        for percent in ("50", "99", "99.9", "99.99"):
            want = percentile_ns(trial.latency, float(percent)) if trial.latency else None
            assert row[f"latency_p{percent}_ns"] == ("" if want is None else repr(want))
        if trial.latency and trial.latency.count == of_methods.SAMPLES["0"]:
            assert row["latency_p90_ns"] and not row["latency_p99_ns"]
            seen += 1
    assert seen == len(of_methods.DATAPATHS) * of_methods.REPEATS


def test_results_have_the_comparisons_figures(full: Run) -> None:
    rows = rows_of(full, "results")
    ranked = 0
    for comparison in compare(full):
        for row in comparison.rows:
            key = {"part": comparison.part.name, "case_id": comparison.case_id, "datapath": row.datapath}
            metric = "rate" if comparison.kind == "wall" else "instructions"
            found = one(rows, **key, method="max", metric=metric)
            assert found["grade"] == row.grade.letter
            if row.figure is None:
                assert found["value"] == found["low"] == "" and found["note"] == row.missing
                continue
            ranked += 1
            assert float(found["value"]) == row.figure.value and int(found["n"]) == row.figure.n
            assert found["low"] == ("" if row.figure.low is None else repr(row.figure.low))
            assert found["unit"] == ("packets/s" if metric == "rate" else "instructions/packet")
            assert found["level"] == ("0.95" if comparison.kind == "wall" else "")
            if row.datapath != comparison.reference:
                assert row.ratio is not None
                ratio = one(rows, **key, metric=f"{metric}_ratio")
                assert float(ratio["value"]) == row.ratio.value
                assert ratio["reference"] == comparison.reference and ratio["unit"] == "1"
    assert ranked == 7
    quick = one(rows, part="host", datapath="xdp", metric="latency_p99.9", load="50000/s")
    assert quick["unit"] == "ns" and int(quick["n"]) == 20_000 and float(quick["value"]) > 600


def test_results_have_what_the_methods_found(methods: Run) -> None:
    rows = rows_of(methods, "results")
    (found,) = findings(methods)
    for bound in found.bounds:
        row = one(rows, method="throughput", datapath=bound.datapath, metric=bound.goal)
        assert row["at_least"] == str(bound.at_least) and row["grade"] == bound.grade.letter
        assert row["value"] == ("" if bound.rate is None else repr(bound.rate.value))
    assert one(rows, datapath="xdp", metric="pdr")["at_least"] == "True"
    assert "not_reached 3 times" in one(rows, datapath="af_packet", metric="ndr")["note"]
    curve = [r for r in rows if r["method"] == "loss-curve" and r["datapath"] == "kernel"]
    assert {r["load"] for r in curve} >= {"100 % of ceiling", "10 % of ceiling"} and curve[0]["n"] == "4"
    assert float(curve[0]["value"]) > float(curve[-1]["value"]) == 0
    loads = {r["load"] for r in rows if r["metric"] == "latency_p50"}
    assert loads == {"0 % of PDR", "10 % of PDR", "50 % of PDR", "90 % of PDR", "common"}
    burst = one(rows, datapath="xdp", metric="longest_burst")
    assert (burst["at_least"], burst["unit"]) == ("True", "frames")
    assert float(burst["value"]) == of_methods.CEILING_PPS * 2
    work = one(rows, method="cpu-at-load", datapath="kernel", metric="dut_cpu")
    assert float(work["value"]) == pytest.approx(800 * 1.015) and work["blocks"] == "4"
    ceiling = one(rows, method="ceiling", metric="paced_rate")
    assert float(ceiling["value"]) == pytest.approx(of_methods.CEILING_PPS * 1.003)
    keys = [(r["datapath"], r["method"], r["metric"], r["load"]) for r in rows]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("-2+3", "'-2+3"),
        ("+x", "'+x"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("  =1", "'  =1"),
        ("\t=1", "\\x09=1"),
        ("a;=1;b", "a;'=1;b"),
        ("a - b = c", "a - b = c"),
        ("one\ntwo", "one\\x0atwo"),
    ],
)
def test_text_is_no_formula(text: str, shown: str) -> None:
    assert guarded(text) == shown


@pytest.mark.parametrize("table", ["trials", "results"])
def test_no_cell_of_a_hostile_run_is_a_formula(tmp_path: Path, table: Table) -> None:
    text = export(export_runs.hostile(tmp_path), "csv", table=table).data.decode()
    assert not any(ord(c) < 32 and c != "\n" for c in text)
    header, *lines = csv.reader(io.StringIO(text, newline=""))
    assert (
        lines and len(text.splitlines()) == 1 + len(lines) and {len(line) for line in lines} == {len(header)}
    )
    for cell in [*header, *(cell for line in lines for cell in line)]:
        for piece in cell.split(";"):
            number = piece.replace(".", "").replace("e", "").replace("-", "").isdigit()
            assert number or not piece.lstrip().startswith(("=", "+", "-", "@"))
    assert guarded(export_runs.FORMULA) in lines[0]


def test_numbers_keep_their_minus(tmp_path: Path) -> None:
    run = export_runs.known(tmp_path)
    run.trials[0].dut_cpu_ns_per_packet = -1.5
    assert rows_of(run, "trials")[0]["dut_cpu_ns_per_packet"] == "-1.5"


def test_a_value_of_another_type_is_named(tmp_path: Path) -> None:
    run = export_runs.known(tmp_path)
    run.trials[0].steal_share = "much"  # type: ignore[assignment]
    with pytest.raises(StoreError, match="steal_share"):
        export(run, "csv")


def test_killed_and_functional_runs_have_what_there_is(tmp_path: Path) -> None:
    killed = export_runs.killed(tmp_path)
    assert len(rows_of(killed, "trials")) == len(killed.trials) > 0
    rate = one(rows_of(killed, "results"), case_id="forward-p1-f64", datapath="xdp", metric="rate")
    assert rate["n"] == "2" and rate["value"] and not rate["low"] and not rate["level"] and rate["note"]
    rows = rows_of(export_runs.functional(tmp_path), "results")
    # 40,000 packets each, and kernel, which was planned and never tried.
    assert one(rows, datapath="xdp", metric="packets_forwarded")["value"] == "40000.0"
    assert one(rows, datapath="kernel")["note"] == "no trial that could be scored"
    assert {row["metric"].partition("_")[0] for row in rows} == {"packets"}


def test_every_column_is_documented(full: Run, methods: Run) -> None:
    text = (Path(__file__).parents[2] / "docs/export.md").read_text()
    ranges = ("dropped.", "lost_by.", "cpu_", "latency_p")
    for run in (full, methods):
        for table in ("trials", "results"):
            for name in rows_of(run, table)[0]:  # type: ignore[arg-type]
                assert name.startswith(ranges) or f"`{name}`" in text, name


def test_runs_without_trials_have_a_header(tmp_path: Path) -> None:
    for run in (export_runs.planned_only(tmp_path), export_runs.bare(tmp_path)):
        for table in ("trials", "results"):
            (header,) = export(run, "csv", table=table).data.decode().splitlines()  # type: ignore[arg-type]
            assert header.startswith("run_id,label,part,kind,case_id,function,frame_bytes,rules,")


# Parquet -----------------------------------------------------------------------------------------


def stored(run: Run, table: Table, out: Path) -> Any:
    parquet = pytest.importorskip("pyarrow.parquet")
    export(run, "parquet", out, table)
    return parquet.read_table(out)


def test_parquet_has_true_types_and_the_runs_identity(full: Run, tmp_path: Path) -> None:
    table = stored(full, "trials", tmp_path / "t.parquet")
    types = {field.name: str(field.type) for field in table.schema}
    assert types["round"] == types["offered_packets"] == types["dropped.policy"] == "int64"
    assert types["handled_pps"] == types["latency_p99_ns"] == "double" and types["valid"] == "bool"
    assert types["started_at"].startswith("timestamp[") and types["started_at"].endswith(", tz=UTC]")
    assert "string" in types["datapath"] and "string" in types["rules_file"]
    about = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert about["kbench.run_id"] == full.run_id and about["kbench.schema_version"] == "1"
    assert about["kbench.version"] == "0.0-synthetic" and about["kbench.exported_by"] == __version__
    assert about["kbench.table"] == "trials"


@pytest.mark.parametrize("table", ["trials", "results"])
def test_parquet_says_what_csv_says(full: Run, tmp_path: Path, table: Table) -> None:
    pytest.importorskip("pyarrow")
    read = stored(full, table, tmp_path / "t.parquet").to_pandas()
    shown = pd.read_csv(io.BytesIO(export(full, "csv", table=table).data))
    assert list(read.columns) == list(shown.columns) and len(read) == len(shown) > 20
    numbers = [c for c in shown.columns if shown[c].dtype.kind in "if"]
    assert len(numbers) > 8
    for name in numbers:
        left, right = pd.to_numeric(read[name]).astype(float), shown[name].astype(float)
        assert left.isna().tolist() == right.isna().tolist()
        assert left.dropna().tolist() == right.dropna().tolist()


def test_parquet_keeps_hostile_text(tmp_path: Path) -> None:
    run = export_runs.hostile(tmp_path)
    table = stored(run, "trials", tmp_path / "t.parquet")
    assert set(table["label"].to_pylist()) == {export_runs.FORMULA.replace("\ud800", "\ufffd")}
    assert table["started_at"].null_count == table.num_rows > 0
    assert clean(export_runs.FORMULA) not in table["label"].to_pylist()


def test_without_pyarrow_one_line_says_what_to_install(
    full: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(parquet_module, "import_module", missing)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'kbench\[parquet\]'"):
        export(full, "parquet", tmp_path / "t.parquet")
    assert not (tmp_path / "t.parquet").exists()
