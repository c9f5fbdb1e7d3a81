# SPDX-License-Identifier: GPL-2.0-only
"""Instructions per packet, from guest time that advances by one nanosecond per instruction.

The lab runs under QEMU's icount with one virtual CPU: an interval of guest time is a number of instructions,
as long as the CPU is not idle in it. Two counts of packets are offered, and the slope between them is taken, so
that everything that happens once (set-up, the first packets) cancels.
"""

from __future__ import annotations

from kbench.measure.bench import Bench
from kbench.measure.block import Block
from kbench.measure.generators.base import Load
from kbench.measure.observe import Setting, observe
from kbench.measure.trial import run_trial
from kbench.model import Trial

ROUNDS = 5
COUNTS = (5_000, 20_000)
"""Packets offered in the two halves of an exact trial."""

WARM_UP = 2_000
"""Packets offered to each bench before its first trial, so that caches of the kernel are filled alike."""

DURATION_LIMIT_S = 600.0
"""Guest seconds after which a generator gives up; a bound only, the count ends it."""


def exact_rounds(block: Block) -> None:
    """Baseline and datapaths in turn; on one topology, as nothing in them varies but by what ran before."""
    place, case = block.place, block.prepared.case
    baseline = block.dummy_baseline()
    first = place.first_round(case, "exact")
    title = place.title(case, "instructions per packet")
    with place.reporter.bar(title, (ROUNDS - first) * (len(block.benches) + 1)) as bar:
        for bench in (baseline, *block.benches):
            warm_up(bench, block.setting)
        for round_ in range(first, ROUNDS):
            base = place.keep(exact_trial(baseline, block.setting, round_, None))
            bar.advance()
            for bench in block.benches:
                place.keep(exact_trial(bench, block.setting, round_, base.instructions_per_packet))
                bar.advance()


def warm_up(bench: Bench, setting: Setting) -> None:
    """Offers some packets whose outcome is not recorded."""
    bench.start_sink("stamp")
    observe(bench, setting, Load(None, DURATION_LIMIT_S, count=WARM_UP))


def exact_trial(
    bench: Bench, setting: Setting, round_: int, baseline: float | None, counts: tuple[int, int] = COUNTS
) -> Trial:
    """Offers both counts and records the larger one's ledger with the slope as instructions per packet."""
    halves = [
        run_trial(
            bench,
            setting,
            Load(None, DURATION_LIMIT_S, count=count),
            purpose="exact",
            round_=round_,
            sink="stamp",
        )
        for count in counts
    ]
    for half in halves:
        if half.counters.lost:
            half.valid = False
            half.problems.append(
                f"{half.counters.lost} packets were lost: the slope is not the cost of a packet"
            )
    few, many = halves
    many.instructions_per_packet = (many.raw["window_ns"] - few.raw["window_ns"]) / (counts[1] - counts[0])
    if baseline is not None:
        many.dut_instructions_per_packet = many.instructions_per_packet - baseline
    many.raw["first_half"] = {"count": counts[0], "window_ns": few.raw["window_ns"]}
    many.valid = many.valid and few.valid
    return many
