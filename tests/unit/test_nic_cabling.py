# SPDX-License-Identifier: GPL-2.0-only
"""What probe frames that were heard mean, and what is said where they lead to no peer."""

from __future__ import annotations

import pytest

from kbench.errors import EnvironmentProblem
from kbench.host.nic import cabling
from kbench.host.nic.cabling import Cables, End, sort_out

A, B, C, D = (End("this machine", f"eth{number}") for number in (1, 2, 3, 4))
FAR = End("ssh://root@far", "eth1")


def both(one: End, other: End) -> set[tuple[End, End]]:
    return {(one, other), (other, one)}


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        (both(A, B), Cables(pairs=((A, B),), silent={C: cabling.NO_ANSWER, D: cabling.NO_CARRIER})),
        (both(A, B) | both(C, D), Cables(pairs=((A, B), (C, D)))),
        ({(A, A)} | both(B, C), Cables(pairs=((B, C),), loops=(A,), silent={D: cabling.NO_CARRIER})),
        (
            both(A, B) | both(A, C) | both(B, C),
            Cables(shared={A: (B, C), B: (A, C), C: (A, B)}, silent={D: cabling.NO_CARRIER}),
        ),
        # A hub that sends back what came in, with one other port.
        (
            {(A, A)} | both(A, B),
            Cables(shared={A: (B,), B: (A,)}, silent={C: cabling.NO_ANSWER, D: cabling.NO_CARRIER}),
        ),
        ({(A, B)}, Cables(one_way={A: B, B: A}, silent={C: cabling.NO_ANSWER, D: cabling.NO_CARRIER})),
        # One of three is heard by nobody but hears: none of them is a pair.
        (
            both(A, B) | {(C, A)},
            Cables(shared={A: (B, C), B: (A,), C: (A,)}, silent={D: cabling.NO_CARRIER}),
        ),
    ],
    ids=["pair", "two-pairs", "plug", "switch", "hub", "one-way", "switch-in-part"],
)
def test_what_was_heard_is_sorted_out(heard: set[tuple[End, End]], expected: Cables) -> None:
    found = sort_out([A, B, C, D], heard, {D})
    assert found == expected
    assert found.tried() == [A, B, C, D]  # each in exactly one of them


def test_frames_of_ports_that_were_not_asked_for_count_for_nothing() -> None:
    stranger = End("this machine", "eth9")
    assert sort_out([A], {(stranger, A)}, set()) == Cables(silent={A: cabling.NO_ANSWER})


def test_two_machines_may_have_ports_of_one_name() -> None:
    assert sort_out([A, FAR], both(A, FAR), set()).peer(A) == FAR


def test_the_peer_of_a_port() -> None:
    found = sort_out([A, B, C], both(A, B) | {(C, C)}, set())
    assert cabling.peer_of(found, A, {}) == B
    assert cabling.peer_of(found, B, {}) == A
    assert cabling.peer_of(found, C, {}) == C


def test_nothing_found_says_what_was_tried_what_was_not_and_what_to_do() -> None:
    found = sort_out([A, B, FAR], set(), {A})
    with pytest.raises(EnvironmentProblem) as problem:
        cabling.peer_of(found, A, {End("this machine", "eth0"): "it carries the default route (10.0.2.2)"})
    text = str(problem.value)
    assert text.startswith(
        "no port was found that eth1 of this machine is cabled to: it has no carrier: no cable,"
    )
    assert "tried: eth1, eth2 of this machine; eth1 of ssh://root@far." in text
    assert "not tried: eth0 of this machine, because it carries the default route (10.0.2.2)." in text
    for choice in (
        "--peer PORT",
        "--generator ssh://",
        "loopback plug in eth1",
        "--peer loopback",
        "no --nic",
    ):
        assert choice in text
    assert "(that of eth1 doesn't)" in text
    with pytest.raises(EnvironmentProblem, match="loops back: that of eth2 does"):
        cabling.peer_of(found, B, {}, driver_loopback=True)
    with pytest.raises(EnvironmentProblem, match="There was no other port to answer"):
        cabling.peer_of(sort_out([A], set(), set()), A, {})


def test_a_switch_in_between_is_told() -> None:
    found = sort_out([A, B, C], both(A, B) | both(A, C) | both(B, C), set())
    with pytest.raises(
        EnvironmentProblem, match=r"eth2, eth3 of this machine hear it .* a switch or bridge is in"
    ):
        cabling.peer_of(found, A, {})


def test_a_broken_fibre_is_told() -> None:
    with pytest.raises(EnvironmentProblem, match="in one direction only"):
        cabling.peer_of(sort_out([A, B], {(A, B)}, set()), A, {})


@pytest.mark.parametrize(
    ("features", "has"),
    [
        ("Features for eth1:\nrx-checksumming: on\n\tloopback: off\n", True),
        ("Features for lo:\n\tloopback: on [fixed]\n", False),
        ("Features for eth1:\n\tloopback: off [fixed]\n", False),
        ("Features for eth1:\nrx-checksumming: on\n", False),
    ],
)
def test_whether_the_driver_can_loop_back(features: str, has: bool) -> None:
    assert cabling.has_driver_loopback(features) is has
