# SPDX-License-Identifier: GPL-2.0-only
"""Looks at ports and cables and measures nothing: what `kbench topo` shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from kbench.host.journal import Journal
from kbench.host.local import LocalHost
from kbench.host.nic import picture
from kbench.host.nic.cabling import Cables
from kbench.host.nic.cabling import End as PortEnd
from kbench.host.nic.guard import free_ports
from kbench.host.nic.state import read_state
from kbench.measure.nics.find import find_topology, look
from kbench.measure.nics.machines import Machine, Machines, open_machines
from kbench.measure.nics.plan import refuse_before
from kbench.measure.nics.topology import port_document
from kbench.measure.plan import Options
from kbench.measure.reporter import Reporter


@dataclass(frozen=True)
class Survey:
    """All free ports with their cables, and why others were not tried."""

    cables: Cables
    refused: dict[PortEnd, str]
    facts: dict[PortEnd, dict[str, Any]]
    """By port: host, name, driver, bus, mac, speed_mbps, emulated."""


@contextmanager
def _machines(options: Options, local: LocalHost, journal: Journal, reporter: Reporter) -> Iterator[Machines]:
    refuse_before(options)
    with ExitStack() as stack:
        yield open_machines(stack, options, local, journal, reporter.step)


def survey(options: Options, local: LocalHost, journal: Journal, reporter: Reporter) -> Survey:
    """Tries all free ports of all machines that the options name."""
    with _machines(options, local, journal, reporter) as machines:
        wanted: dict[Machine, list[str]] = {}
        refused: dict[PortEnd, str] = {}
        for machine in machines.all():
            free, why = free_ports(machine.host, machine.session)
            wanted[machine] = free
            refused |= {PortEnd(machine.label, port): reason for port, reason in why.items()}
        cables = look(machines, wanted, reporter)
        facts = {
            PortEnd(machine.label, name): port_document(
                machine.host, machine.label, name, read_state(machine.host, name)
            )
            for machine, names in wanted.items()
            for name in (*names, *(end.port for end in refused if end.place == machine.label))
        }
    return Survey(cables, refused, facts)


def topology(options: Options, local: LocalHost, journal: Journal, reporter: Reporter) -> dict[str, Any]:
    """The topology that a run with these options would be on, as `Part.nic` stores it."""
    with _machines(options, local, journal, reporter) as machines:
        found, _ = find_topology(machines, options, reporter)
        return found.document({end: read_state(end.host, end.name) for end in found.ports()})


def draw(found: Survey, *, ascii_only: bool) -> str:
    """The survey as text."""
    facts = {end: picture.describe(port) for end, port in found.facts.items()}
    return picture.cables(found.cables, found.refused, facts, ascii_only=ascii_only)
