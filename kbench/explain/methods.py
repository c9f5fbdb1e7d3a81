# SPDX-License-Identifier: GPL-2.0-only
"""What the methods found and the probes read, set beside the comparison of the same work that it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kbench.explain import losing, probed, sheets
from kbench.explain.comparison import Comparison
from kbench.explain.findings import Found, findings
from kbench.explain.probed import Probed
from kbench.explain.sheets import Sheet
from kbench.store import Run


@dataclass
class Methods:
    """One case in one part. Empty where a run has neither findings nor probes, as old runs have not."""

    found: Found | None = None
    probed: list[Probed] = field(default_factory=list)

    @property
    def said(self) -> list[str]:
        """Clauses for the answer."""
        if self.found is None:
            return []
        return sheets.said(self.found.bounds) or losing.said(losing.losing(self.found))

    @property
    def sheets(self) -> list[Sheet]:
        """All tables."""
        made = sheets.sheets(self.found) if self.found else []
        counters = probed.sheet(self.probed)
        return [*made, counters] if counters else made


def beside(run: Run, comparisons: Sequence[Comparison]) -> list[Methods]:
    """For each comparison what belongs to it: to the first of a case in a part, so that nothing is told twice."""
    by_work = {(found.part, found.case_id): found for found in findings(run)}
    seen: set[tuple[str, str]] = set()
    made = []
    for comparison in comparisons:
        key = (comparison.part.name, comparison.case_id)
        first = key not in seen
        seen.add(key)
        made.append(Methods(by_work.get(key), probed.probed(run, *key)) if first else Methods())
    return made
