# SPDX-License-Identifier: GPL-2.0-only
"""A run's records, written durably one at a time.

Whatever kills the writer, every record whose `append` returned can be read again.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kbench.errors import StoreError
from kbench.model import SCHEMA_VERSION, Finding, Trial, Verification, to_record
from kbench.store.files import fsync_directory, reason, write_atomically
from kbench.store.find import RUN_FILE, TRIALS_FILE, resolve_run
from kbench.store.read import load_run

RECORDS = ("header", "verify", "trial", "finding", "facts", "notice", "end")


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
            fsync_directory(path)
            fsync_directory(root)
        except OSError as error:
            if descriptor >= 0:
                os.close(descriptor)
            raise StoreError(
                f"can't create the run directory {path}: {reason(error)}; "
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
            raise StoreError(f"can't write to {run_path / TRIALS_FILE}: {reason(error)}") from error
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
            raise StoreError(f"can't write to {run_path / TRIALS_FILE}: {reason(error)}") from error
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
                f"can't write results: {reason(error)}; {kept} in {self.path}; "
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
