# SPDX-License-Identifier: GPL-2.0-only
"""The picture of ports and cables: every topology, its words, hostile names, and that nothing runs into anything."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from kbench.explain.figures.base import Chart
from kbench.explain.figures.cabling import PORT_W, WIDE, picture
from kbench.explain.nic import topology
from tests.unit import synthetic_nics as nics
from tests.unit.chart_data import HOSTILE, boxes, parsed, words

HERE_TWO_PORT = nics.two_port()
for _role in ("generator", "sink"):
    HERE_TWO_PORT["ports"][_role]["host"] = nics.HERE
HERE_TWO_PORT["tester"] = nics.HERE
LONG = nics.two_port()
LONG["tester"] = f"ssh://root@{'very-long-host-name.' * 8}example:22"
for _role, _port in LONG["ports"].items():
    _port["name"], _port["driver"] = f"{'enp65s0f0np0v12' * 3}{_role}", "a_driver_with_a_name" * 2
ALL = {
    "hairpin": nics.hairpin(), "hairpin over ssh": nics.hairpin(tester=nics.TESTER), "two-port": nics.two_port(),
    "two-port here": HERE_TWO_PORT, "loopback": nics.loopback(), "long names": LONG,
}  # fmt: skip


def drawn(nic: Any) -> Chart:
    found = topology(nics.part(nic))
    assert found is not None
    chart = picture("x-ports", found)
    assert chart is not None
    return chart


@pytest.mark.parametrize("name", ALL)
def test_texts_are_inside_and_apart(name: str) -> None:
    found, whole = boxes(drawn(ALL[name]))
    assert len(found) >= 4
    for text, box in found:
        assert box.x0 >= whole.x0 and box.x1 <= whole.x1 and box.y0 >= whole.y0 and box.y1 <= whole.y1, text
    for (one, a), (other, b) in combinations(found, 2):
        assert not a.overlaps(b), (one, other)


def test_long_names_stay_in_their_boxes() -> None:
    found, whole = boxes(drawn(LONG))
    ports = [box for text, box in found if "enp65" in text]
    assert len(ports) == 4 and max(box.width for box in ports) <= whole.width * PORT_W / WIDE


def test_it_shows_roles_machines_and_speed() -> None:
    texts = words(drawn(nics.two_port()))
    assert {"tester", "DUT", "10.0.0.2", "this machine", "datapath", "rx", "tx", "generator", "sink"} <= set(
        texts
    )
    assert texts.count("25 Gbit/s") == 2 and "eth1 (ice)" in texts
    one_machine = words(drawn(nics.hairpin()))
    assert "this machine: one memory, shared caches" in one_machine and "rx and tx" in one_machine
    assert "speed unknown" in words(drawn(nics.hairpin(speed=None)))


def test_it_says_the_same_in_words() -> None:
    chart = drawn(nics.hairpin(tester=nics.TESTER))
    assert "the tester is 10.0.0.2, the DUT this machine" in chart.alt
    assert "eth1 of this machine, driver e1000e, 1 Gbit/s: rx and tx" in chart.alt
    assert chart.topic == "ports" and "found by probe frames" in chart.note
    assert "named on the command line" in drawn(nics.two_port()).note


def test_hostile_names_are_text() -> None:
    hostile = nics.hairpin(host=HOSTILE, driver=HOSTILE)
    hostile["ports"]["rx"]["name"] = HOSTILE
    svg = parsed(drawn(hostile))
    assert svg is not None and "<script" not in drawn(hostile).inline_svg()


def test_without_the_dut_s_port_there_is_no_picture() -> None:
    found = topology(
        nics.part({"kind": "hairpin", "ports": {"generator": nics.port("a", "eth2", "igb", 1000)}})
    )
    assert found is not None and picture("x", found) is None
