# SPDX-License-Identifier: GPL-2.0-only
"""Reports: one or several runs as a self-contained HTML file (it asks for nothing from anywhere) and as PDF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from kbench.errors import StoreError
from kbench.explain.answer import join
from kbench.explain.figures.base import Chart
from kbench.explain.report import document
from kbench.explain.report.page import page_html, page_pdf
from kbench.explain.report.works import sweeps, works
from kbench.store import Run, write_document

Format = Literal["html", "pdf"]


def html(runs: Sequence[Run]) -> str:
    """The report as one HTML page. StoreError if no run has a finished trial."""
    return page_html("report.html.j2", d=_document(runs))


def pdf(runs: Sequence[Run]) -> bytes:
    """The same content on A4. StoreError as above; EnvironmentProblem without WeasyPrint or its libraries."""
    return page_pdf(page_html("report.html.j2", paged=True, d=_document(runs)))


def figures(runs: Sequence[Run]) -> list[Chart]:
    """The report's charts, in its order."""
    _need_trials(runs)
    done = works(runs)
    return document.charts(done, sweeps(done))


def file_name(runs: Sequence[Run]) -> str:
    """What the page of these runs is called: after the run, of several after first and last."""
    return "_".join(dict.fromkeys((runs[0].run_id, runs[-1].run_id))) + ".html"


def write_report(runs: Sequence[Run], out: Path, formats: Sequence[Format] = ("html",)) -> list[Path]:
    """Write the report of `runs` and return its files.

    `out` is a file's name, with each format's ending (a single format keeps one that it was given); in a directory
    the file is called after the run (of several: after first and last). A killed run gives a report of its finished
    trials. StoreError when there are none, or when it can't be written.
    """
    content = _document(runs)
    if out.is_dir():
        out = out / file_name(runs)
    written = []
    for form in dict.fromkeys(formats):
        page = page_html("report.html.j2", paged=form == "pdf", d=content)
        data = page_pdf(page) if form == "pdf" else page.encode("utf-8", "replace")
        written.append(write_document(_named(out, form, len(set(formats)) == 1), data))
    return written


def _named(out: Path, form: Format, alone: bool) -> Path:
    """The file of a format: an ending of ours gives way to it, any other is kept."""
    if out.suffix in (".html", ".pdf"):
        return out.with_suffix(f".{form}")
    return out if alone and out.suffix else out.with_name(f"{out.name}.{form}")


def _document(runs: Sequence[Run]) -> document.Document:
    _need_trials(runs)
    return document.document(runs)


def _need_trials(runs: Sequence[Run]) -> None:
    if not any(run.trials for run in runs):
        words = "; ".join(
            f"run {run.run_id} has no finished trials to report: it holds {_holds(run)}" for run in runs
        )
        raise StoreError(words or "no run to report")


def _holds(run: Run) -> str:
    """What a run without trials has, in words."""
    failed = [v for v in run.verifications if not v.passed]
    held = [f"{len(run.verifications)} verification{'' if len(run.verifications) == 1 else 's'}"]
    if failed:
        held[0] += f" ({len(failed)} failed: {join(sorted({v.datapath for v in failed}))})"
    held.append(f"{len(run.notices)} notice{'' if len(run.notices) == 1 else 's'}")
    end = f"it ended as {run.outcome}" if run.ended else "it was killed or is still going on"
    return f"{join(held)}; {end}"
