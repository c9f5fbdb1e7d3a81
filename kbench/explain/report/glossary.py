# SPDX-License-Identifier: GPL-2.0-only
"""The words of a report, each with a short definition and where it comes from."""

from __future__ import annotations

GLOSSARY: list[tuple[str, str, str]] = [
    (
        "back-to-back frames",
        "The longest burst at the highest rate that is carried without loss: how much is buffered.",
        "RFC 1242, 3.1; RFC 2544, 26.4; RFC 9004",
    ),
    (
        "baseline",
        "The generator's packets into a bare drop on the DUT's port: what generating and receiving alone cost.",
        "",
    ),
    (
        "block",
        "Trials that share one topology. For the next block all is built anew; intervals are over blocks.",
        "",
    ),
    (
        "case",
        "One piece of packet work: function, tables, frame size and flows, the same for every datapath.",
        "",
    ),
    (
        "confidence interval",
        "The range that holds the true value in 95 of 100 measurements like this one, as far as chance goes.",
        "",
    ),
    (
        "contaminated",
        "A trial during which the machine was not kbench's alone. Kept and counted, not scored.",
        "",
    ),
    (
        "datapath",
        "One way of getting packets through the DUT: netfilter, xdp, af_packet, or the kernel's own forwarding.",
        "",
    ),
    (
        "DUT",
        "Device under test: the namespace, host or virtual machine whose datapath is measured.",
        "RFC 2285, 3.1.1; RFC 2544, 6",
    ),
    (
        "emulated",
        "By the clock of an emulated machine with emulated NICs: it shows that a datapath works there, never how fast.",
        "",
    ),
    ("exact", "Counted in guest instructions under emulation: it repeats within 0.1 %, but is not time.", ""),
    (
        "frame loss rate",
        "Share of the frames that should have been forwarded at a load, and were not.",
        "RFC 1242, 3.6; RFC 2544, 26.3",
    ),
    (
        "frame size",
        "Bytes of an Ethernet frame, with its check sequence of 4 bytes.",
        "RFC 1242, 3.5; RFC 2544, 9",
    ),
    ("function", "The work per packet: drop, forward (by routes) or filter (by rules).", ""),
    ("functional", "Packets were counted only: under emulation, time says nothing.", ""),
    (
        "generator",
        "What offers the load: pktgen (socket buffers) or xdp (live frames).",
        "kernel: pktgen.rst, b530e9e1063e",
    ),
    ("grade", "How far a result can be trusted, from A to F: the worst that any rule leaves it.", ""),
    (
        "hairpin",
        "One port of the DUT, cabled to one of the tester: packets go back out of the port they came in by.",
        "",
    ),
    (
        "latency",
        "Time from the generator's stamp in a packet to its arrival at the sink.",
        "RFC 1242, 3.8; RFC 8219, 7.2",
    ),
    ("ledger", "The account of a trial's packets: offered = forwarded + dropped + lost.", ""),
    (
        "line rate",
        "The most frames a link carries: its speed over frame size and 20 bytes of preamble and gap.",
        "RFC 2544, 20",
    ),
    (
        "load",
        "Packets per second that are offered, or the most that the generator can offer.",
        "RFC 2285, 3.5",
    ),
    (
        "lost",
        "Offered, but neither forwarded nor dropped by the function. Each loss is ascribed to a place.",
        "",
    ),
    (
        "maximum forwarding rate",
        "The most packets per second that get through at any load, whatever is lost meanwhile.",
        "RFC 2285, 3.6.3; RFC 2889, 5.6",
    ),
    (
        "MLRsearch",
        "A search for several rates at once, with short trials first.",
        "draft-ietf-bmwg-mlrsearch",
    ),
    (
        "NDR",
        "No-drop rate: the highest load that was carried without loss. RFC 1242 calls it throughput.",
        "RFC 1242, 3.17; draft-ietf-bmwg-mlrsearch",
    ),
    (
        "PDR",
        "Partial drop rate: the highest load at which no more than a stated share was lost (0.5 %, unless said).",
        "draft-ietf-bmwg-mlrsearch; ETSI GS NFV-TST 009",
    ),
    ("percentile", "p99 is the latency that 99 of 100 packets stayed below.", "RFC 8219, 7.2"),
    (
        "queue",
        "A NIC's receive queue. Each has an interrupt, and here a CPU of its own; a hash spreads flows over them.",
        "kernel: scaling.rst",
    ),
    (
        "round",
        "One trial of each datapath in turn; ratios are taken within rounds, so that slow drift cancels.",
        "",
    ),
    ("sink", "Where forwarded packets arrive, are counted and dropped.", ""),
    ("steal", "Time that a hypervisor gave to others while a virtual CPU wanted to run.", ""),
    ("testbed", "Ports and CPUs to measure on: NICs and their cables, or virtual Ethernet pairs (veth).", ""),
    ("tester", "What offers load and counts what comes back: generator and sink.", "RFC 2544, 6"),
    ("throughput", "The highest load at which no frame is lost.", "RFC 1242, 3.17; RFC 2544, 26.1"),
    ("trial", "One offered load for one duration on one datapath.", "RFC 2544, 23, 24"),
    (
        "TST 009",
        "Binary search in which a load that failed is tried again, as a single loss can be chance.",
        "ETSI GS NFV-TST 009, 12.3",
    ),
    (
        "verification",
        "The same packets through each datapath, compared byte by byte with a reference before anything is timed.",
        "",
    ),
    ("wall", "Measured in real time on real CPUs.", ""),
]
"""Word, definition, source; by alphabet."""
