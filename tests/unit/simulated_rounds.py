# SPDX-License-Identifier: GPL-2.0-only
"""Rates of two datapaths as a shared machine gives them: slices with a left tail and outliers, blocks that differ."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Rounds = dict[int, float]


@dataclass(frozen=True)
class Noise:
    """Standard deviations as shares of the rate: of the ratio between blocks, and of a slice within one."""

    block_sd: float
    slice_sd: float
    outliers: float = 0.05
    """Share of slices that are 30 % low."""


def slices(random: np.random.Generator, noise: Noise, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Log rates: normal, with an exponential tail to the left (together of `slice_sd`), and outliers."""
    logs = random.normal(0, 0.8 * noise.slice_sd, shape) - random.exponential(0.6 * noise.slice_sd, shape)
    return np.asarray(logs + np.where(random.random(shape) < noise.outliers, math.log(0.7), 0.0))


def comparisons(
    noise: Noise, count: int, blocks: int, per_block: int, ratio: float = 1.0, seed: int = 1
) -> Iterator[tuple[Rounds, Rounds, dict[int, int]]]:
    """`count` comparisons: the rates of one datapath, of its reference (both by round), and round -> block."""
    random = np.random.default_rng(seed)
    shape = (count, blocks, per_block)
    drift = np.cumsum(random.normal(0, 0.01, shape), axis=2)
    effect = random.normal(0, noise.block_sd, (count, blocks, 1)) + math.log(ratio)
    one = np.exp(drift + effect + slices(random, noise, shape)).reshape(count, -1)
    other = np.exp(drift + slices(random, noise, shape)).reshape(count, -1)
    of = {r: r // per_block for r in range(blocks * per_block)}
    for ours, theirs in zip(one.tolist(), other.tolist(), strict=True):
        yield dict(enumerate(ours)), dict(enumerate(theirs)), of
