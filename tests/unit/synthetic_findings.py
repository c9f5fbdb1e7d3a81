# SPDX-License-Identifier: GPL-2.0-only
"""A synthetic run of all methods: findings, the trials that they rest on, probes, and what makes figures doubtful."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

from kbench.model import Finding, Purpose, Trial, Verification
from kbench.store import Run, RunStore, load_run
from tests.unit import synthetic_runs as synthetic

RUN_ID = "20000102-000000-f1d5"
CASE = synthetic.FORWARD
DATAPATHS = ("xdp", "af_packet", "kernel")
PDR = {"xdp": 2.6e6, "af_packet": 0.5e6, "kernel": 0.6e6}
REPEATS = 4
CEILING_PPS = 2.8e6
NO_PMU = "no PMU that the kernel can use here counts this event (ENOENT)"
IDLE = "no threads: the datapath runs only when packets come"
NO_RAPL = "no RAPL: no /sys/class/powercap (virtual machines seldom have it)"
PURPOSES: tuple[Purpose, ...] = ("search", "loss", "burst", "load")
COMMON_PPS = 250_000.0
SAMPLES = {"0": 300, "10": 5000, "50": 20_000, "90": 60_000, "common": 20_000}
DUT_NS = {"xdp": 90.0, "af_packet": 1400.0, "kernel": 800.0}
MEDIAN_NS = {"xdp": 600.0, "af_packet": 14_000.0, "kernel": 1500.0}


def goal(
    name: str, outcome: str, lower: float | None, upper: float | None, loss_ratio: float
) -> dict[str, Any]:
    """One goal of an MLRsearch, as GoalResult.values() has it."""
    return {
        "goal": name, "loss_ratio": loss_ratio, "exceed_ratio": 0.5, "goal_width": 0.005, "final_trial_s": 0.3,
        "duration_sum_s": 1.2, "outcome": outcome, "reason": None if outcome == "found" else outcome,
        "lower_pps": lower, "upper_pps": upper, "conditional_pps": lower and lower * (1 - loss_ratio / 2),
        "width": None if lower is None or upper is None else 1 - lower / upper, "lower_good_s": 1.2, "lower_bad_s": 0.0,
    }  # fmt: skip


def search(datapath: str, repeat: int) -> dict[str, Any]:
    """af_packet always loses a little, xdp is as fast as the generator in one search, kernel has both rates."""
    random_ = random.Random(f"{datapath}{repeat}")
    rate = PDR[datapath] * random_.gauss(1, 0.01)
    if datapath == "af_packet" and repeat != 1:
        ndr = goal("ndr", "not_reached", None, 1000.0, 0.0)
    else:
        ndr = goal("ndr", "found", rate * 0.8, rate * 0.8 * 1.004, 0.0)
    pdr = goal("pdr", "found", rate, rate * 1.004, 0.005)
    if datapath == "xdp" and repeat == 2:
        pdr = goal("pdr", "at_max_load", CEILING_PPS, None, 0.005)
    return {
        "search": "mlrsearch", "min_load_pps": 1000.0, "max_load_pps": CEILING_PPS, "stopped": None,
        "goals": [ndr, pdr], "trials": 60, "measured_s": 15.0, "repeated_trials": 1, "contaminated_trials": 0,
    }  # fmt: skip


def curve(datapath: str, repeat: int) -> dict[str, Any]:
    """Loss above the PDR; af_packet loses 0.01 % at any load."""
    random_ = random.Random(f"{datapath}{repeat}curve")
    points, free = [], 0
    for percent in range(100, 0, -10):
        load = CEILING_PPS * percent / 100
        loss = max(0.0, 1 - PDR[datapath] * random_.gauss(1, 0.02) / load)
        if datapath == "af_packet":
            loss = max(loss, 1e-4 * random_.random())
        points.append({"load_pps": load, "load_share": percent / 100, "loss_ratio": loss})
        free = free + 1 if loss == 0 else 0
        if free == 2:
            break
    return {
        "max_load_pps": CEILING_PPS, "trial_s": 0.3, "stopped": None, "points": points,
        "outcome": "loss_free" if free == 2 else "always_lossy",
    }  # fmt: skip


def bursts(datapath: str) -> dict[str, Any]:
    """xdp keeps up with any burst."""
    most = int(CEILING_PPS * 2)
    longest = [most] * 5 if datapath == "xdp" else [300, 320, 310, 256, 333]
    found = datapath != "xdp"
    return {
        "max_rate_pps": CEILING_PPS, "max_frames": most, "step_frames": 64, "repeats": 5, "verify": 1,
        "hopeless_loss_ratio": 0.1, "outcome": "found" if found else "no_loss", "stopped": None,
        "longest_frames": longest,
        "average_frames": 303.8 if found else None, "min_frames": 256 if found else None,
        "max_found_frames": 333 if found else None, "stdev_frames": 29.4 if found else None,
        "throughput_pps": 0.48e6 if datapath == "kernel" else None,
        "implied_buffer_s": 303.8 / CEILING_PPS if found else None,
        "corrected_buffer_s": 303.8 / CEILING_PPS * (1 - 0.48e6 / CEILING_PPS) if datapath == "kernel" else None,
    }  # fmt: skip


def loads(datapath: str) -> dict[str, float]:
    """The latency method's loads of one datapath."""
    own = {name: int(name) / 100 * PDR[datapath] or 1000.0 for name in ("0", "10", "50", "90")}
    return {**own, "common": COMMON_PPS}


def all_findings() -> list[Finding]:
    """Every method, in the order in which a run makes them."""
    found = []

    def add(method: str, datapath: str, repeat: int, values: dict[str, Any]) -> None:
        found.append(Finding("host", method, CASE.case_id, datapath, repeat, values))

    for repeat in range(REPEATS):
        ceiling = CEILING_PPS * (1 + 0.002 * repeat)
        add("ceiling", "baseline", repeat, {"rate_pps": ceiling * 1.2, "paced_pps": ceiling})
        for datapath in DATAPATHS:
            add("throughput", datapath, repeat, search(datapath, repeat))
            add("loss-curve", datapath, repeat, curve(datapath, repeat))
            at = [
                {
                    "load": name,
                    "load_share": 0.5 if name == "common" else float(name) / 100,
                    "load_pps": load_pps,
                }
                for name, load_pps in loads(datapath).items()
            ]
            add("latency", datapath, repeat, {"pdr_pps": PDR[datapath], "loads": at})
            add("cpu-at-load", datapath, repeat, {
                "load_pps": COMMON_PPS, "loss_ratio": 0.0,
                "dut_cpu_ns_per_packet": DUT_NS[datapath] * (1 + 0.01 * repeat),
                "receive_cpu_ns_per_packet": 60.0 + repeat, "idle_cpu_share": 0.98 if datapath == "af_packet" else 0.0,
                "idle_reason": None if datapath == "af_packet" else IDLE, "hardware": {"absent": NO_PMU},
            })  # fmt: skip
    for datapath in DATAPATHS:
        add("back-to-back", datapath, 0, bursts(datapath))
    rates = []
    for rate, error in ((100_000.0, -0.001), (1e6, -0.012)):
        gap_ns = {
            "p1": 0.95e9 / rate,
            "p50": 1e9 / rate,
            "p99": 1.01e9 / rate,
            "p99.9": 2.9e9 / rate,
            "p99.99": None,
        }
        rates.append({
            "rate_pps": rate, "offered_pps": rate * (1 + error), "rate_error": error, "ideal_gap_ns": 1e9 / rate,
            "gap_ns": gap_ns, "gaps": 100_000, "late": 2, "skipped": 12, "max_late_ns": 3_000_000, "contaminated": [],
        })  # fmt: skip
    add("pacing", "baseline", 0, {"rates": rates})
    floor = {
        "load_pps": 50_000.0,
        "count": 100_000,
        "min_ns": 90,
        "contaminated": [],
        "p50": 180.0,
        "p99": 260.0,
    }
    cost = {
        "slice_s": 0.1,
        "rounds": 20,
        "contaminated": 1,
        "plain_ns": 140.0,
        "stamp_ns": 21.0,
        "sink_ns": 35.0,
    }
    add("latency-cost", "baseline", 0, {**cost, "floor": floor})
    return found


def all_trials() -> list[Trial]:
    """Rates in four blocks with warm-ups, an outlier, contaminated and invalid trials; latency; steps of searches."""
    random_ = random.Random(3)
    made = []
    for round_ in range(20):
        block = round_ // 5
        base = synthetic.wall_trial(CASE, "baseline", round_, random_, 3.02e6)
        made.append(dataclasses.replace(base, purpose="baseline", block=block))
        for datapath in DATAPATHS:
            pps = {"xdp": 3e6, "af_packet": 0.745e6, "kernel": 0.75e6}[datapath]
            slow = 0.7 if (datapath, round_) == ("xdp", 13) else 1
            trial = synthetic.wall_trial(CASE, datapath, round_, random_, pps * slow)
            trial.block = block
            trial.probes = probes(datapath, round_)
            if round_ == 7 and datapath == "kernel":
                trial.contaminated = ["steal: 4 % of the CPUs, more than 2 %"]
            if round_ == 8 and datapath == "af_packet":
                trial.valid, trial.problems = False, ["1,234 of 100,000 packets are unexplained"]
            if round_ % 5 == 0:
                made.append(dataclasses.replace(trial, warm_up=True))
            made.append(trial)
    for datapath in DATAPATHS:
        for repeat in range(REPEATS):
            trial = synthetic.wall_trial(CASE, datapath, repeat, random_, PDR[datapath])
            trial.block, trial.load_pps = repeat, PDR[datapath]
            made += [dataclasses.replace(trial, purpose=p) for p in PURPOSES]
            for name, load in loads(datapath).items():
                slower = MEDIAN_NS[datapath] * (1 + 3 * (load / PDR[datapath]) ** 4)
                quick = synthetic.latency_trial(CASE, datapath, slower, SAMPLES[name])
                made.append(dataclasses.replace(quick, load_pps=load, block=repeat, round=repeat))
    return made


def probes(datapath: str, round_: int) -> dict[str, Any]:
    """af_packet's own counts; hardware only where `round_` is even, as if a PMU came and went; no energy."""
    found: dict[str, Any] = {"energy": {"absent": NO_RAPL}, "hardware": {"absent": NO_PMU}}
    if datapath == "af_packet":
        each = {"syscalls": 0.031, "voluntary_switches": 0.0004, "involuntary_switches": 0.0}
        found["scheduler"] = {"syscalls": 3100, "per_packet": each}
    else:
        found["scheduler"] = {
            "absent": "the work is done in the kernel's softirq: no system calls, no switches"
        }
    if datapath == "xdp" and round_ % 2:
        found["bpf"] = {
            "programs": [{"id": 7, "name": "kb_xdp", "runs": 1000, "run_ns": 95_000, "ns_per_run": 95.0}]
        }
    return found


def with_pmu(trial: Trial) -> None:
    """Gives a trial hardware counters."""
    each = {"cycles": 900.0, "instructions": 1400.0, "cache-misses": 0.52, "branch-misses": 0.004}
    trial.probes["hardware"] = {
        "cpus": [0], "includes_generator": True, "counts": {}, "per_packet": each, "scaled": ["cache-misses"],
        "not_counted": {},
    }  # fmt: skip


def write(root: Path, rates: bool = True) -> Run:
    """The run, through the store. `rates`: with trials of the maximum rate."""
    document = synthetic.document((synthetic.HOST,), (CASE,), 20)
    document["options"] = {"rounds": 20, "methods": ["max", "throughput"] if rates else ["throughput"]}
    with RunStore.create(root, RUN_ID, document) as store:
        for datapath in DATAPATHS:
            store.append_verification(Verification("host", CASE.case_id, datapath, 78, True))
        for trial in all_trials():
            if rates or trial.purpose not in ("rate", "baseline"):
                store.append_trial(trial)
        for item in all_findings():
            store.append_finding(item)
        store.append_end("2000-01-02T00:02:00Z")
    return load_run(RUN_ID, root)
