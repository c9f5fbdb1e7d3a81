# SPDX-License-Identifier: GPL-2.0-only
"""JUnit XML: the shape that CI systems read, and a verdict for each verification and figure."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from kbench.explain.compare import compare
from kbench.explain.export import export
from kbench.explain.export.document import clean
from kbench.model import Finding
from kbench.store import Run, load_run
from tests.unit import export_runs
from tests.unit import synthetic_findings as of_methods
from tests.unit import synthetic_runs as synthetic

# Of junit-10.xsd: element -> (attributes it must have, may have, children it may have).
SCHEMA: dict[str, tuple[set[str], set[str], set[str]]] = {
    "testsuites": (set(), {"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors"},
        {"time", "skipped", "timestamp", "hostname", "id", "package"},
        {"properties", "testcase", "system-out", "system-err"},
    ),
    "properties": (set(), set(), {"property"}),
    "property": ({"name", "value"}, set(), set()),
    "testcase": (
        {"name"},
        {"time", "classname"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "skipped": (set(), {"type", "message"}, set()),
    "error": (set(), {"type", "message"}, set()),
    "failure": (set(), {"type", "message"}, set()),
    "system-out": (set(), set(), set()),
}


def suites_of(run: Run) -> dict[str, ET.Element]:
    """By name, after the whole document has been held against the schema and its own counts."""
    root = ET.fromstring(export(run, "junit").data)
    assert root.tag == "testsuites"
    for element in root.iter():
        must, may, children = SCHEMA[element.tag]
        assert must <= set(element.attrib) <= must | may
        assert {child.tag for child in element} <= children
    for suite in root:
        cases = suite.findall("testcase")
        assert int(suite.get("tests", "")) == len(cases)
        for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.get(attribute, "")) == sum(case.find(tag) is not None for case in cases)
        total = sum(float(case.get("time", "")) for case in cases)
        assert float(suite.get("time", "")) == pytest.approx(total, abs=0.01)
        names = [(case.get("classname"), case.get("name")) for case in cases]
        assert len(names) == len(set(names))
    for attribute in ("tests", "failures", "errors"):
        assert int(root.get(attribute, "")) == sum(int(suite.get(attribute, "")) for suite in root)
    return {suite.get("name", ""): suite for suite in root}


def case_of(suite: ET.Element, classname: str, name: str) -> ET.Element:
    (found,) = [
        case
        for case in suite.findall("testcase")
        if case.get("classname", "").endswith(classname) and case.get("name", "").startswith(name)
    ]
    return found


def verdict(case: ET.Element) -> str:
    return next((child.tag for child in case if child.tag != "system-out"), "passed")


def test_verifications_and_figures_of_a_whole_run(tmp_path: Path) -> None:
    run = synthetic.write_full(tmp_path)
    suites = suites_of(run)
    assert list(suites) == ["kbench.run", "kbench.host", "kbench.lab"]
    assert [verdict(case) for case in suites["kbench.run"].findall("testcase")] == ["passed"]
    host, lab = suites["kbench.host"], suites["kbench.lab"]
    assert (host.get("failures"), host.get("errors"), host.get("skipped")) == ("0", "0", "0")
    assert verdict(case_of(lab, "forward-p1-f64", "xdp does")) == "passed"
    wrong = case_of(lab, "forward-p1-f64", "kernel does")
    failure = wrong.find("failure")
    assert failure is not None and failure.get("message") == "differs on 1 of 78 packets or counters"
    assert failure.text == f"packet 12 (TTL 1): expected drop, got {synthetic.HOSTILE}"
    # What was not measured for that reason failed once already.
    assert verdict(case_of(lab, "forward-p1-f64", "kernel: instructions")) == "skipped"
    for comparison in compare(run):
        for row in comparison.rows:
            if row.figure is None:
                continue
            suite = suites[f"kbench.{comparison.part.name}"]
            out = case_of(suite, comparison.case_id, f"{row.datapath}: ").findtext("system-out") or ""
            assert "figure: " in out and f"grade {row.grade.letter}: {row.grade.meaning}" in out
    fast = case_of(host, "forward-p1-f64", "xdp: rate")
    assert "figure: 3" in (fast.findtext("system-out") or "") and "of 9 rounds" in (
        fast.findtext("system-out") or ""
    )
    # Nine trials of a second at the maximum, and one of latency.
    assert float(fast.get("time", "")) == 10
    assert host.get("timestamp") == "2000-01-01T00:00:00" and host.get("hostname") == synthetic.HOSTILE


def test_trials_of_which_none_counts_are_a_failure(tmp_path: Path) -> None:
    run = export_runs.known(tmp_path)
    for trial in run.trials:
        if trial.datapath == "kernel":
            trial.valid, trial.problems = False, ["packets are unexplained"]
    suite = suites_of(run)["kbench.host"]
    failure = case_of(suite, "forward-p1-f64", "kernel: rate").find("failure")
    assert failure is not None and failure.get("message") == "no valid trial: packets are unexplained"
    skipped = case_of(suite, "forward-p1-f64", "af_packet: rate").find("skipped")
    assert skipped is not None and skipped.get("message") == "no trial that could be scored"
    assert verdict(case_of(suite, "forward-p1-f64", "xdp: rate")) == "passed"


def test_a_figure_of_grade_f_is_a_failure(tmp_path: Path) -> None:
    run = export_runs.known(tmp_path)
    run.verifications[0].passed = False
    suite = suites_of(run)["kbench.host"]
    assert verdict(case_of(suite, "forward-p1-f64", "xdp does")) == "failure"
    failure = case_of(suite, "forward-p1-f64", "xdp: rate").find("failure")
    assert failure is not None and "differs from the reference model" in failure.get("message", "")


def test_methods_have_figures_of_their_own() -> None:
    suite = suites_of(export_runs.of_methods_without_rates())["kbench.host"]
    assert verdict(case_of(suite, of_methods.CASE.case_id, "xdp: trials")) == "passed"
    out = case_of(suite, of_methods.CASE.case_id, "xdp: throughput pdr").findtext("system-out") or ""
    assert out.startswith("figure: at least 2,6") and "packets/s" in out and "\ngrade " in out
    unreached = case_of(suite, of_methods.CASE.case_id, "af_packet: throughput ndr").find("skipped")
    assert unreached is not None and "not_reached 3 times" in unreached.get("message", "")
    assert not suite.findall("testcase/failure")


def test_functional_parts_have_no_figure_and_pass(tmp_path: Path) -> None:
    suite = suites_of(export_runs.functional(tmp_path))["kbench.lab"]
    assert verdict(case_of(suite, "forward-p1-f64", "xdp: packet counts")) == "passed"
    assert verdict(case_of(suite, "forward-p1-f64", "kernel: packet counts")) == "skipped"


def test_a_method_without_an_answer_is_a_failure() -> None:
    run = export_runs.of_methods_without_rates()
    why = {"failed": "the generator died"}
    run.findings = [*run.findings, Finding("host", "latency", of_methods.CASE.case_id, "xdp", 4, why)]
    (failure,) = suites_of(run)["kbench.host"].findall("testcase/failure")
    assert failure.get("message") == "xdp: latency gave no answer: the generator died"


def test_killed_and_interrupted_runs_are_errors(tmp_path: Path) -> None:
    killed = export_runs.killed(tmp_path)
    (ended,) = suites_of(killed)["kbench.run"].findall("testcase")
    error = ended.find("error")
    assert error is not None and error.get("type") == "killed"
    assert f"{len(killed.trials)} finished trials" in error.get("message", "")
    interrupted = load_run(export_runs.known(tmp_path).path, tmp_path)
    interrupted.outcome = "interrupted"
    (ended,) = suites_of(interrupted)["kbench.run"].findall("testcase")
    error = ended.find("error")
    assert error is not None and error.get("type") == "interrupted"


def test_planned_work_without_trials_is_skipped(tmp_path: Path) -> None:
    suites = suites_of(export_runs.planned_only(tmp_path))
    assert verdict(suites["kbench.run"].findall("testcase")[0]) == "error"
    # kernel is no datapath of a filter case.
    assert [(s.get("tests"), s.get("skipped")) for s in list(suites.values())[1:]] == [("5", "5"), ("5", "5")]
    assert list(suites_of(export_runs.bare(tmp_path))) == ["kbench.run"]


def test_hostile_text_is_valid_xml(tmp_path: Path) -> None:
    run = export_runs.hostile(tmp_path)
    suites = suites_of(run)
    assert suites["kbench.host"].get("hostname") == clean(export_runs.FORMULA)
    assert suites["kbench.host"].get("timestamp") is None
    failure = case_of(suites["kbench.lab"], "forward-p1-f64", "kernel does").find("failure")
    assert failure is not None and (failure.text or "").splitlines()[0] == clean(export_runs.FORMULA)
    label = suites["kbench.run"].find("properties/property[@name='label']")
    assert label is not None and label.get("value") == clean(export_runs.FORMULA)
