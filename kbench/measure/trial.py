# SPDX-License-Identifier: GPL-2.0-only
"""One trial: offer, drain, read every counter, close the ledger."""

from __future__ import annotations

import dataclasses
import datetime
import time
from dataclasses import dataclass
from typing import Any

from kbench.measure.bench import BASELINE, Bench, SinkMode
from kbench.measure.contamination import contaminated
from kbench.measure.cpu_time import add_cpu_time
from kbench.measure.generators.base import Load
from kbench.measure.ledger import judge_ledger, not_offered
from kbench.measure.observe import Observed, Setting, observe
from kbench.measure.probes import Watch
from kbench.measure.probes.cpu import (
    CpuReading,
    cpu_times,
    read_cpus,
    softirq_counts,
    softnet_counts,
)
from kbench.measure.probes.foreign import ForeignReading, foreign_s, foreign_share, read_foreign
from kbench.measure.probes.threads import waited_s
from kbench.measure.stamping import LATENCY_CLOCKS
from kbench.model import Counters, CpuTime, Function, Histogram, Purpose, Trial

OWN_STAMPS = "the generator's BPF program writes the clock into each packet, the sink's takes the difference"


@dataclass(frozen=True)
class Around:
    """One reading of what is watched on the machine, before or after a trial."""

    at_s: float
    cpus: CpuReading
    foreign: ForeignReading | None
    """None where the DUT is another machine: what runs there besides kbench is not known by process."""


def around(bench: Bench) -> Around:
    """Reads both."""
    cpus = read_cpus(bench.host)
    return Around(time.monotonic(), cpus, read_foreign() if bench.host.kind != "ssh" else None)


def run_trial(
    bench: Bench,
    setting: Setting,
    load: Load,
    *,
    purpose: Purpose,
    round_: int,
    sink: SinkMode = "count",
    baseline_ns: float | None = None,
    probes: bool = True,
    profile: str | None = None,
) -> Trial:
    """One trial, all counters around it. `baseline_ns` is the generator's own cost in the same round.

    `profile` names the costly probe that a trial of that purpose is made for.
    Without `probes` only what the ledger and the rate need is read: no /proc, no kb-perf, so no judgement of
    contamination either, and no CPU time per packet.
    """
    bench.take_turn()
    bench.start_sink(sink)
    started = time.time()
    if probes:
        with Watch(bench, setting, profile=profile) as watch:
            before = around(bench)
            observed = observe(bench, setting, load)
            after = around(bench)
            trial = _trial(bench, setting, load, purpose, round_, started, observed)
            trial.probes = watch.values(observed, trial.counters)
        _add_surroundings(trial, bench, before, after)
        if setting.kind == "wall":
            add_cpu_time(trial, bench.testbed, load, observed, baseline_ns)
    else:
        observed = observe(bench, setting, load)
        trial = _trial(bench, setting, load, purpose, round_, started, observed)
    judge(trial, bench)
    return trial


def _trial(
    bench: Bench,
    setting: Setting,
    load: Load,
    purpose: Purpose,
    round_: int,
    started: float,
    observed: Observed,
) -> Trial:
    """The ledger and the rate, from the programs' own counters."""
    counters = observed.counters
    trial = Trial(
        part=setting.part,
        kind=setting.kind,
        purpose="baseline" if bench.name == BASELINE else purpose,
        case_id=setting.case.case_id,
        function=setting.case.function,
        datapath=bench.name,
        generator=setting.generator.name,
        placement=bench.testbed.placement,
        round=round_,
        started_at=datetime.datetime.fromtimestamp(started, datetime.UTC).isoformat(timespec="milliseconds"),
        frame_bytes=setting.case.frame_bytes,
        load_pps=load.rate_pps,
        duration_s=observed.offered.elapsed_ns / 1e9,
        counters=counters,
        latency=_latency(observed.sink),
        raw={
            "offered": observed.offered.raw,
            "window_ns": window_ns(observed),
            "not_offered": not_offered(observed.offered, observed.ports),
            "testbed": bench.testbed.wire,
            "cpus": dataclasses.asdict(bench.testbed.cpus) | {"receive_all": bench.testbed.receive_cpus},
            "nic_stats": observed.nic_stats,
            "latency_clock": latency_clock(load, observed.sink),
            "stamped": observed.stamped,
            "offloads": bench.offloads,
            "attached": bench.datapath.facts if bench.datapath else None,
            "datapath": observed.seen.raw if observed.seen else None,
            "sink": {k: v for k, v in (observed.sink or {}).items() if k not in ("samples", "latency")},
        },
    )
    if setting.kind in ("wall", "emulated"):
        if observed.offered.rate_pps is not None:
            # With what the ring of the DUT's port refused.
            trial.offered_pps = observed.offered.rate_pps * counters.offered / observed.offered.sent
        trial.forwarded_pps = rate_pps(setting.case.function, observed, counters)
    return trial


def _add_surroundings(trial: Trial, bench: Bench, before: Around, after: Around) -> None:
    """What the CPUs did and what others took, and whether that makes the trial contaminated."""
    times = cpu_times(before.cpus, after.cpus)
    trial.cpus = times
    trial.softnet = softnet_counts(before.cpus, after.cpus)
    trial.softirqs = softirq_counts(before.cpus, after.cpus)
    if before.foreign is not None and after.foreign is not None:
        trial.foreign_cpu_share = foreign_share(before.foreign, after.foreign)
    trial.steal_share = _steal_share(times)
    if trial.kind != "wall":
        return  # instructions and counts are the same whatever else runs
    others_s = 0.0
    if before.foreign is not None and after.foreign is not None:
        others_s = foreign_s(before.foreign, after.foreign)
    trial.contaminated = contaminated(
        times,
        bench.testbed.all_cpus,
        foreign_s=others_s,
        window_s=after.at_s - before.at_s,
        waited_s=waited_s(trial.probes["threads"]),
        offered_s=trial.duration_s,
    )


def window_ns(observed: Observed) -> int:
    """Nanoseconds from the first to the last packet: at the sink, or at the generator when none arrives there."""
    sink = observed.sink
    if observed.seen is not None and sink and sink["packets"] > 1:
        return int(sink["last_ns"]) - int(sink["first_ns"])
    return observed.offered.elapsed_ns


def _steal_share(times: list[CpuTime]) -> float | None:
    total = sum(t.user_s + t.system_s + t.irq_s + t.softirq_s + t.steal_s + t.idle_s for t in times)
    return sum(t.steal_s for t in times) / total if total else None


def latency_clock(load: Load, sink: dict[str, Any] | None) -> dict[str, str] | None:
    """Which clock a trial's latency is from; None if none was taken."""
    if not sink or not sink.get("latency"):
        return None
    if load.clock:
        return {"kind": load.clock, "what": LATENCY_CLOCKS[load.clock]}
    return {"kind": "software", "what": OWN_STAMPS}


def _latency(sink: dict[str, Any] | None) -> Histogram | None:
    if not sink or not sink.get("latency"):
        return None
    raw = sink["latency"]
    return Histogram(
        sub_bits=raw["sub_bits"],
        buckets=dict(raw["buckets"]),
        count=raw["count"],
        min_ns=raw["min_ns"],
        max_ns=raw["max_ns"],
    )


def rate_pps(function: Function, observed: Observed, counters: Counters) -> float | None:
    """Packets per second that the datapath finished while the generator was offering.

    Taken between the sink's samples, so that neither set-up nor the drain after the end counts; for work
    that ends in the DUT (drop, and what rules drop) from the generator's own window.
    """
    offered, sink = observed.offered, observed.sink
    done_in_dut = sum(counters.dropped.values())
    samples = [(t, n) for t, n in (sink or {}).get("samples", []) if offered.first_ns <= t <= offered.last_ns]
    if counters.forwarded and len(samples) >= 2:
        (t0, n0), (t1, n1) = samples[0], samples[-1]
        return float((n1 - n0) / (t1 - t0) * 1e9)
    if not offered.elapsed_ns:
        return None
    done = done_in_dut if function == "drop" or not counters.forwarded else counters.forwarded
    # A userspace datapath works its ring off after the generator's end; its thread's CPU time covers that as well.
    busy_ns = observed.seen.cpu_ns if observed.seen and observed.seen.cpu_ns is not None else 0
    return done / max(offered.elapsed_ns, busy_ns) * 1e9


def judge(trial: Trial, bench: Bench) -> None:
    """Writes down what is wrong with a trial; counters that disagree make it invalid."""
    judge_ledger(trial)
    if trial.placement == "same" and bench.datapath is not None and not bench.datapath.userspace:
        cpu = bench.testbed.cpus.receive
        elsewhere = sum(
            n
            for name, n in trial.softirqs.items()
            if name.startswith("NET_RX/") and name != f"NET_RX/cpu{cpu}"
        )
        there = trial.softirqs.get(f"NET_RX/cpu{cpu}", 0)
        if elsewhere > 0.05 * (there + elsewhere) and elsewhere > 1000:
            trial.problems.append(
                f"{elsewhere} of {there + elsewhere} receive softirqs ran on another CPU than {cpu}"
            )
