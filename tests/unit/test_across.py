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
from kbench.explain.across import AcrossResult, Change, as_data, compare_runs, exit_code, render
from kbench.explain.across.result import Metric
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


def change_of(result: AcrossResult, datapath: str, metric: Metric = "rate") -> Change:
    (found,) = [c for c in result.changes if (c.datapath, c.metric) == (datapath, metric)]
    return found


def shown(result: AcrossResult, width: int = 160) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False).print(render(result))
    return out.getvalue()


def test_a_change_is_found_and_none_where_there_is_none() -> None:
    base, head = pair({"xdp": 2.4e6, "kernel": 0.75e6})
    result = compare_runs(base, head)
    xdp, kernel = change_of(result, "xdp"), change_of(result, "kernel")
    assert xdp.ratio.low is not None and xdp.ratio.high is not None
    assert xdp.ratio.low < 0.8 < xdp.ratio.high and xdp.ratio.blocks == 6
    assert xdp.claim.outcome == "changed" and xdp.better is False
    assert xdp.verdict.startswith("changed by -") and xdp.verdict.endswith("% (slower, worse)")
    assert kernel.claim.outcome != "changed" and kernel.better is None
    assert result.forced == [] and result.differences == []
    assert "drift" in " ".join(result.caveats)
    text = shown(result)
    assert "(slower, worse)" in text and "HEAD h over BASE b" in text and "FORCED" not in text
    assert "Nothing else that is recorded differs" in text


def test_cpu_time_is_judged_beside_the_rate_and_less_is_better() -> None:
    result = compare_runs(*pair({"xdp": 4e6, "kernel": 0.75e6}))
    cpu = change_of(result, "xdp", "cpu")
    assert cpu.ratio.value == pytest.approx((1e9 / 4e6 - 140) / (1e9 / 3e6 - 140), rel=0.03)
    assert cpu.better is True and "(less, better)" in cpu.verdict
    # A share of the whole path's time is a larger share of what the generator leaves of it.
    assert cpu.resolution == pytest.approx(0.02 * 250 / 110, rel=0.05)


def test_every_interval_is_of_the_level_that_lets_all_hold_together() -> None:
    result = compare_runs(*pair({"xdp": 2.4e6, "kernel": 0.75e6}))
    assert len(result.changes) == 4 and result.family_level == 0.95
    assert result.level == pytest.approx(1 - 0.05 / 4)
    assert {c.ratio.level for c in result.changes} == {result.level}


def test_single_blocks_have_what_topologies_differ_by_in_their_interval_and_say_so() -> None:
    result = compare_runs(*pair({"xdp": 3e6, "kernel": 0.75e6}, blocks=1))
    xdp = change_of(result, "xdp")
    assert xdp.ratio.blocks == 1 and xdp.ratio.low is not None and xdp.ratio.high is not None
    assert xdp.ratio.high / xdp.ratio.low > 1.06  # however well the rounds agree
    assert xdp.claim.outcome == "not enough data" and xdp.claim.unit == "block"
    assert xdp.claim.more is not None and xdp.claim.more >= 2
    assert any("single block" in caveat for caveat in result.caveats)
    assert exit_code(result) == 11


def test_exit_codes_keep_worse_unknown_and_nothing_apart() -> None:
    same = {"xdp": 3e6, "kernel": 0.75e6}
    assert exit_code(compare_runs(*pair({"xdp": 2.4e6, "kernel": 0.75e6}))) == 10
    quiet = [a_run(same, name, 3, blocks=12) for name in ("b", "h")]
    assert exit_code(compare_runs(quiet[0], quiet[1])) == 0
    faster = a_run(same, "h", 3, blocks=12)
    for trial in faster.trials:
        if trial.datapath == "xdp" and trial.forwarded_pps and trial.dut_cpu_ns_per_packet:
            trial.forwarded_pps *= 1.5
    result = compare_runs(quiet[0], faster)
    assert change_of(result, "xdp").better is True and exit_code(result) == 0
    noisy = compare_runs(*pair(same, blocks=3))
    assert noisy.counts["worse"] == 0 and noisy.counts["not enough data"] > 0 and exit_code(noisy) == 11


def test_a_figure_that_head_lacks_is_not_a_success() -> None:
    base = a_run({"xdp": 3e6, "kernel": 0.75e6}, "b", 3, blocks=12)
    head = a_run({"xdp": 3e6, "kernel": 0.75e6}, "h", 3, blocks=12)
    assert exit_code(compare_runs(base, head)) == 0
    head.trials = [t for t in head.trials if t.datapath == "xdp"]
    assert exit_code(compare_runs(base, head)) == 11
    assert exit_code(compare_runs(head, base)) == 0


def test_what_else_differs_is_listed_first_and_named_as_a_cause() -> None:
    base, head = pair({"xdp": 2.4e6, "kernel": 0.75e6})
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
    text = shown(result)
    causes = "another kernel, another configuration of the kernel, another clock source and other options"
    assert f"{causes}; each a possible cause of what changed." in " ".join(text.split())
    assert "host kernel release: 6.1 -> 6.2" in text and "host clocksource: unknown -> tsc" in text
    assert text.index("6.1 -> 6.2") < text.index("HEAD / BASE")


def test_that_all_changed_alike_is_said() -> None:
    base = {"xdp": 3e6, "kernel": 0.75e6, "af_packet": 0.7e6}
    result = compare_runs(*pair({name: pps * 0.7 for name, pps in base.items()}, base))
    assert any("All 3 datapaths on" in caveat for caveat in result.caveats)
    one = compare_runs(*pair({**base, "xdp": 2e6}, base))
    assert not any("All 3 datapaths" in caveat for caveat in one.caveats)


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
    head.run["run_id"] = "h"
    base.facts["host"], head.facts["host"] = {"hostname": "one"}, {"hostname": "two"}
    base.facts["lab"], head.facts["lab"] = {"qemu_version": "7"}, {"qemu_version": "7"}
    result = compare_runs(base, head)
    netfilter = change_of(result, "netfilter", "instructions")
    assert netfilter.ratio.value == pytest.approx(1.01, rel=1e-3)
    assert netfilter.verdict == "changed by +1 % (more, worse)" and netfilter.better is False
    assert change_of(result, "xdp", "instructions").verdict == "no change beyond 0.2 %"
    head.facts["lab"]["qemu_version"] = "8"
    with pytest.raises(UsageError, match="the lab's qemu version is 7 in BASE and 8 in HEAD"):
        compare_runs(base, head)


def test_figures_that_only_one_run_has_are_named() -> None:
    base, head = pair({"xdp": 3e6, "af_packet": 0.7e6})
    result = compare_runs(base, head)
    assert {c.datapath for c in result.changes} == {"xdp"}
    place = f"on {FORWARD.case_id} (host, xdp)"
    assert result.only_base == [f"kernel {place}", f"kernel DUT CPU time {place}"]
    assert result.only_head == [f"af_packet {place}", f"af_packet DUT CPU time {place}"]
    assert "only in BASE: kernel" in shown(result)


def test_runs_without_a_common_figure_are_an_error_even_when_forced() -> None:
    base, head = pair({"af_packet": 0.7e6})
    with pytest.raises(UsageError, match="have no figure in common"):
        compare_runs(base, head, force=True)


def test_a_run_is_not_compared_with_itself() -> None:
    base, _ = pair({"xdp": 3e6, "kernel": 0.75e6})
    with pytest.raises(UsageError, match="BASE and HEAD are the same run, b: the run before @latest is @-2"):
        compare_runs(base, base, force=True)


def test_a_run_that_was_interrupted_is_compared_and_said_to_be() -> None:
    base, head = pair({"xdp": 3e6, "kernel": 0.75e6})
    head.outcome, base.ended = "interrupted", False
    caveats = compare_runs(base, head).caveats
    assert caveats[0].startswith("BASE is not complete (killed, or still going on)")
    assert caveats[1].startswith("HEAD is not complete (interrupted)")


def test_the_result_is_plain_json_and_obeys_no_control_character() -> None:
    base, head = pair({"xdp": 2.4e6, "kernel": 0.75e6})
    head.facts["host"]["hostname"] = "two\x1b[2J"
    with pytest.raises(UsageError, match=r"is one in BASE and two\\x1b\[2J in HEAD"):
        compare_runs(base, head)
    result = compare_runs(base, head, force=True)
    data = json.loads(json.dumps(as_data(result), allow_nan=False))
    assert data["base_id"] == "b" and data["schema_version"] == 1
    assert data["exit_code"] == 10 and data["counts"]["worse"] == 2
    (xdp,) = [c for c in data["changes"] if (c["datapath"], c["metric"]) == ("xdp", "rate")]
    assert xdp["claim"]["outcome"] == "changed" and xdp["claim"]["text"].endswith("(slower, worse)")
    assert xdp["ratio"]["low"] < xdp["ratio"]["value"] < xdp["ratio"]["high"] < 1
    assert xdp["unit"] == "packets/s" and xdp["higher_is_better"] is True
    assert "\x1b" not in shown(result)


@pytest.mark.parametrize("width", [80, 110, 140])
def test_the_table_fits_its_terminal(width: int) -> None:
    base, head = pair({"xdp": 2.4e6, "kernel": 0.75e6})
    head.facts["host"]["kernel"]["release"] = "6.12.0-with-quite-a-long-name-of-its-own-" * 3
    text = shown(compare_runs(base, head), width)
    assert max(map(len, text.splitlines())) <= width
    assert ("BASE" in text.split("HEAD / BASE")[0].splitlines()[-1]) == (width >= 110)
    assert "worse)" in " ".join(text.split())
