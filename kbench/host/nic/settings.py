# SPDX-License-Identifier: GPL-2.0-only
"""Sets a port's settings by their flat names, in an order that drivers take, and tells two states apart."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kbench.errors import KbenchError
from kbench.host.nic.find import IP
from kbench.host.nic.port import PortState, Scalar
from kbench.host.shell import Shell

GROUPS = (
    "mac",
    "sysctl",
    "mtu",
    "txqueuelen",
    "channels",
    "rings",
    "features",
    "coalesce",
    "pause",
    "arp",
    "multicast",
    "promisc",
    "allmulticast",
    "up",
    "rss",
    "queue",
    "irq",
    "threaded",
    "gro_flush_timeout",
    "napi_defer_hard_irqs",
    "qdisc",
)
"""In this order: channels make queues anew and rings their memory; RSS, masks and interrupts are then of the queues
that are there. IPv6's sysctls come before `up`, which makes the link-local address."""
DOWN_LAST = (*(group for group in GROUPS if group not in ("up", "qdisc")), "up", "qdisc")
NEVER_UP = "noop"
"""Queueing discipline of a port that was not up yet (in its namespace)."""
FORGET = (
    IP
    + """
n=$2
[ -e /run/netns/$n ] || $ip netns add $n
$ip link set dev "$1" netns $n && $ip -n $n link set dev "$1" netns $$
code=$?
$ip netns delete $n
exit $code
"""
)
"""Of the port $1 through the namespace $2: a port that moves is as if it had not been up
(and down, and with the namespace's sysctls)."""
DERIVED = {"rss.entries", "features.tx-checksumming", "features.scatter-gather"}
DERIVED |= {"features.tcp-segmentation-offload"}
"""What follows from other settings: read, never set."""


@dataclass(frozen=True)
class At:
    """A port by its place."""

    shell: Shell
    name: str
    netns: str | None

    def run(self, *argv: str) -> None:
        """Run a command there; MeasureError with what it said when it fails."""
        self.shell.run(argv, netns=self.netns, timeout_s=60.0)

    def write(self, path: str, text: str) -> None:
        """Write a file as the port's namespace sees it."""
        self.shell.write_text(path, f"{text}\n", netns=self.netns)

    @property
    def sysfs(self) -> str:
        """Directory of the port."""
        return f"/sys/class/net/{self.name}"


Values = Mapping[str, Scalar]
"""Settings of one group, without the group's name."""


def onoff(value: Scalar) -> str:
    """As commands want it."""
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def group_of(key: str) -> str:
    """The word of GROUPS that a setting's name begins with."""
    return key.partition(".")[0]


def _each(command: Callable[[At, str, Scalar], None]) -> Callable[[At, Values], list[str]]:
    """A setter that sets one after the other, past those that fail."""

    def setter(at: At, values: Values) -> list[str]:
        failed = []
        for key, value in values.items():
            try:
                command(at, key, value)
            except KbenchError as error:
                failed.append(str(error))
        return failed

    return setter


def _ethtool(option: str) -> Callable[[At, Values], list[str]]:
    """A setter that gives all values to ethtool at once, and one by one if that fails."""

    def one(at: At, key: str, value: Scalar) -> None:
        at.run("ethtool", option, at.name, key, onoff(value))

    def setter(at: At, values: Values) -> list[str]:
        words = [word for key, value in values.items() for word in (key, onoff(value))]
        try:
            at.run("ethtool", option, at.name, *words)
        except KbenchError:
            return _each(one)(at, values)
        return []

    return setter


def _link(word: str) -> Callable[[At, Values], list[str]]:
    return _each(lambda at, _key, value: at.run("ip", "link", "set", "dev", at.name, word, onoff(value)))


def _file(name: str) -> Callable[[At, Values], list[str]]:
    return _each(lambda at, _key, value: at.write(f"{at.sysfs}/{name}", str(value)))


def _up(at: At, _key: str, value: Scalar) -> None:
    at.run("ip", "link", "set", "dev", at.name, "up" if value else "down")


def _mac(at: At, _key: str, value: Scalar) -> None:
    at.run("ip", "link", "set", "dev", at.name, "address", str(value))


def _sysctl(at: At, key: str, value: Scalar) -> None:
    family, kind, name = key.split(".", 2)
    at.write(f"/proc/sys/net/{family}/{kind}/{at.name}/{name}", str(value))


def _queue(at: At, key: str, value: Scalar) -> None:
    queue, name = key.split(".")
    at.write(f"{at.sysfs}/queues/{queue}/{name}", str(value))


def _irq(at: At, key: str, value: Scalar) -> None:
    number, name = key.split(".")
    at.shell.write_text(f"/proc/irq/{number}/{name}", f"{value}\n")


def _threaded(at: At, _key: str, value: Scalar) -> None:
    """The kernel refuses it while the port has no NAPI: veth has one only when it is up, with GRO (or XDP)."""
    try:
        at.write(f"{at.sysfs}/threaded", str(value))
    except KbenchError:
        at.run("ip", "link", "set", "dev", at.name, "up")
        at.run("ethtool", "-K", at.name, "generic-receive-offload", "on")
        at.write(f"{at.sysfs}/threaded", str(value))


def _rss(at: At, values: Values) -> list[str]:
    """Key and function as they are, the table in the words that ethtool has for it."""
    failed = []
    commands = []
    if "key" in values:
        commands.append(["hkey", str(values["key"])])
    if "function" in values:
        commands.append(["hfunc", str(values["function"])])
    table = str(values.get("table", ""))
    if table.startswith(("equal", "weight", "default")):
        commands.append(table.split())
    elif table:
        failed.append("ethtool has no words for this indirection table")
    for words in commands:
        try:
            at.run("ethtool", "-X", at.name, *words)
        except KbenchError as error:
            failed.append(str(error))
    return failed


def passage(name: str) -> str:
    """The namespace that a port passes through to be as if it had not been up; one that a kill left is known by it."""
    return f"kbench-passage-{name}"


def _qdisc(at: At, _key: str, value: Scalar) -> None:
    if value == NEVER_UP:
        at.run("sh", "-c", FORGET, "sh", at.name, passage(at.name))
    else:
        at.run("tc", "qdisc", "replace", "dev", at.name, "root", str(value))


SETTERS: dict[str, Callable[[At, Values], list[str]]] = {
    "mac": _each(_mac),
    "sysctl": _each(_sysctl),
    "mtu": _link("mtu"),
    "txqueuelen": _link("txqueuelen"),
    "channels": _ethtool("-L"),
    "rings": _ethtool("-G"),
    "features": _ethtool("-K"),
    "coalesce": _ethtool("-C"),
    "pause": _ethtool("-A"),
    "arp": _link("arp"),
    "multicast": _link("multicast"),
    "promisc": _link("promisc"),
    "allmulticast": _link("allmulticast"),
    "up": _each(_up),
    "rss": _rss,
    "queue": _each(_queue),
    "irq": _each(_irq),
    "threaded": _each(_threaded),
    "gro_flush_timeout": _file("gro_flush_timeout"),
    "napi_defer_hard_irqs": _file("napi_defer_hard_irqs"),
    "qdisc": _each(_qdisc),
}


def put(at: At, values: Values) -> dict[str, str]:
    """Set settings by their flat names. Returns what failed: group -> what the commands said.

    A port that is to be down goes down after all else: what is set while it is down some drivers forget, and the
    affinity of its interrupts is refused in silence.
    """
    failed: dict[str, str] = {}
    for group in GROUPS if values.get("up", True) else DOWN_LAST:
        mine = {
            key.partition(".")[2] or key: value for key, value in values.items() if group_of(key) == group
        }
        if mine:
            said = SETTERS[group](at, mine)
            if said:
                failed[group] = "; ".join(said)
    return failed


def translate_irqs(wanted: PortState, now: PortState) -> dict[str, str | None]:
    """Number of each interrupt then -> its number now (a driver may have got others), None when it has no heir."""
    by_name = {name: number for number, name in now.irq_names.items() if name}
    found: dict[str, str | None] = {}
    for number, name in wanted.irq_names.items():
        same = number in now.irq_names and (not name or now.irq_names[number] in ("", name))
        found[number] = by_name.get(name) or (number if same else None)
    return found


def difference(now: PortState, wanted: PortState) -> dict[str, tuple[Scalar, Scalar | None]]:
    """Settings of `wanted` that are otherwise now: name (interrupts by today's number) -> (wanted, is).

    What only shows while the port is up is not compared while it is down. Of a feature that is asked for and not
    active, what is asked for has to be the same too.
    """
    heirs = translate_irqs(wanted, now)
    found: dict[str, tuple[Scalar, Scalar | None]] = {}
    for key, value in wanted.settings.items():
        if key in wanted.only_up and not now.up:
            continue
        match = re.fullmatch(r"irq\.(\d+)\.(.*)", key)
        if match:
            heir = heirs.get(match[1])
            if heir is None:
                continue  # an interrupt that is no more has no affinity to put back
            key = f"irq.{heir}.{match[2]}"
        feature = key.removeprefix("features.")
        asked = wanted.requests.get(feature)
        if now.settings.get(key) != value or (asked is not None and now.requests.get(feature) != asked):
            found[key] = (value, now.settings.get(key))
    return found


def corrections(wrong: Mapping[str, tuple[Scalar, Scalar | None]], wanted: PortState) -> dict[str, Scalar]:
    """What to set so that the difference goes: of features, what was asked for."""
    found: dict[str, Scalar] = {}
    for key, (value, _is) in wrong.items():
        if key in DERIVED:
            continue
        feature = key.removeprefix("features.")
        found[key] = wanted.requests.get(feature, value) if key.startswith("features.") else value
    return found
