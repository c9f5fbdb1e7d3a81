# SPDX-License-Identifier: GPL-2.0-only
"""Puts a port back as it was: home, under its name, with each setting, whatever happened in between."""

from __future__ import annotations

import time
from typing import Any

from kbench.errors import EnvironmentProblem, KbenchError
from kbench.host.nic import settings
from kbench.host.nic.find import Place, find
from kbench.host.nic.port import PortState
from kbench.host.nic.settings import At, difference
from kbench.host.nic.state import read_state
from kbench.host.shell import HostFileError, Shell

PASSES = 4
"""The first sets what can be set while the port is as it was found, the second while it is up; drivers that round one
setting by another may need one more."""
APPEAR_S = 10.0
"""A driver that was just bound makes its port within this time."""
MOVE_S = 1.0
"""Within this time a port arrives by itself whose namespace is being deleted."""
POLL_S = 0.1
MOVE = 'ip -n "$1" link set dev "$2" netns $$; exit $?'
"""Into the namespace of this very sh: that of process 1 is another one in containers. (It must stay: `ip` itself has
entered the port's namespace by then.)"""
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
    did: list[str] = []
    _put_threaded(shell, state, place)
    if place.netns is not None:
        place = _move_home(shell, state, place)
        did.append("moved home")
    if place.name != state.name:
        _rename(shell, state, place)
        did.append(f"was called {place.name}")
    did += _detach(shell, state)
    did += _settle(shell, state)
    return [f"put port {state.name} back: {', '.join(did)}"] if did else []


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


def _put_threaded(shell: Shell, state: PortState, place: Place) -> None:
    """While the port is as the run left it: without NAPI (veth without GRO) it can't be changed any more."""
    try:
        now = read_state(shell, place.name, place.netns)
    except KbenchError:
        return  # it is just going home by itself; the settings are compared once it is there
    if now.settings.get("threaded") != state.settings.get("threaded"):
        settings.put(At(shell, place.name, place.netns), {"threaded": state.settings["threaded"]})


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


def _detach(shell: Shell, state: PortState) -> list[str]:
    """Detach XDP programs that were not there. Those held by a link of a running program go with that program."""
    extra = [item for item in read_state(shell, state.name).xdp if item not in state.xdp]
    for mode, _number in extra:
        shell.run(["ip", "link", "set", "dev", state.name, mode, "off"], check=False)
    return [f"detached XDP program {number}" for _mode, number in extra]


def _settle(shell: Shell, state: PortState) -> list[str]:
    """Set what differs until nothing does; raises NotPutBack for what can't be set."""
    at = At(shell, state.name, None)
    changed: dict[str, None] = {}
    failed: dict[str, str] = {}
    for number in range(PASSES):
        now = read_state(shell, state.name)
        wrong = difference(now, state)
        if not wrong:
            break
        if number == 1 and not now.up:
            at.run("ip", "link", "set", "dev", state.name, "up")
        wanted = settings.corrections(wrong, state)
        wanted |= {"up": state.up} if number == 1 else {}
        failed = settings.put(at, _default_rss_first(at, wanted, now))
        changed |= dict.fromkeys(wrong)
    changed |= dict.fromkeys(_put_network(at, state))
    now = read_state(shell, state.name)
    wrong = difference(now, state)
    lines = [_still(key, wanted, found, failed) for key, (wanted, found) in wrong.items()]
    lines += [f"{what} is absent" for what in _absent(now, state)]
    lines += [
        f"XDP program {number} is attached" for mode, number in now.xdp if (mode, number) not in state.xdp
    ]
    if lines:
        raise NotPutBack(f"port {state.name} is not as it was: {'; '.join(lines)}")
    return list(changed)


def _default_rss_first(at: At, wanted: dict[str, Any], now: PortState) -> dict[str, Any]:
    """The driver's own table, if that is the one: set as such it also follows later changes of the channels."""
    if "rss.table" not in wanted:
        return wanted
    done = at.shell.run(["ethtool", "-X", at.name, "default"], netns=at.netns, check=False)
    if not done.code and read_state(at.shell, at.name).settings.get("rss.table") == wanted["rss.table"]:
        return {key: value for key, value in wanted.items() if key != "rss.table"}
    return wanted


def _still(key: str, wanted: object, found: object, failed: dict[str, str]) -> str:
    why = failed.get(settings.group_of(key))
    return f"{key} was {wanted}, is {'absent' if found is None else found}{f' ({why})' if why else ''}"


def _put_network(at: At, state: PortState) -> list[str]:
    """Membership, addresses, routes and permanent neighbours, which a port loses when it changes its namespace."""
    now = read_state(at.shell, at.name)
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
