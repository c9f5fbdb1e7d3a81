# SPDX-License-Identifier: GPL-2.0-only
"""What a report of many trials costs: seconds, peak memory and size, as one JSON object.

    python -m benchmarks.report_scale [TRIALS [CASES]]

Run it from the root of the tree. The goal is 20 s and 1 GB for 10,000 trials.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from kbench.explain.report import write_report
from kbench.store import load_run
from tests.report.pages import big


def main(trials: int, cases: int) -> None:
    """Make a run on disk, then read it and write its report."""
    with tempfile.TemporaryDirectory() as place:
        made = big(Path(place) / "results", trials, cases)
        path = made.path
        del made
        start = time.monotonic()
        run = load_run(path, path.parent)
        loaded = time.monotonic()
        (page,) = write_report([run], Path(place) / "report.html")
        done = time.monotonic()
        seen = {
            "trials": len(run.trials), "cases": cases, "load_s": round(loaded - start, 2),
            "report_s": round(done - loaded, 2), "seconds": round(done - start, 2),
            "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "html_bytes": page.stat().st_size,
        }  # fmt: skip
    print(json.dumps(seen))


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    main(*(numbers + [10_000, 1][len(numbers) :]))
