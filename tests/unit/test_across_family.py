# SPDX-License-Identifier: GPL-2.0-only
"""Many figures at once: with nothing changed hardly ever is anything claimed, and a true change is found."""

from __future__ import annotations

import numpy as np
import pytest

from kbench.explain.across.metrics import Figure
from kbench.explain.across.ratios import level_of
from kbench.explain.across.result import Change, Work
from kbench.explain.across.verdicts import change
from kbench.explain.stats import Estimate
from tests.unit.simulated_rounds import Noise, slices

FIGURES = 40
WORK = Work("host", "wall", "forward-p1-f64", "xdp", None)


def figure(
    random: np.random.Generator, noise: Noise, blocks: int, per_block: int, ratio: float = 1.0
) -> Figure:
    """A rate, in blocks as a run has them, on a machine whose topologies differ."""
    effect = random.normal(0, noise.block_sd, (blocks, 1))
    rates = ratio * np.exp(effect + slices(random, noise, (blocks, per_block)))
    values = dict(enumerate(rates.ravel().tolist()))
    block_of = {r: r // per_block for r in values}
    estimate = Estimate(float(np.median(rates)), None, None, len(values), noun="round")
    return Figure(WORK, "xdp", "rate", values, block_of, estimate, 0.02, "C", "round")


def claims(
    noise: Noise, families: int, level: float, blocks: int = 5, per_block: int = 6, seed: int = 11
) -> float:
    """The share of comparisons in which any of 40 figures is claimed to have changed, although none has."""
    random = np.random.default_rng(seed)
    false = 0
    for _ in range(families):
        made = [
            change(figure(random, noise, blocks, per_block), figure(random, noise, blocks, per_block), level)
            for _ in range(FIGURES)
        ]
        assert all(isinstance(item, Change) for item in made)
        false += any(item.claim.outcome == "changed" for item in made if isinstance(item, Change))
    return false / families


def test_with_nothing_changed_hardly_a_comparison_claims_anything() -> None:
    # Blocks differ so much that it is the intervals that hold back, and not the resolution.
    noise = Noise(0.03, 0.03)
    assert claims(noise, 60, level_of(FIGURES)) <= 0.05
    assert claims(noise, 60, 0.99) > 0.15  # what 40 intervals of the 99 % level do


def test_of_a_single_topology_neither() -> None:
    assert claims(Noise(0.01, 0.03), 20, level_of(FIGURES), blocks=1, per_block=15) <= 0.05


@pytest.mark.parametrize("true", [0.9, 1.1])
def test_a_true_change_of_10_percent_is_found_among_40(true: float) -> None:
    random, noise = np.random.default_rng(12), Noise(0.005, 0.02)
    found = 0
    for _ in range(60):
        made = change(figure(random, noise, 5, 6), figure(random, noise, 5, 6, true), level_of(FIGURES))
        assert isinstance(made, Change)
        found += made.claim.outcome == "changed" and made.better is (true > 1)
    assert found >= 57


def test_the_blocks_that_are_asked_for_do_decide() -> None:
    """With as many more as it says, most comparisons of the same noise have enough data."""
    random, noise = np.random.default_rng(13), Noise(0.005, 0.03)
    level = level_of(10)
    asked = []
    for _ in range(30):
        made = change(figure(random, noise, 4, 6), figure(random, noise, 4, 6), level)
        assert isinstance(made, Change)
        if made.claim.outcome == "not enough data":
            assert made.claim.more is not None and made.claim.more > 0 and made.claim.unit == "block"
            asked.append(made.claim.more)
    enough = 4 + round(float(np.median(asked)))
    decided = 0
    for _ in range(30):
        made = change(figure(random, noise, enough, 6), figure(random, noise, enough, 6), level)
        decided += isinstance(made, Change) and made.claim.outcome == "no change"
    assert decided / 30 > 0.3


def test_one_figure_is_not_corrected_and_more_are() -> None:
    assert level_of(1) == pytest.approx(0.95) == level_of(0)
    assert level_of(5) == pytest.approx(0.99)
    assert 1 - level_of(40) == pytest.approx(0.05 / 40)
