# SPDX-License-Identifier: GPL-2.0-only
"""Commands that measure: run, verify, and what a run would do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from kbench.errors import KbenchError

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


def dry_run(options: Options) -> int:
    """Prints what a run would measure, and how long that takes."""
    from kbench import doctor as wing
    from kbench.host import builds
    from kbench.host.local import LocalHost
    from kbench.measure.dry_run import render
    from kbench.measure.nics.plan import dry_plan
    from kbench.measure.plan import make_plan, on_nics

    if on_nics(options):
        plan = dry_plan(options)
    else:
        with LocalHost(builds.programs()) as host:
            plan = make_plan(options, wing.probe(host))
    print("\n".join(render(plan, options, frozenset(options.given))))
    return 0


def _carry_out(options: Options, *, quiet: bool, verify_only: bool, resume: str | None = None) -> Outcome:
    from kbench import doctor
    from kbench.measure.reporter import Reporter
    from kbench.measure.run import run

    return run(options, doctor.probe, Reporter(quiet=quiet), verify_only=verify_only, resume=resume)


def _tell(run: Run, out: Path, *, quiet: bool, as_json: bool) -> None:
    from kbench.explain.report import write_report
    from kbench.explain.table import print_tables, summary
    from kbench.measure.reporter import Reporter

    with Reporter(quiet=quiet).timed("writing the report"):
        (written,) = write_report([run], out)
    if as_json:
        print(json.dumps({**summary(run), "report": str(written)}, indent=1))
        return
    print_tables(run, Console())
    print(f"results: {run.path}\nreport:  {written}")


def _end(error: KbenchError | None) -> int:
    if error is not None:
        raise error
    return 0
