# SPDX-License-Identifier: GPL-2.0-only
"""Synthetic runs for tests: made-up numbers, written through the store like real ones."""

from __future__ import annotations

import dataclasses
import math
import random
from pathlib import Path
from typing import Any

from kbench.model import Case, Counters, CpuTime, Histogram, Part, Trial, Verification
from kbench.store import Run, RunStore, load_run

RUN_ID = "20000101-000000-5e1f"
FORWARD = Case("forward", routes=1)
FILTER = Case("filter", routes=1000, rules=100)
HOST = Part("host", "wall", ("xdp", "af_packet", "kernel"), "xdp", "same", "Synthetic: no modules here.")
LAB = Part("lab", "exact", ("netfilter", "xdp", "kernel"), "pktgen", "same", "Synthetic lab.", "6.12.0-test")
MPPS = {"xdp": 3.0e6, "af_packet": 0.72e6, "kernel": 0.75e6, "netfilter": 1.1e6}
INSTRUCTIONS = {"xdp": 1400.0, "netfilter": 1150.0, "kernel": 2600.0}
HOSTILE = '<script>alert("x")</script>'


def histogram(median_ns: float, count: int, seed: int) -> Histogram:
    """Log-normal latencies in the model's log-linear buckets."""
    random_ = random.Random(seed)
    sub_bits, values = 5, []
    buckets: dict[int, int] = {}
    for _ in range(count):
        value = max(1, int(random_.lognormvariate(math.log(median_ns), 0.45)))
        values.append(value)
        exponent = max(0, value.bit_length() - 1 - sub_bits)
        index = value if value < 32 else (exponent + 1) * 32 + (value >> exponent) - 32
        buckets[index] = buckets.get(index, 0) + 1
    return Histogram(sub_bits, buckets, count, min(values), max(values))


def wall_trial(case: Case, datapath: str, round_: int, random_: random.Random, pps: float) -> Trial:
    """One rate trial of the host part, with drift that is common to a round."""
    drift = 1 + 0.05 * math.sin(round_)
    got = pps * drift * random_.gauss(1, 0.01)
    offered = int(got)
    dropped = {"policy": offered // 4, "no_route": 0} if case.function == "filter" else {"no_route": 0}
    if case.function == "drop":
        dropped = {"policy": offered}
    lost = offered // 5000 if datapath == "af_packet" else 0
    forwarded = offered - sum(dropped.values()) - lost
    user = 0.75 if datapath == "af_packet" else 0.02
    return Trial(
        part="host", kind="wall", purpose="rate", case_id=case.case_id, function=case.function,
        datapath=datapath, generator="xdp", placement="split" if datapath == "af_packet" else "same",
        round=round_, started_at="2000-01-01T00:00:00Z", frame_bytes=case.frame_bytes, load_pps=None,
        duration_s=1.0, counters=Counters(offered, offered - lost, forwarded, dropped, lost,
                                          {"socket_ring": lost} if lost else {}),
        offered_pps=float(offered), forwarded_pps=float(forwarded), cpu_ns_per_packet=1e9 / got,
        dut_cpu_ns_per_packet=1e9 / got - 140,
        cpus=[CpuTime(0, 0.02, 0.3, 0.0, 0.66, 0.01, 0.01),
              CpuTime(1, user, 0.05, 0.0, 0.02, 0.01, 0.92 - user)],
        foreign_cpu_share=0.01, steal_share=0.01,
    )  # fmt: skip


def latency_trial(case: Case, datapath: str, median_ns: float, count: int = 20_000) -> Trial:
    """One latency trial at 50 kpps."""
    trial = wall_trial(case, datapath, 1, random.Random(7), 50_000)
    return dataclasses.replace(
        trial, purpose="latency", load_pps=50_000.0, latency=histogram(median_ns, count, len(datapath))
    )


def exact_trial(datapath: str, round_: int, instructions: float) -> Trial:
    """One exact trial of the lab part."""
    return Trial(
        part="lab", kind="exact", purpose="exact", case_id=FORWARD.case_id, function="forward",
        datapath=datapath, generator="pktgen", placement="same", round=round_,
        started_at="2000-01-01T00:01:00Z", frame_bytes=64, load_pps=None, duration_s=0.2,
        counters=Counters(40_000, 40_000, 40_000, {"no_route": 0}, 0),
        instructions_per_packet=instructions + 2000 + 0.1 * round_,
        dut_instructions_per_packet=instructions + 0.1 * round_,
    )  # fmt: skip


def document(parts: tuple[Part, ...], cases: tuple[Case, ...], rounds: int) -> dict[str, Any]:
    """run.json of a synthetic run, with a hostile host name."""
    return {
        "kbench_version": "0.0-synthetic",
        "command": ["kbench", "run", "--label", f"it's {HOSTILE}"],
        "started_at": "2000-01-01T00:00:00Z",
        "label": HOSTILE,
        "options": {"rounds": rounds},
        "plan": {
            "cases": [dataclasses.asdict(c) for c in cases],
            "parts": [dataclasses.asdict(p) for p in parts],
            "why": "synthetic: a host and a lab part",
        },
        "facts": {"host": {"hostname": HOSTILE, "kernel": {"release": "6.0-synthetic"}, "cpus": [0, 1]}},
    }


def write_full(root: Path, rounds: int = 9, end: bool = True, run_id: str = RUN_ID) -> Run:
    """A run with a host part (two cases) and an exact lab part, one failed verification, notices."""
    random_ = random.Random(1)
    parts, cases = (HOST, LAB), (FORWARD, FILTER)
    with RunStore.create(root, run_id, document(parts, cases, 9)) as store:
        for case in cases:
            for datapath in ("xdp", "af_packet", "kernel"):
                if datapath != "kernel" or case is FORWARD:
                    store.append_verification(Verification("host", case.case_id, datapath, 78, True))
            for round_ in range(1, rounds + 1):
                for datapath in ("xdp", "af_packet", "kernel"):
                    if datapath == "kernel" and case is not FORWARD:
                        continue
                    trial = wall_trial(case, datapath, round_, random_, MPPS[datapath])
                    if (datapath, round_, case) == ("af_packet", 3, FORWARD):
                        trial.valid, trial.problems = False, ["foreign load: 12 % of a CPU"]
                    store.append_trial(trial)
        for datapath, median_ns in (("xdp", 600.0), ("af_packet", 14_000.0), ("kernel", 1500.0)):
            store.append_trial(latency_trial(FORWARD, datapath, median_ns))
        store.append_facts("lab", {"kernel": "6.12.0-test", "qemu": "7.2", "icount": True})
        for datapath in ("netfilter", "xdp"):
            store.append_verification(Verification("lab", FORWARD.case_id, datapath, 78, True))
        wrong = [f"packet 12 (TTL 1): expected drop, got {HOSTILE}"]
        store.append_verification(Verification("lab", FORWARD.case_id, "kernel", 78, False, wrong))
        for round_ in (1, 2, 3):
            for datapath in ("netfilter", "xdp"):
                store.append_trial(exact_trial(datapath, round_, INSTRUCTIONS[datapath]))
        store.append_notice("pktgen over veth makes XDP look bad: veth copies each shared skb.", "lab")
        store.append_notice(f"label: {HOSTILE}")
        if end:
            store.append_end("2000-01-01T00:02:00Z")
    return load_run(run_id, root)
