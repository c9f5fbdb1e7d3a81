# SPDX-License-Identifier: GPL-2.0-only
"""A run as it lies on disk, read back whole."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from kbench.errors import StoreError
from kbench.model import SCHEMA_VERSION, Case, Finding, Part, Trial, Verification, trial_from_record
from kbench.store.files import reason
from kbench.store.find import RUN_FILE, TRIALS_FILE, resolve_run


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


def load_run(path_or_id: Path | str, root: Path) -> Run:
    """Read a run. A cut last line is skipped and named in `Run.problems`; anything else that is
    broken, and a schema newer than ours, is a StoreError."""
    path = resolve_run(path_or_id, root)
    try:
        document = json.loads((path / RUN_FILE).read_bytes())
        data = (path / TRIALS_FILE).read_bytes() if (path / TRIALS_FILE).exists() else b""
    except OSError as error:
        raise StoreError(f"can't read {path}: {reason(error)}") from error
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
