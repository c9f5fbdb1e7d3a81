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
from kbench.measure.verify import on_ethernet

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
                "--settle-ms", "1",  # a burst of all may be more than a ring holds
            ],
            netns=generator.netns,
        )  # fmt: skip
        listener.stop()
    finally:
        listener.kill()
    heard = [bytes.fromhex(event["hex"]) for event in listener.events if event["event"] == "frame"]
    return unchanged(padded, heard)


def unchanged(packets: Sequence[Packet], heard: Sequence[bytes]) -> list[Packet]:
    """Packets that are among the frames, byte for byte, each frame once."""
    left = Counter(heard)
    found = []
    for packet in packets:
        if left[packet.frame]:
            left[packet.frame] -= 1
            found.append(packet)
    return found
