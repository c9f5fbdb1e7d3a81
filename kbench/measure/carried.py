# SPDX-License-Identifier: GPL-2.0-only
"""What the cable and the adapters at its ends do to the verification packets, before any datapath is attached.

Adapters pad short frames, and some (QEMU's e1000e, igb and vmxnet3 among them) parse what they send: they drop packets
with broken IPv6 extension headers, or mend a payload length of 0. No datapath can be proven on what never reaches it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kbench.functions.packets import Packet, packets_file
from kbench.measure.testbeds.base import Testbed
from kbench.measure.verify import ip_part, on_ethernet

QUIET_MS = 300


def carried(testbed: Testbed, packets: Sequence[Packet], scratch: str) -> list[Packet]:
    """Those of `packets` that arrive at the DUT's port as they were sent, padded to the least that Ethernet carries;
    `scratch` is a directory on the tester.

    No datapath may be attached. Raises MeasureError when a program fails.
    """
    tester, generator, sink = testbed.tester, testbed.generator, testbed.sink
    padded = on_ethernet(packets)
    tester.put(f"{scratch}/wire.bin", packets_file(padded))
    listening = [testbed.host.program("kb-listen"), "--in", testbed.rx.name]
    listener = testbed.host.start(listening, netns=testbed.rx.netns)
    try:
        tester.run(
            [
                tester.program("kb-inject"),
                "--out", generator.name,
                "--in", sink.name,
                "--in-netns", str(sink.netns),
                "--packets", f"{scratch}/wire.bin",
                "--quiet-ms", str(QUIET_MS),
            ],
            netns=generator.netns,
        )  # fmt: skip
        listener.stop()
    finally:
        listener.kill()
    heard = [bytes.fromhex(event["hex"]) for event in listener.events if event["event"] == "frame"]
    return unchanged(padded, heard)


def unchanged(packets: Sequence[Packet], heard: Sequence[bytes]) -> list[Packet]:
    """Packets that are among the frames, each frame once; padding at their end is no change."""
    left = Counter(_bare(frame) for frame in heard)
    found = []
    for packet in packets:
        bare = _bare(packet.frame)
        if left[bare]:
            left[bare] -= 1
            found.append(packet)
    return found


def _bare(frame: bytes) -> bytes:
    """Up to the length that the IP header states, where it has one, and without zeros at the end."""
    return ip_part(frame).rstrip(b"\0")
