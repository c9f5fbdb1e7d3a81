# SPDX-License-Identifier: GPL-2.0-only
"""The rules by which a port is refused: each looks at a `Machine` and says at most one thing about a port."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from kbench.host.nic.guard_facts import PEERED, Elsewhere, Json, Machine, plain_address

SHOWN = 3
"""Addresses, peers, ... that a sentence names before it only counts."""

MASTERS = {
    "bridge": "bridge",
    "bond": "bond",
    "team": "team",
    "vrf": "VRF",
    "openvswitch": "Open vSwitch datapath",
    "hsr": "HSR ring",
    "batadv": "B.A.T.M.A.N. mesh",
}
"""Kinds of links that take ports as members, as their users call them."""

XDP_MODES = {1: "native", 2: "generic", 3: "offloaded", 4: "several"}
"""XDP_ATTACHED_* of include/uapi/linux/if_link.h."""

OTHER_PORT = "choose another port"
OVERRIDE = "or --i-know if you do"


@dataclass(frozen=True)
class Objection:
    """Why a port is refused. `why` is a clause about the port: "it carries ...". `absolute`: --i-know doesn't help."""

    port: str
    rule: str
    why: str
    what_to_do: str = f"{OTHER_PORT}, {OVERRIDE}"
    absolute: bool = False


def _some(items: Iterable[str]) -> str:
    """At most SHOWN of them, and how many more there are."""
    unique = list(dict.fromkeys(items))
    more = f" and {len(unique) - SHOWN} more" if len(unique) > SHOWN else ""
    return ", ".join(unique[:SHOWN]) + more


def _through(port: str, carrier: str) -> str:
    return "" if carrier == port else f" through {carrier}"


# What it is ------------------------------------------------------------------------------------------


def absent(machine: Machine, port: str) -> Objection | None:
    """There is no such port here; says where it is instead, if it can be found."""
    if port in machine.links:
        return None
    what = f"choose one of {', '.join(x for x in machine.links if x != 'lo')}"
    for name, link in machine.links.items():
        if port in link.get("altnames", ()):
            return Objection(port, "absent", f"it is another name of {name}", f"use {name}", absolute=True)
    for place in machine.elsewhere:
        for link in place.links:
            if link["name"] == port and link["kind"] not in PEERED:
                if place.name.startswith("kbench-"):
                    what = "wait for the run that has it, or `kbench restore` if it was killed"
                else:
                    what = OTHER_PORT
                return Objection(port, "absent", f"it is in {place}", what, absolute=True)
    return Objection(port, "absent", "there is no such port", what, absolute=True)


def loopback(machine: Machine, port: str) -> Objection | None:
    """The loopback device has no wire, and can't leave its namespace."""
    if machine.links[port].get("link_type") != "loopback":
        return None
    return Objection(port, "loopback", "it is the loopback device", OTHER_PORT, absolute=True)


def kind(machine: Machine, port: str) -> Objection | None:
    """A link that is no port: made of others, or no Ethernet."""
    own = machine.kind(port)
    what = MASTERS.get(own, own)
    if own in PEERED or (not own and port not in machine.wireless and _is_ethernet(machine, port)):
        return None
    if port in machine.wireless:
        what = "wireless port"
    elif not own:
        what = f"port of type {machine.links[port].get('link_type', 'unknown')}, not Ethernet"
    lower = machine.lower(port)
    on = f" on {lower}" if lower else ""
    article = "an" if what[:1] in "aeioO" else "a"
    return Objection(port, "kind", f"it is {article} {what}{on}, no port of its own")


def _is_ethernet(machine: Machine, port: str) -> bool:
    return machine.links[port].get("link_type") == "ether"


# What goes through it ----------------------------------------------------------------------------------


def session(machine: Machine, port: str, addresses: Sequence[str]) -> Objection | None:
    """The connection by which this run is controlled ends at it or leaves by it."""
    carriers = machine.carriers(port)
    own = {plain_address(entry["local"]): x for x in carriers for entry in _addresses(machine, x)}
    for address in map(plain_address, addresses):
        carrier = own.get(address) or machine.ways.get(address, "")
        if carrier in carriers:
            why = f"the session that controls this run goes{_through(port, carrier)} over it ({address})"
            what = f"{OTHER_PORT}; nothing overrides this"
            return Objection(port, "session", why, what, absolute=True)
    return None


def default_route(machine: Machine, port: str) -> Objection | None:
    """A default route of any table leaves by it."""
    for carrier in machine.carriers(port):
        for route in machine.routes:
            if route["dst"] in ("default", "0.0.0.0/0", "::/0") and carrier in _ports_of(route):
                table = f", table {route['table']}" if route.get("table", "main") != "main" else ""
                by = _gateway(route, carrier)
                why = f"it carries the default route{_through(port, carrier)} ({by}{table})"
                return Objection(port, "default-route", why)
    return None


def _ports_of(route: Json) -> list[str]:
    return [str(hop["dev"]) for hop in [route, *route.get("nexthops", [])] if "dev" in hop]


def _gateway(route: Json, carrier: str) -> str:
    for hop in [route, *route.get("nexthops", [])]:
        if hop.get("dev") == carrier:
            return str(hop.get("gateway") or hop.get("via", {}).get("host") or "no gateway")
    return "no gateway"


def _addresses(machine: Machine, port: str) -> list[Json]:
    return [entry for entry in machine.addresses.get(port, ()) if "local" in entry]


def _is_automatic(entry: Json) -> bool:
    """Whether the kernel itself gave the port this address: each gets an IPv6 link-local one when it comes up.

    It says so since Linux 5.18 (commit 47f0bd503210). Before, one that is made of a MAC (RFC 4291, appendix A) is told
    by its shape; the MAC need not be the port's any more.
    """
    if entry.get("family") != "inet6" or entry.get("scope") != "link":
        return False
    shape = ipaddress.IPv6Address(entry["local"]).packed[11:13]
    return bool(entry.get("protocol") == "kernel_ll" or entry.get("stable-privacy") or shape == b"\xff\xfe")


def address(machine: Machine, port: str) -> Objection | None:
    """It has an address that somebody gave it."""
    for carrier in machine.carriers(port):
        own = [
            f"{entry['local']}/{entry['prefixlen']}"
            for entry in _addresses(machine, carrier)
            if not _is_automatic(entry)
        ]
        if own:
            noun = "the address" if len(own) == 1 else "the addresses"
            return Objection(port, "address", f"it has {noun} {_some(own)}{_through(port, carrier)}")
    return None


def route(machine: Machine, port: str) -> Objection | None:
    """A route that somebody set leaves by it. Those to the port's own addresses are the kernel's."""
    for carrier in machine.carriers(port):
        found = [
            str(route["dst"])
            for route in machine.routes
            if carrier in _ports_of(route)
            and route.get("protocol") != "kernel"
            and route["dst"] not in ("default", "0.0.0.0/0", "::/0")
        ]
        if found:
            noun = "the route" if len(found) == 1 else "routes"
            return Objection(port, "route", f"it carries {noun} to {_some(found)}{_through(port, carrier)}")
    return None


def connection(machine: Machine, port: str) -> Objection | None:
    """An established connection has its address, or goes out by it."""
    carriers = machine.carriers(port)
    own = {plain_address(entry["local"]) for x in carriers for entry in _addresses(machine, x)}
    found = [
        f"{x.protocol} with {x.remote} port {x.remote_port}"
        for x in machine.connections
        if x.local in own or machine.ways.get(x.remote) in carriers
    ]
    if not found:
        return None
    noun = "an established connection goes" if len(found) == 1 else "established connections go"
    return Objection(port, "connection", f"{noun} over it ({_some(found)})")


# What it belongs to ------------------------------------------------------------------------------------


def member(machine: Machine, port: str) -> Objection | None:
    """It belongs to a bridge, bond, team, VRF or Open vSwitch."""
    master = machine.links[port].get("master")
    if not master:
        return None
    own = machine.kind(master) if master in machine.links else ""
    return Objection(port, "member", f"it belongs to the {MASTERS.get(own, own)} {master}".replace("  ", " "))


def lower(machine: Machine, port: str) -> Objection | None:
    """Others are made on it: VLANs, macvlans, tunnels, here or in another namespace."""
    index = machine.links[port]["ifindex"]
    found = [f"{machine.kind(x)} {x}" for x in machine.links if machine.lower(x) == port]
    found += [
        f"{link['kind']} {link['name']} in {place}" for place, link in _on(machine, index, peered=False)
    ]
    if not found:
        return None
    return Objection(port, "lower", f"{_some(found)} {'is' if len(found) == 1 else 'are'} made on it")


def _on(machine: Machine, index: int, *, peered: bool) -> list[tuple[Elsewhere, Json]]:
    return [
        (place, link)
        for place in machine.elsewhere
        for link in place.links
        if link["on"] == index and (link["kind"] in PEERED) == peered
    ]


def container(machine: Machine, port: str) -> Objection | None:
    """It is the outer end of a cable into another namespace, as containers have one."""
    link = machine.links[port]
    if machine.kind(port) not in PEERED or machine.peer(port):
        return None
    found = _on(machine, link["ifindex"], peered=True)
    where = f"{found[0][1]['name']} in {found[0][0]}" if found else "in another network namespace"
    return Objection(port, "container", f"it is a container's cable: its other end is {where}")


def functions(machine: Machine, port: str) -> Objection | None:
    """Virtual functions are split off it, which guests may use."""
    count = machine.virtual_functions.get(port, 0)
    if not count:
        return None
    noun = "1 SR-IOV virtual function is" if count == 1 else f"{count} SR-IOV virtual functions are"
    return Objection(port, "functions", f"{noun} enabled on it")


# Who has attached something ------------------------------------------------------------------------------


def xdp(machine: Machine, port: str) -> Objection | None:
    """Somebody's XDP program is attached."""
    attached = machine.links[port].get("xdp")
    if not attached:
        return None
    mode = XDP_MODES.get(attached.get("mode", 0), "unknown")
    each = attached.get("attached") or [attached]
    ids = [_program(x["prog"].get("id", 0), x["prog"].get("name", "")) for x in each if "prog" in x]
    return Objection(port, "xdp", f"somebody's XDP program is attached to it ({mode}, {_some(ids)})")


def _program(number: int, name: str) -> str:
    return f"program {number}" + (f" {name}" if name else "")


def traffic_control(machine: Machine, port: str) -> Objection | None:
    """A qdisc that somebody set, with its filters, or a tcx or netkit program."""
    index = machine.links[port]["ifindex"]
    programs = [
        f"{x['hook']} {_program(x['id'], x['name'])}"
        for x in machine.claims.get("programs", ())
        if x["index"] == index
    ]
    filters = [
        f"tc {x['hook']} filter {x['kind']}" + (f" {_program(x['id'], x['name'])}" if x["id"] else "")
        for x in machine.claims.get("filters", ())
        if x["index"] == index
    ]
    qdiscs = [f"qdisc {x['kind']}" for x in machine.claims.get("qdiscs", ()) if x["index"] == index]
    found = programs + filters + qdiscs
    if not found:
        return None
    return Objection(port, "tc", f"somebody has set traffic control on it ({_some(found)})")


def nftables(machine: Machine, port: str) -> Objection | None:
    """A chain or flowtable of nftables hooks into it, which the kernel would take away with the port, for good."""
    found = [
        f"{x['what']} {x['name']} of table {x['table']}"
        for x in machine.claims.get("nftables", ())
        if x["port"] == port
    ]
    if not found:
        return None
    return Objection(port, "nftables", f"nftables handles its packets ({_some(found)})")


def sockets(machine: Machine, port: str) -> Objection | None:
    """A packet or AF_XDP socket is bound to it."""
    index = machine.links[port]["ifindex"]
    found = [
        f"{x['kind']} socket of {x['process'] or 'a process'}" + (f", process {x['pid']}" if x["pid"] else "")
        for x in machine.claims.get("sockets", ())
        if x["index"] == index
    ]
    if not found:
        return None
    return Objection(port, "socket", f"somebody listens at it ({_some(found)})")


RULES: tuple[Callable[[Machine, str], Objection | None], ...] = (
    default_route,
    address,
    route,
    connection,
    member,
    lower,
    container,
    functions,
    xdp,
    traffic_control,
    nftables,
    sockets,
    kind,
)
"""Those that a port which is there, and isn't the loopback device, has to pass beside `session`."""
