# SPDX-License-Identifier: GPL-2.0-only
"""Methods that measure at stated loads: latency, and CPU time per packet."""

from __future__ import annotations

from typing import Any

from kbench.errors import UsageError
from kbench.measure.bench import Bench
from kbench.measure.block import Block
from kbench.measure.drivers.job import Job
from kbench.measure.generators.base import Load
from kbench.measure.latency_cost import latency_cost
from kbench.measure.latency_way import latency_generator, latency_way
from kbench.measure.methods.base import MethodFailed
from kbench.measure.methods.loads import CommonLoad, common_load, latency_loads
from kbench.measure.probes.base import Absent
from kbench.measure.probes.threads import idle_cost
from kbench.measure.profile import latency_shares
from kbench.measure.reporter import Bar
from kbench.model import Trial

CPU_LOAD_SHARE = 0.25
"""Share of the slowest datapath's PDR at which CPU time is compared: on two CPUs paths carry less than on one."""


def latency(job: Job) -> None:
    """At 0, 10, 50 and 90 % of each datapath's own PDR, and at one load common to all."""
    job.generator = latency_generator(job.place, job.generator)
    shares = latency_shares(job.options)

    def on_block(block: Block, bar: Bar) -> None:
        if not block.number and block.baseline.testbed.placement == "same":
            job.place.store.append_finding(latency_cost(block.baseline, block.setting, keep=job.place.keep))
        way = latency_way(block)
        pdr = _pdrs(job, block)
        common = [common_load(pdr)] if job.options.profile is None else []

        def make(bench: Bench) -> dict[str, Any]:
            own = pdr[bench.name] if common else job.known(bench, "ndr") or pdr[bench.name]
            loads = [*(latency_loads(own, shares) if own else ()), *common]
            for load in loads:
                asked = way.load(load.load_pps, job.seconds)
                job.steady(block, bench, asked, "latency", way.sink)
            return {"pdr_pps": pdr[bench.name], "loads": [load.values() for load in loads]}

        job.each(block, bar, "latency", make)

    job.on_blocks("latency", "latency", job.options.repeats, on_block)


def _pdrs(job: Job, block: Block) -> dict[str, float | None]:
    ceiling = job.ceiling(block)
    found: dict[str, float | None] = {}
    for bench in block.benches:
        try:
            found[bench.name] = job.pdr(block, bench, ceiling)
        except MethodFailed as failed:
            job.place.notice(f"{job.case.case_id}: {bench.name}: {failed}")
            found[bench.name] = None
    return found


def cpu_at_load(job: Job) -> None:
    """CPU time of the DUT's own threads, which needs a CPU that is not the generator's."""
    if job.place.cpu_count < 2:
        raise UsageError("cpu-at-load needs two CPUs, one for the generator and one for the DUT")
    chosen: list[CommonLoad] = []

    def choose(block: Block, bar: Bar) -> None:
        chosen.append(common_load(_pdrs(job, block), CPU_LOAD_SHARE))

    def on_block(block: Block, bar: Bar) -> None:
        asked = Load(round(chosen[0].load_pps), job.seconds)
        base = _dut_ns(job.steady(block, block.baseline, asked, "load"))
        job.each(block, bar, "cpu-at-load", lambda bench: _cpu_values(job, block, bench, asked, base))

    job.on_blocks("common-load", "finding a common load", 1, choose)
    job.on_blocks("cpu-at-load", "CPU time at a load", job.options.repeats, on_block, placement="split")


def _cpu_values(
    job: Job, block: Block, bench: Bench, asked: Load, baseline_ns: float | None
) -> dict[str, Any]:
    """What the DUT's threads took per packet, and what they take without any packet."""
    trial = job.steady(block, bench, asked, "load")
    taken_ns = _dut_ns(trial)
    hardware = trial.probes.get("hardware", {"absent": "not read"})
    try:
        idle, why = idle_cost(bench, job.seconds), None
    except Absent as absent:
        idle, why = 0.0, str(absent)
    return {
        "load_pps": asked.rate_pps,
        "loss_ratio": trial.counters.loss_ratio,
        "dut_cpu_ns_per_packet": taken_ns,
        "receive_cpu_ns_per_packet": baseline_ns,
        "idle_cpu_share": idle,
        "idle_reason": why,
        "hardware": hardware,
    }


def _dut_ns(trial: Trial) -> float | None:
    value = trial.probes.get("threads", {}).get("dut_cpu_ns_per_packet")
    if trial.raw.get("testbed") == "nic":
        value = trial.dut_cpu_ns_per_packet
    return None if value is None else float(value)
