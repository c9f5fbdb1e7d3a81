# SPDX-License-Identifier: GPL-2.0-only
"""The comparison in the terminal, and the same as plain data for ``--json``."""

from __future__ import annotations

import re
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from kbench.explain.answer import answer, case_title, missing, notices_for, number, place, share, time_ns
from kbench.explain.compare import Comparison, Row, compare
from kbench.explain.stats import Estimate
from kbench.model import SCHEMA_VERSION
from kbench.store import Run

WIDE = 120
"""From this many columns on, the table has its less important columns too."""


def plain(text: str) -> str:
    """Text for a terminal: control characters (a hostile host name) are shown, never obeyed."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", lambda m: f"\\x{ord(m[0]):02x}", text)


def interval(estimate: Estimate | None, scale: float = 1.0, digits: int | None = None) -> str:
    """``value [low, high]`` in a given scale; ``-`` without a value."""
    if estimate is None:
        return "-"

    def show(value: float) -> str:
        return number(value / scale) if digits is None else f"{value / scale:.{digits}f}"

    if estimate.low is None or estimate.high is None:
        return show(estimate.value)
    return f"{show(estimate.value)} [{show(estimate.low)}, {show(estimate.high)}]"


def ratio_cell(row: Row, reference: str | None, digits: int) -> str:
    """The ratio column, with a mark where it says nothing."""
    if row.datapath == reference:
        return "reference"
    text = interval(row.ratio, digits=digits)
    return f"{text} ~" if row.told_apart is False else text


def table(comparison: Comparison, width: int) -> Table:
    """The comparison as a table for a terminal of `width` columns."""
    wide = width >= WIDE
    made = Table(box=box.SIMPLE, pad_edge=False, collapse_padding=True, padding=(0, 1))
    made.add_column("datapath", no_wrap=True)
    kind = comparison.kind
    columns: list[str] = []
    if kind == "wall":
        columns = ["Mpps", f"x {comparison.reference}", "DUT ns", "lost"]
        columns += ["p50", "p99", "max"] if wide else []
    elif kind == "exact":
        columns = ["instructions", f"x {comparison.reference}", "lost"]
    else:
        columns = ["offered", "forwarded", "dropped", "lost"]
    for name in (*columns, "n"):
        made.add_column(plain(name), justify="right", overflow="fold")
    for row in comparison.rows:
        cells = [plain(row.datapath)]
        if row.missing:
            cells += ["-"] * len(columns)
        elif kind == "functional":
            ledger = row.ledger
            amounts = (ledger.offered, ledger.forwarded, sum(ledger.dropped.values()), ledger.lost)
            cells += [f"{n:,}" for n in amounts]
        else:
            digits = 2 if kind == "wall" else 3
            exact = number(row.figure.value) if row.figure else "-"
            cells += [
                interval(row.figure, 1e6) if kind == "wall" else exact,
                ratio_cell(row, comparison.reference, digits),
            ]
            if kind == "wall":
                short = number(row.dut_ns.value) if row.dut_ns else "-"
                cells.append(interval(row.dut_ns) if wide else short)
            cells.append(share(row.loss_share))
            if kind == "wall" and wide:
                quick = row.latency
                cells += [time_ns(quick.percentiles_ns[p]) if quick else "-" for p in ("50", "99")]
                cells.append(time_ns(quick.max_ns) if quick else "-")
        count = f"{row.valid} of {row.valid + row.invalid_scored}" if row.invalid_scored else str(row.valid)
        made.add_row(*(Text(c) for c in (*cells, count)))
    return made


def render(run: Run, width: int) -> RenderableType:
    """All comparisons of a run, answers first."""
    found: list[RenderableType] = []
    comparisons = compare(run)
    told: set[str] = set()
    for comparison in comparisons:
        title = case_title(comparison.function, comparison.frame_bytes, comparison.case, comparison.case_id)
        found.append(Text(plain(f"{place(comparison)} ({comparison.kind}): {title}"), style="bold"))
        found.append(table(comparison, width))
        said = answer(comparison)
        found.append(Text(plain(" ".join([said.headline, *said.caveats]))))
        if any(r.told_apart is False for r in comparison.rows):
            found.append(Text("~ not told apart from the reference", style="dim"))
        for text in notices_for(run, comparison.part.name):
            if text not in told:
                found.append(Text(plain(f"note: {text}"), style="yellow"))
                told.add(text)
        found.append(Text(""))
    found += [Text(plain(f"note: {t}"), style="yellow") for t in notices_for(run, None)]
    found += [Text(plain(t), style="yellow") for t in missing(run, comparisons)]
    return Group(*found)


def print_tables(run: Run, console: Console) -> None:
    """Print the run's comparisons, fitted to the console's width."""
    console.print(render(run, console.width), highlight=False)


def _estimate(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {k: getattr(estimate, k) for k in ("value", "low", "high", "n", "reason")}


def _row(row: Row, kind: str) -> dict[str, Any]:
    ledger = row.ledger
    unit = {"wall": "rate_pps", "exact": "instructions_per_packet"}.get(kind)
    item: dict[str, Any] = {"datapath": row.datapath, "placements": row.placements}
    if unit:
        item[unit] = _estimate(row.figure)
        item["rounds"] = {str(k): v for k, v in row.by_round.items()}
        item["ratio"] = _estimate(row.ratio)
        item["told_apart"] = row.told_apart
    if kind == "wall":
        item["dut_cpu_ns_per_packet"] = _estimate(row.dut_ns)
        item["cpu_ns_per_packet"] = _estimate(row.gross_ns)
        item["cpu_share"] = {str(k): v for k, v in row.cpus.items()}
        quick = row.latency
        item["latency"] = quick and {
            "samples": quick.samples, "loads_pps": quick.loads_pps, "percentiles_ns": quick.percentiles_ns,
            "min_ns": quick.min_ns, "max_ns": quick.max_ns, "wake_up_included": quick.wake_up_included,
        }  # fmt: skip
    return item | {
        "loss_share": row.loss_share,
        "valid_trials": row.valid,
        "invalid_trials": row.invalid_trials,
        "problems": row.invalid,
        "missing": row.missing,
        "verified": row.verification.passed if row.verification else None,
        "verified_packets": row.verification.packets if row.verification else None,
        "ledger": {
            "trials": ledger.trials, "offered": ledger.offered, "forwarded": ledger.forwarded,
            "dropped": ledger.dropped, "lost": ledger.lost, "lost_by": ledger.lost_by,
            "unexplained": ledger.unexplained, "unbalanced_trials": ledger.unbalanced_trials,
        },
    }  # fmt: skip


def summary(run: Run) -> dict[str, Any]:
    """The run's comparisons as plain JSON data; the names carry the units."""
    comparisons = compare(run)
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": run.run_id,
        "path": str(run.path),
        "complete": run.ended and run.outcome in (None, "complete"),
        "missing": missing(run, comparisons),
        "notices": [{"part": n.part, "text": n.text} for n in run.notices],
        "comparisons": [
            {
                "part": c.part.name, "kind": c.kind, "case_id": c.case_id, "function": c.function,
                "frame_bytes": c.frame_bytes, "generator": c.generator, "load_pps": c.load_pps,
                "reference": c.reference, "dut_only": c.dut_only, "answer": answer(c).headline,
                "caveats": answer(c).caveats, "rows": [_row(r, c.kind) for r in c.rows],
            }
            for c in comparisons
        ],
    }  # fmt: skip
