# SPDX-License-Identifier: GPL-2.0-only
"""The rules that a grade comes from: each looks at one thing, and says what it saw and the best grade that leaves.

docs/method.md, "Grade", has the table for people; a test keeps the two together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from kbench.explain.grade import Evidence, Grade, Letter, Reason
from kbench.explain.nic import LINE_LIMITED, NO_LIMIT, PARAVIRTUAL
from kbench.explain.stats import more_for
from kbench.model import Kind, Trial

NEVER_SLOW_CLOCKS = frozenset({"tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"})
MERGING = frozenset({"large-receive-offload", "rx-gro-hw", "rx-gro-list", "rx-udp-gro-forwarding"})
"""Offloads that merge frames of more than TCP, or before the driver's hook: packets are then miscounted."""
DEBUGGING = ("KASAN", "PROVE_LOCKING")
WORTH_SAYING = 0.02
"""The half-width that more data should reach: what the method resolves."""
FEW_BLOCKS = 5
"""Fewer blocks say little about how far topologies differ."""
GENERATOR_LIMITED = 0.95
"""From this share of the generator's ceiling on, a figure may be the generator's rather than the datapath's."""

Verdict = tuple[str, Letter] | None
"""What a rule saw and the best grade it leaves; None when it is silent."""


def _steps(value: float | None, steps: Sequence[tuple[float, Letter]]) -> Letter | None:
    """The letter of the highest limit that `value` is above."""
    return next((letter for limit, letter in reversed(steps) if value is not None and value > limit), None)


def _percent(share: float) -> str:
    return f"{share * 100:.2g} %" if share < 0.1 else f"{share * 100:.0f} %"


# What kind of figure, and where ------------------------------------------------------------------


def no_figure(seen: Evidence) -> Verdict:
    """Nothing was scored, or the machine's clock makes no figures."""
    if seen.kind == "functional":
        return "packet counts only: the clock of an emulated machine is no result", "F"
    return None if seen.figure is not None else ("no trial that could be scored", "F")


def unverified(seen: Evidence) -> Verdict:
    """It was not shown to do the same work as the others."""
    if seen.verified is None:
        return "not verified against the reference model", "D"
    return None if seen.verified else ("it differs from the reference model", "F")


def emulated(seen: Evidence) -> Verdict:
    """Instruction counts, a machine whose clock is a program's, or a NIC that is a program."""
    if seen.kind == "exact":
        return "emulated CPU: counts repeat, but instructions are not time", "C"
    if seen.kind == "emulated":
        return "emulated machine and NIC: shows that it works, not how fast", "E"
    ports = seen.nic.ports.values() if seen.nic is not None else ()
    made_up = sorted({p.driver or p.name for p in ports if p.emulated and p.driver not in PARAVIRTUAL})
    if made_up:
        return f"emulated NIC ({', '.join(made_up)}): a program moves its packets", "D"
    return None


def testbed(seen: Evidence) -> Verdict:
    """veth, as long as trials do not say that it was something else; then what kind of NIC."""
    kinds = sorted({str(t.raw.get("testbed", "veth")) for t in seen.scored})
    if "veth" in kinds:
        return "veth, not a NIC: no DMA, rings, interrupts or wire", "C"
    if seen.nic is None:
        return None
    virtual = [name for name in seen.nic.all_drivers if name in PARAVIRTUAL]
    if virtual:
        return f"paravirtual NIC ({', '.join(virtual)}): the hypervisor moves the packets", "C"
    return (
        ("the NIC loops frames back by itself: there is no wire", "B") if seen.nic.driver_loopback else None
    )


def link(seen: Evidence) -> Verdict:
    """The wire may be what was measured."""
    if seen.nic is None:
        return None
    ports = seen.nic.ports.values()
    half = sorted({port.name for port in ports if port.duplex == "half"})
    if half:
        return f"half duplex ({', '.join(half)}): both directions share the wire", "D"
    share = seen.line_share
    if share is None:
        unknown = sorted({port.name for port in ports if not port.speed_mbps})
        if not unknown:
            return None
        return f"link speed unknown ({', '.join(unknown)}): no telling whether the wire was the limit", "B"
    if share > NO_LIMIT:
        return "more went through than the link claims to carry: its speed says nothing here", "B"
    if share >= LINE_LIMITED:
        return f"at line rate: {_percent(share)} of what the link carries, a lower bound", "D"
    return None


def one_machine(seen: Evidence) -> Verdict:
    """Generator and DUT are ports of one machine."""
    if seen.nic is None or not seen.nic.one_machine:
        return None
    return "generator and DUT share this machine's memory and caches", "B"


def virtual_machine(seen: Evidence) -> Verdict:
    """Somebody else decides when and where these CPUs run."""
    if not seen.facts:
        return "nothing is known of the machine", "D"
    name, flag = seen.fact("virtualization"), seen.fact("cpu", "virtual")
    if name or flag:
        return f"virtual machine{f' ({name})' if name else ''}: CPUs move, and clocks with them", "C"
    return ("unknown whether this is a virtual machine", "B") if flag is None else None


def shared_cpu(seen: Evidence) -> Verdict:
    """Generator and DUT take turns on one CPU, or trade cache lines between virtual ones."""
    placements = {t.placement for t in seen.scored}
    if "same" in placements:
        what = "the generator shares its CPU with the DUT" + (" (receive side)" if seen.userspace else "")
        return f"{what}: rates are the whole chain's", "C"
    apart = seen.nic is not None and not seen.nic.one_machine and not seen.userspace
    if "split" in placements and seen.fact("virtualization") and not apart:
        return "two virtual CPUs: what a cache line costs between them flips within minutes", "D"
    return None


# How the machine is set --------------------------------------------------------------------------


def governor(seen: Evidence) -> Verdict:
    """Frequency scaling."""
    name = seen.fact("cpu", "governor")
    if name is None:
        return "CPU frequency governor unknown", "B"
    return None if name == "performance" else (f"CPU frequency governor {name}", "C")


def turbo(seen: Evidence) -> Verdict:
    """Clock rates above the nominal one depend on heat and on the other cores."""
    on = seen.fact("cpu", "turbo")
    if on is None:
        return "turbo unknown", "B"
    return ("turbo is on", "B") if on else None


def throttling(seen: Evidence) -> Verdict:
    """Slowed for heat."""
    before, after = seen.fact("cpu", "throttle_events"), seen.fact("end", "throttle_events")
    if before is not None and after is not None:
        return (f"slowed for heat {after - before} times during the run", "D") if after > before else None
    if before is None:
        return "heat throttling not counted on this machine", "B"
    return ("slowed for heat before the run; not read again at its end", "B") if before else None


def smt(seen: Evidence) -> Verdict:
    """The other thread of a core that was measured."""
    active, siblings = seen.fact("cpu", "smt"), seen.fact("cpu", "siblings")
    if active is None:
        return "SMT unknown", "B"
    if not active:
        return None
    if not isinstance(siblings, Mapping) or not seen.cpus():
        return "SMT is on; which CPUs share a core was not recorded", "B"
    others = {s for cpu in seen.cpus() for s in siblings.get(str(cpu), [])} - seen.cpus()
    if both := {s for cpu in seen.cpus() for s in siblings.get(str(cpu), [])} & seen.cpus():
        return f"CPUs {', '.join(map(str, sorted(both)))} of the testbed are threads of one core", "C"
    busy_s = idle_s = 0.0
    for cpu in (c for t in seen.scored for c in t.cpus if c.cpu in others):
        busy_s += cpu.user_s + cpu.system_s + cpu.irq_s + cpu.softirq_s
        idle_s += cpu.idle_s
    share = busy_s / (busy_s + idle_s) if busy_s + idle_s else 0.0
    return (f"the SMT sibling was busy for {_percent(share)} of the time", "C") if share > 0.05 else None


def mitigations(seen: Evidence) -> Verdict:
    """What the kernel does about the CPU's flaws is part of the figure; machines in use leave nothing open."""
    found = seen.fact("mitigations")
    if found is None:
        return "mitigations unknown", "B"
    bare = sorted(name for name, text in found.items() if str(text).startswith("Vulnerable"))
    if bare:
        return f"not mitigated: {', '.join(bare)}; indirect calls are cheaper than elsewhere", "B"
    names = sorted(found)
    return (f"mitigations are on ({', '.join(names)}): part of the figure", "A") if names else None


def irq_time(seen: Evidence) -> Verdict:
    """Whether interrupt time is measured, or guessed by the timer's tick."""
    config = seen.fact("kernel", "config")
    if config is None:
        return "the kernel's configuration is unknown: no telling how it accounts interrupt time", "B"
    if config.get("IRQ_TIME_ACCOUNTING") == "y" or config.get("VIRT_CPU_ACCOUNTING_GEN") == "y":
        return None
    return "no interrupt time accounting: CPU shares are sampled by the tick", "B"


def clocksource(seen: Evidence) -> Verdict:
    """A clock that takes a trip to a device to read."""
    name = seen.fact("clocksource")
    if name is None:
        return "clock source unknown", "B"
    return None if name in NEVER_SLOW_CLOCKS else (f"clock source {name} is slow to read", "C")


def debug_kernel(seen: Evidence) -> Verdict:
    """Built or set to look for errors: what that costs is not spread evenly over datapaths."""
    config = seen.fact("kernel", "config") or {}
    found = [f"CONFIG_{name}" for name in DEBUGGING if config.get(name) == "y"]
    if seen.fact("sysctl", "kernel.bpf_stats_enabled") == "1":
        found.append("kernel.bpf_stats_enabled=1")
    if seen.fact("sysctl", "net.core.bpf_jit_enable") == "0":
        found.append("BPF interpreted (net.core.bpf_jit_enable=0)")
    return (f"the kernel runs with {', '.join(found)}", "D") if found else None


def packet_sockets(seen: Evidence) -> Verdict:
    """Sockets that get a copy of what passes, and make every packet carry a time stamp."""
    count = seen.fact("packet_sockets")
    if count is None:
        return "unknown whether packet sockets were open", "B"
    return (f"{count} stray packet socket{'s' if count > 1 else ''} open", "C") if count else None


def offloads(seen: Evidence) -> Verdict:
    """Receive offloads that merge frames before or while they are counted."""
    recorded = [t.raw["offloads"] for t in seen.scored if t.raw.get("offloads")]
    if not recorded:
        return "offloads of the DUT's ports were not recorded", "B"
    on = sorted({name for ports in recorded for names in ports.values() for name in names or ()})
    merging = [name for name in on if name in MERGING]
    if merging:
        return f"frames may be merged before they are counted: {', '.join(merging)}", "D"
    gro = "generic-receive-offload" in on
    return ("GRO is on: TCP frames of a flow may be merged before the stack", "A") if gro else None


# What the trials saw -----------------------------------------------------------------------------


def steal(seen: Evidence) -> Verdict:
    """Time that the hypervisor took, median over the scored trials."""
    share = seen.middle("steal_share")
    worst = _steps(share, ((0.005, "C"), (0.02, "D")))
    return (f"the hypervisor stole {_percent(share)} of the CPUs", worst) if worst and share else None


def foreign(seen: Evidence) -> Verdict:
    """Other programs' CPU time, median over the scored trials."""
    share = seen.middle("foreign_cpu_share")
    worst = _steps(share, ((0.03, "C"), (0.25, "D")))
    return (f"other programs took {_percent(share)} of a CPU", worst) if worst and share else None


def contaminated(seen: Evidence) -> Verdict:
    """Trials set aside because the machine was not kbench's alone; or too many of them for that."""
    if seen.disturbed:
        return "the machine was hardly ever kbench's alone, so contaminated trials are scored as well", "E"
    share = seen.contaminated / max(1, seen.contaminated + len(seen.scored))
    worst = _steps(share, ((0.10, "C"), (0.30, "D")))
    return (f"{_percent(share)} of the trials were contaminated and set aside", worst) if worst else None


def invalid(seen: Evidence) -> Verdict:
    """Trials set aside because their counters disagree."""
    share = seen.invalid / max(1, seen.invalid + len(seen.scored))
    worst = _steps(share, ((0.05, "C"), (0.25, "D"), (0.50, "E")))
    return (f"{_percent(share)} of the trials were invalid", worst) if worst else None


def softirqs(seen: Evidence) -> Verdict:
    """Same-CPU trials whose packets were received elsewhere."""
    if seen.userspace:
        return None
    strayed = sum(_received_elsewhere(t) for t in seen.scored)
    share = strayed / max(1, len(seen.scored))
    if share <= 0.1:
        return None
    return f"in {_percent(share)} of the trials receive softirqs ran on another CPU than planned", "D"


def _received_elsewhere(trial: Trial) -> bool:
    cpus = trial.raw.get("cpus")
    if trial.placement != "same" or not cpus:
        return False
    counts = {n: c for n, c in trial.softirqs.items() if re.fullmatch(r"NET_RX/cpu\d+", n)}
    elsewhere = sum(c for n, c in counts.items() if n != f"NET_RX/cpu{cpus['receive']}")
    return elsewhere > 1000 and elsewhere > 0.05 * sum(counts.values())


def generator_limited(seen: Evidence) -> Verdict:
    """The generator may be what was measured."""
    if seen.ceiling_share is None or seen.ceiling_share < GENERATOR_LIMITED:
        return None
    return f"generator-limited: {_percent(seen.ceiling_share)} of what it can offer, a lower bound", "D"


# How much was measured ---------------------------------------------------------------------------


def blocks(seen: Evidence) -> Verdict:
    """How often the topology was built anew."""
    if seen.figure is None or seen.figure.blocks >= FEW_BLOCKS:
        return None
    if seen.figure.blocks == 1:
        return "one block: two topologies built alike differ by up to 1.2 %, and that stays unseen", "C"
    return f"{seen.figure.blocks} blocks: fewer than {FEW_BLOCKS}", "B"


def interval(seen: Evidence) -> Verdict:
    """How wide it is: the ratio's, for the reference its figure's."""
    estimate = seen.ratio or seen.figure
    if estimate is None:
        return None
    if estimate.half_width is None:
        return f"no interval ({estimate.reason})", "E"
    worst = _steps(estimate.half_width, ((0.02, "B"), (0.05, "C"), (0.10, "D")))
    if worst is None:
        return None
    more = more_for(estimate, WORTH_SAYING)
    need = f"; +-{_percent(WORTH_SAYING)} needs about {more} more {estimate.unit}s" if more else ""
    return f"the interval is +-{_percent(estimate.half_width)}{need}", worst


WALL: frozenset[Kind] = frozenset({"wall"})
JUDGED: frozenset[Kind] = frozenset({"wall", "exact"})
FIGURES: frozenset[Kind] = frozenset({"wall", "exact", "emulated"})
ALL: frozenset[Kind] = frozenset({"wall", "exact", "functional", "emulated"})
Rule = tuple[str, frozenset[Kind], Callable[[Evidence], Verdict]]
RULES: tuple[Rule, ...] = (
    ("no-figure", ALL, no_figure),
    ("unverified", FIGURES, unverified),
    ("emulated", FIGURES, emulated),
    ("testbed", JUDGED, testbed),
    ("link", WALL, link),
    ("same-machine", WALL, one_machine),
    ("virtual-machine", WALL, virtual_machine),
    ("shared-cpu", WALL, shared_cpu),
    ("governor", WALL, governor),
    ("turbo", WALL, turbo),
    ("throttling", WALL, throttling),
    ("smt", WALL, smt),
    ("mitigations", WALL, mitigations),
    ("irq-time", WALL, irq_time),
    ("clock-source", WALL, clocksource),
    ("debug-kernel", WALL, debug_kernel),
    ("packet-sockets", WALL, packet_sockets),
    ("offloads", WALL, offloads),
    ("steal", WALL, steal),
    ("foreign-load", WALL, foreign),
    ("contaminated", WALL, contaminated),
    ("invalid", FIGURES, invalid),
    ("softirqs-elsewhere", WALL, softirqs),
    ("generator-limited", WALL, generator_limited),
    ("blocks", WALL, blocks),
    ("interval", WALL, interval),
)
"""Name, the kinds of parts that it is about, and the rule. What a rule can't know is a B at best, never a pass."""


def grade(seen: Evidence) -> Grade:
    """The worst letter that any rule leaves, and all that fired, worst first; a tie keeps the table's order."""
    reasons = []
    for name, kinds, rule in RULES:
        verdict = rule(seen) if seen.kind in kinds else None
        if verdict is not None:
            reasons.append(Reason(name, *verdict))
    reasons.sort(key=lambda reason: reason.worst, reverse=True)
    return Grade(reasons[0].worst if reasons else "A", reasons)
