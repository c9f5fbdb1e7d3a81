# SPDX-License-Identifier: GPL-2.0-only
"""Each loss made to happen on purpose, in a trial of the product's own: found under its name, to the packet.

Not made here: what takes a NIC, a backlog of its own (its limit is the machine's), a kernel out of memory (rx_memory,
memory) or a port that goes away (xdp_aborted).
"""

from __future__ import annotations

import itertools
import json
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kbench.host.base import Host
from kbench.measure.bench import Bench, Benches
from kbench.measure.datapaths import DATAPATHS
from kbench.measure.datapaths.af_packet import AfPacket
from kbench.measure.datapaths.base import Datapath, Options
from kbench.measure.generators.base import Generator, Load, Offered
from kbench.measure.generators.xdp import XdpLiveFrames
from kbench.measure.losses import PLACES
from kbench.measure.observe import Setting
from kbench.measure.prepare import Prepared, prepare
from kbench.measure.testbeds.base import Port, Testbed, cpus_for
from kbench.measure.testbeds.veth import VethTestbed
from kbench.measure.trial import run_trial
from kbench.model import Case, Counters, Placement

_numbers = itertools.count()

SEND = """
import json, socket, sys, time
port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
port.bind((sys.argv[1], 0))
first = time.monotonic_ns()
for _ in range(int(sys.argv[3])):
    port.send(bytes.fromhex(sys.argv[2]))
print(json.dumps([first, time.monotonic_ns()]))
"""


class OneFrame(Generator):
    """Sends one frame again and again, whatever it is; the real ones make valid frames only."""

    name = "frame"

    def __init__(self, frame: bytes) -> None:
        super().__init__()
        self.frame = frame

    def offer(self, testbed: Testbed, port: Port, traffic: str, frame_bytes: int, load: Load) -> Offered:
        argv = ["nsenter", f"--net=/run/netns/{port.netns}", sys.executable, "-c", SEND, port.name]
        argv += [self.frame.hex(), str(load.count)]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
        first, last = json.loads(done.stdout)
        return Offered(load.count, 0, first, last, last - first, {})


class Stopped(XdpLiveFrames):
    """Stops a userspace datapath for as long as it offers."""

    def offer(self, testbed: Testbed, port: Port, traffic: str, frame_bytes: int, load: Load) -> Offered:
        process = StoppableAfPacket.running
        process.signal(signal.SIGSTOP)
        try:
            return super().offer(testbed, port, traffic, frame_bytes, load)
        finally:
            process.signal(signal.SIGCONT)


class StoppableAfPacket(AfPacket):
    """With a ring of four packets."""

    running: Any

    def arguments(self) -> list[str]:
        return ["--ring", "v2", "--block-bytes", "4096", "--blocks", "2"]

    def attach(self, work: Any) -> None:
        super().attach(work)
        type(self).running = self._process


class TinySendBuffer(AfPacket):
    """With the smallest send buffer that the kernel grants: a few packets."""

    def arguments(self) -> list[str]:
        return [*super().arguments(), "--send-buffer-bytes", "1"]


class Stand:
    """A bench with one datapath, and what belongs to it."""

    def __init__(self, bench: Bench, prepared: Prepared) -> None:
        self.bench, self.prepared = bench, prepared

    def ip(self, *words: str) -> None:
        """An ip command in the DUT's namespace."""
        self.bench.host.run(["ip", *words], netns=self.bench.testbed.rx.netns)

    def tc(self, *words: str) -> None:
        """A queueing discipline for the DUT's outgoing port."""
        argv = ["tc", "qdisc", "replace", "dev", self.bench.testbed.tx.name, "root", *words]
        self.bench.host.run(argv, netns=self.bench.testbed.tx.netns)

    def offer(self, count: int, generator: Generator | None = None) -> Counters:
        """The ledger of one trial, which must be closed to the packet."""
        with generator or XdpLiveFrames() as made:
            setting = Setting("host", "functional", self.prepared.case, made, self.prepared.traffic)
            trial = run_trial(self.bench, setting, Load(None, 60.0, count), purpose="account", round_=0)
        counters = trial.counters
        assert trial.valid, trial.problems
        assert counters.offered == count == counters.handled + counters.lost
        assert counters.unexplained == 0, counters
        assert set(counters.lost_by) <= set(PLACES)
        return counters


Make = Callable[..., Stand]


@pytest.fixture
def stand(local_host: Host, tmp_path: Path) -> Iterator[Make]:
    """Makes a stand: stand("xdp", case, placement)."""
    with Benches() as benches:

        def make(
            datapath: str | type[Datapath], case: Case | None = None, placement: Placement = "same"
        ) -> Stand:
            kind = DATAPATHS[datapath] if isinstance(datapath, str) else datapath
            bed = VethTestbed(local_host, f"kbQ{next(_numbers)}", placement, cpus_for(placement, 2), None)
            prepared = prepare(case or Case("forward"), local_host, str(tmp_path), bed.image_ports)
            return Stand(benches.add(kind.name, bed, kind, Options(), prepared.work), prepared)

        yield make


@contextmanager
def sink_starved(stand: Stand) -> Iterator[None]:
    """The sink's port polls in a thread that has to wait for the generator's CPU."""
    bench = stand.bench
    port = bench.testbed.sink
    bench.start_sink("count")
    bench.host.write_text(f"/sys/class/net/{port.name}/threaded", "1", netns=port.netns)
    argv = [bench.host.program("kb-pin"), "--comm", f"napi/{port.name}-", "--cpu", "0"]
    bench.host.run(argv, netns=port.netns)
    yield


# --- On the way in ----------------------------------------------------------------------------------------------


def test_veth_rx_ring(stand: Make) -> None:
    # The generator makes frames several times as fast as the kernel forwards them on another CPU.
    counters = stand("kernel", placement="split").offer(100_000)
    assert counters.lost_by["veth_rx_ring"] > 10_000
    assert counters.lost == counters.lost_by["veth_rx_ring"]


def test_socket_ring(stand: Make) -> None:
    counters = stand(StoppableAfPacket).offer(1000, Stopped())
    assert counters.lost_by == {"socket_ring": 996}
    assert counters.forwarded == 4


# --- What the function, or the kernel, drops for a reason --------------------------------------------------------


@pytest.mark.parametrize("datapath", ["xdp", "af_packet"])
def test_policy(stand: Make, datapath: str) -> None:
    counters = stand(datapath, Case("filter", rules=10, match_share=0.5)).offer(1600)
    assert (counters.dropped, counters.forwarded, counters.lost) == ({"policy": 800}, 800, 0)


@pytest.mark.parametrize("datapath", ["xdp", "af_packet", "kernel"])
def test_no_route(stand: Make, datapath: str) -> None:
    counters = stand(datapath, Case("forward", routes=10, match_share=0.5)).offer(1600)
    assert (counters.dropped, counters.forwarded, counters.lost) == ({"no_route": 800}, 800, 0)


def ipv4(frame: bytes, *, ttl: int = 64, fragment: int = 0, payload: int = 0, checksum_off: int = 0) -> bytes:
    """A UDP frame with these fields of its IPv4 header changed; `checksum_off` makes its checksum wrong."""
    head, body = bytearray(frame[14:34]), frame[34:] + bytes(payload)
    struct.pack_into("!H", head, 2, len(head) + len(body))
    struct.pack_into("!HBBH", head, 6, fragment, ttl, head[9], 0)
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into("!H", head, 10, ~(total + (total >> 16)) & 0xFFFF ^ checksum_off)
    return frame[:14] + bytes(head) + body


@pytest.mark.parametrize("datapath", ["xdp", "af_packet", "kernel"])
def test_checksum(stand: Make, datapath: str) -> None:
    made = stand(datapath)
    frame = ipv4(made.prepared.marker, checksum_off=1)
    assert made.offer(100, OneFrame(frame)).dropped == {"checksum": 100}


@pytest.mark.parametrize(("datapath", "reason"), [("xdp", "ttl"), ("af_packet", "ttl"), ("kernel", "header")])
def test_ttl(stand: Make, datapath: str, reason: str) -> None:
    made = stand(datapath)
    assert made.offer(100, OneFrame(ipv4(made.prepared.marker, ttl=1))).dropped == {reason: 100}


# --- On the way out ---------------------------------------------------------------------------------------------

DONT_FRAGMENT = 0x4000


@pytest.mark.parametrize(
    ("datapath", "place"), [("af_packet", "too_big"), ("kernel", "too_big"), ("xdp", "xdp_redirect")]
)
def test_too_big(stand: Make, datapath: str, place: str) -> None:
    made = stand(datapath)
    made.ip("link", "set", made.bench.testbed.tx.name, "mtu", "500")
    frame = ipv4(made.prepared.marker, fragment=DONT_FRAGMENT, payload=600)
    assert made.offer(100, OneFrame(frame)).lost_by == {place: 100}


@pytest.mark.parametrize(("datapath", "place"), [("xdp", "xdp_redirect"), ("af_packet", "tx")])
def test_port_down(stand: Make, datapath: str, place: str) -> None:
    made = stand(datapath)
    made.bench.start_sink("count")
    made.ip("link", "set", made.bench.testbed.tx.name, "down")
    assert made.offer(1000).lost_by == {place: 1000}


def test_socket_buffer(stand: Make) -> None:
    # A frame of 60 bytes leaves every 30 ms, longer than the program waits for room in its socket's buffer.
    made = stand(TinySendBuffer)
    made.tc("tbf", "rate", "16kbit", "burst", "1600", "limit", "1000000")
    counters = made.offer(60)
    assert set(counters.lost_by) == {"socket_buffer"}
    assert 0 < counters.lost < 60


@pytest.mark.parametrize("datapath", ["kernel", "af_packet"])
def test_qdisc(stand: Make, datapath: str) -> None:
    made = stand(datapath)
    made.tc("tbf", "rate", "16kbit", "burst", "1600", "limit", "1")
    counters = made.offer(100)
    assert set(counters.lost_by) == {"qdisc"}
    assert counters.lost > 0


@pytest.mark.parametrize("datapath", ["kernel", "xdp"])
def test_tx_port(stand: Make, datapath: str) -> None:
    made = stand(datapath)
    with sink_starved(made):
        counters = made.offer(100_000)
    assert set(counters.lost_by) == {"tx_port"}
