# SPDX-License-Identifier: GPL-2.0-only
"""Charts as files, for papers and slides."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from kbench.errors import StoreError
from kbench.explain.figures.base import Chart
from kbench.store import write_atomically


def write_files(charts: Iterable[Chart], directory: Path) -> list[Path]:
    """NAME.svg and NAME.png of each chart, in a directory that is made if need be; what was there is replaced.

    StoreError when they can't be written.
    """
    written = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for chart in charts:
            for suffix, data in (("svg", chart.svg()), ("png", chart.png())):
                path = directory / f"{chart.name}.{suffix}"
                write_atomically(path, data)
                written.append(path)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise StoreError(
            f"can't write figures into {directory}: {why}; name another directory for them"
        ) from error
    return written
