# SPDX-License-Identifier: GPL-2.0-only
"""Above which load packets are lost: by search, else by curve, said in the answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from kbench.explain.compare import compare
from kbench.explain.findings import Found, findings
from kbench.explain.losing import Losing, losing, said
from kbench.explain.methods import beside
from kbench.explain.stats import Estimate
from kbench.store import Run
from tests.unit import synthetic_findings


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return synthetic_findings.write(tmp_path)


def found(run: Run) -> Found:
    (one,) = findings(run)
    return one


def test_a_search_tells_it_before_a_curve_does(run: Run) -> None:
    by_name = {one.datapath: one for one in losing(found(run))}
    assert by_name.keys() == {"xdp", "kernel", "af_packet"}
    assert {one.by for one in by_name.values()} == {"NDR"}
    assert by_name["af_packet"].above is None and by_name["af_packet"].cell == "any load tried"
    xdp = by_name["xdp"].above
    assert xdp is not None and xdp.value == pytest.approx(2.06e6, rel=0.02)
    assert by_name["xdp"].cell.startswith("2.06 [")


def test_a_curve_tells_the_highest_load_without_any_loss(run: Run) -> None:
    run.findings = [item for item in run.findings if item.method == "loss-curve"]
    by_name = {one.datapath: one for one in losing(found(run))}
    assert {name: one.above and one.above.value for name, one in by_name.items()} == {
        "xdp": pytest.approx(2.52e6), "kernel": pytest.approx(0.56e6), "af_packet": None,
    }  # fmt: skip
    assert {one.by for one in by_name.values()} == {"loss curve"} and not any(
        o.at_least for o in by_name.values()
    )


def test_a_loss_in_one_repeat_is_a_loss(run: Run) -> None:
    run.findings = [item for item in run.findings if item.method == "loss-curve"]
    for item in run.findings:
        if (item.datapath, item.repeat) == ("xdp", 2):
            next(p for p in item.values["points"] if p["load_share"] == 0.9)["loss_ratio"] = 1e-7
    xdp = next(one for one in losing(found(run)) if one.datapath == "xdp").above
    assert xdp is not None and xdp.value == pytest.approx(2.24e6)


def test_where_nothing_was_lost_that_is_said() -> None:
    most = Estimate(3e6, None, None, 3)
    some = Estimate(5e5, None, None, 3)
    assert said([Losing("xdp", most, True)]) == ["xdp loses none up to 3 Mpps, all that was offered"]
    assert said([Losing("xdp", most, True), Losing("kernel", some), Losing("af_packet", None)]) == [
        "packets are lost by kernel above 500 kpps and af_packet at any load tried; "
        "xdp loses none up to 3 Mpps, all that was offered"
    ]
    assert Losing("xdp", most, True).cell == ">=3.00"
    assert said([]) == [] and losing(None) == []


def test_the_answer_takes_curves_only_without_a_search(run: Run) -> None:
    comparisons = compare(run)
    assert "without loss (NDR)" in beside(run, comparisons)[0].said[0]
    run.findings = [item for item in run.findings if item.method == "loss-curve"]
    assert beside(run, comparisons)[0].said[0].startswith("packets are lost by xdp above 2.52 Mpps")
    run.findings = []
    assert beside(run, comparisons)[0].said == []
