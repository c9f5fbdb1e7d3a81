# SPDX-License-Identifier: GPL-2.0-only
"""Puts a port back as it was: home, under its name, with each setting, whatever happened in between."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from kbench.errors import EnvironmentProblem, KbenchError
from kbench.host.nic import settings
from kbench.host.nic.find import IP, Place, find
from kbench.host.nic.port import PortState, Scalar
from kbench.host.nic.settings import NEVER_UP, At, difference, passage
from kbench.host.nic.state import read_state
from kbench.host.shell import HostFileError, Shell

PASSES = 5
"""At home: the first sets what can be set while the port is down or up as it came, the second while it is up; a default
discipline or sysctls that moving reset take one more each."""
APPEAR_S = 10.0
"""A driver that was just bound makes its port within this time."""
MOVE_S = 1.0
"""Within this time a port arrives by itself whose namespace is being deleted."""
POLL_S = 0.1
MOVE = IP + '$ip -n "$1" link set dev "$2" netns $$; exit $?'
"""Into the namespace of this very sh: that of process 1 is another one in containers. (It must stay: `ip` itself has
entered the port's namespace by then.)"""
AT_HOME = {"sysctl", "up", "qdisc"}
"""Groups of settings that a port forgets when it moves."""
NETWORK = (("address", "addresses"), ("route", "routes"), ("neighbour", "neighbours"))


class NotPutBack(EnvironmentProblem):
    """Some of a port is not as it was; the message says what was wanted and what is."""


def undo_nic(shell: Shell, state: dict[str, Any]) -> list[str]:
    """Undo of the journal's op ``nic``: `put_back` of a state as JSON."""
    return put_back(shell, PortState.from_json(state))


def put_back(shell: Shell, state: PortState) -> list[str]:
    """Make a port as `state` says, in the shell's own namespace. May be repeated; does nothing where all is well.

    Returns what it did, as lines. A port that is gone (unplugged, deleted) is told, not an error. Raises NotPutBack
    for settings that still differ, and for a port that is out of reach.
    """
    place = _find(shell, state)
    if place is None:
        return [f"port {state.name}{f' ({state.bus})' if state.bus else ''} is gone: nothing to put back"]
    did = _prepare(shell, state, place)
    if place.netns is not None:
        place = _move_home(shell, state, place)
        did.append("moved home")
    if place.name != state.name:
        _rename(shell, state, place)
        did.append(f"was called {place.name}")
    did += _settle(shell, state)
    if shell.exists(f"/run/netns/{passage(state.name)}"):
        shell.run(["ip", "netns", "delete", passage(state.name)])
    return [f"put port {state.name} back: {', '.join(dict.fromkeys(did))}"] if did else []


def _find(shell: Shell, state: PortState) -> Place | None:
    place = find(shell, state)
    if place or not state.device:
        return place
    _rebind(shell, state)
    deadline = time.monotonic() + APPEAR_S
    while shell.exists(f"{state.bus_device}/driver"):
        place = find(shell, state)
        if place:
            return place
        if time.monotonic() > deadline:
            raise NotPutBack(
                f"port {state.name} ({state.bus}) is in a network namespace that has no name:"
                " end the process that keeps it, then run `kbench restore`"
            )
        time.sleep(POLL_S)  # nothing tells of it that works through any shell
    return None


def _rebind(shell: Shell, state: PortState) -> None:
    """Give a PCI device back to its driver (DPDK takes devices away from theirs)."""
    here = f"/sys/bus/pci/devices/{state.pci}"
    if not state.pci or not state.bus_driver or not shell.exists(here):
        return
    script = 'd=$(cd -P "$1/driver" 2>/dev/null && pwd -P); echo "${d##*/}"'
    driver = shell.run(["sh", "-c", script, "sh", here]).stdout.strip()
    if driver == state.bus_driver:
        return
    if driver:
        shell.write_text(f"{here}/driver/unbind", f"{state.pci}\n")
    override = "" if state.driver_override == "(null)" else state.driver_override
    shell.write_text(f"{here}/driver_override", f"{override}\n")
    try:
        shell.write_text(f"/sys/bus/pci/drivers/{state.bus_driver}/bind", f"{state.pci}\n")
    except HostFileError as error:
        raise NotPutBack(
            f"port {state.name} ({state.pci}) can't be given back to {state.bus_driver}: {error};"
            f" load that driver, then run `kbench restore`"
        ) from error


def _prepare(shell: Shell, state: PortState, place: Place) -> list[str]:
    """What can be put back where the port is, up as the run left it: drivers take more then, and a port that is never
    up at home keeps the queueing discipline of one that was not (moving makes it forget the run's)."""
    try:
        now = read_state(shell, place.name, place.netns)
    except KbenchError:
        return []  # it is just going home by itself; the settings are compared once it is there
    at = At(shell, place.name, place.netns)
    if state.only_up and not now.up and (place.netns is not None or difference(now, state)):
        at.run("ip", "link", "set", "dev", at.name, "up")
        now = read_state(shell, place.name, place.netns)
    did = _detach(at, now, state)
    wanted = _corrections(at, difference(now, state), state)
    if place.netns is not None or state.only_up:
        wanted = {key: value for key, value in wanted.items() if settings.group_of(key) not in AT_HOME}
        settings.put(at, wanted)
        did += wanted
    elif "threaded" in wanted:
        # Before the rest: without NAPI (veth without GRO) it can't be changed any more.
        settings.put(at, {"threaded": wanted["threaded"]})
    return did


def _move_home(shell: Shell, state: PortState, place: Place) -> Place:
    """Move a port to the shell's namespace; one whose namespace was just deleted arrives there by itself."""
    deadline = time.monotonic() + MOVE_S
    while place.netns is not None:
        done = shell.run(["sh", "-c", MOVE, "sh", place.netns, place.name], check=False)
        found = find(shell, state)
        if found is None or (found.netns is not None and time.monotonic() > deadline):
            raise NotPutBack(f"can't move port {state.name} home: {done.stderr.strip() or 'it is gone'}")
        if found.netns is not None:
            time.sleep(POLL_S)
        place = found
    return place


def _rename(shell: Shell, state: PortState, place: Place) -> None:
    """Its name back; down first, as kernels before 6.2 want it (bd039b5ea2a9)."""
    shell.run(["ip", "link", "set", "dev", place.name, "down"])
    done = shell.run(["ip", "link", "set", "dev", place.name, "name", state.name], check=False)
    if done.code:
        raise NotPutBack(f"can't call port {place.name} {state.name} again: {done.stderr.strip()}")


def _detach(at: At, now: PortState, state: PortState) -> list[str]:
    """Detach XDP programs that were not there. Those held by a link of a running program go with that program."""
    extra = [item for item in now.xdp if item not in state.xdp]
    for mode, _number in extra:
        at.shell.run(["ip", "link", "set", "dev", at.name, mode, "off"], netns=at.netns, check=False)
    return [f"detached XDP program {number}" for _mode, number in extra]


def _settle(shell: Shell, state: PortState) -> list[str]:
    """Set what differs until nothing does; raises NotPutBack for what can't be set."""
    at = At(shell, state.name, None)
    did: list[str] = []
    failed: dict[str, str] = {}
    for number in range(PASSES):
        now = read_state(shell, state.name)
        wrong = difference(now, state)
        lines = [_still(key, wanted, found, failed) for key, (wanted, found) in wrong.items()]
        lines += [f"{what} is absent" for what in _absent(now, state)]
        lines += [f"XDP program {number} is attached" for number in _extra_xdp(now, state)]
        if not lines:
            return did
        wanted = _corrections(at, wrong, state)
        if number <= 1 and wanted.get("qdisc", NEVER_UP) != NEVER_UP:
            del wanted["qdisc"]  # it gets its default when it is up
        if number == 1 and not now.up and _wants_up(wrong):
            at.run("ip", "link", "set", "dev", state.name, "up")
            wanted["up"] = state.up
        failed = settings.put(at, wanted)
        did += wrong
        did += _put_network(at, state, now)
    raise NotPutBack(f"port {state.name} is not as it was: {'; '.join(lines)}")


def _wants_up(wrong: Mapping[str, tuple[Scalar, Scalar | None]]) -> bool:
    """Whether something differs that may need the port to be up."""
    return any(
        settings.group_of(key) not in AT_HOME or (key == "qdisc" and wanted != NEVER_UP)
        for key, (wanted, _is) in wrong.items()
    )


def _extra_xdp(now: PortState, state: PortState) -> list[int]:
    return [number for mode, number in now.xdp if (mode, number) not in state.xdp]


def _corrections(
    at: At, wrong: Mapping[str, tuple[Scalar, Scalar | None]], state: PortState
) -> dict[str, Scalar]:
    """What to set. The driver's own RSS table is set as such: it then follows later changes of the channels."""
    wanted = settings.corrections(wrong, state)
    if "rss.table" in wanted and str(wanted["rss.table"]).startswith("equal"):
        done = at.shell.run(["ethtool", "-X", at.name, "default"], netns=at.netns, check=False)
        now = read_state(at.shell, at.name, at.netns) if not done.code else None
        if now and now.settings.get("rss.table") == wanted["rss.table"]:
            del wanted["rss.table"]
    return wanted


def _still(key: str, wanted: object, found: object, failed: dict[str, str]) -> str:
    why = failed.get(settings.group_of(key))
    return f"{key} was {wanted}, is {'absent' if found is None else found}{f' ({why})' if why else ''}"


def _put_network(at: At, state: PortState, now: PortState) -> list[str]:
    """Membership, addresses, routes and permanent neighbours, which a port loses when it changes its namespace."""
    did = []
    if state.master and now.master != state.master:
        at.shell.run(["ip", "link", "set", "dev", at.name, "master", state.master], check=False)
        did.append(f"member of {state.master}")
    for what, attribute in NETWORK:
        there = {_key(what, line) for line in getattr(now, attribute)}
        for line in getattr(state, attribute):
            if _key(what, line) not in there:
                at.shell.run(_add(what, line, at.name), check=False)
                did.append(f"{what} {_key(what, line)}")
    return did


def _key(what: str, line: str) -> str:
    """What makes it the same one: of an address not its lifetime and flags."""
    return line.split(maxsplit=1)[0] if what == "address" else line


def _add(what: str, line: str, name: str) -> list[str]:
    words = line.split()
    family = [words.pop(0)] if what == "route" else []
    if what == "address" and ":" in words[0] and "nodad" not in words:
        words.append("nodad")  # it was in use here before
    return ["ip", *family, what, "add", *words, "dev", name]


def _absent(now: PortState, state: PortState) -> list[str]:
    lines = [f"membership of {state.master}"] if state.master and now.master != state.master else []
    for what, attribute in NETWORK:
        there = {_key(what, line) for line in getattr(now, attribute)}
        lines += [
            f"{what} {_key(what, line)}"
            for line in getattr(state, attribute)
            if _key(what, line) not in there
        ]
    return lines
