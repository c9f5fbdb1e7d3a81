# SPDX-License-Identifier: GPL-2.0-only
"""What is asked for on network cards: topologies, CPUs, numbers of queues, and what is refused before anything."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from kbench.cli.network import queues, split_generator
from kbench.errors import UsageError
from kbench.measure.nics.cpus import Seats, near, seats
from kbench.measure.nics.plan import dry_plan, refuse_before
from kbench.measure.nics.topology import End, topology_of
from kbench.measure.plan import Options, make_cases, make_plan
from kbench.measure.schedule import schedule
from kbench.measure.testbeds.base import Turn
from tests.unit.test_plan import Machine

HERE: Any = object()
THERE: Any = object()


def end(name: str, host: Any = HERE) -> End:
    return End(host, "this machine", name)


@pytest.mark.parametrize(
    ("dut", "tester", "kind", "roles"),
    [
        ("eth1", "eth2", "hairpin", ("eth2", "eth1", "eth1", "eth2")),
        ("eth1 eth3", "eth2 eth4", "two-port", ("eth2", "eth1", "eth3", "eth4")),
        ("eth1", "eth1", "loopback", ("eth1", "eth1", "eth1", "eth1")),
    ],
)
def test_ports_make_a_topology(dut: str, tester: str, kind: str, roles: tuple[str, ...]) -> None:
    top = topology_of([end(n) for n in dut.split()], [end(n) for n in tester.split()], "named")
    assert top.kind == kind
    assert (top.generator.name, top.rx.name, top.tx.name, top.sink.name) == roles
    assert [e.name for e in top.ports()] == list(dict.fromkeys((*dut.split(), *tester.split())))


@pytest.mark.parametrize(
    ("dut", "tester"),
    [
        ("eth1", "eth2 eth4"),
        ("eth1 eth3", "eth2"),
        ("eth1 eth3 eth5", "eth2 eth4 eth6"),
        ("eth1 eth2", "eth2 eth1"),
        ("eth1 eth3", "eth2 eth2"),
        ("eth1", ""),
    ],
)
def test_other_ports_make_none(dut: str, tester: str) -> None:
    with pytest.raises(UsageError, match="make no topology"):
        topology_of([end(n) for n in dut.split()], [end(n) for n in tester.split()], "named")


def test_ports_of_the_same_name_on_two_machines_are_two() -> None:
    top = topology_of([end("eth1", HERE)], [end("eth1", THERE)], "named")
    assert top.kind == "hairpin"
    assert (top.dut, top.tester) == (HERE, THERE)


@pytest.mark.parametrize(
    ("dut", "tester", "count", "expected"),
    [
        ([0, 1], None, 1, Seats(0, (1,), 1)),
        ([0, 1, 2, 3], None, 1, Seats(0, (1,), 2)),
        ([0, 1, 2, 3], None, 2, Seats(0, (1, 2), 3)),
        ([0, 1, 2, 3], None, 3, Seats(0, (1, 2, 3), 1)),
        ([8, 9, 0, 1], None, 1, Seats(8, (9,), 0)),
        ([0, 1], [4, 5], 1, Seats(4, (0,), 1)),
        ([0, 1], [4, 5], 2, Seats(4, (0, 1), 0)),
        ([0], None, 1, Seats(0, (0,), 0)),
    ],
)
def test_everybody_gets_a_cpu(dut: list[int], tester: list[int] | None, count: int, expected: Seats) -> None:
    assert seats(dut, tester, count) == expected


@pytest.mark.parametrize(("dut", "tester", "count"), [([0, 1], None, 2), ([0, 1], [0, 1], 3), ([0], None, 2)])
def test_more_queues_than_cpus_are_refused(dut: list[int], tester: list[int] | None, count: int) -> None:
    with pytest.raises(UsageError, match=f"--queues {count} needs"):
        seats(dut, tester, count)


class Files:
    """A machine of which only files are read."""

    def __init__(self, files: dict[str, str]) -> None:
        self._files = files

    def read(self, path: str) -> bytes:
        return self.read_text(path).encode()

    def read_text(self, path: str) -> str:
        from kbench.host.shell import HostFileError

        if path not in self._files:
            raise HostFileError(2, f"{path}: no such file")
        return self._files[path]


def test_cpus_near_the_card_come_first() -> None:
    machine: Any = Files(
        {
            "/sys/devices/system/cpu/online": "0-7\n",
            "/sys/class/net/eth1/device/local_cpulist": "4-7\n",
            "/sys/class/net/eth2/device/local_cpulist": "0-7\n",
        }
    )
    assert near(machine, ["eth1", "eth2", "veth0"]) == [4, 5, 6, 7, 0, 1, 2, 3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", (1,)), ("2", (1, 2)), ("4", (1, 2, 4)), ("6", (1, 2, 4, 6)), ("1,3", (1, 3)), ("4,4", (4,))],
)
def test_numbers_of_queues(text: str, expected: tuple[int, ...]) -> None:
    assert queues(text) == expected


@pytest.mark.parametrize("text", ["", "x", "1.5"])
def test_bad_numbers_of_queues(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        queues(text)


def test_a_case_for_each_number_of_queues() -> None:
    cases = make_cases(Options(functions=("forward",), queues=(1, 2)))
    assert [(c.queues, c.case_id) for c in cases] == [
        (1, "forward-p1000-f64-q1"),
        (2, "forward-p1000-f64-q2"),
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, (None, None)),
        (["pktgen"], ("pktgen", None)),
        (["ssh://h/eth2"], (None, "ssh://h/eth2")),
        (["ssh://h/eth2", "xdp"], ("xdp", "ssh://h/eth2")),
    ],
)
def test_generator_is_a_kind_and_a_machine(given: list[str] | None, expected: tuple[Any, Any]) -> None:
    assert split_generator(given) == expected


def test_two_generators_of_a_kind_are_refused() -> None:
    for given in (["pktgen", "xdp"], ["ssh://a/x", "ssh://b/y"]):
        with pytest.raises(UsageError, match="one kind"):
            split_generator(given)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (Options(nic=("eth1",), queues=(0,)), "--queues"),
        (Options(nic=("eth1",), dut="ssh://h/eth1"), "--nic"),
        (Options(nic=("eth1",), given=("placement",)), "--placement same"),
        (Options(nic=("eth1",), given=("lab_nic",)), "--where lab"),
        (Options(dut="ssh://h/eth1", where="lab"), "--where lab"),
        (Options(nic=("eth1",), peer=("eth2",), tester="ssh://h/eth2"), "--peer"),
        (Options(nic=("eth1",), where="lab", methods=("throughput",)), "real time"),
        (Options(nic=("eth1",), datapaths=("xpd",)), "did you mean"),
    ],
)
def test_refused_before_anything(options: Options, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        refuse_before(options)


def test_a_dry_run_touches_no_port() -> None:
    plan = dry_plan(Options(nic=("eth1",), functions=("forward",), queues=(1, 2)))
    assert [case.queues for case in plan.cases] == [1, 2]
    (part,) = plan.parts
    assert (part.name, part.kind, part.placement) == ("host", "wall", "split")
    assert "not looked at" in plan.notices[0]
    assert sum(step.trials for step in schedule(plan, Options(nic=("eth1",)))) > 100
    assert dry_plan(Options(nic=("eth1",), where="lab")).parts[0].kind == "emulated"


@pytest.mark.parametrize(
    "options",
    [
        Options(peer=("eth2",)),
        Options(tester="ssh://h/eth2"),
        Options(queues=(2,)),
        Options(nic_profile="x.toml"),
        Options(i_know=True),
        Options(where="lab", given=("lab_nic",)),
    ],
)
def test_options_of_cards_need_a_card(options: Options) -> None:
    with pytest.raises(UsageError, match="--nic"):
        make_plan(options, Machine())


def test_turns_end_before_others_begin() -> None:
    done: list[str] = []

    def take(turn: Turn, name: str) -> None:
        turn.take(name, lambda: done.append(f"{name} in"), lambda: done.append(f"{name} out"))

    turn = Turn()
    take(turn, "a")
    take(turn, "a")
    take(turn, "b")
    turn.end("a")
    assert done == ["a in", "a out", "b in"]
    turn.end("b")
    turn.end()
    assert done == ["a in", "a out", "b in", "b out"]


def test_a_turn_that_fails_to_begin_ends() -> None:
    done: list[str] = []

    def fail() -> None:
        raise RuntimeError

    turn = Turn()
    with pytest.raises(RuntimeError):
        turn.take("a", fail, lambda: done.append("out"))
    turn.end()
    assert done == ["out"]
