# SPDX-License-Identifier: GPL-2.0-only
"""Reads the state of a port: two programs on its machine, whatever the number of settings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from kbench.errors import EnvironmentProblem, MeasureError
from kbench.host.nic import irqs, parse
from kbench.host.nic.find import IP
from kbench.host.nic.port import PortState, Scalar
from kbench.host.shell import Shell

__all__ = ["PortState", "Scalar", "read_state"]

NO_PORT, NO_ETHTOOL = 44, 45
COLLECT = (
    IP
    + r"""
n=$1 s=/sys/class/net/$1
[ -d "$s" ] || exit 44
command -v ethtool >/dev/null || exit 45
d=$(cd -P "$s/device" 2>/dev/null && pwd -P)
p=$d
case ${d##*/} in virtio*) p=${d%/*} ;; esac
drv=$(cd -P "$p/driver" 2>/dev/null && pwd -P)
echo "@device"; echo "$d"
echo "@bus_driver"; [ -n "$p" ] && echo "${drv##*/}"
exec 2>/dev/null
echo "@files"
grep -Hs '' "$s/dev_port" "$s/speed" "$s/duplex" "$s/threaded" "$s/gro_flush_timeout" \
    "$s/napi_defer_hard_irqs" "$s"/queues/*/rps_cpus "$s"/queues/*/rps_flow_cnt \
    "$s"/queues/*/xps_cpus "$s"/queues/*/xps_rxqs \
    /proc/sys/net/ipv[46]/conf/"$n"/* /proc/sys/net/ipv[46]/neigh/"$n"/*
[ -n "$p" ] && grep -Hs '' "$p/driver_override" "$p/irq"
for i in "$p"/msi_irqs/*; do
    [ -e "$i" ] && echo "msi:${i##*/}"
done
[ -n "$p" ] && grep -Hs '' /proc/irq/*/smp_affinity_list
for o in i k l g c a x n P; do
    echo "@ethtool-$o"; ethtool -"$o" "$n"
done
echo "@interrupts"; [ -n "$p" ] && cat /proc/interrupts
echo "@routes4"; $ip -4 -details route show table all dev "$n"
echo "@routes6"; $ip -6 -details route show table all dev "$n"
echo "@neighbours"; $ip neighbour show dev "$n" nud permanent
exit 0
"""
)
"""One program for all, since each takes a round trip to a machine behind ssh. Not `read` for the sysctls: shells read
byte by byte, and of a sysctl only the first read gives anything."""

XDP_MODES = {1: "xdpdrv", 2: "xdpgeneric", 3: "xdpoffload"}
"""XDP_ATTACHED_* of if_link.h, as `ip link set` calls them."""
ADDR_GEN_NONE = "1"
"""IN6_ADDR_GEN_MODE_NONE: the kernel makes no link-local address, so one that is there was set."""
_COMES_BACK = re.compile(r"\bproto (?:kernel|ra)\b|\bexpires\b")
"""Routes that the kernel makes itself when addresses are set or routers advertise."""
_STATE_WORDS = re.compile(r"\b(?:dead|linkdown|offload|trap|rt_offload|rt_trap)\b")


def read_state(shell: Shell, name: str, netns: str | None = None) -> PortState:
    """The state of the port `name` of a machine, in the namespace.

    Raises EnvironmentProblem when there is no such port, or ip or ethtool is missing.
    """
    link = _link(shell, name, netns)
    done = shell.run(["sh", "-c", COLLECT, "sh", name], netns=netns, check=False, timeout_s=60.0)
    if done.code == NO_PORT:
        raise EnvironmentProblem(f"there is no port {name}")
    if done.code == NO_ETHTOOL:
        raise EnvironmentProblem(f"can't read the settings of {name}: install ethtool")
    if done.code:
        raise MeasureError(f"can't read the settings of {name}: {done.stderr.strip()}")
    return build(link, sections(done.stdout))


def _link(shell: Shell, name: str, netns: str | None) -> dict[str, Any]:
    command = ["ip", "-json", "-details", "address", "show", "dev", name]
    done = shell.run(command, netns=netns, check=False)
    if done.code:
        raise EnvironmentProblem(f"there is no port {name}: {done.stderr.strip()}")
    try:
        found = [item for item in json.loads(done.stdout) if item]  # older iproute2 prints {} for the others
        return dict(found[0])
    except (ValueError, IndexError) as error:
        raise MeasureError(f"{' '.join(command)} printed no JSON: {error}") from error


def sections(text: str) -> dict[str, str]:
    """What COLLECT printed, by the names in it."""
    parts = re.split(r"^@(\S+)\n", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def build(link: dict[str, Any], said: dict[str, str]) -> PortState:
    """The state from ``ip -json -details address show dev X`` and COLLECT's sections."""
    name = str(link["ifname"])
    files, msi = _files(said["files"])
    device = said["device"].strip()
    info = parse.driver_info(said["ethtool-i"])
    settings, facts = _file_settings(files, name)
    channels, channel_limits = parse.amounts(said["ethtool-l"], "channels")
    rings, ring_limits = parse.amounts(said["ethtool-g"], "rings")
    active, requests, fixed = parse.features(said["ethtool-k"])
    irq_names = {} if not device else _irq_names(said["interrupts"], msi or [facts.get("irq", "0")])
    settings |= _link_settings(link) | channels | rings | active
    settings |= parse.coalesce(said["ethtool-c"]) | parse.pause(said["ethtool-a"])
    settings |= parse.rss(said["ethtool-x"])
    settings |= {
        f"irq.{number}.smp_affinity_list": files[path]
        for number in irq_names
        if (path := f"/proc/irq/{number}/smp_affinity_list") in files
    }
    speed = facts.get("speed", "")
    by_hand = settings.get("sysctl.ipv6.conf.addr_gen_mode") == ADDR_GEN_NONE
    state = PortState(
        name=name,
        altnames=tuple(link.get("altnames", ())),
        ifindex=int(link["ifindex"]),
        device=device,
        dev_port=int(facts.get("dev_port", "0")),
        bus_driver=said["bus_driver"].strip(),
        driver_override=facts.get("driver_override", "(null)"),
        driver=info.get("driver", ""),
        driver_version=info.get("version", ""),
        firmware=info.get("firmware-version", ""),
        kind=str(link.get("linkinfo", {}).get("info_kind", "")),
        permanent_mac=_permanent_mac(said["ethtool-P"]),
        speed_mbps=int(speed) if speed.isdigit() and int(speed) else None,
        duplex=facts.get("duplex", ""),
        ntuple_rules=parse.rule_count(said["ethtool-n"]),
        master=str(link.get("master", "")),
        xdp=_xdp(link.get("xdp", {})),
        settings=settings,
        limits=channel_limits | ring_limits,
        requests=requests,
        fixed=fixed,
        irq_names=irq_names,
    )
    return replace(
        state,
        addresses=tuple(_addresses(link.get("addr_info", []), link_local=by_hand)),
        routes=(*_routes("-4", said["routes4"]), *_routes("-6", said["routes6"])),
        neighbours=tuple(
            line.replace("PERMANENT", "nud permanent").strip() for line in said["neighbours"].splitlines()
        ),
    )


def _files(text: str) -> tuple[dict[str, str], list[str]]:
    """(path -> content, numbers of the device's message-signalled interrupts)."""
    found: dict[str, str] = {}
    msi: list[str] = []
    for line in text.splitlines():
        path, colon, content = _split(line)
        if path == "msi":
            msi.append(content)
        elif colon and path not in found:
            found[path] = content
    return found, sorted(msi, key=int)


def _split(line: str) -> tuple[str, str, str]:
    """grep's ``path:content``; a PCI address in the path has colons as well."""
    match = re.match(r"(.*/(?:driver_override|irq)):(.*)$", line)
    return (match[1], ":", match[2]) if match else line.partition(":")


def _file_settings(files: dict[str, str], name: str) -> tuple[dict[str, Scalar], dict[str, str]]:
    """(settings, facts) of the files of /sys and /proc/sys."""
    settings: dict[str, Scalar] = {}
    facts: dict[str, str] = {}
    for path, content in files.items():
        base = path.rpartition("/")[2]
        queue = re.search(r"/queues/([rt]x-\d+)/", path)
        sysctl = re.match(r"/proc/sys/net/(ipv[46])/(conf|neigh)/", path)
        if queue:
            settings[f"queue.{queue[1]}.{base}"] = content
        elif sysctl:
            settings[f"sysctl.{sysctl[1]}.{sysctl[2]}.{base}"] = content
        elif base in ("threaded", "gro_flush_timeout", "napi_defer_hard_irqs"):
            settings[base] = int(content) if content.isdigit() else content
        elif not path.startswith("/proc/irq/"):
            facts[base] = content
    return settings, facts


def _link_settings(link: dict[str, Any]) -> dict[str, Scalar]:
    # These flags are what somebody asked for: a packet socket in promiscuous mode does not show in them.
    flags = link["flags"]
    return {
        "up": "UP" in flags,
        "promisc": "PROMISC" in flags,
        "allmulticast": "ALLMULTI" in flags,
        "multicast": "MULTICAST" in flags,
        "arp": "NOARP" not in flags,
        "mac": str(link["address"]),
        "mtu": int(link["mtu"]),
        "txqueuelen": int(link.get("txqlen", 0)),
        "qdisc": str(link.get("qdisc", "")),
    }


def _irq_names(interrupts: str, numbers: Iterable[str]) -> dict[str, str]:
    named = irqs.names(interrupts)
    return {number: named.get(int(number), "") for number in numbers if number != "0"}


def _permanent_mac(text: str) -> str:
    match = re.search(r"((?:[0-9a-f]{2}:){5}[0-9a-f]{2})", text)
    return match[1] if match and match[1] != "00:00:00:00:00:00" else ""


def _xdp(xdp: dict[str, Any]) -> tuple[tuple[str, int], ...]:
    attached = xdp.get("attached") or ([xdp] if "prog" in xdp else [])
    return tuple(sorted((XDP_MODES[item["mode"]], int(item["prog"]["id"])) for item in attached))


def _addresses(items: list[dict[str, Any]], *, link_local: bool) -> Iterable[str]:
    """Addresses that somebody set; those that the kernel or a router's advertisement makes come by themselves."""
    forever = 2**32 - 1
    for item in items:
        inet6 = item["family"] == "inet6"
        if inet6 and (item.get("dynamic") or item.get("temporary")):
            continue
        if inet6 and item.get("scope") == "link" and not link_local:
            continue
        peer = ["peer", f"{item['address']}/{item['prefixlen']}"] if "address" in item else []
        local = item["local"] if peer else f"{item['local']}/{item['prefixlen']}"
        words = [local, *peer, "scope", str(item.get("scope", "global"))]
        if "broadcast" in item:
            words += ["broadcast", item["broadcast"]]
        if "label" in item:
            words += ["label", item["label"]]
        if item.get("metric"):
            words += ["metric", str(item["metric"])]
        if item.get("valid_life_time", forever) != forever:
            words += ["valid_lft", str(item["valid_life_time"])]
            words += ["preferred_lft", str(item["preferred_life_time"])]
        words += [flag for flag in ("noprefixroute", "nodad") if item.get(flag)]
        yield " ".join(words)


def _routes(family: str, text: str) -> Iterable[str]:
    for line in re.sub(r"\n\s+", " ", text).splitlines():
        if not _COMES_BACK.search(line):
            yield " ".join([family, *_STATE_WORDS.sub("", line).split()])
