# SPDX-License-Identifier: GPL-2.0-only
"""A run as one self-contained HTML file: it asks for nothing from anywhere, so it can be mailed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from kbench.errors import StoreError
from kbench.explain import figures
from kbench.explain.answer import (
    answer,
    case_title,
    join,
    missing,
    notices_for,
    number,
    place,
    placement,
    rate,
    share,
    time_ns,
)
from kbench.explain.compare import compare
from kbench.explain.comparison import PERCENTS, Comparison
from kbench.explain.methods import Methods, beside
from kbench.explain.notes import Reason, Result, graded, lost_at, meanings, reasons, remarks
from kbench.explain.sheets import interval
from kbench.explain.table import figure_cell, ratio_cell
from kbench.model import Verification
from kbench.store import Run, write_atomically

TEMPLATES = Path(__file__).parent / "templates"
MAX_DIFFERENCES = 20
"""Differences of one failed verification that are printed; run.json's neighbour has all."""


def write_report(run: Run, out: Path) -> Path:
    """Write the report of `run` to the file `out`, or to ``<run-id>.html`` if `out` is a directory.

    A killed run gives a report of its finished trials. StoreError when there are none, or when it
    can't be written.
    """
    if not run.trials:
        raise StoreError(f"run {run.run_id} has no finished trials to report: it holds {_holds(run)}")
    if out.is_dir():
        out = out / f"{run.run_id}.html"
    page = render(run)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, page.encode("utf-8", "replace"))
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise StoreError(f"can't write the report {out}: {why}; name another file for it") from error
    return out


def _holds(run: Run) -> str:
    """What a run without trials has, in words."""
    failed = [v for v in run.verifications if not v.passed]
    held = [f"{len(run.verifications)} verification{'' if len(run.verifications) == 1 else 's'}"]
    if failed:
        held[0] += f" ({len(failed)} failed: {join(sorted({v.datapath for v in failed}))})"
    held.append(f"{len(run.notices)} notice{'' if len(run.notices) == 1 else 's'}")
    end = f"it ended as {run.outcome}" if run.ended else "it was killed or is still going on"
    return f"{join(held)}; {end}"


def render(run: Run) -> str:
    """The page as text."""
    comparisons = compare(run)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(
        number=number, rate=rate, share=share, time_ns=time_ns, interval=interval, figure=figure_cell
    )
    template = environment.get_template("report.html.j2")
    return template.render(
        run=run,
        run_id=run.run_id,
        command=_command(run.run),
        # Our own file, not data: it must not be escaped.
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        sections=[
            _section(f"c{n}", c, m)
            for n, (c, m) in enumerate(zip(comparisons, beside(run, comparisons), strict=True))
        ],
        missing=missing(run, comparisons),
        notices=_notices(run),
        proofs=_proofs(run),
        failures=[v for v in run.verifications if not v.passed],
        max_differences=MAX_DIFFERENCES,
        facts={part: flatten(facts) for part, facts in run.facts.items()},
        parts=run.parts,
    )


def _section(name: str, comparison: Comparison, methods: Methods) -> dict[str, Any]:
    """All that the template shows of one comparison."""
    reasons = sorted({reason for row in comparison.rows for reason in row.ledger.dropped})
    places = sorted({where for row in comparison.rows for where in row.ledger.lost_by})
    digits = 2 if comparison.kind == "wall" else 3
    return {
        "id": name,
        "comparison": comparison,
        "title": case_title(comparison.function, comparison.frame_bytes, comparison.case, comparison.case_id),
        "place": place(comparison),
        "placement": placement(comparison),
        "answer": answer(comparison, methods.said),
        "charts": figures.charts(name, comparison, methods),
        "sheets": [(sheet, _why(sheet.grades)) for sheet in methods.sheets],
        "remarks": remarks(comparison) if comparison.ranks else [],
        "why": _why(graded(comparison)) if comparison.ranks else None,
        "lost_at": lost_at((r.datapath, r.ledger) for r in comparison.rows),
        "blocks": max((r.blocks for r in comparison.rows), default=0),
        "graded": {r.datapath for r in comparison.rows if r.figure is not None},
        "ratios": {r.datapath: ratio_cell(r, comparison.reference, digits) for r in comparison.rows},
        "untold": any(r.told_apart is False for r in comparison.rows),
        "no_interval": next(
            (r.figure.reason for r in comparison.rows if r.figure and r.figure.low is None), None
        ),
        # With the method's own table, by load, this one would say the same again.
        "latency_rows": [
            r
            for r in comparison.rows
            if r.latency is not None and not (methods.found and methods.found.latencies)
        ],
        "percents": [f"{p:g}" for p in PERCENTS],
        "reasons": reasons,
        "places": places,
        "invalid": [r for r in comparison.rows if r.invalid_trials],
        "colours": {r.datapath: figures.style(r.datapath)[0] for r in comparison.rows},
    }


def _why(results: list[Result]) -> tuple[list[tuple[str, str]], list[Reason]] | None:
    """What the results' grades mean, and the reasons for them; None where nothing is graded."""
    return (list(meanings(results)), reasons(results)) if results else None


def _notices(run: Run) -> list[tuple[str | None, list[str]]]:
    parts = dict.fromkeys(n.part for n in run.notices)
    return [(part, notices_for(run, part)) for part in parts]


def _proofs(run: Run) -> list[str]:
    """One sentence per part and case: which datapaths were proven to do the same work."""
    groups: dict[tuple[str, str], list[Verification]] = {}
    for item in run.verifications:
        groups.setdefault((item.part, item.case_id), []).append(item)
    found = []
    for (part, case_id), items in groups.items():
        passed: dict[int, list[str]] = {}
        for item in items:
            if item.passed:
                passed.setdefault(item.packets, []).append(item.datapath)
        words = [f"{join(names)} proven equal on {count} packets" for count, names in passed.items()]
        words += [f"{v.datapath} differs ({v.packets} packets sent)" for v in items if not v.passed]
        found.append(f"{case_id} ({part}): {'; '.join(words)}.")
    return found


def _command(document: dict[str, Any]) -> str:
    """The command line as it can be pasted into a shell."""
    words = document.get("command")
    if isinstance(words, str):
        return words
    if isinstance(words, list):
        return shlex.join(str(w) for w in words)
    return "(not recorded)"


def flatten(facts: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested facts as (dotted name, text) pairs; short lists of plain values stay on one line."""
    if isinstance(facts, dict):
        pairs = []
        for key, value in facts.items():
            name = re.sub(r"_", " ", str(key))
            pairs += flatten(value, f"{prefix} / {name}" if prefix else name)
        return pairs
    if isinstance(facts, list) and any(isinstance(item, (dict, list)) for item in facts):
        pairs = []
        for count, item in enumerate(facts):
            pairs += flatten(item, f"{prefix} {count}")
        return pairs
    if isinstance(facts, list):
        return [(prefix, ", ".join(str(item) for item in facts) or "none")]
    if facts is None:
        return [(prefix, "unknown")]
    if isinstance(facts, bool):
        return [(prefix, "yes" if facts else "no")]
    return [(prefix, str(facts))]
