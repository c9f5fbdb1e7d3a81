# SPDX-License-Identifier: GPL-2.0-only
"""JUnit XML for CI systems (the schema of Jenkins' xUnit plugin): verifications and figures as test cases.

A test case fails when a datapath does other work than it should, or when planned work has no figure that counts.
It never fails for being slow: that is what ``kbench compare`` is for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from xml.etree import ElementTree as ET

from kbench.explain.answer import number
from kbench.explain.answer import rate as rate_text
from kbench.explain.compare import Comparison, Row, compare
from kbench.explain.export.document import Document, clean, when
from kbench.explain.export.results import Result, load_text, results
from kbench.explain.findings import findings
from kbench.explain.nic import topology
from kbench.explain.stats import Estimate
from kbench.model import Kind, Verification
from kbench.store import Run

BY_METHODS = {
    ("throughput", "ndr"), ("throughput", "pdr"), ("throughput", "throughput"), ("back-to-back", "longest_burst"),
    ("cpu-at-load", "dut_cpu"),
}  # fmt: skip
"""Method and metric of the figures that have a test case of their own, besides those that are ranked."""

FIGURES: dict[Kind, str] = {
    "wall": "rate", "exact": "instructions per packet", "functional": "packet counts",
    "emulated": "rate by an emulated clock",
}  # fmt: skip
"""What a part's figures are called in the names of test cases."""

Verdict = Literal["passed", "failure", "error", "skipped"]


@dataclass
class Case:
    """One test case."""

    classname: str
    name: str
    seconds: float = 0.0
    verdict: Verdict = "passed"
    kind: str = ""
    """The verdict's type, for example ``verification``."""
    message: str = ""
    details: list[str] = field(default_factory=list)
    """Lines of the verdict's text."""
    out: list[str] = field(default_factory=list)
    """Lines of system-out."""


def document(run: Run) -> Document:
    """A suite for the run itself, then one per part."""
    suites: dict[str, list[Case]] = {"kbench.run": [_ended(run)]}
    names = dict.fromkeys([p.name for p in run.parts] + [v.part for v in run.verifications])
    comparisons, found = compare(run), results(run)
    for part in dict.fromkeys([*names, *(c.part.name for c in comparisons)]):
        last = {(v.case_id, v.datapath): v for v in run.verifications if v.part == part}
        cases = [_verified(part, proof) for proof in last.values()]
        mine = [c for c in comparisons if c.part.name == part]
        cases += [_figure(run, c, row) for c in mine for row in c.rows]
        cases += [_by_method(r) for r in found if r.part == part and (r.method, r.metric) in BY_METHODS]
        suites[f"kbench.{part}"] = cases + _failed(run, part) + _never_begun(run, part, mine)
    root = ET.Element("testsuites", name=clean(f"kbench {run.run_id}"))
    for name, cases in suites.items():
        root.append(_suite(run, name, cases))
    every = [case for cases in suites.values() for case in cases]
    root.attrib |= {
        k: v for k, v in _counts(every).items() if k != "skipped"
    }  # the schema has it in suites only
    ET.indent(root, " ")
    return Document(ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")


def _ended(run: Run) -> Case:
    """Whether the run came to its end: a killed run is an error."""
    made = Case("kbench.run", "the run is complete", out=list(run.problems))
    made.out += [notice.text for notice in run.notices]
    if not run.ended:
        made.verdict, made.kind = "error", "killed"
        made.message = f"killed, or still going on: {len(run.trials)} finished trials are kept"
    elif run.outcome not in (None, "complete"):
        made.verdict, made.kind = "error", str(run.outcome)
        made.message = f"ended early ({run.outcome}): {len(run.trials)} finished trials are kept"
    return made


def _verified(part: str, proof: Verification) -> Case:
    made = Case(f"kbench.{part}.{proof.case_id}", f"{proof.datapath} does what the reference model says")
    if not proof.passed:
        made.verdict, made.kind = "failure", "verification"
        made.message = f"differs on {len(proof.differences)} of {proof.packets} packets or counters"
        made.details = list(proof.differences)
    else:
        made.out = [f"{proof.packets} packets"]
    return made


def _figure(run: Run, c: Comparison, row: Row) -> Case:
    """A datapath's figure: skipped where nothing was tried, a failure where nothing that was tried counts."""
    load = "" if c.load_pps is None else f" at {load_text(c.load_pps)}"
    what = FIGURES[c.kind]
    if not c.ranks:
        what = "trials"
    made = Case(f"kbench.{c.part.name}.{c.case_id}", f"{row.datapath}: {what}, generator {c.generator}{load}")
    mine = [
        t for t in run.trials
        if (t.part, t.kind, t.case_id, t.generator) == (c.part.name, c.kind, c.case_id, c.generator)
        and t.datapath == row.datapath and (t.load_pps == c.load_pps or t.purpose != "rate")
    ]  # fmt: skip
    made.seconds = sum(t.duration_s for t in mine)
    refused = row.verification is not None and not row.verification.passed
    if row.missing is not None:
        made.verdict = "failure" if mine and not refused else "skipped"
        made.kind, made.message = "no figure", row.missing
    elif c.ranks and c.kind != "functional" and row.grade.letter == "F":
        made.verdict, made.kind = "failure", "grade F"
        made.message = "; ".join(reason.saw for reason in row.grade.deciding)
    if row.figure is not None:
        made.out.append(f"figure: {_text(row.figure, c.timed)}")
    if c.ranks and c.kind != "functional":
        made.out.append(f"grade {row.grade.letter}: {row.grade.meaning}")
        made.out += [f"{reason.worst}: {reason.saw}" for reason in row.grade.reasons]
    made.out += [f"invalid: {count} trials: {problem}" for problem, count in row.invalid.items()]
    return made


def _by_method(result: Result) -> Case:
    """A method's figure; one that could not be found is skipped, as that can be the answer."""
    classname = f"kbench.{result.part}.{result.case_id}"
    made = Case(
        classname, f"{result.datapath}: {result.method} {result.metric}, generator {result.generator}"
    )
    if result.value is None:
        made.verdict, made.kind, made.message = "skipped", "no figure", result.note or ""
    else:
        bounds = "" if result.low is None else f" [{number(result.low)}, {number(result.high or 0.0)}]"
        limit = "at least " if result.at_least else ""
        made.out.append(f"figure: {limit}{number(result.value)}{bounds} {result.unit}")
        if result.note is not None:
            made.out.append(result.note)
    if result.grade is not None:
        made.out.append(f"grade {result.grade.letter}: {result.grade.meaning}")
        made.out += [f"{reason.worst}: {reason.saw}" for reason in result.grade.reasons]
    return made


def _failed(run: Run, part: str) -> list[Case]:
    """Methods that ended without an answer, each once."""
    return [
        Case(
            f"kbench.{part}.{found.case_id}", f"method without an answer, {n}", verdict="failure", kind="method",
            message=text,
        )
        for found in findings(run) if found.part == part
        for n, text in enumerate(found.failed, 1)
    ]  # fmt: skip


def _never_begun(run: Run, part: str, comparisons: list[Comparison]) -> list[Case]:
    """Planned cases without any trial, as killed runs have them."""
    planned = run.run.get("plan", {}).get("cases_by_part", {}).get(part, [c.case_id for c in run.cases])
    have = {c.case_id for c in comparisons}
    datapaths = next((p.datapaths for p in run.parts if p.name == part), ())
    functions = {c.case_id: c.function for c in run.cases}
    return [
        Case(
            f"kbench.{part}.{case_id}", f"{datapath}: no trial", verdict="skipped", kind="no figure",
            message="the run has no trial of it",
        )
        for case_id in planned if case_id not in have
        for datapath in datapaths if datapath != "kernel" or functions.get(case_id) == "forward"
    ]  # fmt: skip


def _text(figure: Estimate, wall: bool) -> str:
    show = rate_text if wall else number
    if figure.low is None or figure.high is None:
        return f"{show(figure.value)} ({figure.reason})"
    return f"{show(figure.value)} [{show(figure.low)}, {show(figure.high)}] of {figure.n} {figure.noun}s"


def _suite(run: Run, name: str, cases: list[Case]) -> ET.Element:
    facts = run.facts.get(name.removeprefix("kbench."), {})
    made = ET.Element("testsuite", name=clean(name))
    made.attrib |= _counts(cases)
    if (started := when(run.run.get("started_at"))) is not None:
        made.set("timestamp", started.strftime("%Y-%m-%dT%H:%M:%S"))
    if facts.get("hostname"):
        made.set("hostname", clean(str(facts["hostname"])))
    properties = ET.SubElement(made, "properties")
    for key, value in (
        ("run", run.run_id),
        ("label", run.run.get("label")),
        ("kbench_version", run.run.get("kbench_version")),
        *_of_nics(run, name.removeprefix("kbench.")),
    ):
        if value is not None:
            ET.SubElement(properties, "property", name=key, value=clean(str(value)))
    for case in cases:
        made.append(_element(case))
    return made


def _of_nics(run: Run, part: str) -> list[tuple[str, str | None]]:
    """The ports of a part, and their drivers; nothing on veth."""
    wired = next((topology(p) for p in run.parts if p.name == part), None)
    if wired is None:
        return []
    return [("topology", wired.kind), ("ports", wired.pair), ("driver", ", ".join(wired.drivers) or None)]


def _counts(cases: list[Case]) -> dict[str, str]:
    verdicts = [case.verdict for case in cases]
    return {
        "tests": str(len(cases)),
        "failures": str(verdicts.count("failure")),
        "errors": str(verdicts.count("error")),
        "skipped": str(verdicts.count("skipped")),
        "time": f"{sum(case.seconds for case in cases):.3f}",
    }


def _element(case: Case) -> ET.Element:
    made = ET.Element(
        "testcase", classname=clean(case.classname), name=clean(case.name), time=f"{case.seconds:.3f}"
    )
    if case.verdict != "passed":
        told = ET.SubElement(made, case.verdict, type=clean(case.kind), message=clean(case.message))
        told.text = "\n".join(clean(str(line)) for line in case.details) or None
    if case.out:
        ET.SubElement(made, "system-out").text = "\n".join(clean(str(line)) for line in case.out)
    return made
