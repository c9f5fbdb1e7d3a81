# SPDX-License-Identifier: GPL-2.0-only
"""Refuses a case that can't be measured, before anything is generated or changed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import get_args

from kbench.errors import UsageError
from kbench.functions.model import ROUTES_MAX, RULES_MAX
from kbench.functions.rulegen import SHAPES
from kbench.model import ETHERNET_MAX_FRAME_BYTES, Case, Function

FRAME_BYTES_MIN = 64
FLOWS_MAX = 60_000


def validate_case(case: Case) -> None:
    """Raises UsageError, one line, for the first value of `case` that is out of range or a file that is not there."""
    if case.function not in get_args(Function):
        raise UsageError(f"unknown function '{case.function}': use one of {', '.join(get_args(Function))}")
    if not FRAME_BYTES_MIN <= case.frame_bytes <= ETHERNET_MAX_FRAME_BYTES:
        raise UsageError(
            f"frame size {case.frame_bytes}: use {FRAME_BYTES_MIN} to {ETHERNET_MAX_FRAME_BYTES} bytes, FCS included"
        )
    if not 1 <= case.flows <= FLOWS_MAX:
        raise UsageError(f"{case.flows} flows: use 1 to {FLOWS_MAX}")
    if not math.isfinite(case.match_share) or not 0 <= case.match_share <= 1:
        raise UsageError(f"match share {case.match_share:g}: use 0 (nothing matches) to 1 (everything)")
    if case.rules > RULES_MAX:
        raise UsageError(f"{case.rules} rules: kbench compiles at most {RULES_MAX}")
    if case.rules < 0:
        raise UsageError(f"{case.rules} rules: use 0 to {RULES_MAX}")
    if case.function != "drop" and not case.routes_file and not 1 <= case.routes <= ROUTES_MAX:
        raise UsageError(f"{case.routes} routes: use 1 to {ROUTES_MAX}")
    if case.shape not in SHAPES:
        raise UsageError(f"unknown rule shape '{case.shape}': use one of {', '.join(SHAPES)}")
    if case.seed < 0:
        raise UsageError(f"seed {case.seed}: use 0 or more")
    for file in (case.routes_file, case.rules_file):
        if file is not None and not Path(file).is_file():
            raise UsageError(f"{file}: no such file")
