# SPDX-License-Identifier: GPL-2.0-only
"""A run in other programs' formats, a file per format; docs/export.md describes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kbench.errors import UsageError
from kbench.explain.export.document import Document, Table
from kbench.store import Run, write_document

__all__ = ["FORMATS", "Document", "Format", "Table", "export"]


def _csv(run: Run, table: Table) -> Document:
    from kbench.explain.export.csv import document

    return document(run, table)


def _parquet(run: Run, table: Table) -> Document:
    from kbench.explain.export.parquet import document

    return document(run, table)


def _pyperf(run: Run, _: Table) -> Document:
    from kbench.explain.export.pyperf import document

    return document(run)


def _openmetrics(run: Run, _: Table) -> Document:
    from kbench.explain.export.openmetrics import document

    return document(run)


def _junit(run: Run, _: Table) -> Document:
    from kbench.explain.export.junit import document

    return document(run)


@dataclass(frozen=True)
class Format:
    """How a format is made, and what its options are."""

    make: Callable[[Run, Table], Document]
    tables: bool = False
    """Whether it has tables to choose from."""
    binary: bool = False
    """Not fit for a terminal: it needs a file."""


FORMATS = {
    "csv": Format(_csv, tables=True),
    "parquet": Format(_parquet, tables=True, binary=True),
    "pyperf": Format(_pyperf),
    "openmetrics": Format(_openmetrics),
    "junit": Format(_junit),
}
"""By the name that ``--format`` takes. The makers import what they need, as it is much."""


def export(run: Run, name: str, out: Path | None = None, table: Table | None = None) -> Document:
    """The run in the format `name`, written to the file `out` if one is given.

    `table` (default: trials) is for csv and parquet. The document's notices say what is not in it. UsageError for
    an unknown format, for options that do not fit, and where a run has nothing that the format could hold;
    EnvironmentProblem without pyarrow; StoreError when the file can't be written.
    """
    chosen = FORMATS.get(name)
    if chosen is None:
        raise UsageError(f"unknown format {name!r}: choose from {', '.join(FORMATS)}")
    if table is not None and not chosen.tables:
        raise UsageError(f"{name} has no tables: leave --table out, or use csv or parquet")
    if chosen.binary and out is None:
        raise UsageError(f"{name} is not text: name a file with --out")
    made = chosen.make(run, table or "trials")
    if out is not None:
        write_document(out, made.data)
    return made
