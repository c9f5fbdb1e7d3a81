# SPDX-License-Identifier: GPL-2.0-only
"""kb-offer-xdp --resident and the generators that keep it: many loads in one process, each from a clean state."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Generator as Made
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kbench.errors import MeasureError
from kbench.host import undo
from kbench.host.base import Host
from kbench.measure.generators.base import Load
from kbench.measure.generators.xdp import XdpLiveFrames
from kbench.measure.testbeds.base import Cpus, Port
from tests.xdp_bed import GEN_MAC, Bed, Program, run, traffic_file

BURST = 64
V4 = ("198.18.0.2", "198.19.0.2", 1024, 1279, 9)


class Resident(Program):
    """A generator that takes its loads from stdin."""

    def __init__(self, bed: Bed, traffic: Path, *args: str) -> None:
        argv = ["nsenter", f"--net=/run/netns/{bed.gen}", str(bed.bin / "kb-offer-xdp"), "--if", "g0"]
        argv += ["--traffic", str(traffic), "--frame-bytes", "64", "--cpu", "0", "--resident", *args]
        self.name = "kb-offer-xdp"
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)
        self._rest = b""
        bed.programs.append(self)
        self.ready = self.event("ready")

    def send(self, text: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(text.encode())

    def offer(self, rate_pps: int = 0, duration_ms: int = 0, count: int = 0) -> dict[str, Any]:
        self.send(f"{rate_pps} {duration_ms} {count}\n")
        return self.event("counters")

    def end_input(self) -> tuple[int, str]:
        """The exit code and stderr of a program whose input ends; it prints nothing more."""
        assert self.process.stdin and self.process.stdout and self.process.stderr
        self.process.stdin.close()
        code = self.process.wait(timeout=20)
        assert self._rest == b"" and self.process.stdout.read() == b""
        return code, self.process.stderr.read().decode()

    def kill(self) -> None:
        super().kill()
        assert self.process.stdin
        self.process.stdin.close()


@pytest.fixture(scope="module")
def topology(bin_dir: Path) -> Made[Bed, None, None]:
    made = Bed(bin_dir, prefix="kbXres-")
    yield made
    made.down()


@pytest.fixture
def bed(topology: Bed) -> Made[Bed, None, None]:
    yield topology
    topology.kill_programs()


@pytest.fixture
def traffic(tmp_path: Path) -> Path:
    path = tmp_path / "traffic.bin"
    path.write_bytes(traffic_file([V4]))
    return path


@pytest.fixture
def sink(bed: Bed) -> Program:
    return bed.start(bed.dut, "kb-sink", "--if", "d0", "--mode", "count")


def test_every_load_is_exact_and_starts_clean(bed: Bed, traffic: Path, sink: Program) -> None:
    generator = Resident(bed, traffic)
    total, last_ns = 0, 0
    for rate, count in ((0, 1), (0, 100_003), (1_500_000, 1000), (3_000_000, 65), (20_000, 7), (0, 63)):
        offered = generator.offer(rate, count=count)
        assert (offered["sent"], offered["failed"], offered["failed_exact"]) == (count, 0, True)
        assert offered["clocked"] == count
        assert offered["elapsed_ns"] == offered["last_ns"] - offered["first_ns"]
        assert offered["first_ns"] > last_ns
        assert ("intended" in offered) == bool(rate)
        assert offered["intended"] >= count if rate else offered["late"] == offered["skipped"] == 0
        assert offered["ethtool"]["g0"]["tx_queue_0_xdp_xmit"] == count
        last_ns = offered["last_ns"]
        total += count
        assert sink.counters()["packets"] == total
    for rate, batch in ((0, 64), (3_000_000, 64), (2_000_000, 16), (1_000_000, 4), (1, 1)):
        assert generator.offer(rate, count=1)["batch"] == batch
    assert generator.end_input() == (0, "")


def test_it_is_anchored_in_a_namespace_of_its_own(bed: Bed, traffic: Path) -> None:
    """The device that keeps its program in the kernel's dispatcher is nowhere to be seen, and it is back home."""
    before = run("ip", "-n", bed.gen, "-o", "link")
    generator = Resident(bed, traffic)
    # A veth takes redirected frames without a program of its own.
    way_out = {"tx_program": "none", "link_wait_ms": 0}
    assert generator.ready == {"event": "ready", "cpu": 0, "anchored": True} | way_out
    assert run("ip", "-n", bed.gen, "-o", "link") == before
    inside = Path(f"/proc/{generator.process.pid}/ns/net").stat().st_ino
    assert inside == Path(f"/run/netns/{bed.gen}").stat().st_ino


def test_gaps_are_of_one_load_only(bed: Bed, traffic: Path, sink: Program) -> None:
    generator = Resident(bed, traffic, "--gaps")
    for count in (300, 100):
        assert generator.offer(100_000, count=count)["gaps"]["count"] == count - 1


def test_intended_is_rate_times_duration_however_it_is_held_up(
    bed: Bed, traffic: Path, sink: Program
) -> None:
    generator = Resident(bed, traffic)
    for rate, duration_ms in ((20_000, 100), (1_500_000, 50), (100_000_000, 100), (1_000_000_000, 30)):
        offered = generator.offer(rate, duration_ms)
        called_for = rate * duration_ms // 1000
        assert abs(offered["intended"] - called_for) <= BURST
        assert offered["sent"] + offered["failed"] <= offered["intended"]
    assert offered["sent"] < offered["intended"]  # a thousand million packets/s is beyond any CPU

    generator.send("1000 1500 0\n")
    time.sleep(0.1)
    generator.signal(signal.SIGSTOP)
    time.sleep(1.5)
    generator.signal(signal.SIGCONT)
    offered = generator.event("counters")
    assert abs(offered["intended"] - 1500) <= 1 and offered["sent"] < 1500
    assert sink.counters()["packets"] > 0


def test_the_rate_ends_with_the_duration_to_the_packet(bed: Bed, traffic: Path, sink: Program) -> None:
    """Bursts are whole, but the last one is cut where the duration ends."""
    generator = Resident(bed, traffic, "--batch", "64")
    loads = [generator.offer(10_000, 105) for _ in range(10)]
    assert {offered["intended"] for offered in loads} == {1050}
    sent = [offered["sent"] for offered in loads]
    assert all(n == 1050 or (n < 1050 and n % BURST == 0) for n in sent)  # less where it was held up
    assert sink.counters()["packets"] == sum(sent)


def test_sigterm_in_a_load_tells_its_counters(bed: Bed, traffic: Path, sink: Program) -> None:
    for line in ("0 60000 0\n", "1000 60000 0\n", "5000000 60000 0\n"):
        generator = Resident(bed, traffic)
        generator.send(line)
        while generator.counters()["sent"] < 10:
            time.sleep(0.01)
        offered = generator.stop()
        assert 0 < offered["sent"] == offered["clocked"]
        assert sink.counters()["packets"] == offered["sent"]
        sink.reset()


def test_sigterm_and_end_of_input_between_loads(bed: Bed, traffic: Path, sink: Program) -> None:
    idle = Resident(bed, traffic)
    assert idle.end_input() == (0, "")
    generator = Resident(bed, traffic)
    generator.offer(count=5)
    assert generator.counters()["sent"] == 5  # SIGUSR1 between loads: those of the last one
    generator.signal(signal.SIGTERM)
    assert generator.process.wait(timeout=20) == 0
    last = Resident(bed, traffic)
    last.send("0 0 10\n0 0 20\n")
    assert last.process.stdin
    last.process.stdin.close()
    assert [last.event("counters")["sent"], last.event("counters")["sent"]] == [10, 20]
    assert last.process.wait(timeout=20) == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x 1 1\n", "stdin: rate"),
        ("0 -1 1\n", "stdin: duration"),
        ("0 1 1.5\n", "stdin: count"),
        ("1000000001 1 1\n", "0..1000000000"),
        ("0 1\n", "less than the three numbers"),
        ("\n", "less than the three numbers"),
        ("0 1 1 1\n", "more than the three numbers"),
        ("0 0 0\n", "sets an end"),
        ("0 1 1", "no end"),
        ("1" * 81, "longer than"),
    ],
)
def test_refuses_a_bad_line(bed: Bed, traffic: Path, text: str, says: str) -> None:
    generator = Resident(bed, traffic)
    generator.send(text)
    code, stderr = generator.end_input()
    assert code == 2 and says in stderr and stderr.startswith("kb-offer-xdp: ") and stderr.count("\n") == 1


def test_rate_duration_and_count_are_no_arguments_then(bed: Bed, traffic: Path) -> None:
    base = ["--if", "g0", "--traffic", str(traffic), "--frame-bytes", "64", "--resident"]
    for option in ("--rate-pps", "--duration-ms", "--count"):
        code, stderr = bed.refused(bed.gen, "kb-offer-xdp", *base, option, "1")
        assert code == 2 and "--resident" in stderr and stderr.count("\n") == 1


class Offering:
    """The generator class on the bed's port."""

    def __init__(self, host: Host, bed: Bed, traffic: Path) -> None:
        self.generator = XdpLiveFrames()
        self._testbed: Any = SimpleNamespace(host=host, tester=host, cpus=Cpus(0, 0, 0), rx=None, sink=None)
        self._port = Port("g0", bed.gen, GEN_MAC)
        self._traffic = str(traffic)

    def offer(self, load: Load, frame_bytes: int = 64) -> Any:
        return self.generator.offer(self._testbed, self._port, self._traffic, frame_bytes, load)

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self.generator._processes.values()]


def test_a_generator_keeps_a_process_for_each_kind_of_load(
    bed: Bed, traffic: Path, sink: Program, local_host: Host
) -> None:
    bench = Offering(local_host, bed, traffic)
    with bench.generator:
        for count in (10, 20, 30):
            offered = bench.offer(Load(None, 5, count=count))
            assert (offered.sent, offered.failed, offered.intended) == (count, 0, None)
        assert len(bench.pids) == 1
        assert bench.offer(Load(10_000.0, 0.05)).intended == 500
        assert len(bench.pids) == 1
        stamped = bench.offer(Load(1000.0, 5, count=10, timestamp=True))
        assert stamped.sent == 10 and "gaps" not in stamped.raw
        assert bench.offer(Load(1000.0, 5, count=10, gaps=True)).raw["gaps"]["count"] == 9
        bench.offer(Load(None, 5, count=1), frame_bytes=128)
        pids = bench.pids
        assert len(set(pids)) == 4
        bench.generator.forget("another namespace")
        assert bench.pids == pids
        bench.generator.forget(bed.gen)
        assert bench.pids == [] and all(undo.starttime(pid) is None for pid in pids)
        assert bench.offer(Load(None, 5, count=7)).sent == 7
        pids = bench.pids
    assert bench.pids == [] and all(undo.starttime(pid) is None for pid in pids)


def test_a_generator_that_died_says_why_and_is_replaced(
    bed: Bed, traffic: Path, sink: Program, local_host: Host
) -> None:
    bench = Offering(local_host, bed, traffic)
    with bench.generator:
        bench.offer(Load(None, 5, count=1))
        (pid,) = bench.pids
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(MeasureError, match="kb-offer-xdp was killed by SIGKILL"):
            bench.offer(Load(None, 5, count=1))
        assert bench.offer(Load(None, 5, count=2)).sent == 2
        assert len(bench.pids) == 1 and bench.pids != [pid]


def test_nothing_offered_is_an_error(bed: Bed, traffic: Path, local_host: Host) -> None:
    bench = Offering(local_host, bed, traffic)
    with bench.generator, pytest.raises(MeasureError, match="g0 took none of 5 packets"):
        bench.offer(Load(None, 5, count=5))
