# SPDX-License-Identifier: GPL-2.0-only
"""Everything that a run on network cards holds: machines, the topology that was found, and its ports."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from kbench.host.facts import host_facts
from kbench.host.journal import Journal
from kbench.host.lab import LabHost
from kbench.host.local import LocalHost
from kbench.host.nic.clocks import port_clock
from kbench.host.nic.profile import DEFAULT, NicProfile, load_profile
from kbench.measure.nics.bay import Bay
from kbench.measure.nics.find import find_topology
from kbench.measure.nics.machines import Machines, open_machines
from kbench.measure.nics.plan import nic_plan, refuse_before
from kbench.measure.nics.topology import End
from kbench.measure.plan import Options, Plan
from kbench.measure.reporter import Reporter


@dataclasses.dataclass(frozen=True)
class Nics:
    """Use `Nics.open` as a context manager; the ports come back at its end, and machines are left."""

    machines: Machines
    bay: Bay
    profile: NicProfile
    notices: tuple[str, ...]
    clocks: dict[End, dict[str, Any]]
    """Read while the machines can be reached: `settings` is asked for after a run that lost one as well."""

    @classmethod
    @contextmanager
    def open(cls, options: Options, local: LocalHost, journal: Journal, reporter: Reporter) -> Iterator[Nics]:
        """Opens the machines, finds the cable, refuses ports in use, and takes the others."""
        refuse_before(options)
        profile = load_profile(options.nic_profile) if options.nic_profile else DEFAULT
        with ExitStack() as stack:
            machines = open_machines(stack, options, local, journal, reporter.step)
            topology, notices = find_topology(machines, options, reporter)
            tester = machines.tester if machines.tester is not None else machines.local
            tester_scratch = machines.dut.scratch if topology.tester is topology.dut else tester.scratch
            bay = Bay(
                topology,
                profile,
                journal.run_id[-4:],
                machines.dut.journal,
                (machines.dut.scratch, tester_scratch),
            )
            with reporter.timed(f"setting up {', '.join(end.name for end in topology.ports())}"):
                stack.enter_context(bay)
            clocks = {end: port_clock(end.host, end.name, bay.space(end)).fact() for end in topology.ports()}
            yield cls(machines, bay, profile, tuple(notices), clocks)

    def plan(self, options: Options) -> Plan:
        """What is measured on these ports."""
        plan = nic_plan(options, self.bay)
        notices = [*self.notices, *plan.notices]
        balanced = {end.label for end, applied in self.bay.applied.items() if applied.irqbalance}
        notices += [
            f"irqbalance runs on {label} and may move interrupts during the run: stop it (systemctl stop irqbalance)"
            for label in sorted(balanced)
        ]
        if isinstance(self.bay.dut, LabHost):
            notices += self.bay.dut.facts()["notices"]
        return dataclasses.replace(plan, notices=tuple(notices))

    def facts(self) -> dict[str, Any]:
        """Of the DUT's machine; nothing for this one, which every run describes."""
        dut = self.bay.dut
        if isinstance(dut, LabHost):
            return dut.facts()
        return host_facts(dut) if dut.kind == "ssh" else {}

    def settings(self) -> dict[str, Any]:
        """The ports with what was set, and what could not be (docs/results.md, "nics")."""
        return {
            "nics": [self._port(end) for end in self.bay.topology.ports()],
            "nic_profile": {"name": self.profile.name, "settings": self.profile.facts()},
        }

    def _port(self, end: End) -> dict[str, Any]:
        state, applied = self.bay.states[end], self.bay.applied[end]
        return {
            "host": end.label,
            "name": end.name,
            "driver": state.driver,
            "driver_version": state.driver_version,
            "firmware": state.firmware,
            "bus": state.bus,
            "speed_mbps": state.speed_mbps,
            "before": applied.before,
            "during": applied.during,
            "not_set": applied.not_set,
            "clock": self.clocks[end],
        }

    def keep_logs(self, directory: Path) -> None:
        """Puts a copy of the lab's console beside the results."""
        logs = self.machines.dut.logs
        for log in logs.glob("*.log") if logs else ():
            shutil.copy(log, directory / log.name)
