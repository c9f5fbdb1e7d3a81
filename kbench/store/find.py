# SPDX-License-Identifier: GPL-2.0-only
"""Which runs there are, and how they are named."""

from __future__ import annotations

import difflib
import re
import secrets
import time
from pathlib import Path

from kbench.errors import StoreError

RUN_FILE = "run.json"
TRIALS_FILE = "trials.jsonl"


def new_run_id(now_s: float | None = None) -> str:
    """A run id that sorts by time: UTC to the second and four random hex digits."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now_s))
    return f"{stamp}-{secrets.token_hex(2)}"


def list_runs(root: Path) -> list[Path]:
    """The run directories under `root`, oldest first: by the time in the id, then as they were written."""
    found = [p.parent for p in root.glob(f"*/{RUN_FILE}")]
    return sorted(found, key=lambda p: (p.name[:15], (p / RUN_FILE).stat().st_mtime_ns))


def resolve_run(reference: Path | str, root: Path) -> Path:
    """The directory of a run named by id, by path (directory or a file in it), or by age.

    ``@latest`` and ``@-1`` are the newest run below `root`, ``@-2`` is the one before it, and so on.
    """
    text = str(reference)
    if back := re.fullmatch(r"@(?:latest|-([1-9][0-9]*))", text):
        return _by_age(text, int(back[1] or 1), root)
    for candidate in (root / text, Path(text)):
        if candidate.name in (RUN_FILE, TRIALS_FILE) and candidate.is_file():
            candidate = candidate.parent
        if candidate.is_dir():
            if not (candidate / RUN_FILE).is_file():
                raise StoreError(f"{candidate} is not a run: it has no {RUN_FILE}")
            return candidate
    near = difflib.get_close_matches(text, [p.name for p in list_runs(root)], n=1)
    hint = (
        f"did you mean {near[0]}?" if near else "give an id, a directory, @latest, or @-2 for the one before"
    )
    raise StoreError(f"no run {text!r} in {root}: {hint}")


def _by_age(reference: str, back: int, root: Path) -> Path:
    """The run that is the `back`-th newest, counted from 1."""
    runs = list_runs(root)
    if not runs:
        raise StoreError(f"no runs in {root}: make one with kbench run")
    if back > len(runs):
        count = f"{len(runs)} run{'' if len(runs) == 1 else 's'}"
        raise StoreError(f"no run {reference}: only {count} in {root}")
    return runs[-back]
