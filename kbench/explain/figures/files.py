# SPDX-License-Identifier: GPL-2.0-only
"""Charts as files, for papers and slides."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from kbench.explain.figures.base import Chart
from kbench.store import write_document


def write_files(charts: Iterable[Chart], directory: Path) -> list[Path]:
    """NAME.svg and NAME.png of each chart, in a directory that is made if need be; what was there is replaced.

    StoreError when they can't be written.
    """
    return [
        write_document(directory / f"{chart.name}.{suffix}", data)
        for chart in charts
        for suffix, data in (("svg", chart.svg()), ("png", chart.png()))
    ]
