# SPDX-License-Identifier: GPL-2.0-only
"""Two runs side by side: what changed from BASE to HEAD, and what else differs between them.

Runs share no round, so nothing is paired: drift between them is in the figures, and is said with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kbench.errors import UsageError
from kbench.explain.across import facts
from kbench.explain.across.metrics import Figures, figures
from kbench.explain.across.ratios import FAMILY, level_of
from kbench.explain.across.result import WORDS, AcrossResult, Change, Metric, Side, Work
from kbench.explain.across.verdicts import change, named, other_grades, why_unlike
from kbench.explain.answer import part_name
from kbench.explain.table import plain
from kbench.store import Run

DRIFT = (
    "The runs share no round: on a virtual machine absolute figures drift by 10 % in an hour with nothing changed,"
    " and by more when it moves. Measure both again, close together, before believing a change."
)
NO_SOURCES = (
    "A run does not tell which sources its datapaths were built of: it was made before kbench recorded that."
)
EMULATED = "emulated: figures by an emulated clock show that a datapath works, not how fast"
Key = tuple[Work, str, Metric]

ALIKE = 3
"""From so many datapaths on that all changed the same way, it is worth saying."""


def compare_runs(base: Run, head: Run, force: bool = False) -> AcrossResult:
    """HEAD's figures over BASE's, with what else differs.

    UsageError when they are of different machines or kinds, or when figures have different grades: `force` overrules
    that, and the result says so. Also when they have no figure in common, or are one and the same run.
    """
    if base.run_id == head.run_id:
        raise UsageError(f"BASE and HEAD are the same run, {base.run_id}: the run before @latest is @-2")
    theirs, ours = figures(base), figures(head)
    common = [key for key in theirs.found if key in ours.found]
    if not common and theirs.emulated and ours.emulated:
        raise UsageError(f"runs {base.run_id} and {head.run_id} are not compared: {EMULATED}")
    if not common:
        raise UsageError(f"runs {base.run_id} and {head.run_id} have no figure in common")
    against = facts.other_machine(base, head, {work.kind for work, _, _ in common})
    against += _other_kinds(theirs, ours)
    unlike = {key: why for key in common if (why := why_unlike(theirs.found[key], ours.found[key]))}
    judged = sorted((key for key in common if key not in unlike), key=_order(common))
    level = level_of(len(judged))
    made = [change(theirs.found[key], ours.found[key], level) for key in judged]
    changes = [item for item in made if isinstance(item, Change)]
    limited = {key: item for key, item in zip(judged, made, strict=True) if isinstance(item, str)}
    against += other_grades(changes)
    if against and not force:
        more = f" (and {len(against) - 1} more)" if len(against) > 1 else ""
        raise UsageError(
            f"not comparable: {plain(against[0])}{more}; --force compares them all the same, and marks it"
        )
    result = AcrossResult(_side(base), _side(head), FAMILY, len(judged), level, against)
    result.differences = facts.differences(base, head)
    result.same_sources = facts.same_sources(base, head)
    result.changes = changes
    result.unjudged = [f"{named(ours.found[key])}: {why}" for key, why in (unlike | limited).items()]
    result.unjudged += [
        f"{datapath} on {work}: {EMULATED}"
        for datapath, work in ours.emulated
        if (datapath, work) in theirs.emulated
    ]
    result.only_base, result.only_head = _missing(theirs, ours), _missing(ours, theirs)
    result.caveats = _caveats(base, head, result)
    return result


def _side(run: Run) -> Side:
    told = {name: run.run.get(name) for name in ("started_at", "label", "kbench_version")}
    texts = [None if value is None else str(value) for value in told.values()]
    return Side(run.run_id, *texts)


def _order(common: Iterable[Key]) -> Callable[[Key], tuple[int, int]]:
    """By work as it was planned, then metric by metric."""
    works = {work: n for n, work in reversed(list(enumerate(work for work, _, _ in common)))}
    metrics = list(WORDS)
    return lambda key: (works[key[0]], metrics.index(key[2]))


def _other_kinds(theirs: Figures, ours: Figures) -> list[str]:
    kinds = [
        {(work.part, work.kind) for work, _, metric in side.found if metric in ("rate", "instructions")}
        for side in (theirs, ours)
    ]
    parts = {part for part, _ in kinds[0]} & {part for part, _ in kinds[1]}
    found = []
    for part in sorted(parts):
        was, is_ = (sorted(k for p, k in side if p == part) for side in kinds)
        if was != is_:
            found.append(
                f"another kind of figures on {part_name(part)}: {', '.join(was)} in BASE, {', '.join(is_)} in HEAD"
            )
    return found


def _missing(have: Figures, other: Figures) -> list[str]:
    """Figures of `have` that `other` lacks."""
    return [
        named(figure) + (f": {other.missing[key]}" if key in other.missing else "")
        for key, figure in have.found.items()
        if key not in other.found
    ]


def _caveats(base: Run, head: Run, result: AcrossResult) -> list[str]:
    found = [
        f"{name} is not complete ({run.outcome or 'killed, or still going on'}): what it has is compared."
        for name, run in (("BASE", base), ("HEAD", head))
        if not run.ended or run.outcome not in (None, "complete")
    ]
    wall = [c for c in result.changes if c.kind == "wall"]
    if result.same_sources is None:
        found.append(NO_SOURCES)
    found += _all_alike(wall)
    if wall and any(
        facts.at(run.facts.get(c.part, {}), ("virtualization",)) for run in (base, head) for c in wall
    ):
        found.append(DRIFT)
    single = [c for c in wall if c.ratio.blocks == 1 and c.metric in ("rate", "cpu")]
    if single:
        found.append(
            "Figures of a single block: how much topologies differ (1.2 % between two) is in their intervals as an"
            " assumption, not as a measurement."
        )
    if any(c.ratio.blocks == 1 and c.metric in ("p50", "p99") for c in wall):
        found.append(
            "Latency beside the rates is measured on a single topology, so only large changes are claimed:"
            " kbench run --method latency measures it on several."
        )
    return found


def _all_alike(wall: list[Change]) -> list[str]:
    """Where every datapath's rate changed the same way, the kernel's own too, our code is the least likely cause."""
    found = []
    groups: dict[Work, list[Change]] = {}
    for item in wall:
        if item.metric == "rate":
            groups.setdefault(item.work, []).append(item)
    for work, items in groups.items():
        ways = {item.better for item in items}
        if len(items) >= ALIKE and len(ways) == 1 and None not in ways:
            found.append(
                f"All {len(items)} datapaths on {work} changed the same way: that is what drift of the machine"
                " or a difference of environment looks like, more than a change of one datapath's code."
            )
    return found
