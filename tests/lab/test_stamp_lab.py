# SPDX-License-Identifier: GPL-2.0-only
"""kb-stamp on adapters that claim hardware time stamps: told to stamp, put back, not believed blindly.

QEMU's 82574L (e1000e) takes the configuration like the real one and then stamps nothing, which is what a
claim that is not kept looks like. Its 82576 (igb) stamps what it sends; what it receives, only if it is PTP over
Ethernet, which can't be routed. So no stamp of a received packet is read from the hardware's place here.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kbench.errors import EnvironmentProblem
from kbench.host import qemu
from kbench.host.base import Process
from kbench.host.lab import LabHost, LabNics, Parts
from kbench.host.nic.clocks import choose, port_clock
from kbench.measure.stamping import Stamper, choose_clock
from kbench.measure.testbeds.base import Port
from tests.xdp_bed import traffic_file

OFF = {"tx_type": 0, "rx_filter": 0}
TX_ON = 1
FILTER_ALL = 1
TRAFFIC = "/tmp/flows.bin"


def boot(logs: Path, nics: LabNics) -> Iterator[LabHost]:
    """A lab whose ports are up, and the traffic file in it."""
    parts = Parts.prepare("6.12", lambda _text: None, need_module=False)
    with LabHost.boot(parts, mode="fast", log_dir=logs, progress=lambda _text: None, nics=nics) as booted:
        for name in booted.ports:
            # Its own packets would be counted.
            booted.write_text(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "1")
            # Frames are addressed to no port of the guest.
            booted.run(["ip", "link", "set", name, "up", "promisc", "on"])
        booted.put(TRAFFIC, traffic_file([("198.18.0.2", "198.19.0.2", 1024, 1279, 9)]))
        yield booted
        booted.check()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    """eth1 is cabled to eth2, eth3 to itself."""
    yield from boot(tmp_path_factory.mktemp("lab"), LabNics(model="e1000e", pairs=1, plugs=1))


@pytest.fixture(scope="module")
def igb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    """eth1 is cabled to itself."""
    try:
        qemu.find_newer_qemu(lambda _text: None)
    except EnvironmentProblem as problem:
        pytest.skip(f"no newer QEMU: {problem}")
    yield from boot(tmp_path_factory.mktemp("igb"), LabNics(model="igb", plugs=1))


def bed(lab: LabHost, out: str, into: str) -> Any:
    """What `Stamper` needs of a testbed."""
    ports = [
        Port(name, None, lab.read_text(f"/sys/class/net/{name}/address").strip()) for name in (out, into)
    ]
    return SimpleNamespace(tester=lab, generator=ports[0], sink=ports[1])


def hardware(lab: LabHost) -> list[str]:
    """kb-stamp, all but its ports; until it is ended."""
    argv = [lab.program("kb-stamp"), "--traffic", TRAFFIC, "--frame-bytes", "128"]
    return [*argv, "--clock", "hardware", "--duration-ms", "0"]


def start(lab: LabHost, out: str, into: str) -> Process:
    """kb-stamp between two ports."""
    return lab.start([*hardware(lab), "--out", out, "--in", into])


def test_what_the_driver_claims(lab: LabHost) -> None:
    one, two, plug = (port_clock(lab, name) for name in ("eth1", "eth2", "eth3"))
    assert one.fact()["hardware"] is True and one.rx_filter == "all"
    assert len({one.phc, two.phc, plug.phc}) == 3
    pair = choose(one, two)
    assert pair.kind == "software" and "different hardware clocks" in pair.why
    assert choose(plug, plug).kind == "hardware"
    assert port_clock(lab, "eth0").fact()["why"] == "eth0 has no hardware clock"


@pytest.mark.parametrize(("out", "into"), [("eth1", "eth2"), ("eth3", "eth3")])
def test_by_the_kernels_clock(lab: LabHost, out: str, into: str) -> None:
    seen = Stamper(bed(lab, out, into), TRAFFIC, 128, clock="software", rate_pps=200).run(300)
    assert seen.received == seen.sent > 0 == seen.backwards
    assert seen.latency["count"] > 0 and seen.latency["min_ns"] > 0


def test_past_a_sink_without_native_xdp(lab: LabHost) -> None:
    sinks = ["--if", "eth2", "--mode", "count", "--xdp", "auto", "--pass-stamped"]
    sink = lab.start([lab.program("kb-sink"), *sinks])
    with Stamper(bed(lab, "eth1", "eth2"), TRAFFIC, 128, clock="software", rate_pps=200) as stamper:
        time.sleep(0.2)
    arrived = sink.stop()
    assert arrived is not None and arrived["packets"] == 0
    assert stamper.counted.received == stamper.counted.sent > 0
    assert stamper.result() is not None


def test_a_claim_that_is_not_kept_is_not_believed(lab: LabHost) -> None:
    seen = Stamper(bed(lab, "eth3", "eth3"), TRAFFIC, 128, rate_pps=200).run(200)
    # A stamp of the kernel is never taken for one of the hardware.
    assert seen.received == seen.sent == seen.without_tx_stamp == seen.without_rx_stamp > 0
    assert seen.latency["count"] == 0
    choice = choose_clock(bed(lab, "eth3", "eth3"), TRAFFIC, 128)
    assert choice.kind == "software"
    assert choice.why.startswith("eth3 claims hardware time stamps, but ")


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize(("out", "into"), [("eth1", "eth2"), ("eth3", "eth3")])
def test_adapters_are_put_back(lab: LabHost, out: str, into: str, end: signal.Signals) -> None:
    first = start(lab, out, into)
    assert (first.ready["out_before"], first.ready["in_before"]) == (OFF, OFF)
    second = start(lab, out, into)
    assert second.ready["out_before"]["tx_type"] == TX_ON
    assert second.ready["in_before"]["rx_filter"] == FILTER_ALL
    second.stop()
    first.signal(end)
    first.wait(20.0, check=False)
    # After SIGKILL, what puts them back is a process of its own.
    deadline = time.monotonic() + 20.0
    while lab.run(["/bin/busybox", "pidof", "kb-stamp"], check=False).code == 0:
        assert time.monotonic() < deadline
    third = start(lab, out, into)
    assert (third.ready["out_before"], third.ready["in_before"]) == (OFF, OFF)
    third.stop()


def test_stamps_of_sent_packets_come_from_the_hardware(igb: LabHost) -> None:
    clock = port_clock(igb, "eth1")
    claimed = choose(clock, clock)
    assert (claimed.kind, claimed.rx_filter) == ("hardware", "ptp")
    seen = Stamper(bed(igb, "eth1", "eth1"), TRAFFIC, 128, rate_pps=100).run(500)
    assert seen.received == seen.sent == seen.without_rx_stamp > 0
    # The adapter holds one stamp at a time: a slow guest that has not fetched it yet misses the next.
    assert seen.without_tx_stamp < seen.sent
    choice = choose_clock(bed(igb, "eth1", "eth1"), TRAFFIC, 128)
    assert choice.kind == "software" and choice.why.startswith("eth1 claims hardware time stamps, but ")
    refused = igb.run([*hardware(igb), "--out", "eth1", "--in", "eth1"], check=False)
    assert refused.code == 3 and "eth1: the adapter stamps no received packets" in refused.stderr
