# SPDX-License-Identifier: GPL-2.0-only
"""kb-af-packet as a program: what it refuses, counts, keeps from the kernel's stack and leaves behind."""

from __future__ import annotations

import signal
import struct
import time
from collections.abc import Callable, Generator
from ipaddress import ip_network
from pathlib import Path

import pytest

from kbench.functions.model import Route, Tables
from tests.host.injection import Work
from tests.xdp_bed import Bed, Program, run, traffic_file

PROGRAM = "kb-af-packet"
FLOWS = [("10.1.0.1", "10.2.0.1", 1000, 1063, 9)]


@pytest.fixture
def bed(bin_dir: Path) -> Generator[Bed, None, None]:
    made = Bed(bin_dir, prefix="kbP-")
    # Without NAPI a veth port loses redirected XDP frames.
    run("ip", "netns", "exec", made.dut, "ethtool", "-K", "d0", "gro", "on")
    yield made
    made.down()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    return Work(
        tmp_path_factory.mktemp("work"), "forward", Tables(routes=(Route(ip_network("10.0.0.0/8"), "tx"),))
    )


@pytest.fixture
def traffic(tmp_path: Path) -> Path:
    path = tmp_path / "traffic.bin"
    path.write_bytes(traffic_file(FLOWS))
    return path


def stack_received(bed: Bed) -> int:
    """IPv4 packets that reached the DUT's stack."""
    lines = run("ip", "netns", "exec", bed.dut, "cat", "/proc/net/snmp").splitlines()
    names, values = (line.split() for line in lines if line.startswith("Ip:"))
    return int(values[names.index("InReceives")])


def damaged(data: bytes, at: int, what: bytes) -> bytes:
    return data[:at] + what + data[at + len(what) :]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: b"", "truncated"),
        (lambda data: data[:50], "truncated"),
        (lambda data: data[:-1], "truncated"),
        (lambda data: damaged(data, 0, b"KBXX"), "magic"),
        (lambda data: damaged(data, 4, struct.pack("<H", 2)), "another version"),
        (lambda data: damaged(data, len(data) - 4096, b"\x55"), "wrong checksum"),
    ],
)
def test_refuses_a_bad_image(
    bed: Bed, work: Work, tmp_path: Path, damage: Callable[[bytes], bytes], says: str
) -> None:
    path = tmp_path / "bad.bin"
    path.write_bytes(damage(work.image.read_bytes()))
    code, stderr = bed.refused(
        bed.dut, PROGRAM, "--rx", "d0", "--tx", "d1", "--function", "forward", "--image", path
    )
    assert code == 2 and says in stderr and len(stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"--rx": "nope0"}, 'no interface "nope0"'),
        ({"--tx": "nope0"}, 'no interface "nope0"'),
        ({"--function": "drop"}, "image for function forward, not drop"),
        ({"--function": "route"}, "drop, forward, filter"),
        ({"--image": "/nonexistent"}, "No such file"),
        ({"--image": "/tmp"}, "not a file"),
        ({"--ring": "v1"}, "v2, v3"),
        ({"--batch": "0"}, "not in 1..256"),
        ({"--block-bytes": "5000"}, "multiple of 4096"),
        ({"--blocks": "65536", "--block-bytes": "1048576"}, "more than 1 GiB"),
        ({"--ring": "v2", "--timeout-ms": "1"}, "--timeout-ms"),
    ],
)
def test_refuses_bad_arguments(bed: Bed, work: Work, change: dict[str, str], says: str) -> None:
    options = {"--rx": "d0", "--tx": "d1", "--function": "forward", "--image": str(work.image)} | change
    code, stderr = bed.refused(bed.dut, PROGRAM, *(word for pair in options.items() for word in pair))
    assert code == 2 and says in stderr and len(stderr.splitlines()) == 1


@pytest.mark.parametrize("ring", ["v2", "v3"])
def test_counters_add_up(bed: Bed, work: Work, traffic: Path, ring: str) -> None:
    sink = bed.start_sink()
    program = bed.start_datapath(PROGRAM, "forward", work.image, "--ring", ring, "--cpu", "1")
    sent = bed.start_offer(traffic, count=20_000, rate_pps=50_000).finish()["sent"]
    seen = program.counters()
    assert sent == 20_000
    assert seen["received"] + seen["lost"]["socket_ring"] == sent
    assert seen["forwarded"] == seen["received"]
    assert sink.counters()["packets"] == seen["forwarded"]
    assert seen["cpu_ns"] > 0 and seen["syscalls"] > 0

    program.reset()
    again = program.counters()
    assert (again["received"], again["forwarded"], again["lost"]["socket_ring"]) == (0, 0, 0)
    assert again["cpu_ns"] < seen["cpu_ns"]
    assert program.stop()["received"] == 0


@pytest.mark.parametrize("ring", ["v2", "v3"])
def test_overload_shows_as_loss_of_the_ring(bed: Bed, work: Work, traffic: Path, ring: str) -> None:
    bed.start_sink()
    # Stopped by a signal, the program reads nothing and the ring must overflow.
    small = ("--ring", ring, "--block-bytes", "4096", "--blocks", "2")
    program = bed.start_datapath(PROGRAM, "forward", work.image, *small)
    program.signal(signal.SIGSTOP)
    sent = bed.start_offer(traffic, count=5_000, rate_pps=50_000).finish()["sent"]
    program.signal(signal.SIGCONT)
    last = program.stop()
    assert last["lost"]["socket_ring"] > 0
    assert last["received"] + last["lost"]["socket_ring"] == sent
    assert last["forwarded"] == last["received"]


@pytest.mark.parametrize("ring", ["v2", "v3"])
def test_what_is_in_the_ring_at_sigterm_is_worked_off(bed: Bed, work: Work, traffic: Path, ring: str) -> None:
    sink = bed.start_sink()
    program = bed.start_datapath(PROGRAM, "forward", work.image, "--ring", ring)
    program.signal(signal.SIGSTOP)
    sent = bed.start_offer(traffic, count=1_000, rate_pps=50_000).finish()["sent"]
    program.signal(signal.SIGTERM)
    program.signal(signal.SIGCONT)
    assert program.finish()["forwarded"] == sent
    assert sink.counters()["packets"] == sent


def test_packets_longer_than_the_mtu_are_lost_by_name(bed: Bed, work: Work, traffic: Path) -> None:
    bed.start_sink()
    run("ip", "-n", bed.dut, "link", "set", "d1", "mtu", "1000")
    program = bed.start_datapath(PROGRAM, "forward", work.image)
    sent = bed.start_offer(traffic, count=100, rate_pps=10_000, frame_bytes=1400).finish()["sent"]
    last = program.stop()
    assert (last["received"], last["forwarded"]) == (sent, 0)
    assert last["lost"] == {"socket_ring": 0, "socket_buffer": 0, "tx": 0, "too_big": sent}


def test_a_port_that_is_down_is_loss_of_transmission(bed: Bed, work: Work, traffic: Path) -> None:
    run("ip", "-n", bed.dut, "link", "set", "d1", "down")
    program = bed.start_datapath(PROGRAM, "forward", work.image)
    sent = bed.start_offer(traffic, count=100, rate_pps=10_000).finish()["sent"]
    last = program.stop()
    assert last["forwarded"] == 0 and last["lost"]["tx"] == sent


def reach_the_stack(bed: Bed, traffic: Path) -> int:
    """How many of 500 packets did."""
    before = stack_received(bed)
    assert bed.start_offer(traffic, count=500, rate_pps=10_000).finish()["sent"] == 500
    return stack_received(bed) - before


def test_the_stack_sees_nothing_while_it_runs_and_everything_after(
    bed: Bed, work: Work, traffic: Path
) -> None:
    bed.start_sink()
    assert reach_the_stack(bed, traffic) == 500
    program = bed.start_datapath(PROGRAM, "forward", work.image)
    assert reach_the_stack(bed, traffic) == 0
    assert program.stop()["received"] == 500
    assert reach_the_stack(bed, traffic) == 500


def test_what_is_not_for_this_router_reaches_the_stack(bed: Bed, work: Work) -> None:
    """An ARP request is answered although the datapath runs."""
    run("ip", "-n", bed.gen, "address", "add", "10.9.0.1/24", "dev", "g0")
    run("ip", "-n", bed.dut, "address", "add", "10.9.0.2/24", "dev", "d0")
    program = bed.start_datapath(PROGRAM, "forward", work.image)
    run("ip", "netns", "exec", bed.gen, "bash", "-c", "echo > /dev/udp/10.9.0.2/9")
    end = time.monotonic() + 3
    while "REACHABLE" not in run("ip", "-n", bed.gen, "neigh", "show", "10.9.0.2"):
        assert time.monotonic() < end, "no answer"
        time.sleep(0.02)
    assert program.stop()["passed"] >= 1


def test_nothing_stays_after_sigkill(bed: Bed, work: Work, traffic: Path) -> None:
    options = ("--rx", "d0", "--tx", "d1", "--function", "forward", "--image", work.image)
    program = Program(bed.dut, [bed.bin / PROGRAM, *options])
    if program.event("ready")["ingress"] != "tcx":
        program.kill()
        pytest.skip("no tcx on this kernel: clsact stays until its port is deleted")
    during = reach_the_stack(bed, traffic)
    program.kill()
    assert during == 0
    assert reach_the_stack(bed, traffic) == 500
