# SPDX-License-Identifier: GPL-2.0-only
"""Commands that read what was measured: report, compare, list."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from kbench.errors import StoreError


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
        print(*write_report([run], out or reports / f"{run.run_id}.html"))
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
