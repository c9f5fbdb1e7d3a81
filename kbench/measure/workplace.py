# SPDX-License-Identifier: GPL-2.0-only
"""What measuring one part of a run needs: the host, the options, where results go, and who is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kbench.host.base import Host
from kbench.host.journal import Journal
from kbench.measure.nics.bay import Bay
from kbench.measure.plan import Options
from kbench.measure.reporter import Reporter
from kbench.measure.testbeds.base import Testbed, cpus_for
from kbench.measure.testbeds.nic import NicTestbed
from kbench.measure.testbeds.veth import VethTestbed
from kbench.model import Case, Finding, Part, Placement, Purpose, Trial
from kbench.store import RunStore


@dataclass
class Workplace:
    """One part of a run and what belongs to it. `tag` makes names of namespaces unique on the machine."""

    host: Host
    part: Part
    options: Options
    cpu_count: int
    scratch: str
    tag: str
    journal: Journal | None
    store: RunStore
    reporter: Reporter
    bay: Bay | None = None
    """The ports of a part on NICs."""
    earlier: Sequence[Trial] = ()
    """Trials that a resumed run has already."""
    found: Sequence[Finding] = ()
    """What methods of a resumed run have found already."""
    noticed: set[str] = field(default_factory=set)
    rates: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    """By case, datapath and goal ("ndr", "pdr") the rates that searches of this run found, packets/s."""

    @property
    def tester(self) -> Host:
        """The machine of generator and sink."""
        return self.bay.tester if self.bay is not None else self.host

    @property
    def tester_scratch(self) -> str:
        """A directory there."""
        return self.bay.tester_scratch if self.bay is not None else self.scratch

    def testbed(self, name: str, placement: Placement | None = None) -> Testbed:
        """A testbed that is not built yet; on NICs, whose ports all share, one that stands already."""
        if self.bay is not None:
            return NicTestbed(self.bay)
        placement = placement or self.part.placement
        cpus = cpus_for(placement, self.cpu_count)
        return VethTestbed(self.host, f"{self.tag}-{name}", placement, cpus, self.journal)

    def title(self, case: Case, what: str) -> str:
        """Line of progress: part, case, and what is done."""
        return f"{self.part.name}: {case.case_id}: {what}"

    def notice(self, text: str) -> None:
        """Tells the user, and whoever reads the results; the same text once."""
        if text not in self.noticed:
            self.noticed.add(text)
            self.reporter.warn(text)
            self.store.append_notice(text, self.part.name)

    def keep(self, trial: Trial) -> Trial:
        """Stores a finished trial."""
        self.store.append_trial(trial)
        return trial

    def find(self, method: str, case: Case, datapath: str, repeat: int, values: Mapping[str, Any]) -> None:
        """Stores what a method found."""
        self.store.append_finding(
            Finding(self.part.name, method, case.case_id, datapath, repeat, dict(values))
        )

    def has_found(self, method: str, case: Case, datapath: str, repeat: int) -> bool:
        """Whether a resumed run has this finding already."""
        wanted = (self.part.name, method, case.case_id, datapath, repeat)
        return any((f.part, f.method, f.case_id, f.datapath, f.repeat) == wanted for f in self.found)

    def done_before(self, case: Case, purpose: Purpose) -> list[Trial]:
        """Trials of this kind that a resumed run has."""
        return [
            t
            for t in self.earlier
            if (t.part, t.case_id, t.purpose) == (self.part.name, case.case_id, purpose)
        ]

    def first_round(self, case: Case, purpose: Purpose) -> int:
        """The round to begin with: after those that a resumed run has."""
        return max((t.round for t in self.done_before(case, purpose)), default=-1) + 1
