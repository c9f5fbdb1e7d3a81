# SPDX-License-Identifier: GPL-2.0-only
"""CPU time per packet of a trial, by the way that the testbed allows."""

from __future__ import annotations

from kbench.measure.contamination import FOREIGN_SHARE, STEAL_SHARE
from kbench.measure.generators.base import Load
from kbench.measure.observe import Observed
from kbench.measure.probes.cpu import USER_HZ
from kbench.measure.testbeds.base import Testbed
from kbench.model import Counters, CpuTime, Trial

IDLE_SHARE = 0.05
CLOCK_S = 2 / USER_HZ
"""CPU time per packet is a window over packets, which holds only while the CPU does nothing else: beyond these
shares of the generator's CPU it is left out. Two ticks of /proc/stat say nothing."""


def add_cpu_time(
    trial: Trial, testbed: Testbed, load: Load, observed: Observed, baseline_ns: float | None
) -> None:
    """CPU time per packet: on NICs of the CPUs that receive; on veth of the DUT's threads at a given load, of the
    saturated CPU at the maximum."""
    if testbed.wire == "nic":
        trial.dut_cpu_ns_per_packet = receiving_ns(trial, testbed, observed)
        return
    if load.rate_pps is not None:
        if trial.purpose == "load":
            trial.dut_cpu_ns_per_packet = trial.probes["threads"].get("dut_cpu_ns_per_packet")
        return
    shared = shared_cpu(trial.cpus, testbed.cpus.generator, observed.offered.elapsed_ns / 1e9)
    if shared:
        trial.problems.append(f"no CPU time per packet: {shared}")
        return
    trial.cpu_ns_per_packet = _gross_ns(observed, trial.counters)
    if observed.seen is not None and baseline_ns is not None and trial.cpu_ns_per_packet is not None:
        trial.dut_cpu_ns_per_packet = trial.cpu_ns_per_packet - baseline_ns


def receiving_ns(trial: Trial, testbed: Testbed, observed: Observed) -> float | None:
    """Interrupt and softirq time of the CPUs that the DUT's queues are on, and the application's thread, per packet.

    The driver's work is in it, so nothing is subtracted. A kernel without CONFIG_IRQ_TIME_ACCOUNTING takes it by
    samples, USER_HZ a second: only the median of many trials means something. None where that shares a CPU with the
    generator, whose own interrupts would be counted.
    """
    if testbed.host is testbed.tester and testbed.cpus.generator in testbed.receive_cpus:
        return None
    done = trial.counters.handled
    if not done:
        return None
    spent_s = sum(t.irq_s + t.softirq_s for t in trial.cpus if t.cpu in testbed.receive_cpus)
    thread_ns = observed.seen.cpu_ns if observed.seen and observed.seen.cpu_ns is not None else 0
    return (spent_s * 1e9 + thread_ns) / done


def shared_cpu(times: list[CpuTime], cpu: int, trial_s: float) -> str | None:
    """Why the generator's CPU was not the testbed's alone during the trial's `trial_s` seconds, or None.

    The testbed's own work is system and softirq time. The readings also enclose set-up and drain, in which the CPU
    may idle as it likes.
    """
    (own,) = [t for t in times if t.cpu == cpu]
    total_s = own.user_s + own.system_s + own.irq_s + own.softirq_s + own.steal_s + own.idle_s
    for what, spent_s, limit in (
        ("was in user space", own.user_s, FOREIGN_SHARE),
        ("was taken by the hypervisor", own.steal_s, STEAL_SHARE),
        ("idled", own.idle_s - max(0.0, total_s - trial_s), IDLE_SHARE),
    ):
        if spent_s > max(limit * trial_s, CLOCK_S):
            return f"CPU {cpu} {what} for {spent_s / trial_s:.0%} of the trial"
    return None


def _gross_ns(observed: Observed, counters: Counters) -> float | None:
    """The saturated generator's CPU, and the application's thread if there is one."""
    if not counters.offered or not counters.handled:
        return None
    gross = observed.offered.elapsed_ns / counters.offered
    if observed.seen and observed.seen.cpu_ns is not None:
        gross += observed.seen.cpu_ns / counters.handled
    return gross
