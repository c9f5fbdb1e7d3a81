# SPDX-License-Identifier: GPL-2.0-only
"""Ports of real drivers lent, set to a profile, and put back: what the tools say is as before, byte for byte."""

from __future__ import annotations

import re
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from kbench.host.lab import LabHost, Parts
from kbench.host.lab_nics import LabNics
from kbench.host.nic.irqs import queue_irqs
from kbench.host.nic.lend import Lent, has_carrier, lend
from kbench.host.nic.profile import DEFAULT, Applied, apply
from kbench.host.nic.state import read_state

SPACE = "kbench-lent"
PORTS = {"e1000e": "eth1", "virtio-net": "eth3", "vmxnet3": "eth5"}
LOOK = """
/sbin/ip -details link show dev $1
for o in k l g c a ${2:+x}; do ethtool -$o $1 2>&1; done  # once it was up, vmxnet3 says more of RSS
s=/sys/class/net/$1
grep -Hs '' $s/queues/*/*_cpus $s/queues/*/*_cnt $s/threaded /proc/sys/net/ipv?/conf/$1/*
cd -P $s/device/driver && pwd -P
d=$s/device; [ -d $d/msi_irqs ] || d=$d/..
[ "$2" ] && for i in $(ls $d/msi_irqs); do
    sed -n "s/^ *$i:.*edge *//p" /proc/interrupts; cat /proc/irq/$i/smp_affinity_list
done
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Generator[LabHost, None, None]:
    parts = Parts.prepare("6.12", lambda *_: None, need_module=False)
    logs: Path = tmp_path_factory.mktemp("lab")
    nics = LabNics(models=["e1000e", "virtio-net", "vmxnet3"])
    with LabHost.boot(parts, mode="fast", log_dir=logs, progress=lambda *_: None, nics=nics) as lab:
        lab.run(["ip", "netns", "add", SPACE])
        yield lab
        lab.finish()


def sh(lab: LabHost, script: str, netns: str | None = None) -> str:
    return lab.run(["sh", "-ec", script], netns=netns).stdout


def everything(lab: LabHost, port: str, *, was_up: bool = True) -> str:
    """What the tools say about a port, but for its number; of one that was never up not what shows when it is."""
    done = lab.run(["sh", "-c", LOOK, "sh", port, "yes" if was_up else ""], check=False, timeout_s=60.0)
    return re.sub(r"^\d+: ", "", done.stdout)


def back(lab: LabHost, port: str) -> str:
    """`everything` of a port that is up, once it has negotiated."""
    deadline = time.monotonic() + 30.0
    while not has_carrier(lab, port):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return everything(lab, port)


def use(lab: LabHost, port: str) -> tuple[Lent, Applied]:
    """Lend a port, set it to the default profile, and change what that leaves."""
    lent = lend(lab, None, port, SPACE)
    done = apply(lab, lent, DEFAULT, [1])
    assert done.during["up"] is True and not done.irqbalance
    assert done.during["features.generic-receive-offload"] is True
    assert done.receive_irqs
    for number in done.receive_irqs:
        assert done.during[f"irq.{number}.smp_affinity_list"] == "1"
    sh(
        lab,
        f"""
        /sbin/ip link set dev {port} mtu 1400 promisc on txqueuelen 77
        ethtool -G {port} rx 128 || true
        ethtool -C {port} rx-usecs 20 || true
        ethtool -K {port} generic-receive-offload off
        echo 1 > /sys/class/net/{port}/queues/rx-0/rps_cpus
        """,
        SPACE,
    )
    return lent, done


def test_up_with_settings_of_somebody(lab: LabHost) -> None:
    """e1000e: an interrupt's affinity, a ring's size and an offload that its user chose."""
    port = PORTS["e1000e"]
    sh(
        lab,
        f"/sbin/ip link set dev {port} up; ethtool -G {port} rx 512; ethtool -K {port} rx-vlan-offload off",
    )
    irqs = queue_irqs(read_state(lab, port).irq_names, port)
    assert len(irqs.receive) == len(irqs.transmit) == 1
    lab.write_text(f"/proc/irq/{irqs.receive[0]}/smp_affinity_list", "0\n")
    before = back(lab, port)
    lent, _ = use(lab, port)
    assert lent.state.settings["rings.rx"] == 512
    did = lent.give_back()
    assert back(lab, port) == before
    assert "moved home" in did[0] and "rings.rx" in did[0]


def test_a_namespace_that_is_deleted_sends_the_port_home(lab: LabHost) -> None:
    port = PORTS["e1000e"]
    before = back(lab, port)
    lent, _ = use(lab, port)
    lab.run(["ip", "netns", "delete", SPACE])
    try:
        lent.give_back()
    finally:
        lab.run(["ip", "netns", "add", SPACE])
    assert back(lab, port) == before


def test_a_driver_that_was_taken_away_is_bound_again(lab: LabHost) -> None:
    """As after DPDK; with the driver the port gets new interrupts, and its defaults."""
    port = PORTS["e1000e"]
    before = back(lab, port)
    lent, _ = use(lab, port)
    here = f"/sys/bus/pci/devices/{lent.state.pci}"
    sh(lab, f"echo {lent.state.pci} > {here}/driver/unbind; echo vfio-pci > {here}/driver_override")
    assert not lab.exists(f"{here}/driver")
    lent.give_back()
    assert back(lab, port) == before
    assert lab.read_text(f"{here}/driver_override") == "(null)\n"


@pytest.mark.parametrize("model", ["virtio-net", "vmxnet3"])
def test_never_up(lab: LabHost, model: str) -> None:
    """A port that is down says nothing of its interrupts (vmxnet3: of RSS), and has no queueing discipline."""
    port = PORTS[model]
    before = everything(lab, port, was_up=False)
    assert "qdisc noop" in before
    lent, done = use(lab, port)
    assert lent.state.up is False
    if model == "vmxnet3":
        assert (done.before["rss.table"], done.during["rss.table"]) == ("equal 2", "equal 1")
    lent.give_back()
    assert everything(lab, port, was_up=False) == before
    sh(lab, f"/sbin/ip link set dev {port} up")
    up = read_state(lab, port)
    assert {key: up.settings[key] for key in lent.state.only_up} == {
        key: lent.state.settings[key] for key in lent.state.only_up
    }
    assert len(lent.state.only_up) > 0 or model == "virtio-net"
