# SPDX-License-Identifier: GPL-2.0-only
"""Writes image.bin, packets.bin, marker.bin and traffic.bin for trying a datapath by hand.

python -m kbench.functions filter --rules 100 --routes 1000 --out /tmp/x
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kbench.errors import KbenchError
from kbench.functions.image import compile_image
from kbench.functions.model import Port, mac_bytes
from kbench.functions.packets import marker, packets_file, traffic_file, verification_packets
from kbench.functions.reference import Reference
from kbench.functions.traffic import make_traffic, tables_for
from kbench.functions.validate import validate_case
from kbench.model import Case

VETH_MACS = "02:00:00:00:00:02,02:00:00:00:00:01,02:00:00:00:00:03,02:00:00:00:00:04"
"""The veth testbed: DUT's rx port, generator, DUT's tx port, sink."""


def main(argv: list[str]) -> int:
    """Parses the arguments and writes the files; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m kbench.functions", description=__doc__)
    parser.add_argument("function", choices=("drop", "forward", "filter"))
    parser.add_argument("--out", type=Path, required=True, help="directory to write to")
    parser.add_argument("--rules", type=int, default=0)
    parser.add_argument("--shape", default="acl")
    parser.add_argument("--routes", type=int, default=1)
    parser.add_argument("--rules-file")
    parser.add_argument("--routes-file")
    parser.add_argument("--flows", type=int, default=256)
    parser.add_argument("--match-share", type=float, default=1.0)
    parser.add_argument("--frame-bytes", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ip-family", type=int, choices=(4, 6), default=4)
    parser.add_argument("--mac", default=VETH_MACS, help="rx own, rx next hop, tx own, tx next hop")
    args = parser.parse_args(argv)
    macs = [mac_bytes(text) for text in args.mac.split(",")]
    ports = (Port(macs[0], macs[1]), Port(macs[2], macs[3]))
    case = Case(
        args.function,
        args.frame_bytes,
        routes=args.routes,
        rules=args.rules,
        shape=args.shape,
        flows=args.flows,
        match_share=args.match_share,
        routes_file=args.routes_file,
        rules_file=args.rules_file,
        seed=args.seed,
    )
    try:
        validate_case(case)
        tables = tables_for(case)
        reference = Reference(case.function, tables, ports)
        image = compile_image(case.function, tables, ports)
        packets = verification_packets(tables, case.function, ports, case.seed)
        traffic = make_traffic(case, tables, reference, args.ip_family)
    except KbenchError as error:
        print(f"kbench: {error}", file=sys.stderr)
        return error.exit_code
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "image.bin").write_bytes(image)
    (args.out / "packets.bin").write_bytes(packets_file(packets))
    blob = traffic_file(traffic.groups, src_mac=ports[0].next_hop, dst_mac=ports[0].mac)
    (args.out / "traffic.bin").write_bytes(blob)
    marker_frame = marker(reference)
    if marker_frame is not None:
        (args.out / "marker.bin").write_bytes(marker_frame)
    print(f"image {len(image)} bytes, {len(packets)} packets")
    print(f"{len(traffic.groups)} groups of flows, {traffic.expected}")
    for index, packet in enumerate(packets):
        outcome = reference.process(packet.frame)
        print(f"{index:4} {packet.name:40} {outcome.reason} {'' if outcome.port is None else outcome.port}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
