# SPDX-License-Identifier: GPL-2.0-only
"""Builds and drives core_harness.c, and draws random tables and frames, for the tests of the packet core."""

from __future__ import annotations

import ipaddress
import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from kbench.functions.image import compile_image
from kbench.functions.model import MARTIAN_DESTINATIONS, Network, Port, Route, Rule, Tables
from kbench.functions.packets import Packet, packets_file, verification_packets
from kbench.functions.reference import REASONS, Outcome, Reference
from kbench.model import Function

ROOT = Path(__file__).parents[2]
PORTS = (
    Port(bytes.fromhex("020000000002"), bytes.fromhex("020000000001")),
    Port(bytes.fromhex("020000000003"), bytes.fromhex("020000000004")),
)
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"]


def build(directory: Path, sanitize: bool = False) -> Path:
    """Compiles the harness with the warnings of the house as errors; the program's path."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("gcc is not installed: run make setup")
    program = directory / ("harness-san" if sanitize else "harness")
    warnings = ["-Wall", "-Wextra", "-Werror"]
    argv = [compiler, "-std=gnu11", "-O2", *warnings, *(SANITIZERS if sanitize else []), f"-I{ROOT}/core"]
    argv += ["-o", str(program), str(ROOT / "tests/unit/core_harness.c"), "-lz"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


@dataclass(frozen=True)
class Core:
    """The compiled harness, with a directory for its files."""

    program: Path
    directory: Path

    def run(self, *args: str, stdin: str = "") -> str:
        """Its output; a sanitizer's complaint or any other failure fails the test."""
        argv = [str(self.program), *args]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{argv}: {done.stderr[:4000]}"
        return done.stdout

    def put(self, name: str, data: bytes) -> str:
        """Writes a file for the harness."""
        path = self.directory / name
        path.write_bytes(data)
        return str(path)

    def decide(self, image: bytes, frames: Sequence[bytes]) -> list[Outcome]:
        """What the core does with frames, in the words of the reference model."""
        out = self.directory / "out.bin"
        packets = packets_file([Packet("", frame) for frame in frames])
        self.run("decide", self.put("image.bin", image), self.put("frames.bin", packets), str(out))
        data, at, outcomes = out.read_bytes(), 0, []
        for _ in frames:
            verdict, size = struct.unpack_from("<II", data, at)
            frame = data[at + 8 : at + 8 + size]
            at += 8 + size
            reason = REASONS[verdict & 0xFF]
            if reason == "forwarded":
                outcomes.append(Outcome(reason, verdict >> 8, cut_at_ip_length(frame)))
            else:
                assert verdict >> 8 == 0
                outcomes.append(Outcome(reason))
        assert at == len(data)
        return outcomes


def cut_at_ip_length(frame: bytes) -> bytes:
    """The frame without Ethernet padding."""
    at, add = (16, 14) if frame[12:14] == b"\x08\x00" else (18, 54)
    return frame[: add + struct.unpack_from("!H", frame, at)[0]]


def compare(core: Core, function: Function, tables: Tables, frames: Sequence[bytes]) -> dict[str, int]:
    """Asserts that the core and the reference model agree on all frames; how often each reason came up."""
    reference = Reference(function, tables, PORTS)
    got = core.decide(compile_image(function, tables, PORTS), frames)
    reasons: dict[str, int] = {}
    for frame, outcome in zip(frames, got, strict=True):
        expected = reference.process(frame)
        assert outcome == expected, f"{function} {frame.hex()}: core {outcome}, reference {expected}"
        reasons[expected.reason] = reasons.get(expected.reason, 0) + 1
    return reasons


def random_network(rng: Random, version: int) -> Network:
    """A prefix near few others: they nest, touch and repeat; sometimes martian, sometimes anything."""
    width = 32 if version == 4 else 128
    near = (
        ("10.1.2.3", "10.1.130.200", "203.0.113.77")
        if version == 4
        else ("2001:db8::1", "2001:db8:8000::f0f0")
    )
    address = int(ipaddress.ip_address(rng.choice(near)))
    if rng.random() < 0.7:
        address ^= 1 << rng.randrange(width)
    if rng.random() < 0.1:
        address = rng.getrandbits(width)
    if rng.random() < 0.05:
        address = int(rng.choice([m for m in MARTIAN_DESTINATIONS if m.version == version]).network_address)
    length = rng.choice((0, 1, 8, 15, 16, 17, 20, 24, 25, 31, 32, 33, 48, 63, 64, 65, 100, 124, 127, 128))
    length = rng.randrange(width + 1) if length > width or rng.random() < 0.3 else length
    network = (address >> (width - length) << (width - length), length)
    return ipaddress.IPv4Network(network) if version == 4 else ipaddress.IPv6Network(network)


def random_routes(rng: Random, count: int) -> tuple[Route, ...]:
    """Routes of both families and all three ways out."""
    prefixes = {random_network(rng, rng.choice((4, 6))) for _ in range(count)}
    ordered = sorted(prefixes, key=str)
    rng.shuffle(ordered)
    return tuple(Route(p, rng.choice(("tx", "tx", "rx", "discard"))) for p in ordered)


def random_range(rng: Random) -> tuple[int, int] | None:
    """A port range whose ends repeat, or none."""
    if rng.random() < 0.4:
        return None
    lo, hi = sorted(rng.choice((0, 1, 53, 80, 443, 1023, 1024, 2000, 65534, 65535)) for _ in range(2))
    return (lo, hi)


def random_rules(rng: Random, count: int) -> tuple[Rule, ...]:
    """Rules with any combination of fields."""
    rules = []
    for _ in range(count):
        family = rng.choice((None, 4, 6))
        src = dst = None
        if family is not None:
            src = random_network(rng, family) if rng.random() < 0.6 else None
            dst = random_network(rng, family) if rng.random() < 0.6 else None
        protocol = rng.choice((None, 0, 1, 6, 17, 44, 58, 59, 60, 132, 255))
        action = rng.choice(("accept", "drop"))
        rules.append(Rule(action, family, src, dst, random_range(rng), random_range(rng), protocol))
    return tuple(rules)


def random_tables(rng: Random) -> Tables:
    """Few or many routes and rules."""
    rules = random_rules(rng, rng.choice((0, 1, 2, 5, 63, 64, 65, 130)))
    return Tables(random_routes(rng, rng.choice((0, 1, 5, 40))), rules, rng.random() < 0.5)


def edge_addresses(tables: Tables, version: int) -> list[int]:
    """First and last addresses of all prefixes, and their neighbours."""
    width = 32 if version == 4 else 128
    networks = [r.prefix for r in tables.routes] + [p for r in tables.rules for p in (r.src, r.dst) if p]
    networks += MARTIAN_DESTINATIONS
    edges = {0, (1 << width) - 1}
    for network in networks:
        if network.version == version:
            first, last = int(network.network_address), int(network.broadcast_address)
            edges |= {first, last, first - 1, last + 1}
    return sorted(a for a in edges if 0 <= a < 1 << width)


def random_frames(rng: Random, function: Function, tables: Tables, count: int) -> list[bytes]:
    """Frames as verification uses, with addresses at the edges of the tables; half of them damaged."""
    sound = [p.frame for p in verification_packets(tables, function, PORTS, rng.getrandbits(16))]
    edges = {4: edge_addresses(tables, 4), 6: edge_addresses(tables, 6)}
    frames = []
    for _ in range(count):
        frame = bytearray(rng.choice(sound))
        if rng.random() < 0.7:
            _readdress(rng, frame, edges)
        if rng.random() < 0.5:
            _damage(rng, frame)
        frames.append(bytes(frame))
    return frames


def _readdress(rng: Random, frame: bytearray, edges: dict[int, list[int]]) -> None:
    """Puts addresses and ports from the tables' edges into an IP frame, and makes its checksum right."""
    ports = b"".join(rng.choice((0, 53, 79, 80, 81, 443, 1024, 2001, 65535)).to_bytes(2, "big") for _ in "sd")
    if frame[12:14] == b"\x08\x00" and len(frame) >= 34:
        for at in (26, 30):
            if rng.random() < 0.7:
                frame[at : at + 4] = rng.choice(edges[4]).to_bytes(4, "big")
        if len(frame) >= 38 and rng.random() < 0.5:
            frame[34:38] = ports
        header = min((frame[14] & 15) * 4, len(frame) - 14) & ~1
        if header >= 20 and rng.random() < 0.9:
            frame[24:26] = b"\0\0"
            total = sum(struct.unpack(f"!{header // 2}H", frame[14 : 14 + header]))
            total = (total & 0xFFFF) + (total >> 16)
            frame[24:26] = struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF)
    elif frame[12:14] == b"\x86\xdd" and len(frame) >= 54:
        for at in (22, 38):
            if rng.random() < 0.7:
                frame[at : at + 16] = rng.choice(edges[6]).to_bytes(16, "big")
        if frame[20] in (6, 17, 132) and len(frame) >= 58 and rng.random() < 0.7:
            frame[54:58] = ports


def _damage(rng: Random, frame: bytearray) -> None:
    kind = rng.randrange(4)
    if kind == 0:
        del frame[rng.randrange(len(frame)) :]
    elif kind == 1:
        frame += rng.randbytes(rng.randrange(1, 40))
    else:
        for _ in range(rng.randrange(1, 5)):
            # Mostly behind the MAC addresses, where it matters most.
            at = rng.randrange(12 if rng.random() < 0.9 else 0, max(13, min(len(frame), 80)))
            if at < len(frame):
                frame[at] = rng.choice((0, 1, 0xFF, frame[at] ^ 1 << rng.randrange(8), rng.getrandbits(8)))
