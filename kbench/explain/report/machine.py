# SPDX-License-Identifier: GPL-2.0-only
"""The sections on settings and facts of the machine, and on how to measure again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from kbench.explain.answer import part_name
from kbench.explain.report.tables import Cell, Head, Table
from kbench.store import Run

ELSEWHERE = ("nics", "nic_profile")
"""Facts that have a section of their own, "Ports and cable"."""
HEADS = (Head("name", number=False), Head("value", number=False))


@dataclass(frozen=True)
class Machine:
    """What one run was measured with, and on what."""

    run_name: str
    id: str
    why: str
    parts: list[tuple[str, str, str]]
    """Name, kind, reason."""
    settings: Table
    facts: list[tuple[str, str, Table]]
    """Part, id, table."""
    command: str
    path: str


def machines(runs: Sequence[Run], names: Sequence[str]) -> list[Machine]:
    """Of each run; `names` are empty in a report of one."""
    return [
        machine(run, name, f"run{number}")
        for number, (run, name) in enumerate(zip(runs, names, strict=True), 1)
    ]


def machine(run: Run, name: str, id_: str) -> Machine:
    """Settings, facts and command of one run."""
    about = f", {name}" if name else ""
    given = {"kbench version": run.run.get("kbench_version"), **run.run.get("options", {})}
    settings = Table(f"Settings of the run{about}", HEADS, rows(flatten(given, nothing="not given")))
    facts = [
        (
            part,
            f"facts-{id_}-{number}",
            Table(f"Facts of {part_name(part)}{about}", HEADS, rows(flatten(_here(found)))),
        )
        for number, (part, found) in enumerate(run.facts.items(), 1)
    ]
    return Machine(
        name, id_, str(run.run.get("plan", {}).get("why") or ""),
        [(part.name, part.kind, part.reason) for part in run.parts], settings, facts, command(run.run), str(run.path),
    )  # fmt: skip


def _here(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name not in ELSEWHERE}


def rows(pairs: Sequence[tuple[str, str]]) -> list[list[Cell]]:
    """Pairs of name and value as a table's rows."""
    return [[Cell(name), Cell(text)] for name, text in pairs]


def command(document: dict[str, Any]) -> str:
    """The command line as it can be pasted into a shell."""
    words = document.get("command")
    if isinstance(words, str):
        return words
    if not isinstance(words, list) or not words:
        return "(not recorded)"
    first = PurePath(str(words[0]))
    # Started as `python -m kbench`, or by the path of a virtual environment.
    program = "kbench" if first.name in ("__main__.py", "kbench") else str(first)
    return shlex.join([program, *(str(word) for word in words[1:])])


def flatten(facts: Any, prefix: str = "", nothing: str = "unknown") -> list[tuple[str, str]]:
    """Nested facts as (name, text) pairs; lists of plain values stay on one line, and `nothing` is said for None."""
    if isinstance(facts, dict):
        pairs = []
        for key, value in facts.items():
            name = re.sub(r"_", " ", str(key))
            pairs += flatten(value, f"{prefix} / {name}" if prefix else name, nothing)
        return pairs
    if isinstance(facts, list) and any(isinstance(item, (dict, list)) for item in facts):
        pairs = []
        for count, item in enumerate(facts):
            pairs += flatten(item, f"{prefix} {count}", nothing)
        return pairs
    if isinstance(facts, list):
        return [(prefix, ", ".join(str(item) for item in facts) or "none")]
    if facts is None:
        return [(prefix, nothing)]
    if isinstance(facts, bool):
        return [(prefix, "yes" if facts else "no")]
    return [(prefix, str(facts))]
