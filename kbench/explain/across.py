# SPDX-License-Identifier: GPL-2.0-only
"""Two runs side by side: what changed from BASE to HEAD, and what else differs between them.

Runs share no round, so nothing is paired: drift between them is in the figures, and is said with them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kbench.errors import UsageError
from kbench.explain.compare import Comparison, Row, compare, resolution
from kbench.explain.grade import Letter
from kbench.explain.stats import Claim, Estimate, claim, unpaired_ratio
from kbench.explain.table import plain
from kbench.model import SCHEMA_VERSION, Kind
from kbench.store import Run


@dataclass(frozen=True)
class Difference:
    """A fact, setting or version that is not the same in both runs; None: not recorded."""

    part: str
    what: str
    base: str | None
    head: str | None


@dataclass(frozen=True)
class Change:
    """One figure in both runs: HEAD over BASE."""

    part: str
    kind: Kind
    case_id: str
    generator: str
    load_pps: float | None
    datapath: str
    base: Estimate
    head: Estimate
    ratio: Estimate
    """HEAD's figure over BASE's: above 1 is faster (wall clock) or more instructions (exact)."""
    claim: Claim
    grades: tuple[Letter, Letter]
    better: bool | None
    """For a change that is claimed: whether it is one for the better."""


@dataclass
class AcrossResult:
    """What `compare_runs` found."""

    base_id: str
    head_id: str
    forced: list[str] = field(default_factory=list)
    """What speaks against the comparison and was overruled by force; empty if nothing does."""
    differences: list[Difference] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    only_base: list[str] = field(default_factory=list)
    """Figures that HEAD does not have, in words."""
    only_head: list[str] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)


MACHINE: dict[Kind, dict[str, tuple[tuple[str, ...], ...]]] = {
    "wall": {
        "host": (("hostname",), ("cpu", "model"), ("virtualization",)),
        "lab": (("qemu_version",), ("accel",)),
    },
    "exact": {"lab": (("qemu_version",),)},
    "functional": {},
}
"""Facts that make it another machine, by kind of figure and by whose facts they are. Instruction counts depend on
QEMU, never on the host."""
WATCHED = (
    ("hostname",),
    ("cpu", "model"),
    ("virtualization",),
    ("kernel", "release"),
    ("kernel", "version"),
    ("kernel", "cmdline"),
    ("kernel", "config"),
    ("kernel", "preemption"),
    ("distribution",),
    ("cpu", "microcode"),
    ("cpu", "online"),
    ("cpu", "governor"),
    ("cpu", "turbo"),
    ("cpu", "smt"),
    ("cpu", "isolated"),
    ("memory_bytes",),
    ("mitigations",),
    ("clocksource",),
    ("sysctl",),
    ("packet_sockets",),
    ("tools",),
    ("kernel_release",),
    ("kernel_version",),
    ("vmlinux_sha256",),
    ("qemu_version",),
    ("accel",),
    ("mode",),
    ("kbench",),
)
"""Facts that move figures without a change of the code under test."""
OPTIONS_APART = frozenset({"results", "reports", "label", "resume", "keep", "rounds", "blocks", "budget_s"})
"""Options that say how much was measured, or where it was written."""
CONFIDENCE = 0.99
"""Level of the claims: a run has dozens of figures, and each may cry wolf."""
DRIFT = (
    "The runs share no round: on a virtual machine absolute figures drift by 10 % in an hour with nothing changed,"
    " and by more when it moves. Measure both again, close together, before believing a change."
)

Key = tuple[str, Kind, str, str, float | None]


def compare_runs(base: Run, head: Run, force: bool = False) -> AcrossResult:
    """HEAD's figures over BASE's, with what else differs.

    UsageError when they are of different machines or kinds, when figures have different grades, or when they have no
    figure in common; `force` overrules all but the last, and the result says so.
    """
    result = AcrossResult(base.run_id, head.run_id)
    result.differences = _differences(base, head)
    ours, theirs = (_by_key(run) for run in (head, base))
    against = _other_machine(base, head, {key[1] for key in ours.keys() & theirs.keys()})
    against += _other_kinds(ours, theirs)
    for key in ours.keys() & theirs.keys():
        result.changes += _changes(key, theirs[key], ours[key])
    order = {key: n for n, key in enumerate(theirs)}
    result.changes.sort(key=lambda c: order[(c.part, c.kind, c.case_id, c.generator, c.load_pps)])
    result.only_base, result.only_head = _names(theirs, ours), _names(ours, theirs)
    if not result.changes:
        raise UsageError(f"runs {base.run_id} and {head.run_id} have no figure in common")
    graded = [
        f"{c.datapath} on {c.case_id} ({c.part}) is graded {c.grades[0]} in BASE and {c.grades[1]} in HEAD"
        for c in result.changes
        if c.grades[0] != c.grades[1]
    ]
    against += graded
    if against and not force:
        more = f" (and {len(against) - 1} more)" if len(against) > 1 else ""
        raise UsageError(
            f"not comparable: {plain(against[0])}{more}; --force compares them all the same, and marks it"
        )
    result.forced = against
    if any(c.kind == "wall" for c in result.changes) and any(
        _at(run.facts.get("host", {}), ("virtualization",)) for run in (base, head)
    ):
        result.caveats.append(DRIFT)
    if any(c.kind == "wall" and c.ratio.blocks == 1 for c in result.changes):
        result.caveats.append(
            "Figures of a single block: how much topologies differ (1.2 %) is not in the intervals."
        )
    return result


def _at(facts: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    found: Any = facts
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _other_machine(base: Run, head: Run, kinds: set[Kind]) -> list[str]:
    found = []
    for kind in sorted(kinds):
        for part, paths in MACHINE[kind].items():
            for path in paths:
                was, is_ = (_at(run.facts.get(part, {}), path) for run in (base, head))
                if was != is_:
                    what = " ".join(path).replace("_", " ")
                    found.append(f"another machine: the {part}'s {what} is {was} in BASE and {is_} in HEAD")
    return list(dict.fromkeys(found))


def _differences(base: Run, head: Run) -> list[Difference]:
    """Of the facts of every part that both have, of the options, and of kbench itself."""
    found = []
    for part in [name for name in base.facts if name in head.facts]:
        for path in WATCHED:
            was, is_ = (_at(run.facts[part], path) for run in (base, head))
            found += _unlike(part, " ".join(path), was, is_)
    options = [
        {k: v for k, v in run.run.get("options", {}).items() if k not in OPTIONS_APART}
        for run in (base, head)
    ]
    return found + _unlike("options", "", *options)


def _unlike(part: str, name: str, was: Any, is_: Any) -> list[Difference]:
    """Differences between two values; of two mappings, those of their entries."""
    if isinstance(was, Mapping) and isinstance(is_, Mapping):
        keys = sorted({*was, *is_}, key=str)
        return [d for key in keys for d in _unlike(part, f"{name} {key}".strip(), was.get(key), is_.get(key))]
    return [] if was == is_ else [Difference(part, name, _text(was), _text(is_))]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _by_key(run: Run) -> dict[Key, Comparison]:
    return {
        (c.part.name, c.kind, c.case_id, c.generator, c.load_pps): c
        for c in compare(run)
        if any(row.by_round for row in c.rows)
    }


def _other_kinds(ours: dict[Key, Comparison], theirs: dict[Key, Comparison]) -> list[str]:
    kinds = [{(part, kind) for part, kind, *_ in keys} for keys in (theirs, ours)]
    parts = {part for part, _ in kinds[0]} & {part for part, _ in kinds[1]}
    found = []
    for part in sorted(parts):
        was, is_ = (sorted(k for p, k in side if p == part) for side in kinds)
        if was != is_:
            found.append(
                f"another kind of figures on the {part}: {', '.join(was)} in BASE, {', '.join(is_)} in HEAD"
            )
    return found


def _changes(key: Key, base: Comparison, head: Comparison) -> list[Change]:
    part, kind, case_id, generator, load = key
    rows = {row.datapath: row for row in head.rows}
    found = []
    for was in base.rows:
        now = rows.get(was.datapath)
        if now is None or was.figure is None or now.figure is None or base.dut_only != head.dut_only:
            continue
        ratio = _ratio(kind, was, now)
        said = claim(ratio, resolution(kind))
        better = (ratio.value > 1) == (kind == "wall") if said.outcome == "changed" else None
        grades = (was.grade.letter, now.grade.letter)
        found.append(
            Change(
                part,
                kind,
                case_id,
                generator,
                load,
                was.datapath,
                was.figure,
                now.figure,
                ratio,
                said,
                grades,
                better,
            )
        )
    return found


def _ratio(kind: Kind, was: Row, now: Row) -> Estimate:
    """Wall clock: by blocks or rounds, at the 99 % level. Exact: the range that smallest and largest counts span."""
    if kind == "exact":
        assert was.figure is not None and now.figure is not None
        ends = [n / w for n in now.by_round.values() for w in was.by_round.values()]
        count = min(was.figure.n, now.figure.n)
        return Estimate(
            now.figure.value / was.figure.value, min(ends), max(ends), count, "smallest and largest"
        )
    ratio = unpaired_ratio(now.by_round, was.by_round, now.block_of, was.block_of, CONFIDENCE)
    assert ratio is not None
    return ratio


def _names(have: dict[Key, Comparison], other: dict[Key, Comparison]) -> list[str]:
    """Figures of `have` that `other` lacks."""
    found = []
    for key, comparison in have.items():
        there = {r.datapath for r in other[key].rows if r.figure is not None} if key in other else set()
        load = "" if comparison.load_pps is None else f" at {comparison.load_pps:g} packets/s"
        found += [
            f"{row.datapath} on {comparison.case_id} ({comparison.part.name}, {comparison.generator}{load})"
            for row in comparison.rows
            if row.figure is not None and row.datapath not in there
        ]
    return found


def render(result: AcrossResult) -> RenderableType:
    """For the terminal: what else differs, then the figures, then what limits them."""
    parts: list[RenderableType] = [
        Text(plain(f"FORCED: {reason}"), style="bold red") for reason in result.forced
    ]
    head = f"HEAD {result.head_id} over BASE {result.base_id}"
    parts.append(Text(plain(head + (" (forced)" if result.forced else "")), style="bold"))
    parts += [
        Text(
            plain(f"differs: {d.part} {d.what}: {d.base or 'unknown'} -> {d.head or 'unknown'}"),
            style="yellow",
        )
        for d in result.differences
    ]
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1))
    for name in ("part", "case", "generator", "datapath", "HEAD / BASE", "verdict", "grades"):
        table.add_column(name, justify="right" if name == "HEAD / BASE" else "left", overflow="fold")
    for c in result.changes:
        case = c.case_id if c.load_pps is None else f"{c.case_id} at {c.load_pps:g}/s"
        outcome = str(c.claim)
        if c.better is not None:
            outcome += ": better" if c.better else ": worse"
        cells = (c.part, case, c.generator, c.datapath, _interval(c.ratio), outcome, "/".join(c.grades))
        table.add_row(*(Text(plain(cell)) for cell in cells))
    parts.append(table)
    for where, names in (("BASE", result.only_base), ("HEAD", result.only_head)):
        parts += [Text(plain(f"only in {where}: {name}"), style="dim") for name in names]
    parts += [Text(plain(f"note: {text}"), style="yellow") for text in result.caveats]
    return Group(*parts)


def _interval(ratio: Estimate) -> str:
    if ratio.low is None or ratio.high is None:
        return f"{ratio.value:.3f}"
    return f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"


def as_data(result: AcrossResult) -> dict[str, Any]:
    """The same as plain JSON data."""
    data = dataclasses.asdict(result)
    for item, change in zip(data["changes"], result.changes, strict=True):
        item["claim"]["text"] = str(change.claim)
    return {"schema_version": SCHEMA_VERSION, **data}
