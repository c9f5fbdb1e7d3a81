# SPDX-License-Identifier: GPL-2.0-only
"""kb-stamp over veth, by the kernel's stamps: packets beside a load, the sink that passes them, refusals."""

from __future__ import annotations

import ctypes
import signal
import socket
import struct
import time
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kbench.errors import EnvironmentProblem
from kbench.host.local import LocalHost
from kbench.measure.stamping import Stamper, choose_clock
from kbench.measure.testbeds.base import Port
from kbench.model import Case, Histogram
from tests.host.test_xdp_program import write_case
from tests.xdp_bed import GEN_MAC, SINK_MAC, Bed, Program, run, traffic_file

MAGIC = 0x5453424B
CLONE_NEWNET = 0x40000000
V4 = ("198.18.0.2", "198.19.0.2", 1024, 1026, 9)
V6 = ("2001:db8::2", "2001:db8:1::2", 2000, 2001, 4242)


@pytest.fixture(scope="module")
def topology(bin_dir: Path) -> Generator[Bed, None, None]:
    made = Bed(bin_dir, prefix="kbXs-")
    yield made
    made.down()


@pytest.fixture
def bed(topology: Bed) -> Generator[Bed, None, None]:
    yield topology
    topology.kill_programs()


@pytest.fixture
def traffic(tmp_path: Path) -> Path:
    path = tmp_path / "flows.bin"
    path.write_bytes(traffic_file([V4]))
    return path


def arguments(bed: Bed, traffic: Path, port: str, netns: str, frame_bytes: int = 64) -> list[str]:
    return [
        *("--out", "g0", "--in", port, "--in-netns", netns, "--traffic", str(traffic)),
        *("--frame-bytes", str(frame_bytes), "--clock", "software"),
    ]


def start(
    bed: Bed, traffic: Path, port: str, netns: str, *, rate_pps: int, duration_ms: int, frame_bytes: int = 64
) -> Program:
    argv = arguments(bed, traffic, port, netns, frame_bytes)
    return bed.start(
        bed.gen, "kb-stamp", *argv, "--rate-pps", str(rate_pps), "--duration-ms", str(duration_ms)
    )


def check(counters: dict[str, Any]) -> Histogram:
    """What holds for any run; the histogram."""
    raw = counters["latency"]
    histogram = Histogram(raw["sub_bits"], dict(raw["buckets"]), raw["count"], raw["min_ns"], raw["max_ns"])
    assert counters["clock"] == "software"
    assert counters["sent"] > 0 == counters["failed"] == counters["duplicates"] == counters["backwards"]
    assert counters["received"] <= counters["sent"]
    # The kernel begins to stamp a moment after it was told to, so the first ones may have none.
    missing = counters["without_tx_stamp"] + counters["without_rx_stamp"]
    assert counters["received"] - missing <= histogram.count <= counters["received"]
    assert sum(histogram.buckets.values()) == histogram.count
    if histogram.count:
        assert (
            0 < histogram.min_ns <= (histogram.percentile_ns(50) or 0) * 33 / 32 and histogram.max_ns < 1e10
        )
    return histogram


def test_beside_a_load_nothing_is_lost_or_counted_twice(bed: Bed, tmp_path: Path) -> None:
    image, flows = write_case(tmp_path, Case("forward"))
    sink = bed.start(bed.sink, "kb-sink", "--if", "s0", "--mode", "latency", "--pass-stamped")
    datapath = bed.start_datapath("kb-xdp", "forward", image)
    stamper = start(bed, flows, "s0", bed.sink, rate_pps=2000, duration_ms=400)
    offered = bed.start_offer(flows, "--timestamp", rate_pps=20_000, duration_ms=300).finish()
    own = stamper.finish()
    arrived, did = sink.stop(), datapath.stop()
    assert (offered["failed"], arrived["packets"], arrived["unstamped"]) == (0, offered["sent"], 0)
    assert own["received"] == own["sent"]
    assert did["received"] == did["forwarded"] == offered["sent"] + own["sent"]
    # Half the mean is the least interval.
    assert 0 < own["sent"] <= 2000 * 0.4 * 2 + 1
    assert check(own).count > 0


def test_a_sink_that_was_not_told_takes_them_away(bed: Bed, traffic: Path) -> None:
    sink = bed.start(bed.dut, "kb-sink", "--if", "d0", "--mode", "latency")
    own = start(bed, traffic, "d0", bed.dut, rate_pps=1000, duration_ms=50).finish()
    arrived = sink.stop()
    assert (own["received"], arrived["packets"], arrived["unstamped"]) == (0, own["sent"], own["sent"])
    assert check(own).count == 0


@pytest.mark.parametrize("mode", ["count", "stamp", "latency"])
def test_the_sink_passes_only_what_is_marked(bed: Bed, traffic: Path, mode: str) -> None:
    """Packets of the generator carry a time, or 0, where the mark would stand."""
    sink = bed.start(bed.dut, "kb-sink", "--if", "d0", "--mode", mode, "--pass-stamped")
    own = start(bed, traffic, "d0", bed.dut, rate_pps=2000, duration_ms=50).finish()
    plain = bed.start_offer(traffic, count=1000).finish()
    timed = bed.start_offer(traffic, "--timestamp", count=1000).finish()
    assert own["received"] == own["sent"] > 0
    assert sink.stop()["packets"] == plain["sent"] + timed["sent"] == 2000


def test_what_the_datapath_drops_is_not_received(bed: Bed, tmp_path: Path) -> None:
    image, flows = write_case(tmp_path, Case("forward", routes=100, match_share=0.5))
    bed.start(bed.sink, "kb-sink", "--if", "s0", "--mode", "count", "--pass-stamped")
    datapath = bed.start_datapath("kb-xdp", "forward", image)
    own = start(bed, flows, "s0", bed.sink, rate_pps=5000, duration_ms=100).finish()
    did = datapath.stop()
    assert did["received"] == own["sent"]
    assert did["dropped"]["no_route"] == own["sent"] - own["received"]
    assert 0 < own["received"] < own["sent"]
    check(own)


def captured(sock: socket.socket, count: int) -> list[bytes]:
    sock.settimeout(10.0)
    return [sock.recv(2048) for _ in range(count)]


def listener(netns: str, name: str) -> socket.socket:
    """A packet socket in another namespace: it stays there."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as here, open(f"/run/netns/{netns}") as there:
        assert libc.setns(there.fileno(), CLONE_NEWNET) == 0
        try:
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            sock.bind((name, 0))
        finally:
            assert libc.setns(here.fileno(), CLONE_NEWNET) == 0
    return sock


def ones_complement(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@pytest.mark.parametrize(("group", "frame_bytes"), [(V4, 64), (V6, 78), (V6, 1518)])
def test_frames_are_the_flows_and_carry_the_mark(
    bed: Bed, tmp_path: Path, group: tuple[str, str, int, int, int], frame_bytes: int
) -> None:
    flows = tmp_path / "flows.bin"
    flows.write_bytes(traffic_file([group]))
    with listener(bed.dut, "d0") as sock:
        own = start(
            bed, flows, "d0", bed.dut, rate_pps=1000, duration_ms=30, frame_bytes=frame_bytes
        ).finish()
        frames = captured(sock, own["sent"])
    src, _dst, low, high, dport = group
    six = ":" in src
    payload = 62 if six else 42
    marks = set()
    for number, frame in enumerate(frames):
        assert len(frame) == frame_bytes - 4
        assert frame[6:12].hex(":") == GEN_MAC
        number_of_run, magic, sequence = struct.unpack_from("<III", frame, payload)
        marks.add((number_of_run, magic))
        assert sequence == number
        ports = struct.unpack_from("!HH", frame, payload - 8)
        assert ports == (low + number % (high - low + 1), dport)
        if six:
            pseudo = frame[22:54] + struct.pack("!II", len(frame) - 54, socket.IPPROTO_UDP)
            udp = frame[54:] + b"\0" * (len(frame) % 2)
            assert ones_complement(pseudo + udp) == 0xFFFF
        else:
            assert ones_complement(frame[14:34]) == 0xFFFF
    assert len(marks) == 1 and marks.pop()[1] == MAGIC


def test_frames_that_look_like_ptp(bed: Bed, tmp_path: Path) -> None:
    """To an adapter: Sync messages (0) of version 2 to the port for events (IEEE 1588-2008, annex D)."""
    flows = tmp_path / "flows.bin"
    flows.write_bytes(traffic_file([V4, V6]))
    bed.start(bed.dut, "kb-sink", "--if", "d0", "--mode", "count", "--pass-stamped")
    with listener(bed.dut, "d0") as sock:
        argv = [*arguments(bed, flows, "d0", bed.dut, 128), "--rx-filter", "ptp", "--duration-ms", "20"]
        own = bed.start(bed.gen, "kb-stamp", *argv).finish()
        frames = captured(sock, own["sent"])
    assert own["received"] == own["sent"] == len(frames) > 1
    check(own)
    for number, frame in enumerate(frames):
        payload = 62 if number % 2 else 42
        assert struct.unpack_from("!H", frame, payload - 6) == (319,)
        assert frame[payload : payload + 2] == b"\x00\x02"
        if number % 2:
            pseudo = frame[22:54] + struct.pack("!II", len(frame) - 54, socket.IPPROTO_UDP)
            assert ones_complement(pseudo + frame[54:]) == 0xFFFF


def test_signals(bed: Bed, traffic: Path) -> None:
    bed.start(bed.dut, "kb-sink", "--if", "d0", "--mode", "count", "--pass-stamped")
    stamper = start(bed, traffic, "d0", bed.dut, rate_pps=1000, duration_ms=0)
    while stamper.counters()["sent"] < 5:
        time.sleep(0.005)
    stamper.reset()
    while not (between := stamper.counters())["sent"]:
        time.sleep(0.001)
    assert between["sent"] < 1000
    last = stamper.stop()
    assert last["received"] == last["sent"] >= between["sent"]
    check(last)


def test_killed_it_leaves_nothing(bed: Bed, traffic: Path) -> None:
    stamper = start(bed, traffic, "d0", bed.dut, rate_pps=1000, duration_ms=0)
    stamper.signal(signal.SIGKILL)
    stamper.process.wait(timeout=10)
    assert not list(Path("/proc").glob(f"{stamper.process.pid}/stat"))


@pytest.mark.parametrize(
    ("fault", "cure"),
    [
        (("ip", "link", "set", "g0", "down"), ("ip", "link", "set", "g0", "up")),
        # Takes nothing, and says so: the packet had been counted by then.
        (
            ("tc", "qdisc", "add", "dev", "g0", "root", "pfifo", "limit", "0"),
            ("tc", "qdisc", "del", "dev", "g0", "root"),
        ),
    ],
    ids=["down", "refuses"],
)
def test_a_port_that_takes_nothing_for_a_while(
    bed: Bed, traffic: Path, fault: tuple[str, ...], cure: tuple[str, ...]
) -> None:
    bed.start(bed.dut, "kb-sink", "--if", "d0", "--mode", "count", "--pass-stamped")
    stamper = start(bed, traffic, "d0", bed.dut, rate_pps=2000, duration_ms=0)
    run(fault[0], "-n", bed.gen, *fault[1:])
    try:
        while not stamper.counters()["failed"]:
            time.sleep(0.01)
    finally:
        run(cure[0], "-n", bed.gen, *cure[1:])
    stamper.reset()
    while stamper.counters()["received"] < 10:
        time.sleep(0.01)
    last = stamper.stop()
    # Each stamp is still that of its own packet.
    assert last["backwards"] == 0
    assert last["latency"]["count"] >= last["received"] - last["without_rx_stamp"] - last["without_tx_stamp"]
    assert last["latency"]["min_ns"] > 0 and last["latency"]["max_ns"] < 1e10


@pytest.mark.parametrize(
    ("change", "code", "why"),
    [
        ({"--clock": None}, 2, "--clock"),
        ({"--clock": "sundial"}, 2, "sundial"),
        ({"--in": "nope0"}, 2, "nope0"),
        ({"--in-netns": "kbXs-nowhere"}, 2, "kbXs-nowhere"),
        ({"--in-netns": "../kbXs-dut"}, 2, "is no name of a namespace"),
        ({"--rate-pps": "0"}, 2, "--rate-pps"),
        ({"--rx-filter": "some"}, 2, "--rx-filter"),
        ({"--frame-bytes": "63"}, 2, "--frame-bytes"),
        ({"--clock": "hardware"}, 3, "g0: the adapter stamps no sent packets"),
    ],
)
def test_refusals(bed: Bed, traffic: Path, change: dict[str, str | None], code: int, why: str) -> None:
    argv = arguments(bed, traffic, "d0", bed.dut)
    options: dict[str, str | None] = dict(zip(argv[::2], argv[1::2], strict=True)) | change
    words = [word for key, value in options.items() if value is not None for word in (key, value)]
    got, stderr = bed.refused(bed.gen, "kb-stamp", *words)
    assert got == code and why in stderr and stderr.count("\n") == 1, (got, stderr)


def test_frames_without_room_for_the_mark(bed: Bed, tmp_path: Path) -> None:
    flows = tmp_path / "flows.bin"
    flows.write_bytes(traffic_file([V6]))
    code, stderr = bed.refused(bed.gen, "kb-stamp", *arguments(bed, flows, "d0", bed.dut))
    assert code == 2 and "78 is the least" in stderr


def as_testbed(bed: Bed, host: LocalHost) -> Any:
    """What `Stamper` needs of a testbed."""
    return SimpleNamespace(
        tester=host, generator=Port("g0", bed.gen, GEN_MAC), sink=Port("s0", bed.sink, SINK_MAC)
    )


def test_around_a_load(bed: Bed, tmp_path: Path, local_host: LocalHost) -> None:
    image, flows = write_case(tmp_path, Case("forward"))
    sink = bed.start(bed.sink, "kb-sink", "--if", "s0", "--mode", "count", "--pass-stamped")
    bed.start_datapath("kb-xdp", "forward", image)
    testbed = as_testbed(bed, local_host)
    with Stamper(testbed, str(flows), 64, clock="software", cpu=1) as stamper:
        offered = bed.start_offer(flows, rate_pps=20_000, duration_ms=200).finish()
    assert sink.stop()["packets"] == offered["sent"]
    assert stamper.counted.received == stamper.counted.sent > 0
    result = stamper.result()
    assert result is not None and result["count"] > 0
    assert set(result) == {"sub_bits", "buckets", "count", "min_ns", "max_ns"}
    assert stamper.latency_clock["kind"] == "software"
    with pytest.raises(EnvironmentProblem, match="stamps no sent packets"):
        Stamper(testbed, str(flows), 64).run(10)
    choice = choose_clock(testbed, str(flows), 64)
    assert (choice.kind, choice.why) == ("software", "g0 has no hardware clock")


def test_a_load_that_fails_ends_it(bed: Bed, traffic: Path, local_host: LocalHost) -> None:
    testbed = as_testbed(bed, local_host)
    stamper = Stamper(testbed, str(traffic), 64, clock="software")
    with pytest.raises(ZeroDivisionError), stamper:
        pid = stamper._process.pid if stamper._process else 0
        raise ZeroDivisionError
    assert pid and not Path(f"/proc/{pid}").exists()
