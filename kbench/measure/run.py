# SPDX-License-Identifier: GPL-2.0-only
"""A run: plan, parts, store. Whatever happens, the machine is left as it was and finished trials are kept."""

from __future__ import annotations

import dataclasses
import datetime
import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from kbench import __version__
from kbench.errors import EnvironmentProblem, KbenchError, StoreError, VerificationFailed
from kbench.host import builds
from kbench.host.base import Host
from kbench.host.facts import host_facts, throttle_events
from kbench.host.journal import Journal, RestoreFailed, restore, run_dir
from kbench.host.lab import LabHost, Parts
from kbench.host.local import LocalHost
from kbench.measure.nics.bay import Bay
from kbench.measure.nics.nics import Nics
from kbench.measure.plan import Abilities, Options, Plan, make_plan, on_nics
from kbench.measure.profile import deviations
from kbench.measure.reporter import Reporter
from kbench.measure.session import Session
from kbench.measure.workplace import Workplace
from kbench.model import Part
from kbench.store import Run, RunStore, load_run, new_run_id

LAB_SCRATCH = "/tmp"
LAB_CPUS = 2
"""Of a functional lab; an exact one has one."""


@dataclass(frozen=True)
class Outcome:
    """Where a run's results are, and the error that ended it early or, for a failed verification, follows it."""

    path: Path
    error: KbenchError | None


def run(
    options: Options,
    probe: Callable[[LocalHost], Abilities],
    reporter: Reporter,
    *,
    verify_only: bool = False,
    resume: str | None = None,
) -> Outcome:
    """Carries out a whole run; errors before it has a directory are raised, later ones are in the outcome.

    `resume` names a run that was killed or interrupted: what it lacks is measured, by its own options.
    KeyboardInterrupt passes through when everything is undone.
    """
    need_root()
    with ExitStack() as stack:
        stack.enter_context(terminated_like_interrupted())
        stack.enter_context(one_run_at_a_time())
        restore_first(reporter)
        with reporter.timed("building kbench's programs"):
            programs = builds.programs(reporter.step)
        local = stack.enter_context(LocalHost(programs))
        earlier = None if resume is None else load_run(resume, options.results)
        if earlier is not None:
            options, plan = resumed(earlier, options, local)
        run_id = earlier.run_id if earlier else new_run_id()
        journal = stack.enter_context(journal_of(run_id, reporter))
        journal.record_process(local.agent_pid)
        nics = None
        if on_nics(options):
            nics = stack.enter_context(Nics.open(options, local, journal, reporter))
        if earlier is None:
            plan = nics.plan(options) if nics else make_plan(options, probe(local))
            plan = dataclasses.replace(plan, notices=(*plan.notices, *deviations(options, plan.parts)))
        elif nics and nics.plan(options).parts != plan.parts:
            raise StoreError(f"{earlier.path} was begun on other ports, or otherwise cabled: start a new run")
        lab = lab_parts(plan, reporter)
        if earlier is None:
            store = RunStore.create(options.results, run_id, run_document(options, plan, local))
        else:
            store = RunStore.reopen(earlier.path)
        stack.enter_context(store)
        reporter.say(f"where: {plan.why}")
        for text in plan.notices:
            reporter.warn(text)
            if resume is None:
                store.append_notice(text)
        work = _Run(plan, options, local, lab, nics, store, journal, reporter, verify_only, earlier)
        return Outcome(store.path, work.carry_out())


@dataclass(frozen=True)
class _Run:
    """What all parts of a run share."""

    plan: Plan
    options: Options
    local: LocalHost
    lab: Parts | None
    nics: Nics | None
    store: RunStore
    journal: Journal
    reporter: Reporter
    verify_only: bool
    earlier: Run | None
    """What a resumed run has already."""

    def carry_out(self) -> KbenchError | None:
        """Measures all parts and writes the end record."""
        failed: list[str] = []
        try:
            for part in self.plan.parts:
                failed += self._part(part)
        except KeyboardInterrupt:
            self.store.append_end(now(), "interrupted")
            self.reporter.warn(f"interrupted: finished trials are kept in {self.store.path}")
            raise
        except StoreError as error:
            return error
        except KbenchError as error:
            self.store.append_end(now(), "failed")
            return error
        self.store.append_end(now())
        return VerificationFailed("; ".join(failed)) if failed else None

    def _part(self, part: Part) -> list[str]:
        if self.nics is not None:
            bay = self.nics.bay
            self.store.append_facts(part.name, self.nics.facts())
            try:
                return self._measure(part, bay.dut, bay.scratch, bay.cpu_count, bay.journal, bay)
            finally:
                self.store.append_facts(part.name, self.nics.settings())
                self.nics.keep_logs(self.store.path)
        if part.name == "host":
            cpus = len(os.sched_getaffinity(0))
            failed = self._measure(part, self.local, str(self.journal.make_tmpdir()), cpus, self.journal)
            self.store.append_facts("host", {"end": {"throttle_events": throttle_events(self.local)}})
            return failed
        assert self.lab is not None
        with self.reporter.timed("booting the lab"):
            booted = LabHost.boot(
                self.lab,
                mode="exact" if part.kind == "exact" else "fast",
                cpus=LAB_CPUS,
                log_dir=self.store.path,
                progress=self.reporter.step,
                console=lambda line: self.reporter.step(f"lab: {line}"),
                journal=self.journal,
            )
        with booted as lab:
            self.store.append_facts("lab", lab.facts())
            for text in self.lab.kernel.notices:
                self.reporter.warn(text)
                self.store.append_notice(text, "lab")
            cpus = 1 if part.kind == "exact" else LAB_CPUS
            failed = self._measure(part, lab, LAB_SCRATCH, cpus, None)
            lab.finish()
        return failed

    def _measure(
        self,
        part: Part,
        host: Host,
        scratch: str,
        cpus: int,
        journal: Journal | None,
        bay: Bay | None = None,
    ) -> list[str]:
        place = Workplace(
            host=host,
            part=part,
            options=self.options,
            cpu_count=cpus,
            scratch=scratch,
            tag=self.store.path.name[-4:],
            journal=journal,
            bay=bay,
            store=self.store,
            reporter=self.reporter,
            earlier=self.earlier.trials if self.earlier else (),
            found=self.earlier.findings if self.earlier else (),
        )
        session = Session(place)
        session.measure(self.plan.cases, verify_only=self.verify_only)
        return session.failed


def lab_parts(plan: Plan, reporter: Reporter) -> Parts | None:
    """What the plan's lab is made of, fetched and built before anything is measured; None without a lab."""
    for part in plan.parts:
        if part.kernel is not None and part.nic is None:
            with reporter.timed(f"preparing the lab's kernel {part.kernel}"):
                return Parts.prepare(part.kernel, reporter.step, need_module="netfilter" in part.datapaths)
    return None


@contextmanager
def journal_of(run_id: str, reporter: Reporter) -> Iterator[Journal]:
    """The undo journal of this run; what is still in it at the end is undone."""
    journal = Journal.open(run_id)
    try:
        yield journal
    finally:
        _, failed = journal.close()
        for line in failed:
            reporter.warn(f"not undone, try kbench restore: {line}")


def run_document(options: Options, plan: Plan, local: LocalHost) -> dict[str, Any]:
    """What docs/results.md lists for run.json, gathered now."""
    chosen = {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(options).items()}
    return {
        "kbench_version": __version__,
        "command": sys.argv,
        "label": options.label,
        "started_at": now(),
        "options": chosen,
        "plan": {
            "why": plan.why,
            "cases": [dataclasses.asdict(case) for case in plan.cases],
            "parts": [dataclasses.asdict(part) for part in plan.parts],
        },
        "sources": builds.source_versions(),
        "facts": {"host": host_facts(local)},
    }


def resumed(old: Run, options: Options, local: LocalHost) -> tuple[Options, Plan]:
    """Options and plan of a stored run that is to go on, on the machine it was begun on.

    Raises StoreError when it is complete, a self-test's, or was begun elsewhere: its figures would not belong together.
    """
    if old.outcome == "complete":
        raise StoreError(f"{old.path} is complete: there is nothing to resume")
    if "selftest" in old.run:
        raise StoreError(f"{old.path} is a self-test's, which can't be resumed: start a new one")
    then, today = old.facts.get("host", {}), host_facts(local)
    for fact, was, is_ in (
        ("host", then.get("hostname"), today["hostname"]),
        ("kernel", then.get("kernel", {}).get("release"), today["kernel"]["release"]),
    ):
        if was != is_:
            raise StoreError(f"{old.path} was begun on {fact} {was}, this is {is_}: start a new run")
    stored = old.run["options"]
    fields = {f.name: stored[f.name] for f in dataclasses.fields(Options) if f.name in stored}
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    fields |= {"results": options.results, "reports": options.reports}
    plan = Plan(tuple(old.cases), tuple(old.parts), old.run["plan"]["why"])
    return Options(**fields), plan


def now() -> str:
    """UTC, to the second, as ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def restore_first(reporter: Reporter) -> None:
    """Undoes what killed runs left. A machine that can't be reached now is told and waits for `kbench restore`: it has
    no part in what this machine does, and where it has one, connecting fails."""
    try:
        undone = restore()
    except RestoreFailed as problem:
        if not problem.only_unreachable:
            raise
        reporter.warn(str(problem))
        undone = problem.undone
    for line in undone:
        reporter.warn(f"a run before this one was killed: {line}")


def need_root() -> None:
    """Namespaces, BPF and raw sockets need it."""
    if os.geteuid() != 0:
        raise EnvironmentProblem(
            "kbench makes namespaces and loads BPF programs: run it as root (sudo kbench ...)"
        )


@contextmanager
def one_run_at_a_time() -> Iterator[None]:
    """Two runs on one machine would measure each other."""
    with open(run_dir() / "lock", "a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise EnvironmentProblem(
                f"another kbench (process {lock.read().strip() or 'unknown'}) is measuring on this machine:"
                " wait until it has ended"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM and SIGHUP undo everything, as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
