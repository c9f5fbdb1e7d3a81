# SPDX-License-Identifier: GPL-2.0-only
"""Verification finds a datapath that does other work than it should, names the packet, and stops nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from kbench.functions.image import compile_image
from kbench.functions.model import Port, Route
from kbench.host.local import LocalHost
from kbench.measure.bench import Benches
from kbench.measure.datapaths.base import Options
from kbench.measure.datapaths.xdp import Xdp
from kbench.measure.prepare import Prepared, prepare
from kbench.measure.testbeds.base import cpus_for
from kbench.measure.testbeds.veth import VethTestbed
from kbench.measure.verify import verify
from kbench.model import Case, Verification


def outcome(host: LocalHost, prepared: Prepared, image: bytes, tag: str) -> Verification:
    path = f"{prepared.scratch}/other.image"
    host.put(path, image)
    work = dataclasses.replace(prepared.work, image=path)
    with Benches() as benches:
        bench = benches.add(
            "xdp", VethTestbed(host, tag, "same", cpus_for("same", 2), None), Xdp, Options(), work
        )
        return verify(
            bench,
            "host",
            prepared.case,
            prepared.packets,
            prepared.reference,
            prepared.marker,
            prepared.scratch,
        )


@pytest.fixture
def prepared(local_host: LocalHost, tmp_path: Path) -> Prepared:
    ports = VethTestbed(local_host, "kbV", "same", cpus_for("same", 2), None).image_ports
    return prepare(Case("forward", routes=10), local_host, str(tmp_path), ports)


def ports_of(prepared: Prepared) -> list[Port]:
    return list(prepared.reference.ports)


def test_a_route_out_of_the_wrong_port_is_named(local_host: LocalHost, prepared: Prepared) -> None:
    tables = prepared.work.tables
    routes = list(tables.routes)
    routes[0] = Route(routes[0].prefix, "rx")
    wrong = compile_image("forward", dataclasses.replace(tables, routes=tuple(routes)), ports_of(prepared))
    found = outcome(local_host, prepared, wrong, "kbV1")
    assert not found.passed
    assert "expected out of tx" in found.differences[0] and "got out of rx" in found.differences[0]


def test_a_datapath_that_forwards_nothing_is_a_finding_not_the_end(
    local_host: LocalHost, prepared: Prepared
) -> None:
    elsewhere = [Port(b"\x02\0\0\0\0\x77", b"\x02\0\0\0\0\x01"), ports_of(prepared)[1]]
    deaf = compile_image("forward", prepared.work.tables, elsewhere)
    found = outcome(local_host, prepared, deaf, "kbV2")
    assert not found.passed
    assert "never worked" in found.differences[0]
