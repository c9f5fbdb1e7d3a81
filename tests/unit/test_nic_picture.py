# SPDX-License-Identifier: GPL-2.0-only
"""Pictures of topologies and cables: what stands in them, how wide they are, and that ASCII terminals get theirs."""

from __future__ import annotations

from typing import Any

import pytest

from kbench.host.nic import picture
from kbench.host.nic.cabling import NO_CARRIER, Cables, End

HERE = "this machine"
FAR = "ssh://root@dut-17.rack4.example.net:2222"


def port(name: str, driver: str = "e1000e", mbps: int | None = 1000, emulated: bool = True) -> dict[str, Any]:
    return {"host": HERE, "name": name, "driver": driver, "speed_mbps": mbps, "emulated": emulated}


HAIRPIN = {
    "kind": "hairpin",
    "dut": HERE,
    "tester": HERE,
    "ports": {"generator": port("eth2"), "rx": port("eth1"), "tx": port("eth1"), "sink": port("eth2")},
}
TWO_PORT = {
    "kind": "two-port",
    "dut": FAR,
    "tester": HERE,
    "ports": {
        "generator": port("enp129s0f0np0", "mlx5_core", 100000, False),
        "rx": port("enp1s0f1np1", "ixgbe", 10000, False),
        "tx": port("enp129s0f1np1v2", "ixgbe", 2500, False),
        "sink": port("eth4", "virtio_net", None),
    },
}
LOOPBACK = {"kind": "loopback", "dut": "lab", "tester": "lab", "ports": {"rx": port("eth5")}}

HAIRPIN_DRAWN = """\
   this machine                                 this machine
  ┌─ DUT ─────────────────────────┐            ┌─ tester ──────────────────────┐
  │ eth1                   rx, tx ├◄──────────►┤ eth2          generator, sink │
  │ e1000e, 1 Gb/s, emulated      │            │ e1000e, 1 Gb/s, emulated      │
  └───────────────────────────────┘            └───────────────────────────────┘"""


def test_a_hairpin_is_drawn() -> None:
    assert picture.topology(HAIRPIN) == HAIRPIN_DRAWN


def test_two_ports_are_drawn_with_the_way_of_the_packets() -> None:
    lines = picture.topology(TWO_PORT).splitlines()
    assert lines[0].split() == ["ssh://root@dut-17.rack4.example…", "this", "machine"]
    assert "│ enp1s0f1np1                rx ├◄───────────┤ enp129s0f0np0       generator │" in lines[2]
    assert "ixgbe, 10 Gb/s" in lines[3] and "mlx5_core, 100 Gb/s" in lines[3]
    assert "│ enp129s0f1np1v2            tx ├───────────►┤ eth4                     sink │" in lines[4]
    assert "ixgbe, 2.5 Gb/s" in lines[5] and "virtio_net, emulated" in lines[5]


@pytest.mark.parametrize(("driver", "said"), [(False, "a loopback plug"), (True, "its driver sends back")])
def test_a_loop_says_who_sends_back(driver: bool, said: str) -> None:
    lines = picture.topology({**LOOPBACK, "driver_loopback": driver}).splitlines()
    assert lines[2].endswith("generator, rx ├──┐")
    assert lines[3].endswith(f"│◄─┘ {said}")


@pytest.mark.parametrize("nic", [HAIRPIN, TWO_PORT, LOOPBACK], ids=lambda nic: str(nic["kind"]))
@pytest.mark.parametrize("width", [80, 120])
def test_a_topology_fits_its_width(nic: dict[str, Any], width: int) -> None:
    drawn = picture.topology(nic, width=width)
    assert max(map(len, drawn.splitlines())) <= width
    plain = picture.topology(nic, width=width, ascii_only=True)
    assert plain.isascii()
    assert [len(line) for line in plain.splitlines()] == [len(line) for line in drawn.splitlines()]


@pytest.mark.parametrize(
    ("encoding", "can"),
    [("utf-8", True), ("ascii", False), ("iso-8859-1", False), (None, False), ("nonsense", False)],
)
def test_what_a_terminal_can_draw(encoding: str | None, can: bool) -> None:
    assert picture.can_draw(encoding) is can


A, B, C, D, E = (End(HERE, f"eth{number}") for number in (1, 2, 3, 4, 5))
USED = (
    "it carries the default route (10.0.2.2); it has the address 10.0.2.15/24; "
    "an established connection goes over it"
)


def test_all_ports_of_a_search_are_shown() -> None:
    found = Cables(pairs=((A, B), (C, D)), loops=(E,), silent={End(HERE, "eth6"): NO_CARRIER})
    facts = dict.fromkeys((A, B, E), "e1000e, 1 Gb/s")
    assert picture.cables(found, {End(HERE, "eth0"): USED}, facts).splitlines() == [
        "cables",
        "  eth1 (e1000e, 1 Gb/s) ◄──────────► eth2 (e1000e, 1 Gb/s)",
        "  eth3                  ◄──────────► eth4",
        "loopback",
        "  eth5 (e1000e, 1 Gb/s) ──┐",
        "                        ◄─┘ hears itself: a plug, or its driver",
        "no cable found",
        "  eth6  it has no carrier: no cable, or its other end is down",
        "not tried",
        "  eth0  it carries the default route (10.0.2.2); it has the address",
        "        10.0.2.15/24; an established connection goes over it",
    ]


def test_machines_are_named_where_there_are_several() -> None:
    far = End(FAR, "enp129s0f0np0")
    drawn = picture.cables(Cables(pairs=((A, far),)), {}, {A: "e1000e, 1 Gb/s", far: "mlx5_core, 100 Gb/s"})
    first, second = drawn.splitlines()[1:]
    assert first.startswith("  eth1 of this machine (e1000e, 1 Gb/s)  ") and first.endswith(" ◄─┐")
    assert second.startswith(f"  enp129s0f0np0 of {FAR} (mlx5") and second.endswith(" ◄─┘")
    assert len(first) == len(second) == 80


def test_switches_and_broken_fibres_are_told() -> None:
    found = Cables(shared={A: (B, C), B: (A,), C: (A,)}, one_way={D: E, E: D})
    drawn = picture.cables(found, {}, ascii_only=True)
    assert "  eth1  hears or is heard by eth2, eth3: a switch or bridge is in between" in drawn
    assert "one direction only\n  eth4  frames to or from eth5 get lost" in drawn


def test_without_ports_that_is_said() -> None:
    assert picture.cables(Cables(), {}) == "no port that could be tried"
