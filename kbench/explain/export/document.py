# SPDX-License-Identifier: GPL-2.0-only
"""What every export format makes, and the rule for text that nobody vouches for (labels, host names, reasons)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from kbench.explain.table import plain

Table = Literal["trials", "results"]
"""The tables that csv and parquet can hold."""

_UNWRITABLE = re.compile("[\ud800-\udfff\ufffe\uffff]")
"""Lone surrogates can't be encoded in UTF-8; XML refuses the two others."""


@dataclass(frozen=True)
class Document:
    """An export: the bytes of the file, and sentences about what is not in it, for stderr."""

    data: bytes
    notices: tuple[str, ...] = ()


def valid(text: str) -> str:
    """The text with a replacement character for what has no encoding; everything else as it is."""
    return _UNWRITABLE.sub("\ufffd", text)


def clean(text: str) -> str:
    """The text on one line, control characters shown as ``\\x1b``: it may be printed, and XML may hold it."""
    return plain(valid(text))


def when(text: object) -> datetime | None:
    """A record's time stamp (ISO 8601, UTC where no zone is given); None where it is none."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
