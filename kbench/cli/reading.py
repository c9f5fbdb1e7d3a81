# SPDX-License-Identifier: GPL-2.0-only
"""Commands that read what was measured: report, compare, export, list."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from kbench.cli.arguments import places, stored
from kbench.errors import UsageError

RUN = "run id, directory, @latest, or @-2 for the one before it"


def add(commands: Any) -> None:
    """Adds them to the command line's `commands`."""
    report = commands.add_parser("report", help="write the report of one or several runs")
    report.add_argument("runs", nargs="+", metavar="RUN", help=f"{RUN}; several are shown side by side")
    report.add_argument(
        "--html", action="store_true", help="a page in one file (default, if no other is asked for)"
    )
    report.add_argument("--pdf", action="store_true", help="the same on A4")
    report.add_argument("--csv", action="store_true", help="the results as a table, a file for each run")
    report.add_argument("--figures", type=Path, metavar="DIR", help="each chart as SVG and PNG")
    report.add_argument("--open", action="store_true", help="show the page (or else the PDF) in a browser")
    report.add_argument(
        "--out", type=Path, metavar="PATH", help="file or directory (default: reports/RUN.html, ...)"
    )
    places(report)
    report.add_argument("--json", action="store_true", help="print the comparisons as JSON instead")
    report.set_defaults(command=_report)

    compare = commands.add_parser("compare", help="what changed between two runs, and how sure that is")
    compare.add_argument("base", help=RUN)
    compare.add_argument("head", help="the run that is compared with it")
    compare.add_argument(
        "--force", action="store_true", help="also across machines and grades; marked as forced"
    )
    compare.add_argument("--html", type=Path, metavar="FILE", help="write it as a page, too")
    compare.add_argument("--pdf", type=Path, metavar="FILE", help="write it as PDF, too")
    stored(compare)
    compare.add_argument("--json", action="store_true", help="print it as JSON")
    compare.set_defaults(command=_compare)

    export = commands.add_parser("export", help="a run in another program's format")
    export.add_argument("run", help=RUN)
    export.add_argument(
        "--format", required=True, metavar="NAME", help="csv, parquet, pyperf, openmetrics or junit"
    )
    export.add_argument("--table", choices=("trials", "results"),
                        help="csv and parquet: a row per trial (default), or per result")  # fmt: skip
    export.add_argument("--out", type=Path, metavar="FILE", help="default: the standard output")
    stored(export)
    export.set_defaults(command=_export)

    listing = commands.add_parser("list", help="datapaths, functions, generators, kernels and stored runs")
    stored(listing)
    listing.set_defaults(command=_list)


def _report(a: argparse.Namespace) -> int:
    from kbench.commands.reading import Wanted, report

    pages = tuple(form for form, asked in (("html", a.html), ("pdf", a.pdf)) if asked)
    if not (pages or a.csv or a.figures):
        pages = ("html",)
    if a.open and not pages:
        raise UsageError("--open shows a page: add --html or --pdf")
    wanted = Wanted(pages, a.csv, a.figures, a.out, a.open, a.json)  # type: ignore[arg-type]
    return report(a.runs, a.results, a.reports, wanted)


def _compare(a: argparse.Namespace) -> int:
    from kbench.commands.reading import compare

    return compare(a.base, a.head, a.results, force=a.force, as_json=a.json, html=a.html, pdf=a.pdf)


def _export(a: argparse.Namespace) -> int:
    from kbench.commands.reading import export

    return export(a.run, a.results, a.format, a.out, a.table)


def _list(arguments: argparse.Namespace) -> int:
    from kbench.commands.reading import listing

    return listing(arguments.results)
