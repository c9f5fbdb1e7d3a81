# SPDX-License-Identifier: GPL-2.0-only
"""Commands that read what was measured: report, compare, list."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from kbench.cli.arguments import places


def add(commands: Any) -> None:
    """Adds them to the command line's `commands`."""
    report = commands.add_parser("report", help="write the HTML report of a run")
    report.add_argument("run", help="run id, directory, or @latest")
    report.add_argument("--out", type=Path, help="file to write (default: reports/RUN.html)")
    places(report)
    report.add_argument("--json", action="store_true", help="print the comparison as JSON instead")
    report.set_defaults(command=_report)

    compare = commands.add_parser("compare", help="what changed between two runs")
    compare.add_argument("base", help="run id, directory, or @latest")
    compare.add_argument("head", help="the run that is compared with it")
    compare.add_argument(
        "--force", action="store_true", help="also across machines and grades; marked as forced"
    )
    places(compare)
    compare.add_argument("--json", action="store_true", help="print it as JSON")
    compare.set_defaults(command=_compare)

    listing = commands.add_parser("list", help="datapaths, functions, generators, kernels and stored runs")
    places(listing)
    listing.set_defaults(command=_list)


def _report(arguments: argparse.Namespace) -> int:
    from kbench.commands.reading import report

    return report(arguments.run, arguments.results, arguments.reports, arguments.out, as_json=arguments.json)


def _compare(arguments: argparse.Namespace) -> int:
    from kbench.commands.reading import compare

    return compare(
        arguments.base, arguments.head, arguments.results, force=arguments.force, as_json=arguments.json
    )


def _list(arguments: argparse.Namespace) -> int:
    from kbench.commands.reading import listing

    return listing(arguments.results)
