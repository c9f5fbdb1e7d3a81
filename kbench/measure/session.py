# SPDX-License-Identifier: GPL-2.0-only
"""One part of a run: the same cases on one host, from attaching the datapaths to the last trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from kbench.errors import EnvironmentProblem, UsageError
from kbench.host.base import Host
from kbench.host.journal import Journal
from kbench.measure.bench import Bench, Benches
from kbench.measure.datapaths import DATAPATHS
from kbench.measure.datapaths.base import Options as DatapathOptions
from kbench.measure.exact import DURATION_LIMIT_S, exact_trial, warm_up
from kbench.measure.generators import GENERATORS
from kbench.measure.generators.base import Load
from kbench.measure.observe import Setting
from kbench.measure.plan import Options
from kbench.measure.prepare import Prepared, prepare
from kbench.measure.reporter import Reporter
from kbench.measure.testbeds.base import cpus_for
from kbench.measure.testbeds.veth import VethTestbed
from kbench.measure.trial import run_trial
from kbench.measure.verify import verify
from kbench.model import Case, Part, Purpose, Trial
from kbench.store import RunStore

LATENCY_PPS = 50_000.0
"""The common load at which latency is compared, unless the slowest datapath can't keep up with it."""
LATENCY_SHARE = 0.25
"""At most this share of the slowest datapath's rate: beyond it latency is mostly queueing."""
LATENCY_ROUNDS = 5
EXACT_ROUNDS = 5
ACCOUNTED = 20_000
"""Packets offered to each datapath in a functional part."""
CEILING_S = 0.3


@dataclass
class Session:
    """What measuring a part needs. `tag` makes names of namespaces unique on the machine."""

    host: Host
    part: Part
    options: Options
    cpu_count: int
    scratch: str
    tag: str
    journal: Journal | None
    store: RunStore
    reporter: Reporter
    earlier: Sequence[Trial] = ()
    """Trials that a resumed run has already."""
    failed: list[str] = field(default_factory=list)
    """Datapaths that did not pass verification, as sentences."""

    def measure(self, cases: tuple[Case, ...], *, verify_only: bool = False) -> None:
        """Measures all cases one after the other."""
        for case in cases:
            names = [n for n in self.part.datapaths if case.function in DATAPATHS[n].functions]
            if names:
                self._case(case, names, verify_only)

    def _first_round(self, case: Case, purpose: Purpose) -> int:
        """The round to begin with: after those that a resumed run has."""
        rounds = [
            t.round
            for t in self.earlier
            if (t.part, t.case_id, t.purpose) == (self.part.name, case.case_id, purpose)
        ]
        return max(rounds, default=-1) + 1

    def _testbed(self, name: str) -> VethTestbed:
        cpus = cpus_for(self.part.placement, self.cpu_count)
        return VethTestbed(self.host, f"{self.tag}-{name}", self.part.placement, cpus, self.journal)

    def _case(self, case: Case, names: list[str], verify_only: bool) -> None:
        generator = GENERATORS[self.part.generator]()
        generator.setup(self.host, self.journal)
        ports = self._testbed("plan").image_ports
        prepared = prepare(case, self.host, self.scratch, ports)
        setting = Setting(self.part.name, self.part.kind, case, generator, prepared.traffic)
        with Benches() as benches:
            resident = self._attach(benches, names, prepared)
            proven = [bench for bench in resident if self._proven(bench, prepared)]
            if not proven or verify_only:
                return
            if self.part.kind == "functional":
                self._account(setting, proven)
            elif self.part.kind == "exact":
                self._exact_rounds(setting, benches.add_dummy_baseline(self._testbed("base")), proven)
            else:
                self._wall_rounds(setting, benches.add_baseline(self._testbed("base")), proven)

    def _attach(self, benches: Benches, names: list[str], prepared: Prepared) -> list[Bench]:
        resident = []
        options = DatapathOptions(self.options.af_packet_ring, self.options.xdp_mode)
        with self.reporter.bar(f"{self.part.name}: {prepared.case.case_id}: attaching", len(names)) as bar:
            for name in names:
                try:
                    bench = benches.add(self._testbed(name), DATAPATHS[name], options, prepared.work)
                except EnvironmentProblem as problem:
                    if self.options.datapaths is not None:
                        raise
                    self._notice(f"{name} was left out: {problem}")
                else:
                    resident.append(bench)
                bar.advance()
        return resident

    def _notice(self, text: str) -> None:
        self.reporter.warn(text)
        self.store.append_notice(text, self.part.name)

    def _proven(self, bench: Bench, prepared: Prepared) -> bool:
        outcome = verify(
            bench,
            self.part.name,
            prepared.case,
            prepared.packets,
            prepared.reference,
            prepared.marker,
            prepared.scratch,
        )
        self.store.append_verification(outcome)
        where = f"{self.part.name}: {prepared.case.case_id}: {bench.name}"
        if outcome.passed:
            self.reporter.say(f"{where}: does what the reference does on {outcome.packets} packets")
            return True
        self.failed.append(
            f"{where} differs from the reference and is not measured: {outcome.differences[0]}"
        )
        for difference in outcome.differences:
            self.reporter.warn(f"{where}: {difference}")
        return False

    def _account(self, setting: Setting, benches: list[Bench]) -> None:
        """Exact counts and nothing else: the clock of an emulated machine is no result."""
        load = Load(None, DURATION_LIMIT_S, count=ACCOUNTED)
        with self.reporter.bar(f"{self.part.name}: {setting.case.case_id}: ledger", len(benches)) as bar:
            for bench in benches:
                self._keep(run_trial(bench, setting, load, purpose="account", round_=0), bar.advance)

    def _exact_rounds(self, setting: Setting, baseline: Bench, benches: list[Bench]) -> None:
        first = self._first_round(setting.case, "exact")
        with self.reporter.bar(
            f"{self.part.name}: {setting.case.case_id}: instructions per packet",
            (EXACT_ROUNDS - first) * (len(benches) + 1),
        ) as bar:
            for bench in (baseline, *benches):
                warm_up(bench, setting)
            for round_ in range(first, EXACT_ROUNDS):
                base = exact_trial(baseline, setting, round_, None)
                self.store.append_trial(base)
                bar.advance()
                for bench in benches:
                    self.store.append_trial(exact_trial(bench, setting, round_, base.instructions_per_packet))
                    bar.advance()

    def _wall_rounds(self, setting: Setting, baseline: Bench, benches: list[Bench]) -> None:
        """Short rounds in which every datapath has its turn, in an order that changes, so drift hits all alike."""
        options = self.options
        load = Load(options.load_pps, options.duration_s)
        self._refuse_impossible_load(setting, baseline)
        first = self._first_round(setting.case, "rate")
        rates: dict[str, list[float]] = {bench.name: [] for bench in benches}
        for trial in self.earlier:
            if (trial.case_id, trial.purpose) == (setting.case.case_id, "rate") and trial.forwarded_pps:
                rates.setdefault(trial.datapath, []).append(trial.forwarded_pps)
        with self.reporter.bar(
            f"{self.part.name}: {setting.case.case_id}: rate", (options.rounds - first) * (len(benches) + 1)
        ) as bar:
            for round_ in range(first, options.rounds):
                base = run_trial(baseline, setting, load, purpose="baseline", round_=round_)
                self._keep(base, bar.advance)
                for bench in _order(benches, round_):
                    trial = run_trial(
                        bench,
                        setting,
                        load,
                        purpose="rate",
                        round_=round_,
                        baseline_ns=base.cpu_ns_per_packet,
                    )
                    self._keep(trial, bar.advance)
                    if trial.forwarded_pps:
                        rates[bench.name].append(trial.forwarded_pps)
        if options.latency and setting.case.function != "drop":
            self._latency(setting, benches, rates)

    def _keep(self, trial: Trial, advance: Callable[[], None]) -> None:
        self.store.append_trial(trial)
        advance()

    def _refuse_impossible_load(self, setting: Setting, baseline: Bench) -> None:
        if self.options.load_pps is None:
            return
        probe = run_trial(baseline, setting, Load(None, CEILING_S), purpose="baseline", round_=-1)
        ceiling = probe.offered_pps or 0.0
        if self.options.load_pps > ceiling:
            raise UsageError(
                f"--load {self.options.load_pps:.0f} is above what generator {setting.generator.name} can offer here"
                f" ({ceiling:.0f} packets/s into a bare drop)"
            )

    def _latency(self, setting: Setting, benches: list[Bench], rates: dict[str, list[float]]) -> None:
        """Latency of all datapaths at one common load, with paced and stamped packets."""
        slowest = min((sorted(r)[len(r) // 2] for r in rates.values() if r), default=0.0)
        load_pps = min(LATENCY_PPS, LATENCY_SHARE * slowest)
        if load_pps < 1:
            return
        stamping = next(g for g in GENERATORS.values() if g.timestamps)()
        if setting.generator.name != stamping.name:
            setting = Setting(setting.part, setting.kind, setting.case, stamping, setting.traffic)
            self._notice(f"latency is measured with generator {stamping.name}, which stamps each packet")
        first = self._first_round(setting.case, "latency")
        load = Load(round(load_pps), max(0.5, self.options.duration_s), timestamp=True)
        with self.reporter.bar(
            f"{self.part.name}: {setting.case.case_id}: latency at {load_pps:.0f} packets/s",
            (LATENCY_ROUNDS - first) * len(benches),
        ) as bar:
            for round_ in range(first, LATENCY_ROUNDS):
                for bench in _order(benches, round_):
                    trial = run_trial(bench, setting, load, purpose="latency", round_=round_, sink="latency")
                    self._keep(trial, bar.advance)


def _order(benches: list[Bench], round_: int) -> list[Bench]:
    """Rotated by one each round, and reversed every other round."""
    at = round_ % len(benches)
    rotated = benches[at:] + benches[:at]
    return rotated[::-1] if round_ % 2 else rotated
