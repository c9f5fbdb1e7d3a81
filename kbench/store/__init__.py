# SPDX-License-Identifier: GPL-2.0-only
"""Run directories: written durably a record at a time, read back whole (docs/results.md).

A run is ``<root>/<run-id>/run.json`` (what was planned, where) and ``trials.jsonl`` (what was seen).
"""

from __future__ import annotations

from kbench.store.files import write_atomically, write_document
from kbench.store.find import RUN_FILE, TRIALS_FILE, list_runs, new_run_id, resolve_run
from kbench.store.read import Notice, Run, load_run
from kbench.store.write import RECORDS, RunStore

__all__ = [
    "RECORDS", "RUN_FILE", "TRIALS_FILE", "Notice", "Run", "RunStore", "list_runs", "load_run", "new_run_id",
    "resolve_run", "write_atomically", "write_document",
]  # fmt: skip
