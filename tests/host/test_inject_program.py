# SPDX-License-Identifier: GPL-2.0-only
"""kb-inject between two ports that are cabled to each other, so that what goes in must come out."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.host.injection import frames_of, inject, write_packets
from tests.xdp_bed import GEN_MAC, Bed, run

PLAIN = bytes.fromhex("020000000004020000000001") + b"\x12\x34" + bytes(range(46))
TAGGED = PLAIN[:12] + bytes.fromhex("81006064") + PLAIN[12:]
TWICE = PLAIN[:12] + bytes.fromhex("88a80005") + TAGGED[12:]
SHORT = PLAIN[:14]
MARKER = bytes.fromhex("020000000004020000000001") + b"\x12\x35" + b"KBMARKER" * 6


@pytest.fixture
def bed(bin_dir: Path) -> Generator[Bed, None, None]:
    """g0 and s0 are the two ends of one cable; s1 is a port that nothing arrives at."""
    made = Bed(bin_dir, prefix="kbP-")
    for name in ("d0", "d1"):
        run("ip", "-n", made.dut, "link", "del", name)
    end = ["type", "veth", "peer", "name"]
    run("ip", "link", "add", "g0", "netns", made.gen, "address", GEN_MAC, *end, "s0", "netns", made.sink)
    run("ip", "-n", made.sink, "link", "add", "s1", *end, "s2")
    for netns, names in ((made.gen, ["g0"]), (made.sink, ["s0", "s1", "s2"])):
        for name in names:
            run("ip", "-n", netns, "link", "set", name, "up")
    yield made
    made.down()


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    path = tmp_path / "marker.bin"
    path.write_bytes(MARKER)
    return path


def test_each_frame_is_ascribed_to_its_packet_tags_included(bed: Bed, tmp_path: Path, marker: Path) -> None:
    frames = [PLAIN, TAGGED, TWICE, SHORT, PLAIN]
    packets = write_packets(tmp_path / "packets.bin", frames)
    code, events, stderr = inject(bed, "--packets", packets, "--marker-file", marker)
    assert (code, stderr) == (0, "")
    assert [frames_of(events, index) for index in range(len(frames))] == [[("in", frame)] for frame in frames]
    assert events[0]["event"] == "ready" and events[0]["packets"] == len(frames)
    assert events[-1] == {"event": "done", "sent": 5, "received": 5, "lost_markers": 0}


def test_a_lost_marker_is_said_and_fails(bed: Bed, tmp_path: Path, marker: Path) -> None:
    packets = write_packets(tmp_path / "packets.bin", [PLAIN, TAGGED])
    elsewhere = ("--in", "s1", "--timeout-ms", "20")
    code, events, _ = inject(bed, "--packets", packets, "--marker-file", marker, *elsewhere)
    assert code == 1
    assert [event["packet"] for event in events if event["event"] == "lost_marker"] == [0]
    assert events[-1] == {"event": "done", "sent": 1, "received": 0, "lost_markers": 1}


def test_without_marker_all_is_sent_and_waited_for(bed: Bed, tmp_path: Path) -> None:
    packets = write_packets(tmp_path / "packets.bin", [PLAIN, TAGGED])
    code, events, _ = inject(bed, "--packets", packets, "--quiet-ms", "50")
    assert code == 0
    assert [event["hex"] for event in events if event["event"] == "frame"] == [PLAIN.hex(), TAGGED.hex()]
    code, events, _ = inject(bed, "--packets", packets, "--quiet-ms", "50", "--in", "s1")
    assert code == 0 and [event["event"] for event in events] == ["ready", "done"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "KBPK"),
        (b"KBXX" + bytes(8), "KBPK"),
        (b"KBPK" + struct.pack("<II", 2, 0), "version 2"),
        (b"KBPK" + struct.pack("<II", 1, 1), "truncated in packet 0"),
        (b"KBPK" + struct.pack("<III", 1, 1, 60) + bytes(59), "truncated in packet 0"),
        (b"KBPK" + struct.pack("<III", 1, 1, 13) + bytes(13), "13 bytes"),
        (b"KBPK" + struct.pack("<III", 1, 1, 60) + bytes(61), "1 bytes too many"),
    ],
)
def test_refuses_a_bad_file(bed: Bed, tmp_path: Path, marker: Path, data: bytes, says: str) -> None:
    path = tmp_path / "bad.bin"
    path.write_bytes(data)
    code, events, stderr = inject(bed, "--packets", path, "--marker-file", marker)
    assert code == 2 and says in stderr and not events


def test_refuses_bad_arguments(bed: Bed, tmp_path: Path, marker: Path) -> None:
    packets = write_packets(tmp_path / "packets.bin", [PLAIN])
    short = tmp_path / "short.bin"
    short.write_bytes(MARKER[:53])
    for args, says in (
        ((), "--marker-file and --quiet-ms"),
        (("--marker-file", marker, "--quiet-ms", "5"), "--marker-file and --quiet-ms"),
        (("--marker-file", short), "a marker has 54"),
        (("--marker-file", marker, "--in-netns", "kbP-none"), "kbP-none"),
        (("--marker-file", marker, "--in-netns", "../x"), "no name of a namespace"),
        (("--marker-file", marker, "--in", "nope0"), 'no interface "nope0"'),
    ):
        code, events, stderr = inject(bed, "--packets", packets, *args)
        assert code == 2 and says in stderr and len(stderr.splitlines()) == 1 and not events, args


def test_a_frame_longer_than_the_mtu_is_an_error(bed: Bed, tmp_path: Path, marker: Path) -> None:
    packets = write_packets(tmp_path / "packets.bin", [PLAIN + bytes(2000)])
    code, _, stderr = inject(bed, "--packets", packets, "--marker-file", marker)
    assert code == 1 and "packet 0" in stderr and "too long" in stderr


def test_says_so_where_an_xdp_program_is_in_the_way(bed: Bed, tmp_path: Path, marker: Path) -> None:
    bed.start_sink()
    packets = write_packets(tmp_path / "packets.bin", [PLAIN])
    code, _, stderr = inject(bed, "--packets", packets, "--marker-file", marker)
    assert code == 3 and "s0" in stderr and "XDP" in stderr


def test_leaves_no_xdp_program_behind(bed: Bed, tmp_path: Path, marker: Path) -> None:
    packets = write_packets(tmp_path / "packets.bin", [PLAIN])
    assert inject(bed, "--packets", packets, "--marker-file", marker)[0] == 0
    for netns, name in ((bed.gen, "g0"), (bed.sink, "s0")):
        link = json.loads(subprocess.check_output(["ip", "-j", "-n", netns, "link", "show", name]))
        assert "xdp" not in link[0]
