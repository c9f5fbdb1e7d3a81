# SPDX-License-Identifier: GPL-2.0-only
"""A comparison of two runs on the terminal: the answer, what else differs, the figures, what limits them."""

from __future__ import annotations

from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from kbench.explain.across import words
from kbench.explain.across.result import AcrossResult, Change
from kbench.explain.table import plain

WIDE = 110
"""From this many columns on, the table has both runs' figures and their grades."""
COLOURS = {"worse": "bold red", "better": "green", "no change": "", "not enough data": "yellow"}


@dataclass(frozen=True)
class _Shown:
    """Fits itself to the console's width."""

    result: AcrossResult

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> list[RenderableType]:
        return [Group(*_parts(self.result, options.max_width))]


def render(result: AcrossResult) -> RenderableType:
    """For the terminal, as wide as that is."""
    return _Shown(result)


def _parts(result: AcrossResult, width: int) -> list[RenderableType]:
    head = f"HEAD {result.head.run_id} over BASE {result.base.run_id}"
    parts: list[RenderableType] = [_text(f"FORCED: {reason}", "bold red") for reason in result.forced]
    parts.append(_text(head + (" (forced)" if result.forced else ""), "bold"))
    parts.append(_text(words.causes(result), "yellow" if result.differences else ""))
    parts += [_text(f"  {item}", "yellow") for item in result.differences]
    parts.append(_text(words.headline(result), "bold"))
    for work, changes in words.by_work(result).items():
        parts += [
            Text(""),
            Rule(_text(str(work), "bold"), align="left", style="dim"),
            _table(changes, width >= WIDE),
        ]
    parts.append(Text(""))
    notes = dict.fromkeys(note for item in result.changes for note in item.notes)
    for note in notes:
        whose = dict.fromkeys(c.datapath + " " + words.metric(c) for c in result.changes if note in c.notes)
        parts.append(_text(f"{', '.join(whose)}: {note}"))
    parts += [_text(f"not compared: {text}", "yellow") for text in result.unjudged]
    for where, names in (("BASE", result.only_base), ("HEAD", result.only_head)):
        parts += [_text(f"only in {where}: {name}", "dim") for name in names]
    parts.append(_text(words.how_sure(result), "dim"))
    parts += [_text(f"note: {text}", "yellow") for text in result.caveats]
    return parts


def _text(text: str, style: str = "") -> Text:
    return Text(plain(text), style=style)


def _table(changes: list[Change], wide: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    names = ["datapath", "figure", *(["BASE", "HEAD"] if wide else []), "HEAD / BASE", "verdict"]
    for name in [*names, *(["grades"] if wide else [])]:
        number = name in ("BASE", "HEAD", "HEAD / BASE")
        kept = number or name == "datapath"
        table.add_column(name, justify="right" if number else "left", no_wrap=kept, overflow="fold")
    for item in changes:
        cells = [item.datapath, words.metric(item), *(words.sides(item) if wide else ())]
        row = [_text(cell) for cell in (*cells, words.interval(item))]
        row.append(_text(item.verdict, COLOURS[words.state(item)]))
        table.add_row(*row, *([_text("/".join(item.grades))] if wide else []))
    return table
