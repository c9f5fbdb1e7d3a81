# SPDX-License-Identifier: GPL-2.0-only
"""Back-to-back frames (RFC 9004): the longest burst without loss at the maximum rate, and the buffer it
implies."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Any, Literal

from kbench.errors import UsageError
from kbench.measure.methods.base import Budget, BudgetSpent, Burst, Effort
from kbench.measure.methods.tst009 import passes_verified

Outcome = Literal["found", "no_loss", "partly_no_loss", "not_reached", "unfinished"]


@dataclass(frozen=True)
class Bursts:
    """Parameters. `max_rate_pps` is the rate within a burst: the generator's maximum frame rate.

    Raises UsageError when they make no sense.
    """

    max_rate_pps: float
    max_burst_s: float = 2.0
    """Longest burst tried; RFC 9004, section 6.2 wants this to be configurable."""
    step_frames: int = 1
    """Resolution of the search."""
    start_frames: int = 64
    """First burst after the longest; then lengths double until one loses."""
    repeats: int = 5
    """Searches made; RFC 2544, section 26.4 wants 50, RFC 9004 wants the number stated."""
    verify: int = 1
    """How often a burst that lost frames is repeated before it is believed (loss verification)."""
    hopeless_loss_ratio: float | None = 0.1
    """A loss above this is no disturbance and is believed at once."""

    def __post_init__(self) -> None:
        enough = self.max_rate_pps > 0 and self.max_burst_s > 0 and self.repeats >= 1 and self.verify >= 0
        if not enough or min(self.step_frames, self.start_frames) < 1 or self.max_frames < self.step_frames:
            raise UsageError(f"a search for the longest burst can't be made with {self}")

    @property
    def max_frames(self) -> int:
        """Frames of the longest burst."""
        return math.floor(self.max_rate_pps * self.max_burst_s)


@dataclass(frozen=True)
class BackToBack:
    """Longest bursts without loss, one per finished search; `max_frames` stands for "no loss up to that
    length"."""

    parameters: Bursts
    outcome: Outcome
    longest_frames: tuple[int, ...]
    throughput_pps: float | None
    effort: Effort
    stopped: str | None

    @property
    def average_frames(self) -> float | None:
        """RFC 9004, section 6.4; None when there is no such number, as one of the searches met no loss."""
        if self.parameters.max_frames in self.longest_frames or not self.longest_frames:
            return None
        return statistics.fmean(self.longest_frames)

    @property
    def implied_buffer_s(self) -> float | None:
        """Time that the average burst takes: the buffer, if the DUT forwarded nothing meanwhile."""
        average = self.average_frames
        return None if average is None else average / self.parameters.max_rate_pps

    @property
    def corrected_buffer_s(self) -> float | None:
        """The same less what the DUT forwards during the burst, at its measured throughput (RFC 9004,
        section 6.4).

        None without a throughput, or with one that reaches the generator's rate: then bursts can't fill a
        buffer.
        """
        implied, throughput = self.implied_buffer_s, self.throughput_pps
        if implied is None or throughput is None or throughput >= self.parameters.max_rate_pps:
            return None
        return implied - implied * throughput / self.parameters.max_rate_pps

    def values(self) -> dict[str, Any]:
        """For the `values` of a finding.

        max_rate_pps: rate within a burst, the generator's maximum frame rate. max_frames: longest burst
        tried. step_frames: resolution. repeats: searches asked for. verify: repeats of a burst that lost
        frames. hopeless_loss_ratio: loss above which it is not repeated, or null. outcome: `found`;
        `no_loss` (no search met a loss up to max_frames: no number); `partly_no_loss` (some met none: the
        average has no meaning); `not_reached` (not even the shortest burst is carried); `unfinished` (the
        budget was spent; figures are of the finished searches). stopped: why it ended early, else null.
        longest_frames: longest burst without loss of each finished search; max_frames means "no loss up to
        there". average_frames, min_frames, max_found_frames, stdev_frames: of these, null when one of them
        met no loss (stdev: also with fewer than two). throughput_pps: measured throughput used for the
        correction, or null. implied_buffer_s: average burst in seconds. corrected_buffer_s: less what was
        forwarded meanwhile; null without a throughput below max_rate_pps. The rest: see `Effort.values`.
        """
        ask, average, found = self.parameters, self.average_frames, self.longest_frames
        return {
            "max_rate_pps": ask.max_rate_pps,
            "max_frames": ask.max_frames,
            "step_frames": ask.step_frames,
            "repeats": ask.repeats,
            "verify": ask.verify,
            "hopeless_loss_ratio": ask.hopeless_loss_ratio,
            "outcome": self.outcome,
            "stopped": self.stopped,
            "longest_frames": list(found),
            "average_frames": average,
            "min_frames": None if average is None else min(found),
            "max_found_frames": None if average is None else max(found),
            "stdev_frames": None if average is None or len(found) < 2 else statistics.stdev(found),
            "throughput_pps": self.throughput_pps,
            "implied_buffer_s": self.implied_buffer_s,
            "corrected_buffer_s": self.corrected_buffer_s,
            **self.effort.values(),
        }


def back_to_back(
    burst: Burst, parameters: Bursts, throughput_pps: float | None = None, budget: Budget | None = None
) -> BackToBack:
    """Searches `repeats` times for the longest burst without loss.

    `throughput_pps` is the measured throughput (NDR) at the same frame size. `burst` must wait until the
    DUT is idle again, 2 s at least by RFC 9004, section 6.2. Raises MethodFailed when no valid trial can be
    made.
    """
    effort = Effort(budget or Budget())
    longest: list[int] = []
    stopped = None
    try:
        while len(longest) < parameters.repeats:
            longest.append(_longest(burst, parameters, effort))
    except BudgetSpent as spent:
        stopped = str(spent)
    without_loss = longest.count(parameters.max_frames)
    outcome: Outcome = "found"
    if stopped:
        outcome = "unfinished"
    elif without_loss:
        outcome = "no_loss" if without_loss == len(longest) else "partly_no_loss"
    elif not any(longest):
        outcome = "not_reached"
    return BackToBack(parameters, outcome, tuple(longest), throughput_pps, effort, stopped)


def _longest(burst: Burst, ask: Bursts, effort: Effort) -> int:
    """One search: the longest possible burst, then doubling lengths up to the first loss, then halves."""

    def carried(frames: int) -> bool:
        def loss_ratio() -> float:
            seconds = frames / ask.max_rate_pps
            return effort.usable(lambda: burst(frames), seconds, f"a burst of {frames} frames")[1]

        return passes_verified(loss_ratio, 0.0, ask.verify, ask.hopeless_loss_ratio)[0]

    if carried(ask.max_frames):
        return ask.max_frames
    low, high = 0, ask.max_frames
    frames = min(ask.start_frames, high)
    while frames < high:
        if not carried(frames):
            high = frames
            break
        low, frames = frames, frames * 2
    while high - low > ask.step_frames:
        middle = (low + high) // 2
        if carried(middle):
            low = middle
        else:
            high = middle
    return low
