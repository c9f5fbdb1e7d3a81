# SPDX-License-Identifier: GPL-2.0-only
"""Two runs on NICs: emulated ones are not compared, and what differs between ports is a possible cause."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kbench.errors import UsageError
from kbench.explain.across import compare_runs
from kbench.store import Run
from tests.unit import synthetic_nics as nics


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return nics.at_line_rate(tmp_path_factory.mktemp("line"))


def again(run: Run) -> Run:
    """The same, as another run."""
    made = copy.deepcopy(run)
    made.run["run_id"] = f"{run.run_id}-again"
    return made


def test_emulated_runs_are_not_compared(tmp_path: Path) -> None:
    base, head = nics.emulated(tmp_path, "base"), nics.emulated(tmp_path, "head")
    with pytest.raises(
        UsageError, match="are not compared: emulated: figures by an emulated clock show that"
    ):
        compare_runs(base, head, force=True)


def test_beside_other_figures_emulated_ones_are_named(tmp_path: Path, run: Run) -> None:
    lab = nics.emulated(tmp_path)
    sides = []
    for _ in range(2):
        made = again(run) if sides else copy.deepcopy(run)
        made.run["plan"]["parts"] += copy.deepcopy(lab.run["plan"]["parts"])
        made.trials += copy.deepcopy(lab.trials)
        sides.append(made)
    result = compare_runs(*sides)
    assert {change.kind for change in result.changes} == {"wall"}
    assert sum("emulated: figures by an emulated clock" in text for text in result.unjudged) == 3


def nic_of(run: Run) -> Any:
    return run.facts["host"]["nics"][0]


CHANGES: list[tuple[Callable[[Run], Any], str, str]] = [
    (lambda r: nic_of(r).update(driver="igb"), "eth2 driver: e1000e -> igb", "another driver of the NIC"),
    (lambda r: nic_of(r).update(firmware="9"), "eth2 firmware: unknown -> 9", "other firmware of the NIC"),
    (lambda r: nic_of(r).update(bus="0000:ff:00.0"), "eth2 bus: ", "another NIC"),
    (lambda r: nic_of(r).update(speed_mbps=100), "eth2 speed mbps: 1000 -> 100", "another link speed"),
    (lambda r: nic_of(r)["during"].update({"rings.rx": 256}), "eth2 rings.rx: 4096 -> 256",
     "other settings of the NIC"),
    (lambda r: nic_of(r)["clock"].update(hardware=True), "eth2 clock hardware: False -> True",
     "another clock of latency"),
    (lambda r: r.facts["host"]["nic_profile"].update(name="mine"), "NIC profile name: default -> mine",
     "another NIC profile"),
    (lambda r: r.run["plan"]["parts"][0]["nic"].update(kind="two-port"), "kind: hairpin -> two-port", "other wiring"),
    (lambda r: r.run["plan"]["parts"][0]["nic"]["ports"]["rx"].update(mac="52:54:00:00:00:ff"), "MAC eth1: ",
     "another NIC"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "told", "cause"), CHANGES, ids=[told for _, told, _ in CHANGES])
def test_a_change_of_the_nic_is_a_possible_cause(
    run: Run, change: Callable[[Run], Any], told: str, cause: str
) -> None:
    head = again(run)
    change(head)
    found = [d for d in compare_runs(run, head).differences if d.cause == cause]
    assert len(found) == 1 and told in str(found[0])


def test_settings_that_come_back_are_no_cause(run: Run) -> None:
    head = again(run)
    nic_of(head)["before"]["rings.rx"] = 64
    assert compare_runs(run, head).differences == []


def test_veth_and_nics_are_different_things(run: Run) -> None:
    base = again(run)
    base.run["plan"]["parts"][0]["nic"] = None
    with pytest.raises(UsageError, match="another testbed: the host is on veth in BASE and on eth1"):
        compare_runs(base, run)
