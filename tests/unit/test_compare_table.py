# SPDX-License-Identifier: GPL-2.0-only
"""The terminal table fits its terminal and obeys no control character; the summary is plain JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from kbench.explain.table import plain, print_tables, summary
from kbench.store import Notice, Run
from tests.unit import synthetic_runs as synthetic


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return synthetic.write_full(tmp_path)


def shown(run: Run, width: int) -> str:
    out = io.StringIO()
    print_tables(run, Console(file=out, width=width, force_terminal=False))
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_lines_fit_and_figures_stay_on_one_line(run: Run, width: int) -> None:
    lines = shown(run, width).splitlines()
    assert max(len(line) for line in lines) <= width
    first = next(line for line in lines if line.strip().startswith("xdp"))
    assert "[" in first and first.count("[") == first.count("]") >= 2


def test_the_wide_table_has_latency_and_the_narrow_one_not(run: Run) -> None:
    assert "p99" in shown(run, 120) and "p99" not in shown(run, 80)


def test_control_characters_are_shown_not_obeyed(run: Run) -> None:
    run.notices.append(Notice("a\x1b[2Jb\u202ec [bold]d[/bold]"))
    text = shown(run, 80)
    assert "\x1b" not in text and "\u202e" not in text
    assert "\\x1b[2Jb\\x202ec [bold]d[/bold]" in text
    assert plain("x\ny") == "x\\x0ay"


def test_the_summary_is_json_and_has_no_mixed_units(run: Run) -> None:
    data = json.loads(json.dumps(summary(run), allow_nan=False))
    assert data["complete"] is True and len(data["comparisons"]) == 3
    for comparison in data["comparisons"]:
        for row in comparison["rows"]:
            assert ("rate_pps" in row) == (comparison["kind"] == "wall")
            assert ("instructions_per_packet" in row) == (comparison["kind"] == "exact")
    xdp = data["comparisons"][0]["rows"][0]
    assert xdp["datapath"] == "xdp" and xdp["rate_pps"]["n"] == 9
    assert xdp["latency"]["percentiles_ns"]["99.9"] > xdp["latency"]["percentiles_ns"]["50"]
    assert xdp["verified"] is True and xdp["verified_packets"] == 78


def test_a_killed_run_is_not_complete(tmp_path: Path) -> None:
    data = summary(synthetic.write_full(tmp_path / "k", end=False))
    assert data["complete"] is False and "killed" in data["missing"][0]
