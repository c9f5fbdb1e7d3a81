# SPDX-License-Identifier: GPL-2.0-only
"""kb-xdp as a program: no packet unaccounted for, images refused, nothing left when it dies."""

from __future__ import annotations

import json
import signal
import struct
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from kbench.functions.image import compile_image
from kbench.functions.model import Tables
from kbench.functions.packets import traffic_file
from kbench.functions.reference import Reference
from kbench.functions.traffic import make_traffic, tables_for
from kbench.model import Case, Function
from tests.host.injection import PORTS
from tests.xdp_bed import Bed, run


@pytest.fixture(scope="module")
def topology(bin_dir: Path) -> Generator[Bed, None, None]:
    made = Bed(bin_dir, prefix="kbXp-")
    yield made
    made.down()


@pytest.fixture
def bed(topology: Bed) -> Generator[Bed, None, None]:
    yield topology
    topology.kill_programs()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_case(tmp_path, Case("forward"))[0]


def write_case(directory: Path, case: Case, ip_family: int = 4) -> tuple[Path, Path]:
    """Image and traffic of a case."""
    tables = tables_for(case)
    traffic = make_traffic(case, tables, Reference(case.function, tables, PORTS), ip_family)
    (directory / "image.bin").write_bytes(compile_image(case.function, tables, PORTS))
    file = traffic_file(traffic.groups, PORTS[0].next_hop, PORTS[0].mac)
    (directory / "traffic.bin").write_bytes(file)
    return directory / "image.bin", directory / "traffic.bin"


CASES = [
    (Case("drop"), 4),
    (Case("forward"), 4),
    (Case("forward", routes=1000, match_share=0.5), 4),
    (Case("forward", routes=1000, frame_bytes=1518), 6),
    (Case("filter", rules=1), 4),
    (Case("filter", rules=100, shape="fw", match_share=0.25), 4),
    (Case("filter", rules=100, shape="ipc", routes=1000, frame_bytes=78), 6),
]


@pytest.mark.parametrize(("case", "ip_family"), CASES, ids=lambda v: v.case_id if isinstance(v, Case) else v)
@pytest.mark.parametrize("mode", ["native", "generic"])
def test_every_packet_is_accounted_for(
    bed: Bed, tmp_path: Path, case: Case, ip_family: int, mode: str
) -> None:
    image, traffic = write_case(tmp_path, case, ip_family)
    sink = bed.start_sink()
    datapath = bed.start_datapath("kb-xdp", case.function, image, "--mode", mode)
    if mode == "generic":
        # What makes the receiving veth take redirected frames where no native XDP program does.
        run("ip", "netns", "exec", bed.dut, "ethtool", "-K", "d0", "gro", "on")
    # Slow enough for the skbs of generic mode.
    offer = bed.start_offer(traffic, count=30_000, frame_bytes=case.frame_bytes, rate_pps=200_000).finish()
    arrived, did = sink.stop()["packets"], datapath.stop()
    assert (offer["sent"], offer["failed"]) == (30_000, 0)
    assert did["received"] == 30_000
    assert arrived == did["forwarded"]
    assert did["forwarded"] + sum(did["dropped"].values()) == 30_000
    assert did["passed"] == 0 and did["lost"]["tx"] == 0 and did["lost_exact"]
    if case.function != "drop":
        assert did["forwarded"] == 30_000 * case.match_share


def test_what_the_outgoing_port_refuses_is_lost(bed: Bed, tmp_path: Path) -> None:
    """Without a sink the outgoing veth has no receiver, which only the kernel's tracepoints tell directly."""
    image, traffic = write_case(tmp_path, Case("forward"))
    datapath = bed.start_datapath("kb-xdp", "forward", image)
    assert bed.start_offer(traffic, count=5000).finish()["sent"] == 5000
    did = datapath.stop()
    assert (did["received"], did["forwarded"], did["lost"]["tx"]) == (5000, 0, 5000)


def test_snapshot_and_reset(bed: Bed, tmp_path: Path) -> None:
    image, traffic = write_case(tmp_path, Case("forward"))
    sink = bed.start_sink()
    datapath = bed.start_datapath("kb-xdp", "forward", image)
    bed.start_offer(traffic, count=1000).finish()
    assert datapath.counters()["forwarded"] == 1000
    assert datapath.counters()["ethtool"]["d1"]["tx_queue_0_xdp_xmit"] == 1000
    datapath.reset()
    assert datapath.counters()["received"] == 0 and datapath.counters()["ethtool"] == {"d0": {}, "d1": {}}
    bed.start_offer(traffic, count=10).finish()
    did = datapath.stop()
    assert (did["received"], did["forwarded"], did["lost"]["tx"]) == (10, 10, 0)
    assert sink.stop()["packets"] == 1010


def test_attaches_as_asked_and_detaches(bed: Bed, image: Path) -> None:
    for mode, flag in (("native", 1), ("generic", 2)):
        datapath = bed.start_datapath("kb-xdp", "forward", image, "--mode", mode)
        assert xdp_mode(bed) == flag
        datapath.stop()
        assert xdp_mode(bed) is None


def test_killed_it_leaves_nothing(bed: Bed, image: Path) -> None:
    datapath = bed.start_datapath("kb-xdp", "forward", image)
    assert xdp_mode(bed)
    datapath.signal(signal.SIGKILL)
    datapath.process.wait(timeout=10)
    assert xdp_mode(bed) is None


def xdp_mode(bed: Bed) -> int | None:
    """1: native, 2: generic (XDP_ATTACHED_*), None: nothing attached."""
    links = json.loads(run("ip", "-j", "-n", bed.dut, "link", "show", "d0"))
    return links[0]["xdp"]["mode"] if "xdp" in links[0] else None


def refusal(bed: Bed, *args: str | Path) -> tuple[int, str]:
    code, stderr = bed.refused(bed.dut, "kb-xdp", *args)
    assert stderr.startswith("kb-xdp: ") and stderr.count("\n") == 1, stderr
    assert xdp_mode(bed) is None
    return code, stderr


def test_refuses_when_another_program_is_attached(bed: Bed, image: Path) -> None:
    bed.start(bed.dut, "kb-sink", "--if", "d0", "--mode", "count")
    base = ("--rx", "d0", "--tx", "d1", "--function", "forward", "--image", image)
    for mode in ("native", "generic"):
        code, stderr = bed.refused(bed.dut, "kb-xdp", *base, "--mode", mode)
        assert code == 1 and "another XDP program is attached to d0" in stderr and stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--rx", "nope0"), "nope0"),
        (("--tx", "nope0"), "nope0"),
        (("--function", "filter"), 'image is for "forward"'),
        (("--function", "route"), '"route"'),
        (("--mode", "fast"), '"fast"'),
        (("--image", "/nonexistent"), "/nonexistent"),
        (("--cpu", "x"), "--cpu"),
        (("extra",), "extra"),
    ],
)
def test_refuses_bad_arguments(bed: Bed, image: Path, args: tuple[str, ...], says: str) -> None:
    base = ("--rx", "d0", "--tx", "d1", "--function", "forward", "--image", image)
    code, stderr = refusal(bed, *base, *args)
    assert code == 2 and says in stderr


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: b"", "truncated"),
        (lambda data: data[:100], "truncated"),
        (lambda data: data[:-64], "truncated"),
        (lambda data: data + bytes(64), "length"),
        (lambda data: flip(data, 0), "magic"),
        (lambda data: data[:4] + struct.pack("<H", 2) + data[6:], "another version"),
        (lambda data: flip(data, 40), "corrupted"),
        (lambda data: flip(data, len(data) - 1), "checksum"),
    ],
)
def test_refuses_a_damaged_image(bed: Bed, image: Path, change: Callable[[bytes], bytes], says: str) -> None:
    image.write_bytes(change(image.read_bytes()))
    base = ("--rx", "d0", "--tx", "d1", "--function", "forward", "--image", image)
    code, stderr = refusal(bed, *base)
    assert code == 2 and says in stderr


@pytest.mark.parametrize("function", ["drop", "forward", "filter"])
def test_empty_tables_load_too(bed: Bed, tmp_path: Path, function: Function) -> None:
    """An empty image loads as well: no array of no elements, no constant that changes the code."""
    path = tmp_path / "image.bin"
    path.write_bytes(compile_image(function, Tables(), PORTS))
    bed.start_datapath("kb-xdp", function, path).stop()


def test_it_dies_with_its_parent(bed: Bed, image: Path) -> None:
    command = f"{bed.bin}/kb-xdp --rx d0 --tx d1 --function forward --image {image} & wait"
    shell = ["nsenter", f"--net=/run/netns/{bed.dut}", "sh", "-c", command]
    with subprocess.Popen(shell, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        assert json.loads(parent.stdout.readline())["event"] == "ready"
        assert xdp_mode(bed)
        parent.kill()
        # Its last words: it was asked to end, not shot.
        assert json.loads(parent.stdout.readline())["event"] == "counters"
        assert parent.stdout.read() == b""
    assert xdp_mode(bed) is None
