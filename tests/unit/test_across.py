# SPDX-License-Identifier: GPL-2.0-only
"""Two runs: what changed is told from chance, what else differs is said, and what can't be compared is refused."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import Any

import pytest
from rich.console import Console

from kbench.errors import UsageError
from kbench.explain.across import AcrossResult, Change, as_data, compare_runs, render
from kbench.model import Verification
from kbench.store import Run
from tests.unit import synthetic_runs as synthetic
from tests.unit.synthetic_runs import FORWARD, LAB
from tests.unit.test_compare import exact_run, made
from tests.unit.test_compare_blocks import in_blocks

FACTS: dict[str, Any] = {
    "hostname": "one",
    "cpu": {"model": "A CPU", "virtual": True},
    "virtualization": "QEMU",
    "kernel": {"release": "6.1", "config": {"HZ": "250"}},
}


def a_run(speeds: dict[str, float], run_id: str, noise: int, blocks: int = 6) -> Run:
    run = in_blocks(speeds, blocks=blocks)
    for number, trial in enumerate(made(speeds, rounds=6 * blocks, noise=noise).trials):
        run.trials[number].forwarded_pps = trial.forwarded_pps
    run.run["run_id"] = run_id
    run.facts["host"] = json.loads(json.dumps(FACTS))
    run.verifications = [Verification("host", FORWARD.case_id, d, 78, True) for d in speeds]
    return run


def pair(head: dict[str, float], base: dict[str, float] | None = None, blocks: int = 6) -> tuple[Run, Run]:
    return a_run(base or {"xdp": 3e6, "kernel": 0.75e6}, "b", 1, blocks), a_run(head, "h", 2, blocks)


def change_of(result: AcrossResult, datapath: str) -> Change:
    (found,) = [c for c in result.changes if c.datapath == datapath]
    return found


def shown(result: AcrossResult) -> str:
    out = io.StringIO()
    Console(file=out, width=160, force_terminal=False).print(render(result))
    return out.getvalue()


def test_a_change_is_found_and_none_where_there_is_none() -> None:
    base, head = pair({"xdp": 2.4e6, "kernel": 0.75e6})
    result = compare_runs(base, head)
    xdp, kernel = change_of(result, "xdp"), change_of(result, "kernel")
    assert xdp.ratio.low is not None and xdp.ratio.high is not None and xdp.ratio.level == 0.99
    assert xdp.ratio.low < 0.8 < xdp.ratio.high and xdp.ratio.blocks == 6
    assert xdp.claim.outcome == "changed" and xdp.better is False
    assert kernel.claim.outcome != "changed" and kernel.better is None
    assert result.forced == [] and result.differences == []
    assert "drift" in " ".join(result.caveats)
    text = shown(result)
    assert "changed: worse" in text and "HEAD h over BASE b" in text and "FORCED" not in text


def test_single_blocks_are_compared_over_rounds_and_say_so() -> None:
    result = compare_runs(*pair({"xdp": 3e6, "kernel": 0.75e6}, blocks=1))
    assert change_of(result, "xdp").ratio.unit == "round"
    assert any("single block" in caveat for caveat in result.caveats)


def test_what_else_differs_is_listed_first() -> None:
    base, head = pair({"xdp": 3e6, "kernel": 0.75e6})
    head.facts["host"]["kernel"] = {"release": "6.2", "config": {"HZ": "1000"}}
    head.facts["host"]["clocksource"] = "tsc"
    head.run["options"] = {**head.run["options"], "frame_bytes": 128, "rounds": 77}
    result = compare_runs(base, head)
    assert [(d.part, d.what, d.base, d.head) for d in result.differences] == [
        ("host", "kernel release", "6.1", "6.2"),
        ("host", "kernel config HZ", "250", "1000"),
        ("host", "clocksource", None, "tsc"),
        ("options", "frame_bytes", None, "128"),
    ]
    lines = shown(result).splitlines()
    assert "differs: host kernel release: 6.1 -> 6.2" in lines[1]
    assert "differs: host clocksource: unknown -> tsc" in lines[3]


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("hostname",), "two", "the host's hostname is one in BASE and two in HEAD"),
        (("cpu", "model"), "B", "the host's cpu model is A CPU in BASE and B in HEAD"),
    ],
)
def test_another_machine_is_refused_unless_forced(path: tuple[str, ...], value: str, said: str) -> None:
    base, head = pair({"xdp": 3e6, "kernel": 0.75e6})
    into = head.facts["host"]
    for name in path[:-1]:
        into = into[name]
    into[path[-1]] = value
    with pytest.raises(UsageError, match=f"not comparable: another machine: {said}; --force"):
        compare_runs(base, head)
    result = compare_runs(base, head, force=True)
    assert result.forced == [f"another machine: {said}"]
    assert "FORCED: another machine" in shown(result) and "(forced)" in shown(result)
    assert as_data(result)["forced"] == result.forced


def test_another_grade_is_refused_unless_forced() -> None:
    base, head = pair({"xdp": 3e6, "kernel": 0.75e6})
    for trial in head.trials:
        trial.steal_share = 0.04
    for trial in base.trials:
        trial.steal_share = 0.0
    with pytest.raises(
        UsageError, match=r"xdp on .* is graded C in BASE and D in HEAD \(and 1 more\); --force"
    ):
        compare_runs(base, head)
    assert len(compare_runs(base, head, force=True).forced) == 2


def test_another_kind_is_refused_unless_forced() -> None:
    base, head = pair({"xdp": 3e6, "kernel": 0.75e6})
    head.run["plan"]["parts"].append(dataclasses.asdict(LAB))
    base.run["plan"]["parts"].append(dataclasses.asdict(dataclasses.replace(LAB, kind="wall")))
    head.trials.append(synthetic.exact_trial("xdp", 1, 1000.0))
    base.trials.append(
        dataclasses.replace(
            synthetic.exact_trial("xdp", 1, 1000.0), kind="wall", purpose="rate", forwarded_pps=1e6
        )
    )
    with pytest.raises(UsageError, match="another kind of figures on the lab: wall in BASE, exact in HEAD"):
        compare_runs(base, head)
    result = compare_runs(base, head, force=True)
    assert {c.part for c in result.changes} == {"host"}
    assert len(result.only_base) == 1 and "xdp" in result.only_base[0] and "lab" in result.only_base[0]


def test_exact_counts_depend_on_qemu_and_not_on_the_host() -> None:
    base, head = (
        exact_run({"netfilter": 1000.0, "xdp": 1400.0}),
        exact_run({"netfilter": 1010.0, "xdp": 1400.0}),
    )
    base.facts["host"], head.facts["host"] = {"hostname": "one"}, {"hostname": "two"}
    base.facts["lab"], head.facts["lab"] = {"qemu_version": "7"}, {"qemu_version": "7"}
    result = compare_runs(base, head)
    netfilter = change_of(result, "netfilter")
    assert netfilter.ratio.value == pytest.approx(1.01, rel=1e-3)
    assert netfilter.claim.outcome == "changed" and netfilter.better is False
    assert str(change_of(result, "xdp").claim) == "no change beyond 0.2 %"
    head.facts["lab"]["qemu_version"] = "8"
    with pytest.raises(UsageError, match="the lab's qemu version is 7 in BASE and 8 in HEAD"):
        compare_runs(base, head)


def test_figures_that_only_one_run_has_are_named() -> None:
    base, head = pair({"xdp": 3e6, "af_packet": 0.7e6})
    result = compare_runs(base, head)
    assert [c.datapath for c in result.changes] == ["xdp"]
    assert result.only_base == [f"kernel on {FORWARD.case_id} (host, xdp)"]
    assert result.only_head == [f"af_packet on {FORWARD.case_id} (host, xdp)"]
    assert "only in BASE: kernel" in shown(result)


def test_runs_without_a_common_figure_are_an_error_even_when_forced() -> None:
    base, head = pair({"af_packet": 0.7e6})
    with pytest.raises(UsageError, match="have no figure in common"):
        compare_runs(base, head, force=True)


def test_the_result_is_plain_json_and_obeys_no_control_character() -> None:
    base, head = pair({"xdp": 2.4e6, "kernel": 0.75e6})
    head.facts["host"]["hostname"] = "two\x1b[2J"
    with pytest.raises(UsageError, match=r"is one in BASE and two\\x1b\[2J in HEAD"):
        compare_runs(base, head)
    result = compare_runs(base, head, force=True)
    data = json.loads(json.dumps(as_data(result), allow_nan=False))
    assert data["base_id"] == "b" and data["schema_version"] == 1
    (xdp,) = [c for c in data["changes"] if c["datapath"] == "xdp"]
    assert xdp["claim"] == {
        "outcome": "changed",
        "beyond": None,
        "more": None,
        "unit": "block",
        "text": "changed",
    }
    assert xdp["ratio"]["level"] == 0.99
    assert "\x1b" not in shown(result)
