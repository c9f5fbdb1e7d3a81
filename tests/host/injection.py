# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of kb-inject and kb-af-packet share: running kb-inject, and comparing with the reference model."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kbench.functions.image import compile_image
from kbench.functions.model import Port, Tables, mac_bytes
from kbench.functions.packets import Packet, marker, packets_file, verification_packets
from kbench.functions.reference import Reference
from kbench.model import Function
from tests.xdp_bed import GEN_MAC, RX_MAC, SINK_MAC, TX_MAC, Bed

PORTS = (
    Port(mac_bytes(RX_MAC), mac_bytes(GEN_MAC)),
    Port(mac_bytes(TX_MAC), mac_bytes(SINK_MAC)),
)


def inject(bed: Bed, *args: str | Path) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, events and stderr of kb-inject from g0 to s0."""
    argv: list[str | Path] = ["nsenter", f"--net=/run/netns/{bed.gen}", bed.bin / "kb-inject"]
    argv += ["--out", "g0", "--in", "s0", "--in-netns", bed.sink, *args]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def frames_of(events: Sequence[dict[str, Any]], packet: int) -> list[tuple[str, bytes]]:
    """Port and bytes of the frames captured for one packet."""
    return [
        (event["port"], bytes.fromhex(event["hex"]))
        for event in events
        if event["event"] == "frame" and event["packet"] == packet
    ]


def write_packets(path: Path, frames: Sequence[bytes]) -> Path:
    """A KBPK file."""
    path.write_bytes(packets_file([Packet(str(index), frame) for index, frame in enumerate(frames)]))
    return path


class Work:
    """A function over tables: image, verification packets and marker as files, and what must come out."""

    def __init__(self, directory: Path, function: Function, tables: Tables) -> None:
        self.function = function
        self.reference = Reference(function, tables, PORTS)
        self.packets = verification_packets(tables, function, PORTS, seed=1)
        self.image = directory / "image.bin"
        self.image.write_bytes(compile_image(function, tables, PORTS))
        self.packets_path = directory / "packets.bin"
        self.packets_path.write_bytes(packets_file(self.packets))
        self.marker_path = directory / "marker.bin"
        frame = marker(self.reference)
        if frame is not None:
            self.marker_path.write_bytes(frame)
        self.outcomes = [self.reference.process(packet.frame) for packet in self.packets]

    def differences(self, events: Sequence[dict[str, Any]]) -> list[str]:
        """What came out otherwise than the reference says: one line per packet."""
        found = []
        for index, (packet, outcome) in enumerate(zip(self.packets, self.outcomes, strict=True)):
            expected = []
            if outcome.frame is not None:
                expected = [(("out", "in")[outcome.port or 0], outcome.frame)]
            # Datapaths may carry Ethernet padding on or not: it is no part of the packet.
            got = [(port, frame[: len(outcome.frame or frame)]) for port, frame in frames_of(events, index)]
            if got != expected:
                found.append(f"{packet.name} ({outcome.reason}): expected {expected}, got {got}")
        return found

    def count(self, reason: str) -> int:
        """How many of the packets end for this reason."""
        return sum(outcome.reason == reason for outcome in self.outcomes)
