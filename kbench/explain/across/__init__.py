# SPDX-License-Identifier: GPL-2.0-only
"""Two runs side by side: see docs/compare.md."""

from __future__ import annotations

from kbench.explain.across.page import charts, compare_html, compare_pdf
from kbench.explain.across.render import render
from kbench.explain.across.result import AcrossResult, Change, Difference, as_data, exit_code
from kbench.explain.across.runs import compare_runs

__all__ = [
    "AcrossResult", "Change", "Difference", "as_data", "charts", "compare_html", "compare_pdf", "compare_runs",
    "exit_code", "render",
]  # fmt: skip
