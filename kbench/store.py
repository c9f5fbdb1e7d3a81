# SPDX-License-Identifier: GPL-2.0-only
"""Run directories: written durably a record at a time, read back whole (docs/results.md).

A run is ``<root>/<run-id>/run.json`` (what was planned, where) and ``trials.jsonl`` (what was seen).
Whatever kills the writer, every record whose `append` returned can be read again.
"""

from __future__ import annotations

import difflib
import errno
import fcntl
import json
import os
import re
import secrets
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kbench.errors import StoreError
from kbench.model import (
    SCHEMA_VERSION,
    Case,
    Finding,
    Part,
    Trial,
    Verification,
    to_record,
    trial_from_record,
)

RUN_FILE = "run.json"
TRIALS_FILE = "trials.jsonl"
RECORDS = ("header", "verify", "trial", "finding", "facts", "notice", "end")


def new_run_id(now_s: float | None = None) -> str:
    """A run id that sorts by time: UTC to the second and four random hex digits."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now_s))
    return f"{stamp}-{secrets.token_hex(2)}"


def _fsync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: after a crash either the old or the new content is there, never half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _fsync_directory(path.parent)


def write_document(path: Path, data: bytes) -> Path:
    """Replace the file `path`, something for people or other programs, as a whole; its directory is made if need be.

    StoreError when it can't be written, or is no regular file: renaming one over a device or pipe would replace that.
    """
    if path.exists() and not path.is_file():
        raise StoreError(f"{path} is not a file: name one")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    except OSError as error:
        raise StoreError(f"can't write {path}: {_reason(error)}; name another file for it") from error
    return path


def _reason(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "no space left"
    return (error.strerror or str(error)).lower()


def _encode(record: dict[str, Any]) -> bytes:
    """One line; NaN and infinity are refused, because other readers of JSON refuse them."""
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode() + b"\n"


class RunStore:
    """The one writer of a run directory. Use as a context manager, or `close` it."""

    def __init__(self, path: Path, descriptor: int, trials: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._trials = trials

    @classmethod
    def create(cls, root: Path, run_id: str, run: dict[str, Any]) -> RunStore:
        """Make the directory of a new run; `run` is what docs/results.md lists for run.json.

        ``schema_version`` and ``run_id`` are added. Raises StoreError when it can't be written.
        """
        path = root / run_id
        header = {"record": "header", "schema_version": SCHEMA_VERSION, "run_id": run_id}
        document = {"schema_version": SCHEMA_VERSION, "run_id": run_id, **run}
        text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        descriptor = -1
        try:
            root.mkdir(parents=True, exist_ok=True)
            if path.exists():
                raise StoreError(f"{path} exists already: choose another run id")
            path.mkdir()
            write_atomically(path / RUN_FILE, text.encode())
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            descriptor = os.open(path / TRIALS_FILE, flags, 0o644)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write_all(descriptor, _encode(header))
            _fsync_directory(path)
            _fsync_directory(root)
        except OSError as error:
            if descriptor >= 0:
                os.close(descriptor)
            raise StoreError(
                f"can't create the run directory {path}: {_reason(error)}; "
                f"free space there or name another directory for results"
            ) from error
        return cls(path, descriptor, 0)

    @classmethod
    def reopen(cls, path: Path) -> RunStore:
        """Go on with a run that was killed. A record cut by the kill is removed first."""
        run_path = resolve_run(path, path.parent)
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            descriptor = os.open(run_path / TRIALS_FILE, flags, 0o644)
        except OSError as error:
            raise StoreError(f"can't write to {run_path / TRIALS_FILE}: {_reason(error)}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise StoreError(f"another kbench is writing {run_path}: wait for it, or end it first") from error
        store = cls(run_path, descriptor, 0)
        try:
            run = load_run(run_path, run_path.parent)
            store._trials = len(run.trials)
            os.ftruncate(descriptor, run.whole_bytes)
            if run.whole_bytes == 0:
                header = {"record": "header", "schema_version": SCHEMA_VERSION, "run_id": run.run_id}
                _write_all(descriptor, _encode(header))
            elif os.pread(descriptor, 1, run.whole_bytes - 1) != b"\n":
                _write_all(descriptor, b"\n")
        except OSError as error:
            store.close()
            raise StoreError(f"can't write to {run_path / TRIALS_FILE}: {_reason(error)}") from error
        except StoreError:
            store.close()
            raise
        return store

    def append(self, record: dict[str, Any]) -> None:
        """Write one record and wait until the disk has it.

        On failure the half-written line is taken back and StoreError says what is kept.
        """
        if record.get("record") not in RECORDS:
            raise ValueError(f"unknown record kind {record.get('record')!r}")
        line = _encode(record)
        before = os.fstat(self._descriptor).st_size
        try:
            _write_all(self._descriptor, line)
        except OSError as error:
            kept = f"{self._trials} finished trial{'s are' if self._trials != 1 else ' is'} kept"
            try:
                os.ftruncate(self._descriptor, before)
            except OSError:
                kept += " (with a cut last line, which readers skip)"
            raise StoreError(
                f"can't write results: {_reason(error)}; {kept} in {self.path}; "
                f"make room, then go on with: kbench run --resume {self.path.name}"
            ) from error
        if record["record"] == "trial":
            self._trials += 1

    def append_trial(self, trial: Trial) -> None:
        """Store a finished trial."""
        self.append(to_record("trial", trial))

    def append_verification(self, verification: Verification) -> None:
        """Store the outcome of one datapath's verification."""
        self.append(to_record("verify", verification))

    def append_finding(self, finding: Finding) -> None:
        """Store what a method found."""
        self.append(to_record("finding", finding))

    def append_facts(self, part: str, facts: dict[str, Any]) -> None:
        """Store facts of a part's machine that are known only once it runs (the lab's kernel, ...)."""
        self.append({"record": "facts", "part": part, "facts": facts})

    def append_notice(self, text: str, part: str | None = None) -> None:
        """Store something the reader of the results must know, for example an unfair pair."""
        self.append({"record": "notice", "part": part, "text": text})

    def append_end(self, ended_at: str, outcome: str = "complete") -> None:
        """Store the end of a run; `outcome` is ``complete``, ``interrupted`` or ``failed``."""
        self.append({"record": "end", "ended_at": ended_at, "outcome": outcome})

    def close(self) -> None:
        """Give the directory free for other writers."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _write_all(descriptor: int, data: bytes) -> None:
    """Write and fsync; a short write (the disk fills up) goes on until the kernel names the error."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


@dataclass(frozen=True)
class Notice:
    """Something that the reader of the results must know; `part` is None when it holds for all."""

    text: str
    part: str | None = None


@dataclass
class Run:
    """A run as it lies on disk."""

    path: Path
    run: dict[str, Any]
    verifications: list[Verification] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Facts by part: those of run.json, then those appended while it ran."""
    ended: bool = False
    """False when the writer was killed: no end record."""
    outcome: str | None = None
    ended_at: str | None = None
    problems: list[str] = field(default_factory=list)
    """What was odd about the files (a cut last line, unknown records), for people."""
    whole_bytes: int = 0
    """Length of trials.jsonl without a cut last line."""

    @property
    def run_id(self) -> str:
        """The run's id, which is also its directory's name when it was made."""
        return str(self.run["run_id"])

    @property
    def cases(self) -> list[Case]:
        """The planned cases; fields of newer minor writers are ignored."""
        return [Case(**_known(Case, c)) for c in self.run.get("plan", {}).get("cases", [])]

    @property
    def parts(self) -> list[Part]:
        """The planned parts."""
        parts = self.run.get("plan", {}).get("parts", [])
        return [Part(**{**_known(Part, p), "datapaths": tuple(p["datapaths"])}) for p in parts]


def _known(kind: type[Any], item: dict[str, Any]) -> dict[str, Any]:
    names = {f.name for f in fields(kind)}
    return {key: value for key, value in item.items() if key in names}


def list_runs(root: Path) -> list[Path]:
    """The run directories under `root`, oldest first: by the time in the id, then as they were written."""
    found = [p.parent for p in root.glob(f"*/{RUN_FILE}")]
    return sorted(found, key=lambda p: (p.name[:15], (p / RUN_FILE).stat().st_mtime_ns))


def resolve_run(reference: Path | str, root: Path) -> Path:
    """The directory of a run named by id, by path (directory or a file in it), or by age.

    ``@latest`` and ``@-1`` are the newest run below `root`, ``@-2`` is the one before it, and so on.
    """
    text = str(reference)
    if back := re.fullmatch(r"@(?:latest|-([1-9][0-9]*))", text):
        return _by_age(text, int(back[1] or 1), root)
    for candidate in (root / text, Path(text)):
        if candidate.name in (RUN_FILE, TRIALS_FILE) and candidate.is_file():
            candidate = candidate.parent
        if candidate.is_dir():
            if not (candidate / RUN_FILE).is_file():
                raise StoreError(f"{candidate} is not a run: it has no {RUN_FILE}")
            return candidate
    near = difflib.get_close_matches(text, [p.name for p in list_runs(root)], n=1)
    hint = (
        f"did you mean {near[0]}?" if near else "give an id, a directory, @latest, or @-2 for the one before"
    )
    raise StoreError(f"no run {text!r} in {root}: {hint}")


def _by_age(reference: str, back: int, root: Path) -> Path:
    """The run that is the `back`-th newest, counted from 1."""
    runs = list_runs(root)
    if not runs:
        raise StoreError(f"no runs in {root}: make one with kbench run")
    if back > len(runs):
        count = f"{len(runs)} run{'' if len(runs) == 1 else 's'}"
        raise StoreError(f"no run {reference}: only {count} in {root}")
    return runs[-back]


def load_run(path_or_id: Path | str, root: Path) -> Run:
    """Read a run. A cut last line is skipped and named in `Run.problems`; anything else that is
    broken, and a schema newer than ours, is a StoreError."""
    path = resolve_run(path_or_id, root)
    try:
        document = json.loads((path / RUN_FILE).read_bytes())
        data = (path / TRIALS_FILE).read_bytes() if (path / TRIALS_FILE).exists() else b""
    except OSError as error:
        raise StoreError(f"can't read {path}: {_reason(error)}") from error
    except ValueError as error:
        raise StoreError(f"{path / RUN_FILE} is not valid JSON ({error}): restore it from a copy") from error
    if not isinstance(document, dict):
        raise StoreError(f"{path / RUN_FILE} is not a JSON object: restore it from a copy")
    _check_schema(document, path / RUN_FILE)
    document.setdefault("run_id", path.name)
    run = Run(path, document)
    for part, facts in document.get("facts", {}).items():
        run.facts[part] = dict(facts)
    lines = data.split(b"\n")
    unknown: set[str] = set()
    for number, line in enumerate(lines, 1):
        last = number == len(lines)  # what follows the final newline: empty unless the writer was cut
        if line:
            try:
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError("not a JSON object")
            except ValueError as error:
                if last:
                    run.problems.append(
                        f"line {number} of {TRIALS_FILE} is cut: the run was killed while it was written, "
                        f"so that record is lost"
                    )
                    break
                raise _corrupt(path, number, str(error)) from error
            try:
                _take(run, record, unknown, path)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise _corrupt(path, number, f"{type(error).__name__}: {error}") from error
        elif not last:
            raise _corrupt(path, number, "empty line")
        run.whole_bytes += len(line) + (0 if last else 1)
    for kind in sorted(unknown):
        run.problems.append(f"records of the unknown kind {kind!r} were skipped")
    return run


def _corrupt(path: Path, number: int, why: str) -> StoreError:
    return StoreError(
        f"{path / TRIALS_FILE} line {number} is corrupt ({why}): "
        f"restore the file from a copy, or remove that line to read the rest"
    )


def _check_schema(document: dict[str, Any], where: Path) -> None:
    version = document.get("schema_version")
    if not isinstance(version, int) or version < 1:
        raise StoreError(f"{where} has no schema_version: it is not a result of kbench")
    if version > SCHEMA_VERSION:
        writer = document.get("kbench_version", "unknown version")
        raise StoreError(
            f"{where} has schema {version}, this kbench reads up to {SCHEMA_VERSION}: "
            f"read it with the kbench that wrote it ({writer}) or newer"
        )


def _take(run: Run, record: dict[str, Any], unknown: set[str], path: Path) -> None:
    """Sort one record into the run."""
    kind = record.get("record")
    if kind == "header":
        _check_schema(record, path / TRIALS_FILE)
    elif kind == "trial":
        trial = trial_from_record(record)
        numbers = [trial.round, trial.duration_s, trial.counters.offered, trial.counters.forwarded]
        if not all(isinstance(n, (int, float)) for n in numbers):
            raise ValueError("a count or duration is not a number")
        run.trials.append(trial)
        run.ended = False  # a resumed run goes on after the end record of its interruption
    elif kind == "verify":
        run.verifications.append(Verification(**_known(Verification, record)))
    elif kind == "finding":
        run.findings.append(Finding(**_known(Finding, record)))
    elif kind == "facts":
        run.facts.setdefault(str(record["part"]), {}).update(record["facts"])
    elif kind == "notice":
        run.notices.append(Notice(str(record["text"]), record.get("part")))
    elif kind == "end":
        run.ended = True
        run.outcome = record.get("outcome")
        run.ended_at = record.get("ended_at")
    else:
        unknown.add(str(kind))
