# SPDX-License-Identifier: GPL-2.0-only
"""kb-offer-xdp and kb-sink: what is offered arrives, to the packet; pacing, time stamps, contents, refusals."""

from __future__ import annotations

import ctypes
import signal
import socket
import struct
import time
from collections import Counter
from collections.abc import Generator
from itertools import pairwise
from pathlib import Path

import pytest

from kbench.model import Histogram
from tests.xdp_bed import GEN_MAC, RX_MAC, Bed, run, traffic_file

SO_RCVBUFFORCE = 33
CLONE_NEWNET = 0x40000000

V4 = ("198.18.0.2", "198.19.0.2", 1024, 1279, 9)
V4_B = ("198.18.0.3", "198.19.0.3", 5000, 5002, 53)
V6 = ("2001:db8::2", "2001:db8:1::2", 2000, 2001, 4242)


@pytest.fixture(scope="module")
def topology(bin_dir: Path) -> Generator[Bed, None, None]:
    made = Bed(bin_dir, prefix="kbXo-")
    yield made
    made.down()


@pytest.fixture
def bed(topology: Bed) -> Generator[Bed, None, None]:
    yield topology
    topology.kill_programs()


@pytest.fixture
def traffic(tmp_path: Path) -> Path:
    path = tmp_path / "traffic.bin"
    path.write_bytes(traffic_file([V4]))
    return path


def test_count_is_exact_whatever_the_batch(bed: Bed, traffic: Path) -> None:
    sink = bed.start(bed.dut, "kb-sink", "--if", "d0", "--mode", "count")
    total = 0
    for count, batch in ((1, 64), (63, 64), (65, 64), (100_003, 64), (1000, 7), (511, 1), (4097, 128)):
        offered = bed.start_offer(traffic, "--batch", str(batch), count=count).finish()
        assert (offered["sent"], offered["failed"], offered["failed_exact"]) == (count, 0, True)
        assert offered["clocked"] == count and offered["batch"] == batch
        assert offered["elapsed_ns"] == offered["last_ns"] - offered["first_ns"]
        total += count
        assert sink.counters()["packets"] == total
    last = sink.stop()
    assert (last["packets"], last["bytes"]) == (total, total * 60)


def test_what_no_one_receives_is_failed(bed: Bed, traffic: Path) -> None:
    """Without XDP on its peer a veth takes no redirected frames, and tells no one."""
    offered = bed.start_offer(traffic, count=1000).finish()
    assert (offered["sent"], offered["failed"]) == (0, 1000)


def test_duration_at_full_speed(bed: Bed, traffic: Path) -> None:
    sink = bed.start(bed.dut, "kb-sink", "--if", "d0", "--mode", "count")
    before = time.monotonic_ns()
    offered = bed.start_offer(traffic, duration_ms=200).finish()
    assert before < offered["first_ns"] < offered["last_ns"] < time.monotonic_ns()
    # It looks at the clock every 512th packet; the machine may take the CPU away for a while.
    assert 200_000_000 <= offered["elapsed_ns"] < 300_000_000
    assert offered["clocked"] == offered["sent"] == sink.stop()["packets"]


def test_paced_rate(bed: Bed, traffic: Path) -> None:
    sink = bed.start(bed.dut, "kb-sink", "--if", "d0", "--mode", "count")
    offered = bed.start_offer(traffic, "--gaps", rate_pps=20_000, duration_ms=500).finish()
    assert offered["batch"] == 1
    # What was given up after a stall of this machine, or was behind at the end, is told.
    assert offered["intended"] == 10_000
    assert 0 < offered["sent"] <= 10_000 - offered["skipped"] + offered["late"]
    assert offered["sent"] == sink.stop()["packets"]
    gaps = offered["gaps"]
    assert gaps["count"] == offered["sent"] - 1
    median = histogram(gaps).percentile_ns(50)
    assert median is not None and 45_000 < median < 55_000
    assert offered["max_late_ns"] >= 0


def test_more_than_it_can_do_is_no_error(bed: Bed, traffic: Path) -> None:
    bed.start(bed.dut, "kb-sink", "--if", "d0", "--mode", "count")
    offered = bed.start_offer(traffic, rate_pps=500_000_000, duration_ms=100).finish()
    assert 0 < offered["sent"] < offered["intended"] == 50_000_000


def test_sigterm_ends_it_with_true_counters(bed: Bed, traffic: Path) -> None:
    sink = bed.start(bed.dut, "kb-sink", "--if", "d0", "--mode", "count")
    for rate in (0, 1000):
        generator = bed.start_offer(traffic, rate_pps=rate, duration_ms=60_000)
        assert generator.counters()["event"] == "counters"
        time.sleep(0.05)
        offered = generator.stop()
        assert 0 < offered["sent"] == offered["clocked"]
        assert sink.counters()["packets"] == offered["sent"]
        sink.reset()


def test_reset_of_a_running_generator(bed: Bed, traffic: Path) -> None:
    sink = bed.start(bed.dut, "kb-sink", "--if", "d0", "--mode", "count")
    since = time.monotonic()
    generator = bed.start_offer(traffic, rate_pps=1000, duration_ms=60_000)
    while not (before := generator.counters()["sent"]):
        time.sleep(0.01)
    generator.reset()
    while not generator.counters()["sent"]:
        time.sleep(0.01)
    offered = generator.stop()
    called_for = (time.monotonic() - since) * 1000 + 3
    assert 0 < offered["sent"] <= offered["intended"] <= called_for - before
    assert 0 < before <= sink.stop()["packets"] - offered["sent"]


def histogram(record: dict[str, object]) -> Histogram:
    fields = dict(record)
    fields["buckets"] = dict(fields["buckets"])  # type: ignore[call-overload]
    return Histogram(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(("group", "frame_bytes"), [(V4, 64), (V6, 78), (V6, 1518)])
def test_latency_from_time_stamps(
    bed: Bed, tmp_path: Path, group: tuple[str, str, int, int, int], frame_bytes: int
) -> None:
    path = tmp_path / "traffic.bin"
    path.write_bytes(traffic_file([group]))
    sink = bed.start(bed.dut, "kb-sink", "--if", "d0", "--mode", "latency")
    stamped = bed.start_offer(path, "--timestamp", frame_bytes=frame_bytes, count=5000, rate_pps=50_000)
    assert stamped.finish()["sent"] == 5000
    seen = sink.counters()
    assert (seen["packets"], seen["unstamped"], seen["latency"]["count"]) == (5000, 0, 5000)
    hist = histogram(seen["latency"])
    assert sum(hist.buckets.values()) == 5000
    assert 0 < hist.min_ns <= hist.max_ns < 1_000_000_000
    lowest, highest = min(hist.buckets), max(hist.buckets)
    assert hist.bucket_low_ns(lowest) <= hist.min_ns < hist.bucket_low_ns(lowest + 1)
    assert hist.bucket_low_ns(highest) <= hist.max_ns < hist.bucket_low_ns(highest + 1)
    sink.reset()
    bed.start_offer(path, frame_bytes=frame_bytes, count=100).finish()
    seen = sink.stop()
    assert (seen["packets"], seen["unstamped"], seen["latency"]["count"]) == (100, 100, 0)
    assert seen["latency"]["buckets"] == []


def test_sink_reset_and_samples(bed: Bed, traffic: Path) -> None:
    sink = bed.start(bed.dut, "kb-sink", "--if", "d0", "--mode", "count")
    bed.start_offer(traffic, count=1).finish()
    sink.reset()
    assert sink.counters()["packets"] == 0 and sink.counters()["samples"] == []
    for count in (100_000, 400_000):
        bed.start_offer(traffic, count=count).finish()
        seen = sink.counters()
        samples = seen["samples"]
        assert 100 <= len(samples) <= 256
        assert samples[0] == [seen["first_ns"], 1] and samples[-1][0] == seen["last_ns"]
        steps = {b[1] - a[1] for a, b in pairwise(samples)}
        assert len(steps) == 1 and steps.pop() % 512 == 0
        assert all(b[0] > a[0] for a, b in pairwise(samples))
        assert seen["packets"] - samples[-1][1] < samples[-1][1] - samples[-2][1]
        sink.reset()


def test_stamp_mode_has_the_last_packets_own_time(bed: Bed, traffic: Path) -> None:
    sink = bed.start(bed.dut, "kb-sink", "--if", "d0", "--mode", "stamp")
    offered = bed.start_offer(traffic, count=700, rate_pps=100_000).finish()
    seen = sink.stop()
    assert seen["packets"] == 700 and "latency" not in seen
    assert 0 < seen["last_ns"] - offered["last_ns"] < 1_000_000_000
    # In count mode it would be the time of packet 513, 1.9 ms before the last.
    assert seen["last_ns"] > offered["last_ns"]


def capture(bed: Bed, count: int, *args: str | Path, frame_bytes: int, traffic: Path) -> list[bytes]:
    """The frames themselves, as a raw socket on the DUT's port sees them. GRO gives the port its NAPI."""
    run("ip", "netns", "exec", bed.dut, "ethtool", "-K", "d0", "gro", "on")
    try:
        with Path("/proc/self/ns/net").open() as own, Path(f"/run/netns/{bed.dut}").open() as other:
            setns(other.fileno())
            try:
                raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            finally:
                setns(own.fileno())
        with raw:
            raw.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
            raw.bind(("d0", 3))
            raw.settimeout(5)
            bed.start_offer(traffic, *map(str, args), frame_bytes=frame_bytes, count=count).finish()
            return [raw.recv(2048) for _ in range(count)]
    finally:
        run("ip", "netns", "exec", bed.dut, "ethtool", "-K", "d0", "gro", "off")


def setns(fd: int) -> None:
    assert ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET) == 0


def ones_complement(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_frames_are_what_the_traffic_file_says(bed: Bed, tmp_path: Path) -> None:
    path = tmp_path / "traffic.bin"
    path.write_bytes(traffic_file([V4, V6, V4_B]))
    frames = capture(bed, 600, "--timestamp", frame_bytes=128, traffic=path)
    flows: Counter[tuple[int, int]] = Counter()
    for number, frame in enumerate(frames):
        source, destination, low, high, dport = (V4, V6, V4_B)[number % 3]
        assert len(frame) == 124
        assert frame[:12] == bytes.fromhex((RX_MAC + GEN_MAC).replace(":", ""))
        if number % 3 == 1:
            assert frame[12:15] == b"\x86\xdd\x60" and frame[20:22] == bytes([17, 64])
            assert struct.unpack("!H", frame[18:20])[0] == 124 - 54
            addresses = b"".join(socket.inet_pton(socket.AF_INET6, end) for end in (source, destination))
            assert frame[22:54] == addresses
            pseudo = addresses + struct.pack("!II", 124 - 54, 17)
            assert ones_complement(pseudo + frame[54:]) == 0xFFFF and frame[60:62] != b"\0\0"
            udp = 54
        else:
            assert frame[12:16] == b"\x08\x00\x45\x00" and frame[22:24] == bytes([64, 17])
            assert struct.unpack("!H", frame[16:18])[0] == 124 - 14
            assert ones_complement(frame[14:34]) == 0xFFFF
            assert frame[26:34] == socket.inet_aton(source) + socket.inet_aton(destination)
            assert frame[40:42] == b"\0\0"
            udp = 34
        sport, to, length = struct.unpack("!HHH", frame[udp : udp + 6])
        assert (to, length) == (dport, 124 - udp) and low <= sport <= high
        flows[number % 3, sport] += 1
        stamp, sequence = struct.unpack("<QI", frame[udp + 8 : udp + 20])
        assert stamp > 0 and sequence == number
        assert frame[udp + 20 :] == bytes(124 - udp - 20)
    # Round-robin over the groups and, in each, over its flows.
    assert [len({flow for group, flow in flows if group == g}) for g in (0, 1, 2)] == [200, 2, 3]
    assert {flows[1, 2000], flows[1, 2001]} == {100}


def test_small_ipv6_frames_have_right_checksums_without_marks(bed: Bed, tmp_path: Path) -> None:
    path = tmp_path / "traffic.bin"
    path.write_bytes(traffic_file([V6]))
    for frame in capture(bed, 4, frame_bytes=66, traffic=path):
        assert len(frame) == 62
        assert ones_complement(frame[22:54] + struct.pack("!II", 8, 17) + frame[54:]) == 0xFFFF


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--frame-bytes", "63"), "64..1518"),
        (("--frame-bytes", "1519"), "64..1518"),
        (("--rate-pps", "x"), "--rate-pps"),
        (("--rate-pps", "-1"), "--rate-pps"),
        (("--count", "0"), "neither"),
        (("--batch", "0"), "1..128"),
        (("--batch", "129"), "1..128"),
        (("--gaps",), "--gaps"),
        (("--if", "nope0"), "nope0"),
        (("--traffic", "/nonexistent"), "/nonexistent"),
        (("extra",), "extra"),
    ],
)
def test_refuses_bad_arguments(bed: Bed, traffic: Path, args: tuple[str, ...], says: str) -> None:
    base = ["--if", "g0", "--traffic", str(traffic), "--frame-bytes", "64", "--count", "1"]
    code, stderr = bed.refused(bed.gen, "kb-offer-xdp", *base, *args)
    assert code == 2 and says in stderr and stderr.startswith("kb-offer-xdp: ") and stderr.count("\n") == 1


def test_refuses_frames_too_small_for_the_traffic(bed: Bed, tmp_path: Path) -> None:
    path = tmp_path / "traffic.bin"
    path.write_bytes(traffic_file([V4, V6]))
    base = ["--if", "g0", "--traffic", str(path), "--count", "1", "--frame-bytes"]
    code, stderr = bed.refused(bed.gen, "kb-offer-xdp", *base, "65")
    assert code == 2 and "66 is the least" in stderr
    code, stderr = bed.refused(bed.gen, "kb-offer-xdp", *base, "77", "--timestamp")
    assert code == 2 and "78 is the least" in stderr


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: b"KBXX" + data[4:], "not a traffic file"),
        (lambda data: data[:4] + b"\2" + data[5:], "version 2"),
        (lambda data: data[:-1], "length"),
        (lambda data: data + b"\0", "length"),
        (lambda data: data[:10], "not a traffic file"),
        (lambda data: data[:20] + struct.pack("<I", 65) + data[24:], "65 groups"),
        (lambda data: data[:20] + struct.pack("<I", 0) + data[24:], "0 groups"),
        (lambda data: data[:24] + b"\5" + data[25:], "family 5"),
        (lambda data: data[:25] + b"\6" + data[26:], "protocol 6"),
        (lambda data: data[:26] + struct.pack("<HH", 9, 8) + data[30:], "source ports"),
    ],
)
def test_refuses_a_bad_traffic_file(bed: Bed, traffic: Path, change: object, says: str) -> None:
    assert callable(change)
    traffic.write_bytes(change(traffic.read_bytes()))
    base = ["--if", "g0", "--frame-bytes", "64", "--count", "1", "--traffic", str(traffic)]
    code, stderr = bed.refused(bed.gen, "kb-offer-xdp", *base)
    assert code == 2 and says in stderr and stderr.count("\n") == 1


def test_a_second_sink_is_told_of_the_first(bed: Bed) -> None:
    bed.start(bed.dut, "kb-sink", "--if", "d0", "--mode", "count")
    code, stderr = bed.refused(bed.dut, "kb-sink", "--if", "d0", "--mode", "count")
    assert code == 1 and "another XDP program is attached to d0" in stderr and stderr.count("\n") == 1


def test_killed_programs_leave_nothing(bed: Bed, traffic: Path) -> None:
    sink = bed.start(bed.dut, "kb-sink", "--if", "d0", "--mode", "count")
    generator = bed.start_offer(traffic, duration_ms=60_000)
    for program in (generator, sink):
        program.signal(signal.SIGKILL)
        program.process.wait(timeout=10)
    assert "xdp" not in run("ip", "-n", bed.dut, "link", "show", "d0")
