# SPDX-License-Identifier: GPL-2.0-only
"""pyperf's own command line reads what is exported, and finds the means that went in."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from pathlib import Path

import pyperf
import pytest

from kbench import __version__
from kbench.errors import UsageError
from kbench.explain.compare import compare
from kbench.explain.export import export
from kbench.store import Run, load_run
from tests.unit import export_runs
from tests.unit import synthetic_runs as synthetic
from tests.unit.export_runs import BLOCK_PPS, ROUNDS_PER_BLOCK, WARM_UP_PPS

XDP, KERNEL = "host/xdp/forward-p1-f64/xdp", "host/xdp/forward-p1-f64/kernel"
MEAN_NS = statistics.mean(1e9 / pps for pps in BLOCK_PPS.values())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Of a run, and of one that takes twice as long."""
    root = tmp_path_factory.mktemp("runs")
    base, head = root / "base.json", root / "head.json"
    for out, slower in ((base, 1.0), (head, 2.0)):
        assert export(export_runs.known(root, slower), "pyperf", out).notices == (
            "not in the pyperf file: af_packet on forward-p1-f64 (host): no trial that could be scored",
        )
    return base, head


def pyperf_says(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pyperf", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    return done.stdout


def section(text: str, name: str) -> str:
    """What was printed about one benchmark."""
    return re.split(r"^(?:host|b)/.*$\n", text, flags=re.MULTILINE)[1:][[XDP, KERNEL].index(name)]


def test_stats_prints_the_mean(files: tuple[Path, Path]) -> None:
    assert round(MEAN_NS) == 233
    text = pyperf_says("stats", files[0])
    assert "Mean +- std dev: 233 ns +- 25 ns" in section(text, XDP)
    assert "Mean +- std dev: 933 ns +- 100 ns" in section(text, KERNEL)
    assert f"Total number of values: {ROUNDS_PER_BLOCK * len(BLOCK_PPS)}" in section(text, XDP)
    assert f"Number of run with values: {len(BLOCK_PPS)}" in section(text, XDP)
    assert "Number of warmup per run: 1" in text


def test_hist_has_both_rates_of_the_blocks(files: tuple[Path, Path]) -> None:
    text = pyperf_says("hist", "-b", XDP, files[0])
    counts = [int(n) for n in re.findall(r"ns: +(\d+)", text)]
    assert sum(counts) == 9 and counts[0] == 3 and counts[-1] == 6


def test_metadata_has_pyperfs_own_keys(files: tuple[Path, Path]) -> None:
    text = pyperf_says("metadata", files[0])
    for line in (
        "hostname: one", "cpu_model_name: A CPU", "cpu_count: 2", "platform: Linux-6.0-synthetic", "unit: second",
        "kbench_run: known-1", "kbench_label: known", f"kbench_exported_by: {__version__}",
        "kbench_kernel: 6.0-synthetic", "kbench_version: 0.0-synthetic",
    ):  # fmt: skip
        assert f"- {line}\n" in text


def test_compare_to_tells_the_slow_down(files: tuple[Path, Path]) -> None:
    text = pyperf_says("compare_to", *files)
    assert "[base] 233 ns +- 25 ns -> [head] 467 ns +- 50 ns: 2.00x slower" in text
    assert text.count("2.00x slower") == 3  # both, and their geometric mean
    assert "not significant" in pyperf_says("compare_to", files[0], files[0], "-v").lower()


def test_check_finds_nothing_odd_about_lengths(files: tuple[Path, Path]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pyperf", "check", str(files[0])], capture_output=True, text=True, check=False
    )
    assert "shortest raw value" not in done.stdout + done.stderr


def test_each_block_is_a_run_with_its_warm_up(files: tuple[Path, Path]) -> None:
    suite = pyperf.BenchmarkSuite.load(str(files[0]))
    runs = suite.get_benchmark(XDP).get_runs()
    assert [run.values for run in runs] == [(1 / pps,) * ROUNDS_PER_BLOCK for pps in BLOCK_PPS.values()]
    assert [[value for _, value in run.warmups] for run in runs] == [[1 / WARM_UP_PPS]] * 3
    assert [run.get_metadata()["kbench_block"] for run in runs] == list(BLOCK_PPS)
    assert all(run.get_loops() > 1_000_000 for run in runs)
    assert suite.get_benchmark(XDP).get_unit() == "second"


def test_only_what_kbench_scores_is_in_it(tmp_path: Path) -> None:
    run = export_runs.of_methods()
    out = tmp_path / "m.json"
    export(run, "pyperf", out)
    suite = pyperf.BenchmarkSuite.load(str(out))
    (comparison,) = compare(run)
    for row in comparison.rows:
        values = suite.get_benchmark(f"host/xdp/{comparison.case_id}/{row.datapath}").get_values()
        assert sorted(values) == sorted(1 / pps for pps in row.by_round.values())
    assert len(suite) == len(comparison.rows) == 3


def test_exact_parts_are_left_out_and_that_is_said(tmp_path: Path) -> None:
    run = synthetic.write_full(tmp_path)
    made = export(run, "pyperf", tmp_path / "x.json")
    assert "not in the pyperf file: lab (exact): no seconds per packet" in made.notices
    names = pyperf.BenchmarkSuite.load(str(tmp_path / "x.json")).get_benchmark_names()
    assert names and all(name.startswith("host/") for name in names)


def without(run: Run, kind: str) -> Run:
    run.trials = [trial for trial in run.trials if trial.kind != kind]
    return run


def test_a_run_without_seconds_is_refused(tmp_path: Path) -> None:
    exact = without(synthetic.write_full(tmp_path), "wall")
    with pytest.raises(UsageError, match=r"lab \(exact\): no seconds per packet\): use csv"):
        export(exact, "pyperf")
    with pytest.raises(UsageError, match=r"lab \(functional\): no seconds per packet"):
        export(export_runs.functional(tmp_path), "pyperf")
    for empty in (export_runs.planned_only(tmp_path), export_runs.bare(tmp_path)):
        with pytest.raises(UsageError, match="it has no trials"):
            export(empty, "pyperf")
    with pytest.raises(UsageError, match="no trials of the maximum rate"):
        export(export_runs.of_methods_without_rates(), "pyperf")


@pytest.mark.parametrize("make", [export_runs.killed, export_runs.hostile])
def test_killed_and_hostile_runs_can_be_read(tmp_path: Path, make: object) -> None:
    out = tmp_path / "out.json"
    export(make(tmp_path), "pyperf", out)  # type: ignore[operator]
    for command in ("stats", "metadata", "hist"):
        text = pyperf_says(command, out)
        assert "host/xdp/forward-p1-f64/xdp" in text and "\x1b" not in text


def test_a_single_value_is_shown(tmp_path: Path) -> None:
    run = load_run(export_runs.known(tmp_path).path, tmp_path)
    run.trials = [trial for trial in run.trials if trial.round == 0]
    export(run, "pyperf", tmp_path / "one.json")
    assert "Mean:    250 ns" in pyperf_says("stats", tmp_path / "one.json")
