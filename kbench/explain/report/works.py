# SPDX-License-Identifier: GPL-2.0-only
"""What a report is about: each comparison of each run, with the methods, charts and name that belong to it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from kbench.explain import figures
from kbench.explain.answer import case_title, place, rate
from kbench.explain.compare import compare
from kbench.explain.comparison import Comparison
from kbench.explain.figures import stages as stage_figures
from kbench.explain.figures.base import Chart, Topic
from kbench.explain.methods import Methods, beside
from kbench.explain.stages import Stages, stages, why_not
from kbench.model import Part
from kbench.store import Run


@dataclass
class Work:
    """One comparison: the same work, in one place, under one load, in one run."""

    run: Run
    run_name: str
    """Empty in a report of one run."""
    prefix: str
    """Of ids in the page and names of charts: a-z, 0-9 and hyphens; unique in the report."""
    comparison: Comparison
    methods: Methods
    stages: list[Stages] = field(default_factory=list)
    """Where a packet's CPU time goes, by datapath; with the first comparison of a case, as methods are."""
    unsampled: dict[str, str] = field(default_factory=dict)
    """Datapath -> why it has none."""
    charts: list[Chart] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Where and what; the run where there are several."""
        made = self.comparison
        words = f"{place(made)}: {case_title(made.function, made.frame_bytes, made.case, made.case_id)}"
        if made.load_pps is not None:
            words += f", {rate(made.load_pps)} offered"
        return f"{self.run_name}: {words}" if self.run_name else words

    @property
    def short(self) -> str:
        """For captions: without the place where there is only one."""
        made = self.comparison
        return f"{made.case_id}, {made.part.name}" + (f", {self.run_name}" if self.run_name else "")

    def about(self, topic: Topic) -> list[Chart]:
        """Its charts of a topic."""
        return [chart for chart in self.charts if chart.topic == topic]


@dataclass
class Sweep:
    """Several cases of one part of one run, by what differs between them."""

    run_name: str
    prefix: str
    part: Part
    works: list[Work]
    charts: list[Chart]


def run_names(runs: Sequence[Run]) -> list[str]:
    """What each run is called where there are several: its label, if no other has it, else its id."""
    labels = Counter(str(run.run.get("label") or "") for run in runs)
    names = []
    for run in runs:
        label = str(run.run.get("label") or "")
        names.append(label if label and labels[label] == 1 else run.run_id)
    return names


def works(runs: Sequence[Run]) -> list[Work]:
    """All comparisons of all runs, in their order."""
    found: list[Work] = []
    taken: set[str] = set()
    told: set[tuple[int, str, str]] = set()
    several = len(runs) > 1
    for number, (run, name) in enumerate(zip(runs, run_names(runs), strict=True), 1):
        comparisons = compare(run)
        for comparison, methods in zip(comparisons, beside(run, comparisons), strict=True):
            start = f"run{number}-" if several else ""
            prefix = _unique(f"{start}{comparison.part.name}-{comparison.case_id}", taken)
            key = (number, comparison.part.name, comparison.case_id)
            seen, lacking = _sampled(run, comparison) if key not in told else ([], {})
            told.add(key)
            drawn = figures.charts(prefix, comparison, methods)
            chart = stage_figures.chart(f"{prefix}-stages", seen)
            drawn += [chart] if chart is not None else []
            found.append(
                Work(run, name if several else "", prefix, comparison, methods, seen, lacking, drawn)
            )
    return found


def _sampled(run: Run, comparison: Comparison) -> tuple[list[Stages], dict[str, str]]:
    part, case_id = comparison.part.name, comparison.case_id
    return stages(run, part, case_id), why_not(run, part, case_id)


def sweeps(items: Sequence[Work]) -> list[Sweep]:
    """Of each run and part that measured several cases at maximum load."""
    groups: dict[tuple[int, str, str], list[Work]] = {}
    for work in items:
        made = work.comparison
        if made.ranks and made.kind != "functional" and made.load_pps is None:
            groups.setdefault((id(work.run), made.part.name, made.kind), []).append(work)
    found = []
    for mine in groups.values():
        cases = {work.comparison.case_id for work in mine}
        if len(cases) < 2:
            continue
        first = mine[0]
        prefix = f"{first.prefix}-sweep"
        charts = figures.sweeps(prefix, [work.comparison for work in mine])
        found.append(Sweep(first.run_name, prefix, first.comparison.part, mine, charts))
    return found


def _unique(words: str, taken: set[str]) -> str:
    """The words as an id that no other has."""
    start = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")[:60] or "work"
    name, number = start, 2
    while name in taken:
        name, number = f"{start}-{number}", number + 1
    taken.add(name)
    return name
