# SPDX-License-Identifier: GPL-2.0-only
"""Tables as data: text that people read, and the value that a column is sorted by."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.markers import MarkerStyle

from kbench.explain.figures.base import style
from kbench.explain.sheets import Sheet, interval
from kbench.explain.stats import Estimate

SCALES = {
    "": 1.0, "pps": 1.0, "kpps": 1e3, "Mpps": 1e6, "ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9, "%": 0.01,
    "x": 1.0, "frames": 1.0,
}  # fmt: skip
"""Units that cells are written in -> what their number is multiplied with to compare cells of a column."""
_VALUE = re.compile(r"(?:>=|[≥<~])?\s*([-+]?(?:\d[\d,]*)(?:\.\d+)?)\s*([A-Za-z%]*)")


@dataclass(frozen=True)
class Head:
    """A column."""

    name: str
    number: bool = True


@dataclass(frozen=True)
class Cell:
    """What stands in a column of one row."""

    text: str
    sort: float | str | None = None
    """The value that the column is sorted by; "" where there is none; None: by the text."""
    mark: str | None = None
    """The datapath whose mark stands before the text."""
    grade: bool = False
    """The text is a grade's letter."""
    bad: bool = False
    span: int = 1


@dataclass(frozen=True)
class Table:
    """A table, and the sentences below it."""

    caption: str
    heads: Sequence[Head]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = field(default=())


def typeset(text: str) -> str:
    """Plain text's signs as print has them."""
    return re.sub(r"^x (?=\S)", "× ", text.replace(">=", "≥"))


def value_of(text: str) -> float | None:
    """The number that a cell begins with, in its unit; None where it is none ("not reached")."""
    if text == "reference":
        return 1.0
    found = _VALUE.match(text)
    if found is None:
        return None
    # What follows may be another word: "8 of 9".
    return float(found[1].replace(",", "")) * SCALES.get(found[2], 1.0)


def number_cell(text: str, value: float | None = None) -> Cell:
    """A cell of a column of numbers; without `value` it is sorted by what the text says."""
    known = value_of(text) if value is None else value
    return Cell(typeset(text), "" if known is None else known)


def estimate_cell(estimate: Estimate | None, scale: float = 1.0, digits: int | None = None) -> Cell:
    """``value [low, high]``, sorted by the value."""
    return number_cell(interval(estimate, scale, digits), estimate.value if estimate else None)


def count_cell(count: int, bad: bool = False) -> Cell:
    """A number of packets or trials."""
    return Cell(f"{count:,}", count, bad=bad)


def grade_cell(letter: str | None) -> Cell:
    """A grade; A is sorted before F."""
    return Cell(letter, grade=True) if letter else Cell("-", "")


def datapath_cell(name: str, text: str | None = None) -> Cell:
    """A row's first cell."""
    return Cell(text or name, mark=name)


def from_sheet(sheet: Sheet, place: str) -> Table | None:
    """A method's table; None if it has sentences only."""
    if not sheet.lines:
        return None
    rows = []
    for line in sheet.lines:
        cells = []
        for n, (column, text) in enumerate(zip(sheet.columns, line.cells, strict=True)):
            if n == 0 and line.datapath:
                cells.append(datapath_cell(line.datapath, text))
            elif column.name == "grade":
                cells.append(grade_cell(None if text == "-" else text))
            elif column.number or n == 0:
                cells.append(number_cell(text))
            else:
                cells.append(Cell(typeset(text)))
        rows.append(cells)
    heads = [Head(typeset(column.name), column.number) for column in sheet.columns]
    return Table(f"{sheet.title}: {place}", heads, rows, [typeset(note) for note in sheet.notes])


@functools.cache
def mark(datapath: str) -> tuple[str, str]:
    """Colour and outline of a datapath's mark, as its charts have them; the outline in a box of 12 by 12."""
    colour, marker, _ = style(datapath)
    shape = MarkerStyle(marker)
    path = shape.get_path().transformed(shape.get_transform())
    outlines: list[list[list[float]]] = [points.tolist() for points in path.to_polygons()]  # type: ignore[union-attr]
    return colour, "".join(
        f"M{' '.join(f'{6 + 8 * x:.1f},{6 - 8 * y:.1f}' for x, y in points)}Z" for points in outlines
    )
