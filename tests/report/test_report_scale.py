# SPDX-License-Identifier: GPL-2.0-only
"""A report of many trials: memory and size, by the benchmark in a process of its own. Never its time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("cases", [1, 6])
def test_ten_thousand_trials_stay_within_memory_and_size(cases: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.report_scale", "10000", str(cases)],
        cwd=ROOT, capture_output=True, text=True, timeout=170, check=True,
    )  # fmt: skip
    seen = json.loads(done.stdout)
    assert 9_900 <= seen["trials"] <= 10_000
    assert seen["peak_mb"] < 1000
    assert 100_000 < seen["html_bytes"] < 3_000_000
