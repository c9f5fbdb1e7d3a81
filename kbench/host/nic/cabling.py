# SPDX-License-Identifier: GPL-2.0-only
"""Finds out which ports are cabled to which: by probe frames (kb-wire) out of free ports, on all machines at once.

A port that is down is brought up for it, in place, and put back; nothing else is changed. The frames are
broadcasts of an ethertype that no stack listens to, ten a second from each port.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kbench.errors import EnvironmentProblem
from kbench.host import net
from kbench.host.base import Host
from kbench.host.journal import Entry, Journal
from kbench.host.nic.lend import has_carrier, put_back
from kbench.host.nic.port import PortState
from kbench.host.nic.state import read_state
from kbench.host.process import Process

Progress = Callable[[str], None]

CARRIER_S = 10.0
"""A negotiation takes 3 s with copper, some optics and switches take longer."""
INTERVAL_S = 0.1
SEARCH_S = 5.0
SETTLE_S = 0.35
"""How long to go on once every port has heard somebody: a second one that hears it would be a switch."""
POLL_S = 0.05
NO_CARRIER = "it has no carrier: no cable, or its other end is down"
NO_ANSWER = "it has a carrier, but none of the ports that were tried hears it"


@dataclass(frozen=True)
class End:
    """A port, and the label of the machine that it is on."""

    place: str
    port: str

    def __str__(self) -> str:
        return f"{self.port} of {self.place}"


@dataclass(frozen=True)
class Place:
    """A machine and those of its ports that may be tried: they are free (guard.free_ports). Labels differ."""

    label: str
    host: Host
    ports: Sequence[str]

    def ends(self) -> list[End]:
        """Its ports as ends of cables."""
        return [End(self.label, port) for port in self.ports]


@dataclass(frozen=True)
class Cables:
    """What was found. Each port that was tried is in exactly one of these."""

    pairs: tuple[tuple[End, End], ...] = ()
    loops: tuple[End, ...] = ()
    """Ports that hear themselves, as with a loopback plug."""
    shared: Mapping[End, tuple[End, ...]] = field(default_factory=dict)
    """Port -> those that it hears or that hear it, where it isn't one: a switch or bridge is in between."""
    one_way: Mapping[End, End] = field(default_factory=dict)
    """Port -> the only other one, where frames came through in one direction only."""
    silent: Mapping[End, str] = field(default_factory=dict)
    """Port -> why nothing was found."""

    def tried(self) -> list[End]:
        """All ports that were tried."""
        paired = [end for pair in self.pairs for end in pair]
        return sorted(
            [*paired, *self.loops, *self.shared, *self.one_way, *self.silent],
            key=lambda end: (end.place, end.port),
        )

    def peer(self, end: End) -> End | None:
        """What `end` is cabled to; itself when it is a loop."""
        if end in self.loops:
            return end
        return next((b if a == end else a for a, b in self.pairs if end in (a, b)), None)


def sort_out(
    ends: Sequence[End], heard: Collection[tuple[End, End]], without_carrier: Collection[End]
) -> Cables:
    """`heard` are (sender, the port that heard it)."""
    pairs: list[tuple[End, End]] = []
    loops: list[End] = []
    shared: dict[End, tuple[End, ...]] = {}
    one_way: dict[End, End] = {}
    silent: dict[End, str] = {}

    def partners(end: End) -> list[End]:
        both = {b for a, b in heard if a == end} | {a for a, b in heard if b == end}
        return [other for other in ends if other in both]

    for end in ends:
        found = partners(end)
        if not found:
            silent[end] = NO_CARRIER if end in without_carrier else NO_ANSWER
        elif found == [end]:
            loops.append(end)
        elif len(found) > 1 or len(partners(found[0])) > 1:
            shared[end] = tuple(other for other in found if other != end)
        elif (end, found[0]) not in heard or (found[0], end) not in heard:
            one_way[end] = found[0]
        elif (found[0], end) not in pairs:
            pairs.append((end, found[0]))
    return Cables(tuple(pairs), tuple(loops), shared, one_way, silent)


def find_cables(
    places: Sequence[Place], journal: Journal | None, progress: Progress, *, carrier_s: float = CARRIER_S
) -> Cables:
    """Try all ports of all places at once, and put them back as they were.

    Takes half a second where all are cabled to each other and up, `carrier_s` and SEARCH_S more where some are not.
    Raises MeasureError or EnvironmentProblem when a machine is lost or can't send such frames.
    """
    places = [place for place in places if place.ports]
    ends = [end for place in places for end in place.ends()]
    if not ends:
        return Cables()
    names = "; ".join(f"{', '.join(place.ports)} of {place.label}" for place in places)
    progress(f"looking for cables by probe frames: {names}")
    with contextlib.ExitStack() as stack:
        raised = [port for place in places for port in _bring_up(place, journal, stack)]
        without = _wait_for_carriers(places, carrier_s if raised else 0.0)
        heard = _listen(places, [end for end in ends if end not in without], stack)
    return sort_out(ends, heard, without)


def _bring_up(place: Place, journal: Journal | None, stack: contextlib.ExitStack) -> list[str]:
    """Bring up those ports that are down, until the stack unwinds; their names.

    Their whole state goes into the journal first, for `kbench restore`. Here they are only brought down again: nothing
    else is changed, but for ports that were never up, and to compare every setting takes seconds on a slow machine.
    """
    links = net.links(place.host)
    raised = [port for port in place.ports if "UP" not in links[port]["flags"]]
    if not raised:
        return []
    entries: list[tuple[PortState, Entry]] = []
    if journal:
        states = [read_state(place.host, port) for port in raised]
        entries = [
            (state, journal.record("nic", state=state.to_json(), at=place.host.address)) for state in states
        ]
    stack.callback(_bring_down, place.host, raised, journal, entries)
    net.batch(place.host, None, [f"link set dev {port} up" for port in raised])
    return raised


def _bring_down(
    host: Host, ports: Sequence[str], journal: Journal | None, entries: Sequence[tuple[PortState, Entry]]
) -> None:
    net.batch(host, None, [f"link set dev {port} down" for port in ports])
    for state, entry in entries:
        assert journal
        if state.settings["qdisc"] == "noop":
            put_back(host, state)  # it was never up, which going down does not bring back
        journal.done(entry)


def _wait_for_carriers(places: Sequence[Place], timeout_s: float) -> set[End]:
    """Wait until all have a carrier, or the time is over; those that have none."""
    hosts = {place.label: place.host for place in places}
    without = {end for place in places for end in place.ends()}
    deadline = time.monotonic() + timeout_s
    while True:
        without = {end for end in without if not has_carrier(hosts[end.place], end.port)}
        if not without or time.monotonic() >= deadline:
            return without
        time.sleep(POLL_S)  # nothing tells of a carrier through every Host


def _listen(
    places: Sequence[Place], expected: Sequence[End], stack: contextlib.ExitStack
) -> set[tuple[End, End]]:
    """Send and listen until all `expected` ports have heard somebody and a little longer, at most SEARCH_S."""
    nonce = secrets.token_hex(16)
    programs: dict[str, Process] = {}
    for place in places:
        program = _start(place, nonce)
        stack.callback(program.kill)
        programs[place.label] = program
    deadline = time.monotonic() + SEARCH_S
    complete = False
    while _all_run(programs.values()):
        if not complete and {at for _, at in _heard(programs)} >= set(expected):
            complete = True
            deadline = min(deadline, time.monotonic() + SETTLE_S)
        if time.monotonic() >= deadline:
            break
        time.sleep(POLL_S)
    for program in programs.values():
        program.stop()
    return _heard(programs)


def _all_run(programs: Iterable[Process]) -> bool:
    """Takes in what each has said, so all are asked."""
    return False not in [program.running() for program in programs]


def _start(place: Place, nonce: str) -> Process:
    words = [word for port in place.ports for word in ("--port", port)]
    words += ["--label", place.label, "--nonce", nonce, "--interval-ms", str(round(INTERVAL_S * 1000))]
    # Long enough for the slowest machine to have started; it is ended before.
    words += ["--duration-ms", "60000"]
    return place.host.start([place.host.program("kb-wire"), *words])


def _heard(programs: Mapping[str, Process]) -> set[tuple[End, End]]:
    return {
        (End(event["label"], event["from"]), End(label, event["at"]))
        for label, program in programs.items()
        for event in program.events
        if event["event"] == "heard"
    }


def peer_of(cables: Cables, end: End, refused: Mapping[End, str], *, driver_loopback: bool = False) -> End:
    """What `end` is cabled to; itself: it hears itself.

    EnvironmentProblem where that isn't one port, with what was tried, what was not (`refused`: port -> why), and the
    choices; `driver_loopback`: its driver can send packets back by itself.
    """
    peer = cables.peer(end)
    if peer:
        return peer
    if end in cables.shared:
        others = _names(cables.shared[end])
        raise EnvironmentProblem(
            f"{end} is not cabled to one port: {others} hear it or are heard by it, so a switch or bridge is in"
            " between. Cable the ports directly, or name the one to use, so that no other is tried: --peer PORT"
        )
    if end in cables.one_way:
        other = cables.one_way[end]
        raise EnvironmentProblem(
            f"frames between {end} and {other} came through in one direction only: check the cable and its"
            f" transceivers, or name it: --peer {other.port}"
        )
    raise EnvironmentProblem("\n".join(_nothing_found(cables, end, refused, driver_loopback)))


def _nothing_found(
    cables: Cables, end: End, refused: Mapping[End, str], driver_loopback: bool
) -> Iterable[str]:
    others = [other for other in cables.tried() if other != end]
    why = cables.silent.get(end, "it was not tried")
    yield f"no port was found that {end} is cabled to: {why}."
    yield f"tried: {_names([end, *others])}." + ("" if others else " There was no other port to answer.")
    for port, reason in refused.items():
        yield f"not tried: {port}, because {reason}."
    yield "choices:"
    yield f"  --peer PORT                           another port of {end.place} that is cabled to {end.port}"
    yield "  --generator ssh://[user@]host/PORT    a second machine at the other end of the cable"
    yield f"  a loopback plug in {end.port}, or --peer loopback with a driver that loops back" + (
        f": that of {end.port} does" if driver_loopback else f" (that of {end.port} doesn't)"
    )
    yield "  no --nic                              a veth pair that kbench makes, without a card"


def _names(ends: Iterable[End]) -> str:
    by_place: dict[str, list[str]] = {}
    for end in ends:
        by_place.setdefault(end.place, []).append(end.port)
    return "; ".join(f"{', '.join(ports)} of {place}" for place, ports in by_place.items())


def has_driver_loopback(features: str) -> bool:
    """Whether the driver can send back what it is to send, by what ``ethtool -k`` prints."""
    for line in features.splitlines():
        name, _, value = line.strip().partition(":")
        if name == "loopback":
            return "[fixed]" not in value
    return False
