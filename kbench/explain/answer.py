# SPDX-License-Identifier: GPL-2.0-only
"""The answer of a run in sentences, and its numbers in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from kbench.explain.compare import same_rank
from kbench.explain.comparison import USERSPACE, Comparison, Row
from kbench.explain.nic import machine, speed
from kbench.explain.stats import Estimate
from kbench.model import Case
from kbench.store import Run

LOSS_WORTH_SAYING = 0.01
MAX_FOREIGN_SHARE = 0.03
"""More CPU time of other processes than this, or more steal than below, falsifies CPU time per packet."""
MAX_STEAL_SHARE = 0.02
VERBS = {"forward": "forwards", "filter": "filters", "drop": "drops"}


def number(value: float) -> str:
    """Three significant digits, with thousands separated; no exponent."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


def rate(value: float) -> str:
    """Packets per second in words: 1.23 Mpps, 870 kpps."""
    for limit, unit in ((1e6, "Mpps"), (1e3, "kpps")):
        if abs(value) >= limit * 0.9995:
            scaled = value / limit
            return f"{scaled:.3g} {unit}" if scaled < 1000 else f"{scaled:,.0f} {unit}"
    return f"{value:.3g} pps" if value < 100 else f"{value:.0f} pps"


def time_ns(value: float | None) -> str:
    """A latency in the unit that fits."""
    if value is None:
        return "-"
    for limit, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if value >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:.0f} ns"


def ratio_digits(estimate: Estimate) -> int:
    """Decimals that the interval can carry."""
    if estimate.low is None or estimate.high is None:
        return 1 if estimate.value >= 2 else 2
    width = estimate.high - estimate.low
    if width < 0.02:
        return 3
    return 2 if width < 0.2 or estimate.value < 2 else 1


def ratio(estimate: Estimate) -> str:
    """``4.1x [3.9, 4.3]``; without an interval it says so."""
    digits = ratio_digits(estimate)
    text = f"{estimate.value:.{digits}f}x"
    if estimate.low is None or estimate.high is None:
        return f"about {text} (no interval: {estimate.reason})"
    return f"{text} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def share(value: float | None) -> str:
    """A share in percent; a small one is never rounded to nothing."""
    if value is None:
        return "-"
    if value == 0:
        return "0 %"
    if value < 0.0001:
        return "< 0.01 %"
    return f"{value * 100:.2g} %" if value < 0.01 else f"{value * 100:.3g} %"


def case_title(function: str, frame_bytes: int, case: Case | None, case_id: str) -> str:
    """``forward, 1 route, 64-byte frames``."""
    if case is None:
        return f"{case_id} ({function}, {frame_bytes}-byte frames)"
    words = [function]
    if function == "filter":
        generated = f"{_count(case.rules, 'rule')} ({case.shape})"
        words.append("rules from a file" if case.rules_file else generated)
    if function != "drop":
        words.append("routes from a file" if case.routes_file else _count(case.routes, "route"))
    words.append(f"{frame_bytes}-byte frames")
    if case.flows != 256:
        words.append(_count(case.flows, "flow"))
    if case.match_share != 1.0:
        words.append(f"{share(case.match_share)} matching")
    if case.queues:
        words.append(_count(case.queues, "queue"))
    return ", ".join(words)


def _count(value: int, noun: str) -> str:
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def place(comparison: Comparison) -> str:
    """Where a comparison was measured, and on which ports, in words."""
    wired = comparison.topology
    where = {"host": "On this host", "remote": "On the remote DUT"}.get(comparison.part.name, "In the lab")
    if comparison.part.name == "remote" and wired is not None:
        where = f"On {machine(wired.dut)}"
    if comparison.part.kernel:
        where = f"{where} (Linux {comparison.part.kernel})"
    return f"{where}, {wired.pair}" if wired is not None else where


def part_name(name: str) -> str:
    """A part as it is spoken of: ``the host``, ``the lab``, ``the remote DUT``."""
    return "the remote DUT" if name == "remote" else f"the {name}"


def placement(comparison: Comparison) -> str:
    """Who ran on which CPU."""
    kinds = comparison.placements
    if comparison.kind == "exact":
        return "everything runs on the lab's one CPU"
    measured = [r for r in comparison.rows if r.figure or (r.ledger.trials and not comparison.ranks)]
    processes = [r.datapath for r in measured if r.datapath in USERSPACE]
    if kinds == {"same"} and processes:
        # Trials record where the receive path runs; a userspace datapath is also a process elsewhere.
        kernel = "generator and the kernel's receive path share one CPU"
        return f"{kernel}; the process of {join(processes)} can have another"
    if kinds == {"same"}:
        return "generator and DUT share one CPU"
    wired = comparison.topology
    if wired is not None and not wired.one_machine and kinds:
        return f"the generator runs on another machine ({machine(wired.tester)})"
    if kinds == {"split"}:
        return "generator and DUT run on different CPUs"
    if not kinds:
        return ""
    split = [r.datapath for r in comparison.rows if "split" in r.placements]
    return f"generator and DUT share one CPU, except that {join(split)} had a second CPU"


def join(words: list[str]) -> str:
    """``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


@dataclass
class Answer:
    """One comparison's answer; `headline` is the sentence, `caveats` are what must be known with it."""

    headline: str
    caveats: list[str]


def answer(comparison: Comparison, by_methods: Sequence[str] = ()) -> Answer:
    """The comparison in a sentence, with what limits it.

    `by_methods`: what the methods say of the same work, in clauses. It is the answer where no maximum rates were
    measured, and goes with it otherwise.
    """
    made = _answer(comparison, by_methods)
    if by_methods and comparison.ranks and comparison.kind != "emulated":
        clauses = "; ".join(by_methods)
        made.headline += f" {clauses[0].upper()}{clauses[1:]}."
    return made


def _answer(comparison: Comparison, by_methods: Sequence[str]) -> Answer:
    title = case_title(comparison.function, comparison.frame_bytes, comparison.case, comparison.case_id)
    start = f"{place(comparison)}, {title}"
    if comparison.load_pps is not None:
        start += f", at {rate(comparison.load_pps)} offered"
    ranked = [r for r in comparison.rows if r.figure is not None]
    caveats = []
    if comparison.kind == "functional":
        done = [r.datapath for r in comparison.rows if r.ledger.trials]
        text = f"{start}: {join(done)} were run for their packet counts only; nothing is ranked"
        return Answer(text + ".", ["Wall-clock time under emulation is no result."])
    if comparison.kind == "emulated":
        return _works(comparison, start, by_methods)
    if not comparison.ranks:
        said = "; ".join(by_methods) or "no maximum rates were measured; the other methods' results are below"
        words = placement(comparison)
        return Answer(f"{start}: {said}.", [f"{words[0].upper()}{words[1:]}."] if words else [])
    if not ranked:
        return Answer(f"{start}: no valid trial, so there is nothing to compare.", [])
    if comparison.kind == "exact":
        whose = "of the DUT" if comparison.dut_only else "with the generator's included"
        caveats.append(
            f"Guest instructions {whose}, counted: instructions are not cycles, "
            f"caches and stalls are invisible."
        )
    elif words := placement(comparison):
        caveats.append(f"{words[0].upper()}{words[1:]}.")
    caveats += _at_line_rate(comparison) + _doubts(ranked) if comparison.kind == "wall" else []
    if len(ranked) == 1:
        only = ranked[0]
        assert only.figure is not None
        wall = comparison.kind == "wall"
        what = rate(only.figure.value) if wall else f"{number(only.figure.value)} instructions"
        alone = f"{only.datapath} alone was measured ({what}); there is nothing to compare"
        return Answer(f"{start}: {alone}.", caveats)
    base = next(r for r in ranked if r.datapath == comparison.reference)
    clauses = [_clause(comparison, base, row) for row in ranked if row is not base]
    clauses += _ties(comparison, ranked, base)
    return Answer(f"{start}: {'; '.join(clauses)}.", caveats)


def _clause(comparison: Comparison, base: Row, row: Row) -> str:
    if row.ratio is None:
        return f"{row.datapath} shares no valid round with {base.datapath}"
    if row.told_apart is False:
        return f"{row.datapath} and {base.datapath} are not told apart ({ratio(row.ratio)})"
    if comparison.kind == "exact":
        assert row.figure is not None and base.figure is not None
        return (
            f"{row.datapath} takes {number(row.figure.value)} instructions per packet, "
            f"{row.ratio.value:.3f}x of {base.datapath}'s {number(base.figure.value)}"
        )
    least = ""
    if row.line_limited != base.line_limited:
        # The one at line rate could be faster.
        least = "at least " if row.line_limited else "at most "
    verb = VERBS.get(comparison.function, "handles")
    one_cpu = comparison.placements == {"same"} and not USERSPACE & {row.datapath, base.datapath}
    per_core = " per core" if one_cpu else ""
    return f"{row.datapath} {verb} {least}{ratio(row.ratio)} what {base.datapath} does{per_core}"


def _works(comparison: Comparison, start: str, by_methods: Sequence[str]) -> Answer:
    """Of an emulated part: what works there. Its rates are told, and nothing is made of them."""
    wired = comparison.topology
    drivers = join(wired.drivers) if wired is not None else ""
    there = f"on {drivers}" if drivers else "on emulated NICs"
    passed = [
        r for r in comparison.rows if r.figure is not None or (r.ledger.trials and not comparison.ranks)
    ]
    proven = [r.datapath for r in passed if r.verification is not None and r.verification.passed]
    rest = [r.datapath for r in passed if r.datapath not in proven]
    said = [f"{join(proven)} work{'s' if len(proven) == 1 else ''} {there}, verified"] if proven else []
    if rest:
        said.append(f"{join(rest)} pass{'es' if len(rest) == 1 else ''} packets {there}, unverified")
    if not passed:
        said.append("no valid trial, so nothing is shown to work")
    rates = [f"{r.datapath} {rate(r.figure.value)}" for r in passed if r.figure is not None]
    if rates:
        said.append(f"rates by an emulated clock, no measure of speed: {join(rates)}")
    if by_methods:
        said.append(f"by the same clock {'; '.join(by_methods)}")
    caveats = ["Machine and NICs are emulated: this shows what works, not how fast. Nothing is ranked."]
    words = placement(comparison)
    return Answer(
        f"{start}: {'; '.join(said)}.", caveats + ([f"{words[0].upper()}{words[1:]}."] if words else [])
    )


def _at_line_rate(comparison: Comparison) -> list[str]:
    """Whose figure is the wire's."""
    wired = comparison.topology
    at = [r.datapath for r in comparison.rows if r.line_limited]
    if wired is None or not at:
        return []
    line = wired.line_rate_pps(comparison.function, comparison.frame_bytes)
    slowest = min(port.speed_mbps or 0 for port in wired.path(comparison.function))
    return [
        f"{join(at)} run{'s' if len(at) == 1 else ''} at line rate: {rate(line or 0)} of {comparison.frame_bytes}-byte"
        f" frames is all that {speed(slowest)} carries, so the datapath may be faster."
    ]


def _doubts(rows: list[Row]) -> list[str]:
    """What in the trials themselves limits the figures: overload and disturbance."""
    found = []
    lossy = [f"{r.datapath} {share(r.loss_share)}" for r in rows if (r.loss_share or 0) > LOSS_WORTH_SAYING]
    if lossy:
        found.append(f"Rates are under overload, not at zero loss; lost of what was offered: {join(lossy)}.")
    foreign = max((r.foreign_share or 0 for r in rows), default=0)
    steal = max((r.steal_share or 0 for r in rows), default=0)
    disturbed = []
    if foreign > MAX_FOREIGN_SHARE:
        disturbed.append(f"other processes took {share(foreign)} of a CPU")
    if steal > MAX_STEAL_SHARE:
        disturbed.append(f"the hypervisor stole {share(steal)}")
    if disturbed:
        doubt = "CPU time per packet can't be trusted, and rates hold only against each other"
        found.append(f"The machine was not quiet: meanwhile {join(disturbed)}: {doubt}.")
    return found


def _ties(comparison: Comparison, ranked: list[Row], base: Row) -> list[str]:
    """Neighbours in the ranking, other than the reference, whose intervals overlap."""
    others = [r for r in ranked if r is not base]
    found = []
    for one, other in pairwise(others):
        tied_to_base = one.told_apart is False or other.told_apart is False
        if not tied_to_base and same_rank(one, other, comparison.kind):
            found.append(f"{one.datapath} and {other.datapath} are not told apart")
    return found


def notices_for(run: Run, part: str | None) -> list[str]:
    """What the measuring wing wants the reader to know about a part (None: about all), each once."""
    return list(dict.fromkeys(n.text for n in run.notices if n.part == part))


def missing(run: Run, comparisons: list[Comparison]) -> list[str]:
    """What the run lacks: it was killed, or planned work has no figures."""
    found = list(run.problems)
    if not run.ended:
        found.insert(0, "The run was killed or is still going on: what is shown are its finished trials.")
    elif run.outcome not in (None, "complete"):
        found.insert(0, f"The run ended early ({run.outcome}): what is shown are its finished trials.")
    have = {(c.part.name, c.case_id) for c in comparisons}
    limited = run.run.get("plan", {}).get("cases_by_part", {})
    for part in run.parts:
        planned_cases = limited.get(part.name, [c.case_id for c in run.cases])
        lacking = [case_id for case_id in planned_cases if (part.name, case_id) not in have]
        if lacking:
            found.append(f"No trials of {join(lacking)} on {part_name(part.name)}.")
    for comparison in comparisons:
        where = f"{comparison.case_id} on {part_name(comparison.part.name)}"
        found += [f"{where}: {row.datapath}: {row.missing}." for row in comparison.rows if row.missing]
    planned = run.run.get("options", {}).get("rounds")
    complete = run.ended and run.outcome in (None, "complete")
    if not complete and isinstance(planned, int):
        for c in comparisons:
            done = max((len(r.by_round) for r in c.rows), default=0)
            if c.timed and done < planned:
                found.append(f"{c.case_id} on {part_name(c.part.name)}: {done} of {planned} rounds.")
    return found
