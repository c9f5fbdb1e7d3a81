# SPDX-License-Identifier: GPL-2.0-only
"""What each command does. Joins the measuring and the explaining wing, which do not know of each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from kbench.errors import KbenchError, StoreError, UsageError

if TYPE_CHECKING:
    from kbench.measure.plan import Options
    from kbench.measure.run import Outcome
    from kbench.store import Run


def run_and_report(options: Options, *, quiet: bool, as_json: bool, resume: str | None = None) -> int:
    """Measures, prints the comparison, writes the report."""
    outcome = _carry_out(options, quiet=quiet, verify_only=False, resume=resume)
    from kbench.store import load_run

    run = load_run(outcome.path, options.results)
    if run.trials:
        _tell(run, options.reports / f"{run.run_id}.html", quiet=quiet, as_json=as_json)
    return _end(outcome.error)


def verify(options: Options, *, quiet: bool, as_json: bool) -> int:
    """Sends the verification packets through each datapath and measures nothing."""
    outcome = _carry_out(options, quiet=quiet, verify_only=True)
    from kbench.model import to_record
    from kbench.store import load_run

    run = load_run(outcome.path, options.results)
    if as_json:
        print(json.dumps([to_record("verify", v) for v in run.verifications], indent=1))
    elif outcome.error is None:
        equal = sum(v.passed for v in run.verifications)
        print(
            f"{equal} of {len(run.verifications)} datapaths and cases do what the reference does ({run.path})"
        )
    return _end(outcome.error)


def _carry_out(options: Options, *, quiet: bool, verify_only: bool, resume: str | None = None) -> Outcome:
    from kbench import doctor
    from kbench.measure.reporter import Reporter
    from kbench.measure.run import run

    return run(options, doctor.probe, Reporter(quiet=quiet), verify_only=verify_only, resume=resume)


def _end(error: KbenchError | None) -> int:
    if error is not None:
        raise error
    return 0


def _tell(run: Run, out: Path, *, quiet: bool, as_json: bool) -> None:
    from kbench.explain.report import write_report
    from kbench.explain.table import print_tables, summary
    from kbench.measure.reporter import Reporter

    with Reporter(quiet=quiet).timed("writing the report"):
        written = write_report(run, out)
    if as_json:
        print(json.dumps({**summary(run), "report": str(written)}, indent=1))
        return
    print_tables(run, Console())
    print(f"results: {run.path}\nreport:  {written}")


def report(reference: str, results: Path, reports: Path, out: Path | None, *, as_json: bool) -> int:
    """Writes the report of a stored run, or prints its comparison as JSON."""
    from kbench.explain.report import write_report
    from kbench.explain.table import summary
    from kbench.store import load_run

    run = load_run(reference, results)
    if not run.trials:
        raise StoreError(f"{run.path} has no finished trial, so there is nothing to report: run it again")
    if as_json:
        print(json.dumps(summary(run), indent=1))
    else:
        print(write_report(run, out or reports / f"{run.run_id}.html"))
    return 0


def compare(base: str, head: str, results: Path, *, force: bool, as_json: bool) -> int:
    """Prints what changed from one stored run to another."""
    from kbench.explain import across
    from kbench.store import load_run

    result = across.compare_runs(load_run(base, results), load_run(head, results), force)
    if as_json:
        print(json.dumps(across.as_data(result), indent=1))
    else:
        Console().print(across.render(result))
    return 0


def dry_run(options: Options) -> int:
    """Prints what a run would measure, and how long that takes."""
    from kbench import doctor as wing
    from kbench.host import builds
    from kbench.host.local import LocalHost
    from kbench.measure.dry_run import render
    from kbench.measure.plan import make_plan

    with LocalHost(builds.programs()) as host:
        plan = make_plan(options, wing.probe(host))
    print("\n".join(render(plan, options, frozenset(options.given))))
    return 0


def doctor(*, as_json: bool) -> int:
    """Prints what this machine can run; 3 when it can measure nothing."""
    from kbench import doctor as wing
    from kbench.host import builds
    from kbench.host.local import LocalHost

    with LocalHost(builds.programs()) as host:
        capabilities = wing.probe(host)
    if as_json:
        print(json.dumps(wing.as_data(capabilities), indent=1))
    else:
        Console().print(wing.render(capabilities))
    return wing.exit_code(capabilities)


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


def restore() -> int:
    """Undoes what killed runs left behind."""
    from kbench.host.journal import restore as undo
    from kbench.measure.run import need_root

    need_root()
    lines = undo()
    for line in lines:
        print(line)
    if not lines:
        print("nothing to restore")
    return 0


def build() -> int:
    """Builds the C programs into the cache and prints where they are."""
    from kbench.host import builds
    from kbench.measure.reporter import Reporter

    print(builds.programs(Reporter().step))
    return 0


def lab_shell(kernel: str) -> int:
    """A prompt in the lab, on this terminal."""
    import sys

    from kbench.host.lab import shell
    from kbench.measure.reporter import Reporter

    if not sys.stdin.isatty():
        raise UsageError("kbench lab shell needs a terminal")
    shell(kernel, Reporter().step)
    return 0
