# SPDX-License-Identifier: GPL-2.0-only
"""Which CPUs offer load, receive and run a userspace datapath on machines with network cards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kbench.errors import UsageError
from kbench.host.facts import expand_cpus, read_or_none
from kbench.host.shell import Shell
from kbench.measure.testbeds.base import Cpus


@dataclass(frozen=True)
class Seats:
    """CPUs of the roles; `receive` has one for each queue of the DUT."""

    generator: int
    receive: tuple[int, ...]
    application: int

    @property
    def cpus(self) -> Cpus:
        """As a testbed tells them."""
        return Cpus(self.generator, self.receive[0], self.application)


def seats(dut: Sequence[int], tester: Sequence[int] | None, queues: int) -> Seats:
    """Seats on the CPUs of both machines, the best ones first; `tester` None: one machine is both.

    One machine: the generator has a CPU to itself, then each queue, then the application, which shares the first
    queue's CPU where no other is left. UsageError when there are more queues than CPUs for them.
    """
    left = list(dut) if tester is not None else list(dut)[1:]
    if not left:
        left = list(dut)  # a single CPU has to do everything
    if queues > len(left):
        raise UsageError(
            f"--queues {queues} needs {queues + (tester is None)} CPUs on the DUT, each queue on one of its own;"
            f" it has {len(dut)}"
        )
    receive = tuple(left[:queues])
    application = left[queues] if queues < len(left) else receive[0]
    return Seats((tester if tester is not None else dut)[0], receive, application)


def near(shell: Shell, ports: Sequence[str]) -> list[int]:
    """CPUs that are online, those on the memory node of all `ports` first."""
    online = expand_cpus(read_or_none(shell, "/sys/devices/system/cpu/online"))
    local = set(online)
    for port in ports:
        cpus = expand_cpus(read_or_none(shell, f"/sys/class/net/{port}/device/local_cpulist"))
        local &= set(cpus) or local
    return [c for c in online if c in local] + [c for c in online if c not in local]
