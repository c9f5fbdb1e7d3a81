# SPDX-License-Identifier: GPL-2.0-only
"""kb-xdp does what the reference model says, byte for byte, in both modes; and counts what it did."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from kbench.functions.generate import generate_routes
from kbench.functions.model import Tables
from kbench.functions.rulegen import generate_rules
from kbench.model import Function
from tests.host.injection import Work, inject
from tests.xdp_bed import Bed


@pytest.fixture(scope="module")
def topology(bin_dir: Path) -> Generator[Bed, None, None]:
    made = Bed(bin_dir)
    yield made
    made.down()


@pytest.fixture
def bed(topology: Bed) -> Generator[Bed, None, None]:
    yield topology
    topology.kill_programs()


def tables_for(function: Function, rules: int = 200, routes: int = 300, shape: str = "acl") -> Tables:
    # Generated routes all lead to tx; some must lead back.
    table = tuple(
        replace(route, out="rx") if index % 5 == 0 else route
        for index, route in enumerate(generate_routes(routes, seed=3))
    )
    return Tables(table, generate_rules(rules, shape, seed=3) if function == "filter" else ())


def check(bed: Bed, work: Work, mode: str) -> None:
    program = bed.start_datapath("kb-xdp", work.function, work.image, "--mode", mode)
    code, events, stderr = inject(bed, "--packets", work.packets_path, "--marker-file", work.marker_path)
    assert (code, stderr) == (0, "")
    counters = program.stop()

    assert work.differences(events) == []
    assert events[-1]["lost_markers"] == 0
    # One marker follows each packet.
    assert counters["received"] == 2 * len(work.packets)
    assert counters["forwarded"] == work.count("forwarded") + len(work.packets)
    assert counters["passed"] == work.count("passed")
    assert counters["dropped"] == {reason: work.count(reason) for reason in counters["dropped"]}
    assert counters["lost"] == {"xdp_aborted": 0, "tx": 0} and counters["lost_exact"]


@pytest.mark.parametrize("mode", ["native", "generic"])
@pytest.mark.parametrize("function", ["forward", "filter"])
def test_every_packet_as_the_reference_says(bed: Bed, tmp_path: Path, function: Function, mode: str) -> None:
    work = Work(tmp_path, function, tables_for(function))
    assert len(work.packets) >= 60
    assert {outcome.port for outcome in work.outcomes} == {None, 0, 1}, "all ways out are tried"
    check(bed, work, mode)


@pytest.mark.parametrize("shape", ["acl", "fw", "ipc"])
def test_10000_rules_and_100000_routes(bed: Bed, tmp_path: Path, shape: str) -> None:
    check(bed, Work(tmp_path, "filter", tables_for("filter", 10_000, 100_000, shape)), "native")


def test_drop_lets_nothing_through(bed: Bed, tmp_path: Path) -> None:
    work = Work(tmp_path, "drop", Tables())
    program = bed.start_datapath("kb-xdp", "drop", work.image)
    code, events, stderr = inject(bed, "--packets", work.packets_path, "--quiet-ms", "100")
    assert (code, stderr) == (0, "")
    counters = program.stop()
    assert [event["event"] for event in events] == ["ready", "done"]
    assert counters["received"] == len(work.packets)
    assert counters["dropped"]["policy"] == work.count("policy") > 0


def test_a_wrong_image_is_noticed(bed: Bed, tmp_path: Path) -> None:
    """The comparison can fail: routes other than the reference's."""
    work = Work(tmp_path, "forward", tables_for("forward"))
    (tmp_path / "other").mkdir()
    other = Work(tmp_path / "other", "forward", Tables(routes=generate_routes(300, seed=4)))
    bed.start_datapath("kb-xdp", "forward", other.image)
    _, events, _ = inject(
        bed, "--packets", work.packets_path, "--marker-file", other.marker_path, "--timeout-ms", "500"
    )
    assert work.differences(events)
