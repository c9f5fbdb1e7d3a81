# SPDX-License-Identifier: GPL-2.0-only
"""Same work, proven first: the same packets through a datapath and through the reference model.

What comes out of which port is compared byte for byte. Ethernet padding is not part of a packet (RFC 894), so frames
are compared up to the length that their IP header states.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from kbench.errors import MeasureError
from kbench.functions.frames import padded
from kbench.functions.packets import Packet, packets_file
from kbench.functions.reference import Reference
from kbench.measure.bench import Bench
from kbench.model import Case, Verification

SHOWN = 10
"""Differences written out in full; more are counted."""
SETTLE_MS = 20
"""How long to listen behind a marker where a port has several queues, which may bring it before what it follows."""
UNCHECKED_IN_HAIRPIN = ("ip6: from ::",)
"""ip6_forward() does not look at the source of a packet that leaves by the port it came in by."""
QUIET_MS = 300
"""How long to listen after the last packet where nothing is forwarded that could mark the end."""


class ForwardsNothing(MeasureError):
    """The marker, which every correct datapath forwards, did not come out."""


@dataclass(frozen=True)
class Emitted:
    """A frame that came out of the DUT, and by which of its ports (0: rx, 1: tx)."""

    port: int
    frame: bytes

    def __str__(self) -> str:
        return f"out of {'rx' if self.port == 0 else 'tx'}: {self.frame.hex()}"


def verify(
    bench: Bench,
    part: str,
    case: Case,
    packets: Sequence[Packet],
    reference: Reference,
    marker: bytes | None,
    scratch: str,
) -> Verification:
    """Sends `packets` through the bench, whose sink must not be running; `scratch` is a directory on the
    tester."""
    bench.take_turn()
    if bench.testbed.wire == "nic":
        hairpin = bench.testbed.sink == bench.testbed.generator
        packets = on_ethernet(packets, UNCHECKED_IN_HAIRPIN if hairpin and bench.name == "kernel" else ())
    before = bench.seen()
    try:
        emitted = _inject(bench, packets, marker, scratch)
    except ForwardsNothing as stopped:
        return Verification(
            part=part,
            case_id=case.case_id,
            datapath=bench.name,
            packets=len(packets),
            passed=False,
            differences=[str(stopped)],
        )
    differences = []
    # In hairpin there is one port, out of which everything comes.
    ports = (0, 0) if bench.testbed.sink == bench.testbed.generator else (0, 1)
    policy = 0
    for index, packet in enumerate(packets):
        outcome = reference.process(packet.frame)
        policy += outcome.reason == "policy"
        expected = []
        if outcome.frame is not None and outcome.port is not None:
            expected = [Emitted(ports[outcome.port], ip_part(outcome.frame))]
        got = [Emitted(ports[e.port], ip_part(e.frame)) for e in emitted.get(index, [])]
        if bench.testbed.sink == bench.testbed.rx:
            got = []  # a port that hears itself hears what was sent, whatever is dropped behind
        if got != expected:
            differences.append(
                f"{packet.name}: expected {_say(expected)} ({outcome.reason}), got {_say(got)}"
            )
    after = bench.seen()
    if case.function == "drop" and before and after:
        # Silence alone would also be what a dead datapath shows. ip_rcv() drops malformed packets before netfilter's
        # hook counts them, so there the number is lower.
        dropped = after.dropped.get("policy", 0) - before.dropped.get("policy", 0)
        if dropped > policy or (dropped != policy and bench.name != "netfilter"):
            differences.append(f"expected {policy} packets dropped by policy, the datapath counted {dropped}")
        elif not dropped:
            differences.append("the datapath dropped nothing")
    return Verification(
        part=part,
        case_id=case.case_id,
        datapath=bench.name,
        packets=len(packets),
        passed=not differences,
        differences=_shorten(differences),
    )


def _inject(
    bench: Bench, packets: Sequence[Packet], marker: bytes | None, scratch: str
) -> dict[int, list[Emitted]]:
    bed, host = bench.testbed, bench.testbed.tester
    host.put(f"{scratch}/packets.bin", packets_file(packets))
    argv = [
        host.program("kb-inject"),
        "--out", bed.generator.name,
        "--in", bed.sink.name,
        "--in-netns", str(bed.sink.netns),
        "--packets", f"{scratch}/packets.bin",
    ]  # fmt: skip
    if marker is None:
        # A burst of all packets may be more than the ring of an adapter holds.
        argv += ["--quiet-ms", str(QUIET_MS), *(("--settle-ms", "1") if bed.wire == "nic" else ())]
    else:
        if len(bed.receive_cpus) > 1:
            argv += ["--settle-ms", str(SETTLE_MS)]
        host.put(f"{scratch}/marker.bin", marker)
        argv += ["--marker-file", f"{scratch}/marker.bin"]
    injector = host.start(argv, netns=bed.generator.netns, ready=False)
    finished = injector.wait(timeout_s=120, check=False)
    kinds = [event["event"] for event in finished.events]
    if "lost_marker" in kinds:
        at = finished.events[kinds.index("lost_marker")]["packet"]
        raise ForwardsNothing(
            f"after {packets[at].name!r}: a packet that must be forwarded did not come out: the datapath has stopped"
            " or never worked"
        )
    if finished.code:
        injector.raise_for_code()
    emitted: dict[int, list[Emitted]] = {}
    for event in finished.events:
        if event["event"] == "frame":
            port = 0 if event["port"] == "out" else 1
            emitted.setdefault(event["packet"], []).append(Emitted(port, bytes.fromhex(event["hex"])))
    return emitted


def on_ethernet(packets: Sequence[Packet], without: Collection[str] = ()) -> list[Packet]:
    """As a wire carries them: padded to the least length of a frame, also those that were cut short on purpose."""
    return [Packet(p.name, padded(p.frame)) for p in packets if p.name not in without]


def ip_part(frame: bytes) -> bytes:
    """The frame without what follows the IP packet in it."""
    if len(frame) >= 34 and frame[12:14] == b"\x08\x00":
        return frame[: 14 + struct.unpack_from("!H", frame, 16)[0]]
    if len(frame) >= 54 and frame[12:14] == b"\x86\xdd":
        return frame[: 54 + struct.unpack_from("!H", frame, 18)[0]]
    return frame


def _say(frames: list[Emitted]) -> str:
    return "; ".join(map(str, frames)) or "nothing"


def _shorten(differences: list[str]) -> list[str]:
    if len(differences) <= SHOWN:
        return differences
    return [*differences[:SHOWN], f"and {len(differences) - SHOWN} more"]
