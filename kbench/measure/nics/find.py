# SPDX-License-Identifier: GPL-2.0-only
"""From what the user named to a topology: refuses ports in use, and finds or checks the cable by probe frames."""

from __future__ import annotations

from collections.abc import Sequence

from kbench.errors import UsageError
from kbench.host.nic import cabling
from kbench.host.nic.cabling import Cables, Place, find_cables, has_driver_loopback, peer_of
from kbench.host.nic.guard import free_ports, require_free
from kbench.measure.nics.machines import Machine, Machines
from kbench.measure.nics.topology import LOOPBACK, End, Topology, topology_of
from kbench.measure.plan import Options
from kbench.measure.reporter import Reporter


def find_topology(machines: Machines, options: Options, reporter: Reporter) -> tuple[Topology, list[str]]:
    """The topology, and what its reader has to know. EnvironmentProblem: a port is in use, or no peer was found."""
    dut = machines.dut
    if options.peer == (LOOPBACK,):
        return _driver_loopback(dut, options)
    tester = machines.tester or (machines.local if dut.host.kind == "ssh" else dut)
    peers = tester.ports if machines.tester else options.peer
    wanted = {dut: list(dut.ports)}
    if tester.host is dut.host:
        wanted[dut] += peers  # one machine, of which two URLs name ports
    else:
        wanted[tester] = list(peers)
    notices = [line for machine, names in wanted.items() for line in claim(machine, names, options)]
    refused: dict[cabling.End, str] = {}
    if not peers:
        for machine in [tester] if machines.tester else machines.all():
            if machine.host is dut.host:
                machine = dut
            free, why = free_ports(machine.host, machine.session)
            refused |= {cabling.End(machine.label, port): reason for port, reason in why.items()}
            names = wanted.setdefault(machine, [])
            names += [name for name in free if name not in names]
    cables = look(machines, wanted, reporter)
    hosts = {machine.label: machine.host for machine in wanted}
    found = []
    for name in dut.ports:
        able = has_driver_loopback(features(dut, name))
        peer = peer_of(cables, cabling.End(dut.label, name), refused, driver_loopback=able)
        found.append(End(hosts[peer.place], peer.place, peer.port))
    if peers and found != _ends(tester, peers):
        raise UsageError(
            f"{', '.join(dut.ports)} of {dut.label} is cabled to {_listed(found)}, not to"
            f" {_listed(_ends(tester, peers))}: name the peers in the order of the ports, or let them be found"
        )
    return topology_of(_ends(dut, dut.ports), found, "named" if peers else "probe frames"), notices


def _driver_loopback(dut: Machine, options: Options) -> tuple[Topology, list[str]]:
    """The port itself; UsageError unless its driver can send back what it is to send."""
    notices = claim(dut, dut.ports, options)
    for name in dut.ports:
        if not has_driver_loopback(features(dut, name)):
            raise UsageError(
                f"the driver of {name} can't send back what it is to send (ethtool -k {name}: loopback): use a loopback"
                " plug, or cable it to another port"
            )
    ends = _ends(dut, dut.ports)
    return topology_of(ends, ends, "named", driver_loopback=True), notices


def features(machine: Machine, name: str) -> str:
    """What ``ethtool -k`` says of a port; "" for one without features."""
    return machine.host.run(["ethtool", "-k", name], check=False).stdout


def look(machines: Machines, wanted: dict[Machine, list[str]], reporter: Reporter) -> Cables:
    """Sends probe frames out of these ports, which are free, and listens on them."""
    places = [Place(machine.label, machine.host, tuple(names)) for machine, names in wanted.items() if names]
    with reporter.timed("looking for cables"):
        return find_cables(places, machines.dut.journal, reporter.step)


def claim(machine: Machine, names: Sequence[str], options: Options) -> list[str]:
    """Refuses ports that are in use; what --i-know overrode is returned as notices."""
    if not names:
        return []
    if len(set(names)) != len(names):
        raise UsageError(f"a port was named twice: {','.join(names)}")
    overridden = require_free(
        machine.host, names, session=machine.session, i_know=options.i_know, host_name=machine.label
    )
    return [f"--i-know: {objection.port} is in use: {objection.why}" for objection in overridden]


def _listed(ends: Sequence[End]) -> str:
    return ", ".join(f"{end.name} of {end.label}" for end in ends)


def _ends(machine: Machine, names: Sequence[str]) -> list[End]:
    return [End(machine.host, machine.label, name) for name in names]
