# SPDX-License-Identifier: GPL-2.0-only
"""Comma-separated values (RFC 4180, UTF-8, header line), safe to open in a spreadsheet."""

from __future__ import annotations

import re

from kbench.explain.export.document import Document, Table, clean
from kbench.explain.export.tables import frame
from kbench.store import Run

_FORMULA = re.compile(r"(^|;)(\s*[=+\-@＝＋－＠])")
"""Where a spreadsheet would begin a formula: at the cell's start, and after a semicolon, its other separator."""


def guarded(text: str) -> str:
    """Text that no spreadsheet takes for a formula: an apostrophe stands before ``=``, ``+``, ``-`` and ``@``.

    So that a label like ``=HYPERLINK(...)`` is shown, not run (OWASP, "CSV Injection"). Numbers are no text: they
    keep their minus. Control characters are shown as ``\\x0a``, so that a row is a line.
    """
    return _FORMULA.sub(r"\1'\2", clean(text))


def document(run: Run, table: Table) -> Document:
    """A table of the run; what is not there is an empty cell."""
    return Document(frame(run, table, guarded).to_csv(index=False, lineterminator="\n").encode())
