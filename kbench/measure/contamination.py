# SPDX-License-Identifier: GPL-2.0-only
"""The rule by which a trial counts as contaminated: what others did on the machine, never what the trial measured.

A rule that looked at the outcome would select results. docs/method.md, "Foreign load", states it for readers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from kbench.measure.probes.cpu import USER_HZ
from kbench.model import CpuTime

STEAL_SHARE = 0.02
FOREIGN_SHARE = 0.03
"""Shares of one CPU over the time between the readings, beyond which a trial is contaminated."""
TICK_S = 1 / USER_HZ
"""/proc/stat gives steal in whole ticks: a difference of one may be nearly nothing, two are more than one tick."""


def contaminated(
    times: Sequence[CpuTime],
    cpus: Collection[int],
    *,
    foreign_s: float,
    window_s: float,
    waited_s: float | None,
    offered_s: float,
) -> list[str]:
    """Reasons, one line each. `cpus` are the testbed's; `foreign_s` was used in `window_s`, between two readings.

    `waited_s` is how long the testbed's threads were runnable but not running while load was offered (`offered_s`),
    None if that is not known. They may have waited for each other, and foreign processes may have run where they harm
    nobody: so at most the smaller of both was taken from the testbed.
    """
    reasons = [
        f"the hypervisor took {own.steal_s * 1e3:.0f} ms of CPU {own.cpu} in {window_s * 1e3:.0f} ms"
        for own in times
        if own.cpu in cpus and own.steal_s > max(STEAL_SHARE * window_s, 1.5 * TICK_S)
    ]
    foreign = f"other processes ran {foreign_s * 1e3:.1f} ms in {window_s * 1e3:.0f} ms"
    if waited_s is None and foreign_s > FOREIGN_SHARE * window_s:
        reasons.append(foreign)
    elif waited_s is not None and min(foreign_s, waited_s) > FOREIGN_SHARE * offered_s:
        reasons.append(
            f"{foreign}, and kbench's threads waited {waited_s * 1e3:.1f} ms for a CPU in {offered_s * 1e3:.0f} ms"
        )
    return reasons
