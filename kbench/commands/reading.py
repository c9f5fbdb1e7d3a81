# SPDX-License-Identifier: GPL-2.0-only
"""Commands that read what was measured: report, compare, export, list."""

from __future__ import annotations

import json
import sys
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console

from kbench.errors import EnvironmentProblem, StoreError, UsageError

if TYPE_CHECKING:
    from kbench.store import Run


@dataclass(frozen=True)
class Wanted:
    """What `kbench report` is to make."""

    pages: tuple[Literal["html", "pdf"], ...] = ()
    csv: bool = False
    figures: Path | None = None
    """Directory for the charts as files."""
    out: Path | None = None
    """File, or directory that exists; None: in the reports' directory, named after the runs."""
    open: bool = False
    as_json: bool = False


def report(references: Sequence[str], results: Path, reports: Path, wanted: Wanted) -> int:
    """Writes the report of stored runs and prints where, or prints their comparisons as JSON."""
    from kbench.explain import export
    from kbench.explain.figures import write_files
    from kbench.explain.report import figures, file_name, write_report
    from kbench.explain.summary import summary
    from kbench.store import load_run

    runs = [load_run(reference, results) for reference in references]
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise UsageError("a run is named twice: a report holds each once")
    for run in runs:
        if not run.trials:
            raise StoreError(f"{run.path} has no finished trial, so there is nothing to report: run it again")
    if wanted.as_json:
        data = [summary(run) for run in runs]
        print(json.dumps(data[0] if len(data) == 1 else data, indent=1))
        return 0
    out = wanted.out or reports / file_name(runs)
    tables = _tables(runs, out, named=wanted.out is not None) if wanted.csv else {}
    written = write_report(runs, out, wanted.pages) if wanted.pages else []
    for path, run in tables.items():
        export.export(run, "csv", path, "results")
        written.append(path)
    if wanted.figures is not None:
        made = write_files(figures(runs), wanted.figures)
        print(f"{len(made)} files in {wanted.figures}", file=sys.stderr)
    for path in written:
        print(path)
    if wanted.open:
        _open(next(path for path in written if path.suffix in (".html", ".pdf")))
    return 0


def _tables(runs: Sequence[Run], out: Path, *, named: bool) -> dict[Path, Run]:
    """Where the table of each run goes: columns of runs differ, so none share a file."""
    if out.is_dir():
        return {out / f"{run.run_id}.csv": run for run in runs}
    if len(runs) == 1:
        return {out.with_suffix(".csv"): runs[0]}
    if named:
        raise UsageError(
            "--csv of several runs writes a file for each: name a directory that exists with --out"
        )
    return {out.parent / f"{run.run_id}.csv": run for run in runs}


def _open(path: Path) -> None:
    if not webbrowser.open(path.resolve().as_uri()):
        raise EnvironmentProblem(f"no browser to open {path} with: copy it to a machine that has one")


def compare(
    base: str,
    head: str,
    results: Path,
    *,
    force: bool,
    as_json: bool,
    html: Path | None = None,
    pdf: Path | None = None,
) -> int:
    """Prints what changed from one stored run to another; the exit code says whether something got worse."""
    from kbench.explain import across
    from kbench.store import load_run, write_document

    result = across.compare_runs(load_run(base, results), load_run(head, results), force)
    if html is not None:
        write_document(html, across.compare_html(result).encode("utf-8", "replace"))
    if pdf is not None:
        write_document(pdf, across.compare_pdf(result))
    if as_json:
        print(json.dumps(across.as_data(result), indent=1))
    else:
        Console().print(across.render(result))
        for path in (html, pdf):
            if path is not None:
                print(f"report:  {path}")
    return across.exit_code(result)


def export(reference: str, results: Path, form: str, out: Path | None, table: str | None) -> int:
    """Writes a run in another program's format, to a file or to the standard output."""
    from kbench.explain import export as exports
    from kbench.store import load_run

    made = exports.export(load_run(reference, results), form, out, table)  # type: ignore[arg-type]
    for notice in made.notices:
        print(f"kbench: {notice}", file=sys.stderr)
    if out is None:
        sys.stdout.buffer.write(made.data)
        sys.stdout.flush()
    else:
        print(out)
    return 0


def listing(results: Path) -> int:
    """Prints the names that options take, and the stored runs."""
    from kbench.host import kernels
    from kbench.measure.datapaths import DATAPATHS
    from kbench.measure.generators import GENERATORS
    from kbench.measure.plan import FUNCTIONS
    from kbench.store import list_runs

    for name, datapath in DATAPATHS.items():
        print(f"datapath   {name:<10} {', '.join(sorted(datapath.functions))}")
    print(f"function   {', '.join(FUNCTIONS)}")
    print(f"generator  {', '.join(GENERATORS)}")
    print(f"kernel     {', '.join(kernels.series())}, or a path (the lab's)")
    for path in list_runs(results):
        print(f"run        {path}")
    return 0
