# SPDX-License-Identifier: GPL-2.0-only
"""The undo journal: every change to a machine is written down before it is made; undo.py undoes.

One file for each run, /run/kbench/journal/RUN-ID.jsonl (KBENCH_RUN_DIR sets another place than /run/kbench):
a header that names the owner, then lines ``{"do": N, "op": ..., "args": ...}`` and ``{"done": N}``; a change to another
machine has its address, ``"at": "ssh://..."``, and a line ``{"host": "ssh://...", "boot_id": ...}`` comes before it.
`kbench restore` undoes what dead owners left.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from kbench.errors import EnvironmentProblem, KbenchError, UsageError
from kbench.host import undo
from kbench.host.reach import Attached, Reach
from kbench.host.remote import Unreachable
from kbench.host.shell import LocalShell

VERSION = 2
READABLE = (1, VERSION)
"""Version 1 knew this machine only."""
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,120}")
TEMPORARY_AGE_S = 60.0


@dataclass(frozen=True)
class Entry:
    """One change: `op` is a key of undo.OPS, `args` are its arguments, `at` is where (None: this machine)."""

    number: int
    op: str
    args: dict[str, Any]
    at: str | None = None


@dataclass
class Recorded:
    """A journal as it was read: its owner, and the changes that are not undone, oldest first."""

    path: Path
    run_id: str
    pid: int
    starttime: int
    boots: dict[str | None, str]
    """In which boot each machine was changed, by its address; None is this machine."""
    entries: list[Entry] = field(default_factory=list)

    def owner_alive(self) -> bool:
        """Whether the process that wrote it still runs: same boot, pid and start time."""
        return self.boots[None] == undo.boot_id() and undo.starttime(self.pid) == self.starttime


AGAIN = "run `kbench restore` again when it can be reached"


class RestoreFailed(EnvironmentProblem):
    """Some changes could not be undone; they stay in the journal. `undone` were."""

    def __init__(self, undone: list[str], failed: list[str]) -> None:
        super().__init__("could not undo everything: " + "; ".join(failed))
        self.undone = undone
        self.failed = failed

    @property
    def only_unreachable(self) -> bool:
        """Whether all that is left is on machines that can't be reached now."""
        return all(AGAIN in line for line in self.failed)


def _run_path() -> Path:
    return Path(os.environ.get("KBENCH_RUN_DIR") or "/run/kbench")


def _private_dir(path: Path) -> None:
    """Make `path` ours alone, or refuse it: a journal that others can write would make root do their work."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    info = path.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid():
        raise EnvironmentProblem(f"{path} is not a directory of this user; remove it")
    if info.st_mode & 0o077:
        raise EnvironmentProblem(f"{path} is open to other users; chmod 0700 it or remove it")


def run_dir() -> Path:
    """Where the state of running processes is: KBENCH_RUN_DIR or /run/kbench, made if need be, for us alone.

    EnvironmentProblem when that is not allowed, or the directory is not safe.
    """
    try:
        _private_dir(_run_path())
    except OSError as error:
        raise EnvironmentProblem(f"can't keep an undo journal: {error}; run as root") from error
    return _run_path()


def process_identity(pid: int) -> dict[str, Any]:
    """Arguments of the op ``process``: a pid alone may be another process by the time it is to be ended."""
    return {"pid": pid, "starttime": undo.starttime(pid)}


@contextlib.contextmanager
def _journal_dir() -> Iterator[Path]:
    """The directory of the journals for one process at a time; it is there only while there are any."""
    parent = run_dir()
    fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        directory = parent / "journal"
        _private_dir(directory)
        yield directory
        with contextlib.suppress(OSError):
            directory.rmdir()  # refused while it holds a journal
    finally:
        os.close(fd)


class Journal:
    """The journal of the run that this process does."""

    def __init__(self, path: Path, fd: int, run_id: str) -> None:
        self.path = path
        self.run_id = run_id
        self._fd = fd
        self._entries: dict[int, Entry] = {}
        self._next = 1
        self._attached: dict[str, Attached] = {}
        self._boots: dict[str | None, str] = {None: undo.boot_id()}

    @classmethod
    def open(cls, run_id: str) -> Journal:
        """Start the journal of a run. What a dead owner of the same run left is undone first."""
        if not RUN_ID.fullmatch(run_id):
            raise UsageError(f"run id {run_id!r} is not made of letters, digits, '.', '_', '+', '-'")
        with _journal_dir() as directory:
            path = directory / f"{run_id}.jsonl"
            old = _read(path)
            if old is not None and old.owner_alive():
                raise EnvironmentProblem(f"run {run_id} is in progress (process {old.pid})")
            if old is not None:
                with Reach() as reach:
                    _, failed = _undo_recorded(old, reach)
                if failed:
                    raise RestoreFailed([], failed)
            # Under a temporary name until the header is whole: a journal without one would have no owner.
            temporary = directory / f".new-{os.getpid()}-{secrets.token_hex(4)}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(temporary, flags, 0o600)
            journal = cls(path, fd, run_id)
            pid = os.getpid()
            header = {"kbench_journal": VERSION, "run_id": run_id, "pid": pid}
            journal._append(header | {"starttime": undo.starttime(pid), "boot_id": undo.boot_id()})
            temporary.rename(path)
        return journal

    def _append(self, record: dict[str, Any]) -> None:
        os.write(self._fd, json.dumps(record, separators=(",", ":")).encode() + b"\n")
        os.fsync(self._fd)

    def attach(self, shell: Attached) -> None:
        """Another machine is about to be changed; as long as `shell` is alive it serves to undo that."""
        boot_id = shell.boot_id
        self._append({"host": shell.address, "boot_id": boot_id})
        self._boots[shell.address] = boot_id
        self._attached[shell.address] = shell

    def record(self, op: str, *, at: str | None = None, **args: Any) -> Entry:
        """Write down a change that is about to be made; call `done` after it was undone.

        `at` is `Host.address` of the machine that is changed, which was attached if it is another one.
        """
        if op not in undo.OPS:
            raise ValueError(f"no undo for {op!r}")
        if at not in self._boots or (at and op in undo.LOCAL_ONLY):
            raise ValueError(f"{op} at {at}: not for other machines, or not attached")
        entry = Entry(self._next, op, args, at)
        self._next += 1
        # Known here before it is on disk: after an interrupt in between undo_all tries once too often.
        self._entries[entry.number] = entry
        where = {} if at is None else {"at": at}
        self._append({"do": entry.number, "op": op, "args": args} | where)
        return entry

    def done(self, entry: Entry) -> None:
        """The change was undone (or never came to be)."""
        if entry.number in self._entries:
            self._append({"done": entry.number})
            del self._entries[entry.number]

    def find(self, op: str, *, at: str | None = None, **args: Any) -> Entry | None:
        """The latest change of this kind, on this machine, with these arguments, that is not undone."""
        for entry in reversed(list(self._entries.values())):
            if (entry.op, entry.at) == (op, at) and args.items() <= entry.args.items():
                return entry
        return None

    def record_process(self, pid: int) -> Entry:
        """Write down a process that this run started; undone, it and its descendants are ended."""
        return self.record("process", **process_identity(pid))

    def change_file(self, path: str, text: str) -> Entry:
        """Write `text` to a sysctl or a file of /sys of this machine, having noted what it held."""
        old = Path(path).read_text()
        entry = self.record("file", path=path, old=old)
        LocalShell().write_text(path, text)
        return entry

    def make_tmpdir(self, prefix: str = "kbench-") -> Path:
        """A new private directory for temporary files."""
        path = Path(tempfile.gettempdir()) / f"{prefix}{secrets.token_hex(8)}"
        self.record("tmpdir", path=str(path))
        path.mkdir(mode=0o700)
        return path

    def undo_all(self) -> tuple[list[str], list[str]]:
        """Undo what is not undone, latest first, past failures. Returns what was undone, what failed."""
        undone: list[str] = []
        failed: list[str] = []
        with Reach(self._attached) as reach:
            for entry, lines, problem in _undo(list(self._entries.values()), self._boots, reach, self.path):
                undone += lines
                if problem:
                    failed.append(problem)
                else:
                    self.done(entry)
        return undone, list(dict.fromkeys(failed))

    def close(self) -> tuple[list[str], list[str]]:
        """`undo_all`, and remove the journal if nothing is left in it."""
        undone, failed = self.undo_all()
        if not failed:
            with _journal_dir():
                self.path.unlink(missing_ok=True)
        os.close(self._fd)
        return undone, failed

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        undone, failed = self.close()
        if not failed:
            return
        problem = RestoreFailed(undone, failed)
        if error is None:
            raise problem
        error.add_note(str(problem))  # what ended the run comes first; `kbench restore` says the rest again


def _read(path: Path) -> Recorded | None:
    """Read a journal; None when it is not there. A broken line (its writer was killed) is passed over."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as file:
        lines = file.read().split(b"\n")
    records = []
    for line in lines:
        with contextlib.suppress(ValueError):
            records.append(json.loads(line))
    records = [record for record in records if isinstance(record, dict)]
    if not records or records[0].get("kbench_journal") not in READABLE:
        raise EnvironmentProblem(f"{path} is not a journal of this version of kbench")
    try:
        head = records[0]
        found = Recorded(path, head["run_id"], head["pid"], head["starttime"], {None: head["boot_id"]})
        done = {record["done"] for record in records if "done" in record}
        for record in records[1:]:
            if "host" in record:
                found.boots[record["host"]] = record["boot_id"]
            elif "do" in record and record["do"] not in done:
                found.entries.append(Entry(record["do"], record["op"], record["args"], record.get("at")))
    except KeyError as error:
        raise EnvironmentProblem(f"{path} lacks {error}") from error
    return found


def _undo(
    entries: Iterable[Entry], boots: Mapping[str | None, str], reach: Reach, path: Path
) -> Iterator[tuple[Entry, list[str], str]]:
    """Undo changes, latest first; yields each with what was done, and why it could not be undone (or "").

    `boots` tells in which boot of each machine they were made: after a reboot only files are left to undo.
    """
    for entry in sorted(entries, key=lambda entry: (entry.op not in undo.FIRST, -entry.number)):
        where = f" on {entry.at}" if entry.at else ""
        try:
            lines = []
            if entry.op in undo.SURVIVE_REBOOT or boots.get(entry.at) == reach.boot_id(entry.at):
                lines = undo.OPS[entry.op](reach.shell(entry.at), **entry.args)
        except Unreachable as error:
            yield entry, [], f"{error}; {AGAIN}, or remove {path} if it is gone for good"
        except Exception as error:  # whatever went wrong, the rest must still be undone
            # A port's state is long, and errors of ours say what they are about.
            what = entry.op if isinstance(error, KbenchError) else f"{entry.op} {entry.args}"
            yield entry, [], f"{what}{where}: {error}"
        else:
            yield entry, [line + where for line in lines], ""


def _undo_recorded(journal: Recorded, reach: Reach) -> tuple[list[str], list[str]]:
    """Undo a dead owner's changes; the file goes when all are, and keeps only what is left."""
    undone: list[str] = []
    failed: list[str] = []
    done: list[int] = []
    for entry, lines, problem in _undo(journal.entries, journal.boots, reach, journal.path):
        undone += lines
        if problem:
            failed.append(problem)
        else:
            done.append(entry.number)
    if not failed:
        journal.path.unlink(missing_ok=True)
    elif done:
        with journal.path.open("ab") as file:  # its last line may be cut off: begin a new one
            file.write(b"\n" + b"".join(b'{"done":%d}\n' % number for number in done))
    return undone, list(dict.fromkeys(failed))


def _stale() -> tuple[list[Recorded], list[str]]:
    """Journals whose owner is dead, oldest first, and what is wrong with those that can't be read."""
    directory = _run_path() / "journal"
    found, wrong = [], []
    for path in sorted(directory.glob("*.jsonl"), key=lambda p: p.lstat().st_mtime):
        try:
            journal = _read(path)
        except (OSError, EnvironmentProblem) as error:
            wrong.append(f"{error}; look into it, then remove it")
        else:
            if journal is not None and not journal.owner_alive():
                found.append(journal)
    return found, wrong


def stale_journals() -> list[Recorded]:
    """Journals whose owner is dead, oldest first; empty when there is no journal directory."""
    return _stale()[0]


def restore() -> list[str]:
    """Undo what dead owners left; says what it undid. May be repeated. RestoreFailed if something stayed."""
    if not _run_path().exists():
        return []
    undone: list[str] = []
    with _journal_dir() as directory, Reach() as reach:
        stale, failed = _stale()
        for journal in stale:
            done, not_done = _undo_recorded(journal, reach)
            undone += done
            failed += not_done
        for leftover in directory.glob(".new-*"):
            if time.time() - leftover.lstat().st_mtime > TEMPORARY_AGE_S:
                leftover.unlink(missing_ok=True)
    if failed:
        raise RestoreFailed(undone, failed)
    return undone
