# SPDX-License-Identifier: GPL-2.0-only
"""One port for both: rx and tx of a datapath (hairpin), generator and sink; and ports without native XDP."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from kbench.functions.image import compile_image
from kbench.functions.model import Port, mac_bytes
from kbench.functions.packets import marker, packets_file, traffic_file, verification_packets
from kbench.functions.reference import Reference
from kbench.functions.traffic import make_traffic, tables_for
from kbench.model import Case
from tests.host.injection import frames_of
from tests.xdp_bed import GEN_MAC, RX_MAC, Bed, Program, run

PORTS = (Port(mac_bytes(RX_MAC), mac_bytes(GEN_MAC)),) * 2
COUNT = 20_000


@pytest.fixture(scope="module")
def topology(bin_dir: Path) -> Generator[Bed, None, None]:
    made = Bed(bin_dir, prefix="kb1-")
    run("ip", "-n", made.dut, "link", "add", "n0", "type", "bridge")  # its driver has no native XDP
    run("ip", "-n", made.dut, "link", "set", "n0", "up")
    # Without NAPI the generator's port takes no XDP frames; a sink or this makes it have it.
    for netns, name in ((made.gen, "g0"), (made.dut, "d0")):
        run("ip", "netns", "exec", netns, "ethtool", "-K", name, "gro", "on")
    yield made
    made.down()


@pytest.fixture
def bed(topology: Bed) -> Generator[Bed, None, None]:
    yield topology
    topology.kill_programs()


class Files:
    """Image, traffic, verification packets and marker of a case on one port."""

    def __init__(self, directory: Path, case: Case) -> None:
        tables = tables_for(case)
        self.reference = Reference(case.function, tables, PORTS)
        groups = make_traffic(case, tables, self.reference).groups
        self.packets = verification_packets(tables, case.function, PORTS, seed=1)
        self.image, self.traffic = directory / "image.bin", directory / "traffic.bin"
        self.packets_path, self.marker = directory / "packets.bin", directory / "marker.bin"
        self.image.write_bytes(compile_image(case.function, tables, PORTS))
        self.traffic.write_bytes(traffic_file(groups, PORTS[0].next_hop, PORTS[0].mac))
        self.packets_path.write_bytes(packets_file(self.packets))
        self.marker.write_bytes(marker(self.reference) or b"")


def hairpin(bed: Bed, name: str, image: Path, *args: str, function: str = "forward") -> Program:
    argv = ("--rx", "d0", "--tx", "d0", "--function", function, "--image", str(image), *args)
    program = Program(bed.dut, [bed.bin / name, *argv])
    bed.programs.append(program)
    return program


XDP = ("kb-xdp", "--mode", "native"), ("kb-xdp", "--mode", "generic")
ALL = (*XDP, ("kb-af-packet", "--ring", "v2"))


@pytest.mark.parametrize("argv", ALL, ids=" ".join)
def test_the_same_packets_come_back_as_the_reference_says(
    bed: Bed, tmp_path: Path, argv: tuple[str, ...]
) -> None:
    files = Files(tmp_path, Case("forward", routes=10))
    datapath = hairpin(bed, argv[0], files.image, *argv[1:])
    datapath.event("ready")
    inject = [bed.bin / "kb-inject", "--out", "g0", "--in", "g0", "--in-netns", bed.gen, "--settle-ms", "1"]
    files_of = ["--packets", files.packets_path, "--marker-file", files.marker]
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{bed.gen}", *map(str, [*inject, *files_of])],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    events: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, "")
    forwarded = 0
    for index, packet in enumerate(files.packets):
        outcome = files.reference.process(packet.frame)
        expected = [] if outcome.frame is None else [("in", outcome.frame)]
        forwarded += len(expected)
        got = [(port, frame[: len(outcome.frame or frame)]) for port, frame in frames_of(events, index)]
        assert got == expected, packet.name
    assert forwarded > 20
    assert datapath.stop()["forwarded"] == forwarded + len(files.packets)  # a marker behind each


@pytest.mark.parametrize("argv", XDP, ids=" ".join)
def test_generator_and_sink_share_a_port_and_each_packet_counts_once(
    bed: Bed, tmp_path: Path, argv: tuple[str, ...]
) -> None:
    files = Files(tmp_path, Case("forward", routes=1000, match_share=0.5))
    datapath = hairpin(bed, argv[0], files.image, *argv[1:])
    ready = datapath.event("ready")
    assert (ready["mode"], ready["verdict"], ready["tx_program"]) == (argv[2], "tx", "none")
    sink = bed.start(bed.gen, "kb-sink", "--if", "g0", "--mode", "count")
    # Slow enough for the socket buffers of generic mode.
    offered = bed.start_offer(files.traffic, count=COUNT, rate_pps=100_000).finish()
    arrived, did = sink.stop()["packets"], datapath.stop()
    assert (offered["sent"], offered["failed"]) == (COUNT, 0)
    assert (did["received"], did["forwarded"], arrived) == (COUNT, COUNT // 2, COUNT // 2)
    assert did["dropped"]["no_route"] == COUNT // 2
    assert did["lost"] == {"xdp_aborted": 0, "tx": 0} and did["lost_exact"]


def test_what_does_not_go_back_is_lost(bed: Bed, tmp_path: Path) -> None:
    """The generator's port takes no XDP frames when it has neither a program nor GRO."""
    files = Files(tmp_path, Case("forward"))
    run("ip", "netns", "exec", bed.gen, "ethtool", "-K", "g0", "gro", "off")
    try:
        datapath = hairpin(bed, "kb-xdp", files.image)
        datapath.event("ready")
        assert bed.start_offer(files.traffic, count=1000).finish()["sent"] == 1000
        did = datapath.stop()
    finally:
        run("ip", "netns", "exec", bed.gen, "ethtool", "-K", "g0", "gro", "on")
    assert (did["received"], did["forwarded"], did["lost"]["tx"]) == (1000, 0, 1000)


def test_drop_has_no_way_back(bed: Bed, tmp_path: Path) -> None:
    files = Files(tmp_path, Case("drop"))
    datapath = hairpin(bed, "kb-xdp", files.image, function="drop")
    datapath.event("ready")
    bed.start_offer(files.traffic, count=1000).finish()
    assert datapath.stop()["dropped"]["policy"] == 1000


@pytest.mark.parametrize(("asked", "got"), [("auto", "native"), ("native", "native"), ("generic", "generic")])
def test_the_sink_counts_alike_in_each_mode(bed: Bed, tmp_path: Path, asked: str, got: str) -> None:
    files = Files(tmp_path, Case("forward"))
    sink = Program(bed.dut, [bed.bin / "kb-sink", "--if", "d0", "--mode", "count", "--xdp", asked])
    bed.programs.append(sink)
    assert sink.event("ready")["xdp"] == got
    bed.start_offer(files.traffic, count=5000, rate_pps=100_000).finish()
    assert sink.stop()["packets"] == 5000


def test_a_driver_without_native_xdp(bed: Bed, tmp_path: Path) -> None:
    """auto says that it took generic mode; all else says what is missing."""
    files = Files(tmp_path, Case("forward"))
    sink = Program(bed.dut, [bed.bin / "kb-sink", "--if", "n0", "--mode", "count", "--xdp", "auto"])
    bed.programs.append(sink)
    assert sink.event("ready")["xdp"] == "generic"
    sink.stop()
    words = ["--function", "forward", "--image", str(files.image)]
    offer = ["--traffic", str(files.traffic), "--frame-bytes", "64", "--count", "1"]
    for name, *args in (
        ("kb-sink", "--if", "n0", "--mode", "count"),
        ("kb-xdp", "--rx", "n0", "--tx", "d0", *words),
        ("kb-xdp", "--rx", "d0", "--tx", "n0", *words),
        ("kb-offer-xdp", "--if", "n0", *offer),
    ):
        code, stderr = bed.refused(bed.dut, name, *args)
        assert code == 3 and stderr.count("\n") == 1, stderr
        assert "the driver of n0 has no native XDP" in stderr and "generic" in stderr
