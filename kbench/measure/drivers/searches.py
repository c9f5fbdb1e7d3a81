# SPDX-License-Identifier: GPL-2.0-only
"""Methods that look for a limit: throughput, loss curve, back-to-back frames."""

from __future__ import annotations

from typing import Any

from kbench.measure.bench import Bench
from kbench.measure.block import Block
from kbench.measure.drivers.job import Ceiling, Job
from kbench.measure.generators.base import Load
from kbench.measure.methods.back_to_back import Bursts, back_to_back
from kbench.measure.methods.base import Budget
from kbench.measure.methods.loads import IDLE_PPS
from kbench.measure.methods.loss_curve import loss_curve
from kbench.measure.methods.mlrsearch import mlrsearch
from kbench.measure.methods.tst009 import Bswlv, bswlv
from kbench.measure.pacing import pacing
from kbench.measure.profile import goals
from kbench.measure.reporter import Bar
from kbench.model import Trial

TRIALS_MAX = 150
"""Of one search: far more than it needs, so that one that can't settle ends and says so."""
BURST_LIMIT_S = 600.0
BURST_STEP_FRAMES = 64
"""Frames leave the generator in batches of this many."""


def throughput(job: Job) -> None:
    """NDR and PDR of each datapath."""

    def on_block(block: Block, bar: Bar) -> None:
        ceiling = job.ceiling(block)
        if not block.number and job.generator.timestamps:
            job.place.store.append_finding(pacing(block.baseline, block.setting, keep=job.place.keep))
        job.each(block, bar, "throughput", lambda bench: _search(job, block, bench, ceiling))

    job.on_blocks("throughput", "throughput", job.options.repeats, on_block)


def _search(job: Job, block: Block, bench: Bench, ceiling: Ceiling) -> dict[str, Any]:
    options = job.options
    measure = job.measure(block, bench, "search")
    budget = _budget(job)
    if options.search == "tst009":
        # One goal a search: the PDR's is stored beside the one that is returned.
        ndr, pdr = (
            bswlv(measure, IDLE_PPS, ceiling.paced_pps, Bswlv(loss_ratio, trial_s=job.seconds), budget)
            for loss_ratio in (0.0, options.pdr_loss)
        )
        job.place.find("throughput", job.case, bench.name, block.number, pdr.values())
        return ndr.values()
    found = mlrsearch(measure, IDLE_PPS, ceiling.paced_pps, goals(options), budget)
    job.remember(bench, found)
    return found.values()


def _budget(job: Job) -> Budget:
    return Budget(TRIALS_MAX, TRIALS_MAX * job.seconds)


def curve(job: Job) -> None:
    """Loss ratio by load, from the generator's ceiling downwards."""

    def on_block(block: Block, bar: Bar) -> None:
        top = job.ceiling(block).paced_pps

        def make(bench: Bench) -> dict[str, Any]:
            measure = job.measure(block, bench, "loss")
            return loss_curve(measure, top, job.seconds, budget=_budget(job)).values()

        job.each(block, bar, "loss-curve", make)

    job.on_blocks("loss-curve", "loss curve", job.options.repeats, on_block)


def bursts(job: Job) -> None:
    """Longest burst without loss. All repeats are on one topology, as each is a search of its own."""

    def on_block(block: Block, bar: Bar) -> None:
        ask = Bursts(job.ceiling(block).rate_pps, step_frames=BURST_STEP_FRAMES, repeats=job.options.repeats)

        def make(bench: Bench) -> dict[str, Any]:
            def burst(frames: int) -> Trial:
                return job.trial(block, bench, Load(None, BURST_LIMIT_S, count=frames), "burst")

            budget = Budget(TRIALS_MAX * ask.repeats, TRIALS_MAX * ask.repeats * ask.max_burst_s)
            return back_to_back(burst, ask, job.known(bench, "ndr"), budget).values()

        job.each(block, bar, "back-to-back", make)

    job.on_blocks("back-to-back", "back-to-back frames", 1, on_block)
