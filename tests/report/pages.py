# SPDX-License-Identifier: GPL-2.0-only
"""What tests of pages share: runs to report on, and a reader of HTML."""

from __future__ import annotations

import dataclasses
import json
import random
import re
from html.parser import HTMLParser
from pathlib import Path

from kbench.model import Case, Part, Trial, Verification, to_record
from kbench.store import Run, RunStore, load_run
from tests.unit import synthetic_runs as synthetic

VOID = {"meta", "link", "br", "img", "hr", "input"}
LOADS = {"src", "srcset", "data", "poster", "action"}
SECTIONS = (
    "answer", "compared", "throughput", "loss", "latency", "cpu", "ledger", "grades", "machine",
    "reproduce", "glossary",
)  # fmt: skip
"""Ids of a report's sections, in their order."""


class Page(HTMLParser):
    """Collects what a page loads, its ids, headings and tables, and whether its tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.styled: list[str] = []
        self.headings: list[tuple[int, str]] = []
        self.sections: list[str] = []
        self.rows: list[list[str]] = []
        self._cell: list[str] | None = None
        self.feed(text)
        self.unbalanced += self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self._look(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._look(tag, attrs)

    def _look(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if re.fullmatch("h[1-6]", tag):
            self.headings.append((int(tag[1]), ""))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._cell = []
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
                if tag == "section":
                    self.sections.append(value)
            if name == "style" or name.startswith("on"):
                self.styled.append(f"{tag} {name}={value}")
            local = (value or "").startswith(("#", "data:"))
            if (name in LOADS or name.endswith("href")) and not local:
                self.loads.append(value or "")

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)
        if self.headings and self.open and re.fullmatch("h[1-6]", self.open[-1]):
            level, words = self.headings[-1]
            self.headings[-1] = (level, words + data)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None and self.rows:
            self.rows[-1].append("".join(self._cell).strip())
            self._cell = None
        # HTML may leave <p>, <li>, ... open; ours never does.
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.unbalanced.append(f"/{tag}")


def big(root: Path, trials: int, cases: int = 1, run_id: str = "20000103-000000-b160") -> Run:
    """A run of about `trials` rate trials of three datapaths, spread over `cases` route counts, each in one block."""
    random_ = random.Random(5)
    work = tuple(Case("forward", routes=10**n) for n in range(cases))
    part = Part("host", "wall", ("xdp", "af_packet", "kernel"), "xdp", "same", "Synthetic.")
    rounds = trials // (3 * cases)
    with RunStore.create(root, run_id, synthetic.document((part,), work, rounds)) as store:
        for case in work:
            for datapath in part.datapaths:
                store.append_verification(Verification("host", case.case_id, datapath, 78, True))
        store.append_end("2000-01-03T00:00:00Z")
    file = root / run_id / "trials.jsonl"
    *head, end = file.read_text().splitlines()
    # Straight into the file: the store would flush each line to the disk on its own.
    lines = [
        json.dumps(to_record("trial", _trial(case, datapath, round_, random_)))
        for case in work for round_ in range(rounds) for datapath in part.datapaths
    ]  # fmt: skip
    file.write_text("\n".join([*head, *lines, end]) + "\n")
    return load_run(run_id, root)


def _trial(case: Case, datapath: str, round_: int, random_: random.Random) -> Trial:
    made = synthetic.wall_trial(case, datapath, round_ + 1, random_, synthetic.MPPS[datapath])
    return dataclasses.replace(made, block=0)
