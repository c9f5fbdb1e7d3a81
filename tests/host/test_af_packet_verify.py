# SPDX-License-Identifier: GPL-2.0-only
"""kb-af-packet does what the reference model says, byte for byte, with both rings; and counts what it did."""

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
def bed(bin_dir: Path) -> Generator[Bed, None, None]:
    made = Bed(bin_dir, prefix="kbP-")
    yield made
    made.down()


def tables_for(function: Function) -> Tables:
    # Generated routes all lead to tx; some must lead back.
    routes = tuple(
        replace(route, out="rx") if index % 5 == 0 else route
        for index, route in enumerate(generate_routes(300, seed=3))
    )
    rules = generate_rules(200, "acl", seed=3) if function == "filter" else ()
    return Tables(routes=routes, rules=rules)


@pytest.mark.parametrize("ring", ["v3", "v2"])
@pytest.mark.parametrize("function", ["forward", "filter"])
def test_every_packet_as_the_reference_says(bed: Bed, tmp_path: Path, function: Function, ring: str) -> None:
    work = Work(tmp_path, function, tables_for(function))
    assert len(work.packets) >= 60
    assert {outcome.port for outcome in work.outcomes} == {None, 0, 1}, "all ways out are tried"
    program = bed.start_datapath("kb-af-packet", function, work.image, "--ring", ring)
    code, events, stderr = inject(bed, "--packets", work.packets_path, "--marker-file", work.marker_path)
    assert (code, stderr) == (0, "")
    counters = program.stop()

    assert work.differences(events) == []
    done = events[-1]
    assert done["event"] == "done" and done["sent"] == len(work.packets) and done["lost_markers"] == 0
    # One marker follows each packet.
    assert counters["received"] == 2 * len(work.packets)
    assert counters["forwarded"] == work.count("forwarded") + len(work.packets)
    assert counters["passed"] == work.count("passed")
    assert {reason: count for reason, count in counters["dropped"].items() if count} == {
        reason: work.count(reason) for reason in counters["dropped"] if work.count(reason)
    }
    assert set(counters["lost"].values()) == {0}


def test_drop_lets_nothing_through(bed: Bed, tmp_path: Path) -> None:
    work = Work(tmp_path, "drop", Tables())
    program = bed.start_datapath("kb-af-packet", "drop", work.image)
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
    program = bed.start_datapath("kb-af-packet", "forward", other.image)
    _, events, _ = inject(
        bed, "--packets", work.packets_path, "--marker-file", other.marker_path, "--timeout-ms", "500"
    )
    program.stop()
    assert events[-1]["event"] == "done"
    assert work.differences(events)
