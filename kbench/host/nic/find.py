# SPDX-License-Identifier: GPL-2.0-only
"""Finds a port again, wherever it is by now: by what can't change, never by its name alone."""

from __future__ import annotations

import json
from dataclasses import dataclass

from kbench.errors import KbenchError
from kbench.host.nic.port import PortState, pci_address
from kbench.host.shell import HostFileError, Shell

IP = """
ip=ip; for i in /usr/sbin/ip /sbin/ip /usr/bin/ip /bin/ip; do [ -x $i ] && ip=$i && break; done
"""
"""For sh: iproute2's, since busybox's shell prefers its own, which knows too little."""
_DEVICES = (
    IP
    + r"""
$ip -json -details link show || exit 1
for s in /sys/class/net/*; do
    d=$(cd -P "$s/device" 2>/dev/null && pwd -P) && echo "${s##*/} $(cat "$s/dev_port" 2>/dev/null || echo 0) $d"
done
exit 0
"""
)


@dataclass(frozen=True)
class Place:
    """Where a port is: a namespace (None: the shell's own) and its name there."""

    netns: str | None
    name: str


@dataclass(frozen=True)
class _Seen:
    name: str
    ifindex: int
    kind: str
    mac: str
    permanent_mac: str
    device: str
    dev_port: int


def _look(shell: Shell, netns: str | None) -> list[_Seen]:
    """All ports of a namespace; none when it is just going."""
    try:
        done = shell.run(["sh", "-c", _DEVICES], netns=netns, check=False)
    except KbenchError:
        if netns is None:
            raise
        return []
    if done.code:
        return []
    described, _, rest = done.stdout.partition("\n")
    devices = {
        words[0]: (int(words[1]), words[2]) for line in rest.splitlines() if (words := line.split(" ", 2))
    }
    found = []
    for link in json.loads(described or "[]"):
        name = link["ifname"]
        dev_port, device = devices.get(name, (0, ""))
        mac = link.get("address", "")
        kind = link.get("linkinfo", {}).get("info_kind", "")
        found.append(_Seen(name, link["ifindex"], kind, mac, link.get("permaddr", mac), device, dev_port))
    return found


def _same(seen: _Seen, state: PortState) -> int:
    """How well a port fits, 0 when it is another one."""
    if state.device:
        if not seen.device:
            return 0
        same_slot = seen.device == state.device or (state.pci and pci_address(seen.device) == state.pci)
        if same_slot and seen.dev_port == state.dev_port:
            return 4
        # Plugged into another slot (USB): known by the address that it was made with.
        return 3 if state.permanent_mac and seen.permanent_mac == state.permanent_mac else 0
    if seen.device or seen.kind != state.kind:
        return 0
    # Virtual ports have nothing that is theirs alone; two of three are no accident.
    alike = (seen.name == state.name) + (seen.ifindex == state.ifindex) + (seen.mac == state.settings["mac"])
    return alike if alike >= 2 else 0


def namespaces(shell: Shell) -> list[str]:
    """Named network namespaces of a machine."""
    try:
        return shell.list_dir("/run/netns")
    except HostFileError:
        return []


def find(shell: Shell, state: PortState) -> Place | None:
    """Where the port is, or None when it is in no namespace that has a name."""
    best, place = 0, None
    for netns in (None, *namespaces(shell)):
        for seen in _look(shell, netns):
            fit = _same(seen, state)
            if fit > best:
                best, place = fit, Place(netns, seen.name)
        if best >= 3:
            break
    return place
