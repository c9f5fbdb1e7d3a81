# SPDX-License-Identifier: GPL-2.0-only
"""Apache Parquet: the tables of CSV with true types, text as it was stored, and the run's identity in the file."""

from __future__ import annotations

import io
from importlib import import_module
from typing import Any

import pandas as pd

from kbench import __version__
from kbench.errors import EnvironmentProblem
from kbench.explain.export.document import Document, Table, valid, when
from kbench.explain.export.tables import frame
from kbench.store import Run


def document(run: Run, table: Table) -> Document:
    """A table of the run; what is not there is null. EnvironmentProblem without pyarrow."""
    arrow, writer = _pyarrow()
    made = frame(run, table, valid)
    if "started_at" in made.columns:
        times = [when(text) for text in made["started_at"]]
        made["started_at"] = pd.Series(pd.to_datetime(pd.Series(times, dtype="object"), utc=True))
    content = arrow.Table.from_pandas(made, preserve_index=False)
    about = {
        "kbench.run_id": run.run_id,
        "kbench.schema_version": str(run.run["schema_version"]),
        "kbench.version": str(run.run.get("kbench_version", "unknown")),
        "kbench.exported_by": __version__,
        "kbench.table": table,
    }
    content = content.replace_schema_metadata(
        {**(content.schema.metadata or {}), **{key: valid(text) for key, text in about.items()}}
    )
    into = io.BytesIO()
    writer.write_table(content, into, compression="zstd")
    return Document(into.getvalue())


def _pyarrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise EnvironmentProblem(
            "parquet needs pyarrow, which is not installed: python3 -m pip install 'kbench[parquet]'"
        ) from error
