# SPDX-License-Identifier: GPL-2.0-only
"""The state of a port out of what its machine prints, and what differs between two states."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kbench.errors import MeasureError
from kbench.host.nic import parse, settings
from kbench.host.nic.find import Place, find
from kbench.host.nic.port import PortState, bus_device
from kbench.host.nic.settings import At, corrections, difference
from kbench.host.nic.state import build, sections
from kbench.host.shell import Completed

CAPTURES = Path(__file__).parent / "nic_captures"
"""Printed in the lab (Linux 6.12, ethtool 6.1), with fewer sysctls and interrupts."""


def captured(driver: str) -> PortState:
    said = sections((CAPTURES / f"{driver}.txt").read_text())
    return build(json.loads(said["link"]), said)


# --- Reading ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("driver", "facts"),
    [
        ("e1000e", {"name": "eth1", "bus": "0000:01:00.0", "pci": "0000:01:00.0", "bus_driver": "e1000e",
                    "firmware": "2.1-0", "permanent_mac": "52:54:00:00:01:01", "kind": "", "speed_mbps": None}),
        ("virtio_net", {"name": "eth3", "bus": "0000:00:05.0", "bus_driver": "virtio-pci", "firmware": "",
                        "driver_version": "1.0.0", "speed_mbps": None}),
        ("vmxnet3", {"name": "eth5", "bus": "0000:00:07.0", "bus_driver": "vmxnet3", "speed_mbps": 1000,
                     "duplex": "full", "driver_override": "(null)", "dev_port": 0}),
    ],
)  # fmt: skip
def test_what_a_port_is(driver: str, facts: dict[str, Any]) -> None:
    state = captured(driver)
    assert {key: getattr(state, key) for key in facts} == facts
    assert state.driver == driver


@pytest.mark.parametrize(
    ("driver", "has", "lacks"),
    [
        ("e1000e",
         {"rings.rx": 256, "rings.tx-push": False, "coalesce.rx-usecs": 3, "pause.autoneg": True, "pause.rx": True,
          "features.rx-vlan-offload": True, "irq.37.smp_affinity_list": "0-1", "queue.rx-0.rps_cpus": "0",
          "mtu": 1500, "up": True, "promisc": False, "txqueuelen": 1000, "threaded": 0,
          "sysctl.ipv6.conf.mtu": "1500", "sysctl.ipv4.neigh.gc_stale_time": "60"},
         ["channels.", "rss.", "rings.rx-mini", "coalesce.adaptive-rx", "features.large-receive-offload"]),
        ("virtio_net",
         {"channels.combined": 1, "coalesce.adaptive-rx": False, "coalesce.tx-frames": 1, "rings.rx": 256},
         ["channels.rx", "channels.other", "pause.", "rss.", "coalesce.adaptive-tx"]),
        ("vmxnet3",
         {"channels.combined": 2, "rings.rx-jumbo": 512, "rss.table": "equal 2", "rss.entries": 128,
          "rss.function": "toeplitz", "features.large-receive-offload": True, "queue.tx-1.xps_cpus": "0"},
         ["coalesce.", "pause.", "rss.key"]),
    ],
)  # fmt: skip
def test_settings_of_emulated_drivers(driver: str, has: dict[str, object], lacks: list[str]) -> None:
    """What a driver does not support is not there."""
    state = captured(driver)
    assert {key: state.settings.get(key) for key in has} == has
    assert [key for key in state.settings if key.startswith(tuple(lacks))] == []
    assert not any(key.startswith("sysctl.") for key in state.flat())
    assert PortState.from_json(json.loads(json.dumps(state.to_json()))) == state


def test_features() -> None:
    """Lines of a veth port; a group is no feature, and one that is off can be asked for."""
    text = (
        "Features for v0:\nrx-checksumming: on\ntx-checksumming: on\n\ttx-checksum-ipv4: off [fixed]\n"
        "\ttx-checksum-sctp: on\ntcp-segmentation-offload: off\n\ttx-tcp-segmentation: off [requested on]\n"
        "generic-receive-offload: off\nlarge-receive-offload: off [fixed]\n"
    )
    active, requests, fixed = parse.features(text)
    assert active == {
        "features.rx-checksumming": True,
        "features.tx-checksumming": True,
        "features.tx-checksum-sctp": True,
        "features.tcp-segmentation-offload": False,
        "features.tx-tcp-segmentation": False,
        "features.generic-receive-offload": False,
    }
    assert requests == {
        "rx-checksumming": True,
        "tx-checksum-sctp": True,
        "tx-tcp-segmentation": True,
        "generic-receive-offload": False,
    }
    assert fixed == {"tx-checksum-ipv4": False, "large-receive-offload": False}


COALESCE_MLX5 = """Coalesce parameters for eth2:
Adaptive RX: on  TX: off
stats-block-usecs: n/a
rx-usecs: 8
rx-frames: 128
rx-frame-low: 5
CQE mode RX: on  TX: off

"""
"""As an mlx5 port prints it; typed in."""


def test_coalesce_is_called_like_the_options() -> None:
    assert parse.coalesce(COALESCE_MLX5) == {
        "coalesce.adaptive-rx": True,
        "coalesce.adaptive-tx": False,
        "coalesce.rx-usecs": 8,
        "coalesce.rx-frames": 128,
        "coalesce.rx-frames-low": 5,
        "coalesce.cqe-mode-rx": True,
        "coalesce.cqe-mode-tx": False,
    }


def test_amounts_of_an_old_ethtool() -> None:
    """5.4 prints 0 where newer ones print n/a."""
    text = (
        "Channel parameters for eth0:\nPre-set maximums:\nRX:\t\t0\nTX:\t\t0\nOther:\t\t1\nCombined:\t63\n"
        "Current hardware settings:\nRX:\t\t0\nTX:\t\t0\nOther:\t\t1\nCombined:\t8\n"
    )
    current, limits = parse.amounts(text, "channels")
    assert current == {"channels.rx": 0, "channels.tx": 0, "channels.other": 1, "channels.combined": 8}
    assert limits == {"channels.rx": 0, "channels.tx": 0, "channels.other": 1, "channels.combined": 63}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ([0, 0, 0, 0], "equal 1"),
        ([0, 1, 2, 0, 1, 2, 0, 1], "equal 3"),
        ([0, 0, 0, 1], "weight 3 1"),
        ([2, 2, 3, 3], "weight 0 0 2 2"),
        ([1, 0, 1, 0], "1 0 1 0"),
    ],
)
def test_indirection_in_ethtool_s_words(table: list[int], words: str) -> None:
    assert parse.indirection(table) == words


def test_rss_key() -> None:
    text = (
        "RX flow hash indirection table for eth2 with 2 RX ring(s):\n    0:      0     1     0     1\n"
        "RSS hash key:\n6d:5a:56:da\nRSS hash function:\n    toeplitz: off\n    xor: on\n    crc32: off\n"
    )
    assert parse.rss(text) == {
        "rss.table": "equal 2",
        "rss.entries": 4,
        "rss.key": "6d:5a:56:da",
        "rss.function": "xor",
    }


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("2 RX rings available\nTotal 3 rules\n\nFilter: 1\n", 3),
        ("1 RX rings available\nrxclass: Cannot get RX class rule count: Operation not supported\n", 0),
    ],
)
def test_receive_rules_are_counted(text: str, count: int) -> None:
    assert parse.rule_count(text) == count


@pytest.mark.parametrize(
    ("device", "bus"),
    [
        ("/sys/devices/pci0000:00/0000:00:03.0/virtio2", "/sys/devices/pci0000:00/0000:00:03.0"),
        ("/sys/devices/pci0000:00/0000:00:03.0/0000:01:00.0", "/sys/devices/pci0000:00/0000:00:03.0/0000:01:00.0"),
        # Its controller is somebody else's.
        ("/sys/devices/pci0000:00/0000:00:14.0/usb2/2-1:1.0", "/sys/devices/pci0000:00/0000:00:14.0/usb2/2-1:1.0"),
        ("", ""),
    ],
)  # fmt: skip
def test_the_device_on_the_bus(device: str, bus: str) -> None:
    assert bus_device(device) == bus
    assert replace(captured("e1000e"), device=device).pci == (
        bus.rpartition("/")[2] if "usb" not in bus else ""
    )


def test_addresses_and_routes_that_do_not_come_back_by_themselves() -> None:
    said = sections((CAPTURES / "e1000e.txt").read_text())
    link = json.loads(said["link"])
    forever = 2**32 - 1
    v6 = {"family": "inet6", "prefixlen": 64, "valid_life_time": forever, "preferred_life_time": forever}
    link["addr_info"] = [
        {"family": "inet", "local": "192.0.2.1", "prefixlen": 24, "broadcast": "192.0.2.255", "scope": "global",
         "label": "eth1:1", "valid_life_time": 77, "preferred_life_time": 66},
        {"family": "inet", "local": "192.0.2.9", "address": "192.0.2.10", "prefixlen": 32, "scope": "global",
         "label": "eth1", "valid_life_time": forever, "preferred_life_time": forever},
        {**v6, "local": "2001:db8::1", "scope": "global", "noprefixroute": True},
        {**v6, "local": "2001:db8::77", "scope": "global", "dynamic": True},
        {**v6, "local": "fe80::1", "scope": "link"},
    ]  # fmt: skip
    said["routes4"] = (
        "unicast default via 192.0.2.254 table main proto dhcp scope global metric 100 \n"
        "unicast 192.0.2.0/24 table main proto kernel scope link src 192.0.2.1 \n"
        "unicast 203.0.113.0/24 table 7 proto boot scope link linkdown \n"
    )
    said["routes6"] = (
        "unicast default via fe80::9 table main proto ra metric 1024 expires 100sec pref medium\n"
        "unicast 2001:db8:1::/64 via 2001:db8::2 table main proto static metric 1024 pref medium\n"
    )
    said["neighbours"] = "192.0.2.2 lladdr 02:00:00:00:00:01 PERMANENT \n"
    state = build(link, said)
    assert state.addresses == (
        "192.0.2.1/24 scope global broadcast 192.0.2.255 label eth1:1 valid_lft 77 preferred_lft 66",
        "192.0.2.9 peer 192.0.2.10/32 scope global label eth1",
        "2001:db8::1/64 scope global noprefixroute",
    )
    assert state.routes == (
        "-4 unicast default via 192.0.2.254 table main proto dhcp scope global metric 100",
        "-4 unicast 203.0.113.0/24 table 7 proto boot scope link",
        "-6 unicast 2001:db8:1::/64 via 2001:db8::2 table main proto static metric 1024 pref medium",
    )
    assert state.neighbours == ("192.0.2.2 lladdr 02:00:00:00:00:01 nud permanent",)
    said["files"] = said["files"].replace("addr_gen_mode:0", "addr_gen_mode:1")
    assert "fe80::1/64 scope link" in build(link, said).addresses


@pytest.mark.parametrize(
    ("xdp", "found"),
    [
        ({}, ()),
        ({"mode": 1, "prog": {"id": 15}}, (("xdpdrv", 15),)),
        ({"mode": 4, "attached": [{"mode": 2, "prog": {"id": 9}}, {"mode": 1, "prog": {"id": 15}}]},
         (("xdpdrv", 15), ("xdpgeneric", 9))),
    ],
)  # fmt: skip
def test_xdp_programs(xdp: dict[str, Any], found: tuple[tuple[str, int], ...]) -> None:
    said = sections((CAPTURES / "vmxnet3.txt").read_text())
    assert build({**json.loads(said["link"]), "xdp": xdp}, said).xdp == found


# --- Differences ------------------------------------------------------------------------------------------------


def changed(state: PortState, **values: Any) -> PortState:
    return replace(state, settings={**state.settings, **{k.replace("__", "."): v for k, v in values.items()}})


def test_no_difference() -> None:
    state = captured("vmxnet3")
    assert difference(state, state) == {}
    assert difference(replace(state, ifindex=99, speed_mbps=None), state) == {}


def test_differences_and_what_to_set() -> None:
    was = captured("e1000e")
    now = changed(was, mtu=9000, rings__rx=4096, pause__rx=False)
    wrong = difference(now, was)
    assert wrong == {"mtu": (1500, 9000), "rings.rx": (256, 4096), "pause.rx": (True, False)}
    assert corrections(wrong, was) == {"mtu": 1500, "rings.rx": 256, "pause.rx": True}


def test_a_setting_that_went_is_a_difference() -> None:
    was = captured("e1000e")
    now = replace(was, settings={k: v for k, v in was.settings.items() if k != "threaded"})
    assert difference(now, was) == {"threaded": (0, None)}


def test_a_feature_that_was_asked_for_and_not_active() -> None:
    """Both must be as before: what is set is what was asked for."""
    was = captured("e1000e")
    key = "features.tx-tcp-segmentation"
    was = replace(
        changed(was, features__tx_tcp=False),
        settings={**was.settings, key: False},
        requests={**was.requests, "tx-tcp-segmentation": True},
    )
    now = replace(was, requests={**was.requests, "tx-tcp-segmentation": False})
    wrong = difference(now, was)
    assert wrong == {key: (False, False)}
    assert corrections(wrong, was) == {key: True}


def test_groups_of_features_are_not_set_themselves() -> None:
    was = captured("e1000e")
    now = changed(was, **{"features__tx-checksumming": False, "features__tx-checksum-ip-generic": False})
    wrong = difference(now, was)
    assert set(wrong) == {"features.tx-checksumming", "features.tx-checksum-ip-generic"}
    assert corrections(wrong, was) == {"features.tx-checksum-ip-generic": True}


@pytest.mark.parametrize(
    ("irqs", "wrong"),
    [
        # The driver got other interrupts for its queues: known by their names.
        ({"50": "eth1-rx-0", "51": "eth1-tx-0", "52": "eth1"}, {"irq.50.smp_affinity_list": ("0-1", "1")}),
        # The same numbers without names (the port is down).
        ({"37": "", "38": "", "39": ""}, {"irq.37.smp_affinity_list": ("0-1", "1")}),
        # Gone, as of a queue that is no more.
        ({"38": "eth1-tx-0", "39": "eth1"}, {}),
        # The number is now another one's.
        ({"37": "eth1-event", "38": "eth1-tx-0", "39": "eth1"}, {}),
    ],
)
def test_interrupts_that_changed_their_numbers(irqs: dict[str, str], wrong: dict[str, object]) -> None:
    was = captured("e1000e")
    assert was.irq_names == {"37": "eth1-rx-0", "38": "eth1-tx-0", "39": "eth1"}
    others = {k: v for k, v in was.settings.items() if not k.startswith("irq.")}
    first = next(iter(irqs))
    affinity = {
        f"irq.{n}.smp_affinity_list": "1" if n in (first, "37") and n != "38" else "0-1" for n in irqs
    }
    now = replace(was, irq_names=irqs, settings={**others, **affinity})
    assert difference(now, was) == wrong


def test_what_shows_only_while_the_port_is_up() -> None:
    """vmxnet3 says nothing of RSS while it is down; put back, it is compared when it is up."""
    up = captured("vmxnet3")
    hidden = ("rss.table", "rss.entries", "rss.function")
    down = replace(
        up, settings={**{k: v for k, v in up.settings.items() if k not in hidden}, "up": False}, irq_names={}
    )
    whole = down.with_shown(up)
    assert set(whole.only_up) == set(hidden) and whole.settings["rss.table"] == "equal 2"
    assert whole.up is False and whole.irq_names == up.irq_names
    assert difference(down, whole) == {}
    now = changed(up, rss__table="equal 1")
    assert difference(now, whole) == {"rss.table": ("equal 2", "equal 1"), "up": (False, True)}
    assert PortState.from_json(json.loads(json.dumps(whole.to_json()))) == whole


# --- Setting ----------------------------------------------------------------------------------------------------


class FakeShell:
    """Notes commands and writes; refuses those that begin like `refused`."""

    def __init__(self, refused: tuple[str, ...] = (), answers: dict[str | None, str] | None = None) -> None:
        self.did: list[str] = []
        self._refused = refused
        self._answers = answers or {}

    def run(self, argv: Any, *, netns: str | None = None, check: bool = True, **_: Any) -> Completed:
        if argv[0] == "sh":
            return Completed(self._answers.get(netns, "[]\n"), "", 0)
        line = " ".join(argv)
        self.did.append(line)
        if line.startswith(self._refused) and self._refused:
            raise MeasureError(f"{line}: no")
        return Completed("", "", 0)

    def read_text(self, path: str, *, netns: str | None = None) -> str:
        raise MeasureError(path)

    def write_text(self, path: str, text: str, *, netns: str | None = None) -> None:
        self.did.append(f"{netns or '-'} {path} = {text.strip()}")

    def exists(self, path: str, *, netns: str | None = None) -> bool:
        return False

    def list_dir(self, path: str, *, netns: str | None = None) -> list[str]:
        return sorted(name for name in self._answers if name)


ALL = {
    "irq.38.smp_affinity_list": "1",
    "threaded": 1,
    "queue.rx-0.rps_cpus": "0",
    "rss.table": "equal 2",
    "up": True,
    "features.rx-vlan-offload": False,
    "features.large-receive-offload": True,
    "channels.combined": 2,
    "mtu": 1500,
    "rings.rx": 512,
    "pause.autoneg": False,
    "coalesce.adaptive-rx": False,
    "promisc": True,
    "sysctl.ipv6.conf.addr_gen_mode": "1",
}


def test_settings_are_set_in_an_order_that_works() -> None:
    shell = FakeShell()
    assert settings.put(At(shell, "eth1", "space"), ALL) == {}
    assert shell.did == [
        "space /proc/sys/net/ipv6/conf/eth1/addr_gen_mode = 1",
        "ip link set dev eth1 mtu 1500",
        "ethtool -L eth1 combined 2",
        "ethtool -G eth1 rx 512",
        "ethtool -K eth1 rx-vlan-offload off large-receive-offload on",
        "ethtool -C eth1 adaptive-rx off",
        "ethtool -A eth1 autoneg off",
        "ip link set dev eth1 promisc on",
        "ip link set dev eth1 up",
        "ethtool -X eth1 equal 2",
        "space /sys/class/net/eth1/queues/rx-0/rps_cpus = 0",
        "- /proc/irq/38/smp_affinity_list = 1",
        "space /sys/class/net/eth1/threaded = 1",
    ]


def test_a_port_goes_down_last() -> None:
    shell = FakeShell()
    settings.put(At(shell, "eth1", None), {**ALL, "up": False})
    assert shell.did[-1] == "ip link set dev eth1 down"
    assert "- /proc/irq/38/smp_affinity_list = 1" in shell.did


def test_one_refusal_does_not_keep_the_others_from_being_set() -> None:
    shell = FakeShell(refused=("ethtool -K eth1 rx-vlan-offload",))
    failed = settings.put(At(shell, "eth1", None), ALL)
    assert failed == {"features": "ethtool -K eth1 rx-vlan-offload off: no"}
    assert "ethtool -K eth1 large-receive-offload on" in shell.did
    assert shell.did[-1] == "- /sys/class/net/eth1/threaded = 1"


# --- Finding ----------------------------------------------------------------------------------------------------


def seen(*links: dict[str, Any], devices: dict[str, str] | None = None) -> str:
    lines = [f"{name} 0 {device}" for name, device in (devices or {}).items()]
    return "\n".join([json.dumps(list(links)), *lines, ""])


def link(name: str, ifindex: int = 9, mac: str = "52:54:00:00:01:01", kind: str = "") -> dict[str, Any]:
    info = {"linkinfo": {"info_kind": kind}} if kind else {}
    return {"ifname": name, "ifindex": ifindex, "address": mac, **info}


E1000E = "/sys/devices/pci0000:00/0000:00:03.0/0000:01:00.0"


@pytest.mark.parametrize(
    ("answers", "place"),
    [
        ({None: seen(link("eth1"), devices={"eth1": E1000E})}, Place(None, "eth1")),
        # Another port has its name by now.
        ({None: seen(link("eth1"), link("x"), devices={"eth1": E1000E[:-1] + "1", "x": E1000E})}, Place(None, "x")),
        ({None: seen(), "space": seen(link("other"), devices={"other": E1000E})}, Place("space", "other")),
        # The slot moved with the bridge above it, or the adapter to another one: its own address tells.
        ({None: seen(link("eth7"), devices={"eth7": "/sys/devices/pci0000:00/0000:05:00.0"})}, Place(None, "eth7")),
        ({None: seen(link("eth1", mac="02::"), devices={"eth1": "/sys/devices/pci0000:00/0000:05:00.0"})}, None),
        # A virtual port with its name and MAC address is not it.
        ({None: seen(link("eth1", ifindex=4, kind="veth"))}, None),
    ],
)  # fmt: skip
def test_a_port_is_found_by_what_can_not_change(answers: dict[str | None, str], place: Place | None) -> None:
    assert find(FakeShell(answers=answers), captured("e1000e")) == place


@pytest.mark.parametrize(
    ("there", "same"),
    [
        (link("v0", 9, kind="veth"), True),
        (link("v0", 12, kind="veth"), True),
        (link("renamed", 9, kind="veth"), True),
        (link("v0", 9, mac="02::", kind="veth"), True),
        (link("v0", 12, mac="02::", kind="veth"), False),
        (link("renamed", 12, kind="veth"), False),
        (link("v0", 9, kind="macvlan"), False),
    ],
)
def test_virtual_ports_are_known_by_two_of_three(there: dict[str, Any], same: bool) -> None:
    was = replace(captured("e1000e"), name="v0", ifindex=9, device="", kind="veth", permanent_mac="")
    found = find(FakeShell(answers={None: seen(), "space": seen(there)}), was)
    assert found == (Place("space", there["ifname"]) if same else None)
