# SPDX-License-Identifier: GPL-2.0-only
"""Opens the machines that a run on network cards needs: this one, the lab, others behind ssh."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from kbench.errors import UsageError
from kbench.host import builds
from kbench.host.base import Host
from kbench.host.journal import Journal
from kbench.host.lab import LabHost, LabNics, Parts
from kbench.host.local import LocalHost
from kbench.host.remote import parse_address
from kbench.host.ssh import SshHost
from kbench.measure.plan import Options

LAB_SCRATCH = "/tmp"
LAB_CPUS = 2


@dataclass(frozen=True)
class Machine:
    """A host with what is known of it; `ports` are those that its URL names."""

    host: Host
    label: str
    scratch: str
    """A directory for files, which goes at the end."""
    session: tuple[str, ...] = ()
    """Addresses by which somebody controls this run: never to be cut off."""
    ports: tuple[str, ...] = ()
    journal: Journal | None = None
    """None for the lab, which is thrown away whole."""
    logs: Path | None = field(default=None, compare=False)
    """Where the lab's console is written."""


@dataclass(frozen=True)
class Machines:
    """The DUT's, the tester's where it was named, and this one; some are the same."""

    dut: Machine
    tester: Machine | None
    local: Machine

    def all(self) -> list[Machine]:
        """Each once; in the lab this machine has no part."""
        if self.dut.host.kind == "lab":
            return [self.dut]
        found = [self.dut, *([self.tester] if self.tester else []), self.local]
        return list({machine.host: machine for machine in found}.values())


def open_machines(
    stack: ExitStack, options: Options, local: LocalHost, journal: Journal, progress: Callable[[str], None]
) -> Machines:
    """Connects and boots what the options name; `stack` closes it. KbenchError when one can't be had."""
    here = Machine(local, "this machine", str(journal.make_tmpdir()), _session(local), options.nic, journal)
    opened: dict[str, Machine] = {}

    def remote(url: str) -> Machine:
        address = parse_address(url)
        if address.url not in opened:
            host = stack.enter_context(SshHost.connect(url, journal, progress))
            opened[address.url] = Machine(host, address.url, host.directory, _session(host), journal=journal)
        known = opened[address.url]
        return Machine(known.host, known.label, known.scratch, known.session, address.interfaces, journal)

    tester = remote(options.tester) if options.tester else None
    if options.dut:
        dut = remote(options.dut)
        if not dut.ports:
            raise UsageError(f"--dut {options.dut} names no port: add it, as in {dut.label}/eth1")
    elif options.where == "lab":
        if tester:
            raise UsageError("the lab is cabled to itself only: leave --generator ssh:// out")
        dut = _lab(stack, options, journal, progress)
    else:
        dut = here
    return Machines(dut, tester, here)


def _session(host: Host) -> tuple[str, ...]:
    address = host.session_address()
    return (address,) if address else ()


def _lab(stack: ExitStack, options: Options, journal: Journal, progress: Callable[[str], None]) -> Machine:
    parts = Parts.prepare(
        options.kernel, progress, need_module="netfilter" in (options.datapaths or ("netfilter",))
    )
    # Not in the run's own directory, which is not there yet; it gets a copy.
    logs = builds.cache_dir() / "logs" / journal.run_id
    lab = stack.enter_context(
        LabHost.boot(
            parts,
            mode="fast",
            cpus=max(LAB_CPUS, 1 + max(options.queues, default=1)),
            log_dir=logs,
            progress=progress,
            console=lambda line: progress(f"lab: {line}"),
            journal=journal,
            nics=LabNics(model=options.lab_nic),  # type: ignore[arg-type]
        )
    )

    def finish(kind: object, _error: object, _trace: object) -> None:
        if kind is None:
            lab.finish()  # says so if its kernel had a BUG

    stack.push(finish)
    return Machine(lab, "lab", LAB_SCRATCH, ports=options.nic, logs=logs)
