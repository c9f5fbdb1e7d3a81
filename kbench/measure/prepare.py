# SPDX-License-Identifier: GPL-2.0-only
"""Turns a case into files on a host: image, traffic, verification packets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kbench.functions.image import compile_image
from kbench.functions.model import Port, Tables
from kbench.functions.packets import Packet, marker, traffic_file, verification_packets
from kbench.functions.reference import Reference
from kbench.functions.traffic import make_traffic, tables_for
from kbench.host.base import Host
from kbench.measure.datapaths.base import Work
from kbench.model import Case


@dataclass(frozen=True)
class Prepared:
    """A case, ready to be measured. Paths of the work are on the DUT's host, the others on the tester."""

    case: Case
    work: Work
    traffic: str
    reference: Reference
    packets: Sequence[Packet]
    marker: bytes | None
    scratch: str
    """A directory on the tester."""


def prepare(
    case: Case,
    host: Host,
    scratch: str,
    ports: Sequence[tuple[bytes, bytes]],
    tester: tuple[Host, str] | None = None,
) -> Prepared:
    """Compiles the case's tables for `ports` (own MAC, next hop's MAC; rx first) and puts the files where they are
    needed: in `scratch` on the DUT's host, and on the tester in the directory that comes with it (None: it is the same
    machine)."""
    offering, directory = tester or (host, scratch)
    tables: Tables = tables_for(case)
    own = [Port(mac, next_hop) for mac, next_hop in ports]
    reference = Reference(case.function, tables, own)
    traffic = make_traffic(case, tables, reference)
    image_path, traffic_path = f"{scratch}/{case.case_id}.image", f"{directory}/{case.case_id}.traffic"
    host.put(image_path, compile_image(case.function, tables, own))
    offering.put(traffic_path, traffic_file(traffic.groups, src_mac=own[0].next_hop, dst_mac=own[0].mac))
    return Prepared(
        case=case,
        work=Work(case.function, tables, image_path),
        traffic=traffic_path,
        reference=reference,
        packets=verification_packets(tables, case.function, own, case.seed),
        marker=marker(reference),
        scratch=directory,
    )
