# SPDX-License-Identifier: GPL-2.0-only
"""DUTs that exist in a formula only, with the noise of real ones, and what is true about each.

Each says for a load how many packets a trial loses. The truth about a goal is the load at which a trial
exceeds the goal's loss ratio with the probability of its exceed ratio (1/2 throughout). Where that
probability does not jump but rises over a range of loads, no search can be surer than its number of trials
allows: so the truth is the range between two probabilities.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from statistics import NormalDist

from kbench.model import Counters, Trial

NORMAL = NormalDist()
JITTER = 0.002
"""Relative standard deviation of the capacity from trial to trial."""
DISTURBED = 0.03
"""Share of trials that something else on the machine makes lossy, whatever the load."""


def make_trial(
    load_pps: float,
    duration_s: float,
    lost: int,
    intended: int | None = None,
    valid: bool = True,
    contaminated: list[str] | None = None,
) -> Trial:
    """A trial as a testbed would return it; a share of what was lost was never offered (back-pressure)."""
    called_for = round(load_pps * duration_s) if intended is None else intended
    lost = min(lost, called_for)
    held_up = lost // 4
    counters = Counters(
        offered=called_for - held_up,
        received=None,
        forwarded=called_for - lost,
        lost=lost - held_up,
        intended=called_for,
    )
    return Trial(
        part="host",
        kind="wall",
        purpose="search",
        case_id="forward-p1-f64",
        function="forward",
        datapath="xdp",
        generator="xdp",
        placement="same",
        round=0,
        started_at="2026-01-01T00:00:00Z",
        frame_bytes=64,
        load_pps=load_pps,
        duration_s=duration_s,
        counters=counters,
        valid=valid,
        problems=[] if valid else ["packets without a place"],
        contaminated=contaminated or [],
    )


@dataclass
class HardKnee:
    """Carries all up to its capacity and just that above it. Capacity jitters, some trials are disturbed."""

    capacity_pps: float
    rng: random.Random
    trials: int = 0
    measured_s: float = 0.0

    def __call__(self, load_pps: float, duration_s: float, /) -> Trial:
        self.trials += 1
        self.measured_s += duration_s
        lost = self.lost(load_pps, duration_s)
        if self.rng.random() < DISTURBED:
            lost += load_pps * duration_s * self.rng.uniform(0.006, 0.05)
        return make_trial(load_pps, duration_s, round(lost))

    def lost(self, load_pps: float, duration_s: float) -> float:
        """Packets that a trial loses without any disturbance."""
        return self.above(self.capacity_pps * self.rng.gauss(1, JITTER), load_pps, duration_s)

    @staticmethod
    def above(capacity_pps: float, load_pps: float, duration_s: float) -> float:
        """Packets of a load that a capacity does not carry."""
        return max(0.0, load_pps - capacity_pps) * duration_s

    def exceeds(self, load_pps: float, loss_ratio: float, duration_s: float) -> float:
        """Probability that a trial loses more than that."""
        return self._with_disturbance(self._over(self.capacity_pps, load_pps, loss_ratio))

    @staticmethod
    def _over(capacity_pps: float, load_pps: float, loss_ratio: float) -> float:
        return NORMAL.cdf((load_pps * (1 - loss_ratio) / capacity_pps - 1) / JITTER)

    @staticmethod
    def _with_disturbance(probability: float) -> float:
        return 1 - (1 - DISTURBED) * (1 - probability)

    def truth(
        self, loss_ratio: float, duration_s: float, between: tuple[float, float] = (0.5, 0.5)
    ) -> tuple[float, float]:
        """The loads at which the probability of exceeding the loss ratio reaches the one and the other."""

        def at(probability: float) -> float:
            low, high = self.capacity_pps / 100, self.capacity_pps * 2
            for _ in range(40):
                middle = math.sqrt(low * high)
                if self.exceeds(middle, loss_ratio, duration_s) < probability:
                    low = middle
                else:
                    high = middle
            return low

        return at(between[0]), at(between[1])


@dataclass
class SoftKnee(HardKnee):
    """Loses an exponentially growing share as the load nears the capacity, 0.5 % at it: random, small
    overflows."""

    softness = 0.03

    def ratio(self, load_pps: float) -> float:
        """Expected share lost."""
        return min(1.0, 0.005 * math.exp(min(9.0, (load_pps / self.capacity_pps - 1) / self.softness)))

    def lost(self, load_pps: float, duration_s: float) -> float:
        """Poisson, as each packet has the same chance."""
        mean = load_pps * duration_s * self.ratio(load_pps)
        if mean > 50:
            return max(0.0, self.rng.gauss(mean, math.sqrt(mean)))
        threshold, product, count = math.exp(-mean), self.rng.random(), 0
        while product > threshold:
            product *= self.rng.random()
            count += 1
        return count

    def exceeds(self, load_pps: float, loss_ratio: float, duration_s: float) -> float:
        """Zero losses: Poisson; else its normal approximation."""
        packets = load_pps * duration_s
        mean = packets * self.ratio(load_pps)
        if loss_ratio == 0:
            return self._with_disturbance(1 - math.exp(-mean))
        return self._with_disturbance(NORMAL.cdf((mean - loss_ratio * packets) / math.sqrt(mean)))


@dataclass
class Periodic(HardKnee):
    """Stands still every 50 ms, for as long as a timer's job takes; its ring holds 0.125 ms of its capacity.

    Loss-free up to the load that the ring takes up during the stop, far below the knee.
    """

    period_s = 0.05
    stop_s = 0.0005
    ring_s = 0.000125
    now_s: float = 0.0

    def lost(self, load_pps: float, duration_s: float) -> float:
        """What the ring did not take up in each of the stops that fell into the trial, and what the knee
        does not let through."""
        begin_s, self.now_s = self.now_s, self.now_s + duration_s
        stops = math.floor(self.now_s / self.period_s + 1e-9) - math.floor(begin_s / self.period_s + 1e-9)
        ring = self.ring_s * self.capacity_pps * self.rng.gauss(1, JITTER)
        return max(stops * max(0.0, load_pps * self.stop_s - ring), super().lost(load_pps, duration_s))

    def exceeds(self, load_pps: float, loss_ratio: float, duration_s: float) -> float:
        """All trials are whole multiples of the period: each has the same number of stops."""
        # More than loss_ratio * load * period is lost in a stop when the ring is smaller than this. Counts are
        # rounded: half a packet is none, while a loss ratio's threshold is rounded up as often as down.
        half_packet = 0.5 * self.period_s / duration_s if loss_ratio == 0 else 0.0
        needed = load_pps * (self.stop_s - loss_ratio * self.period_s) - half_packet
        stop = NORMAL.cdf((needed / (self.ring_s * self.capacity_pps) - 1) / JITTER)
        return self._with_disturbance(max(stop, self._over(self.capacity_pps, load_pps, loss_ratio)))


@dataclass
class Bursty(HardKnee):
    """A hard knee, and bursts of loss at random times, one per second on average, each 0.1 to 2 % of a 0.2
    s trial."""

    bursts_per_s = 1.0

    def lost(self, load_pps: float, duration_s: float) -> float:
        """The knee's loss and that of the bursts that fell into the trial."""
        lost = super().lost(load_pps, duration_s)
        wait_s = self.rng.expovariate(self.bursts_per_s)
        while wait_s < duration_s:
            lost += load_pps * 0.2 * self.rng.uniform(0.001, 0.02)
            wait_s += self.rng.expovariate(self.bursts_per_s)
        return lost

    def exceeds(self, load_pps: float, loss_ratio: float, duration_s: float) -> float:
        """A burst anywhere, or the knee. (A PDR's burst exceeds or not by its size: bounded by "always".)"""
        burst = 1 - math.exp(-self.bursts_per_s * duration_s)
        over = self._over(self.capacity_pps, load_pps, loss_ratio)
        return self._with_disturbance(1 - (1 - burst) * (1 - over))


@dataclass
class Bimodal(HardKnee):
    """Its capacity flips between two levels, as caches shared with other CPUs do: a fifth of the trials at
    70 %."""

    slow_share = 0.2
    slow_level = 0.7

    def lost(self, load_pps: float, duration_s: float) -> float:
        """What the level of the moment does not carry."""
        level = self.slow_level if self.rng.random() < self.slow_share else 1.0
        return self.above(level * self.capacity_pps * self.rng.gauss(1, JITTER), load_pps, duration_s)

    def exceeds(self, load_pps: float, loss_ratio: float, duration_s: float) -> float:
        """At the slow level, or at the fast one."""
        slow = self._over(self.slow_level * self.capacity_pps, load_pps, loss_ratio)
        fast = self._over(self.capacity_pps, load_pps, loss_ratio)
        return self._with_disturbance(self.slow_share * slow + (1 - self.slow_share) * fast)


@dataclass
class MostlySlow(Bimodal):
    """The same the other way round: four fifths of the trials at the slow level, which is then the truth."""

    slow_share = 0.8


SYSTEMS: dict[str, type[HardKnee]] = {
    "hard knee": HardKnee,
    "soft knee": SoftKnee,
    "periodic": Periodic,
    "bursty": Bursty,
    "bimodal": Bimodal,
    "mostly slow": MostlySlow,
}


def simulated(name: str, seed: int) -> HardKnee:
    """A DUT of that kind with a capacity of 0.3 to 3 million packets/s, both fixed by the seed."""
    rng = random.Random(f"{name} {seed}")
    return SYSTEMS[name](math.exp(rng.uniform(math.log(3e5), math.log(3e6))), rng)


@dataclass
class Ring:
    """Carries a burst if its ring and what it forwards meanwhile can hold it. For the back-to-back method."""

    ring_frames: int
    throughput_pps: float
    max_rate_pps: float
    rng: random.Random
    jitter: float = 0.0
    sent: list[int] = field(default_factory=list)

    def __call__(self, frames: int, /) -> Trial:
        self.sent.append(frames)
        room = self.ring_frames * self.rng.gauss(1, self.jitter)
        forwarded = frames * min(1.0, self.throughput_pps / self.max_rate_pps)
        lost = math.ceil(max(0.0, frames - forwarded - room))
        return make_trial(self.max_rate_pps, frames / self.max_rate_pps, lost, intended=frames)
