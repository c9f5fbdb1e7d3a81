# SPDX-License-Identifier: GPL-2.0-only
"""The undo journal: what is written when, what a restore does with journals of dead, living and cut-off writers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kbench.errors import EnvironmentProblem, UsageError
from kbench.host import journal as journals
from kbench.host import undo
from kbench.host.journal import Journal, RestoreFailed, process_identity, restore, stale_journals
from kbench.host.shell import LocalShell, Shell

HERE = LocalShell()


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KBENCH_RUN_DIR", str(tmp_path / "run"))
    return tmp_path / "run"


@pytest.fixture
def trace(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An op "note" whose undo appends to the list; "bad" raises."""
    seen: list[str] = []

    def note(_shell: Shell, text: str) -> list[str]:
        if text.startswith("bad"):
            raise RuntimeError(f"can't undo {text}")
        seen.append(text)
        return [f"undid {text}"]

    monkeypatch.setitem(undo.OPS, "note", note)
    return seen


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def orphan(path: Path) -> None:
    """Make the journal that of a process that is dead."""
    head, *rest = path.read_bytes().split(b"\n")
    record = json.loads(head) | {"starttime": 1}
    path.write_bytes(b"\n".join([json.dumps(record).encode(), *rest]))


def left_behind(run_id: str, *texts: str) -> Path:
    journal = Journal.open(run_id)
    for text in texts:
        journal.record("note", text=text)
    orphan(journal.path)
    return journal.path


def test_record_is_on_disk_before_the_change_and_done_after(trace: list[str]) -> None:
    journal = Journal.open("r1")
    head = lines(journal.path)[0]
    assert (head["pid"], head["starttime"]) == (os.getpid(), undo.starttime(os.getpid()))
    entry = journal.record("note", text="a")
    assert lines(journal.path)[1:] == [{"do": 1, "op": "note", "args": {"text": "a"}}]
    journal.done(entry)
    journal.done(entry)
    assert lines(journal.path)[2:] == [{"done": 1}]
    assert journal.close() == ([], [])
    assert trace == [] and not journal.path.parent.exists()


def test_undone_in_reverse_and_past_failures(trace: list[str]) -> None:
    journal = Journal.open("r1")
    for text in ("a", "bad", "c"):
        journal.record("note", text=text)
    undone, failed = journal.close()
    assert trace == ["c", "a"]
    assert undone == ["undid c", "undid a"]
    assert failed == ["note {'text': 'bad'}: can't undo bad"]
    assert journal.path.exists()  # so that restore can try again


def test_context_manager_reports_what_stayed(trace: list[str]) -> None:
    with pytest.raises(RestoreFailed, match="can't undo bad1"), Journal.open("r1") as journal:
        journal.record("note", text="bad1")
    with pytest.raises(KeyError) as caught, Journal.open("r2") as journal:
        journal.record("note", text="bad2")
        raise KeyError("first")
    assert any("can't undo bad2" in note for note in caught.value.__notes__)


def test_unknown_op_and_bad_run_id_are_refused() -> None:
    with pytest.raises(ValueError, match="no undo"):
        Journal.open("r1").record("format-disk")
    for bad in ("../x", "", "a/b", ".hidden", "x" * 200):
        with pytest.raises(UsageError):
            Journal.open(bad)


def test_find_takes_the_latest_that_is_not_undone(trace: list[str]) -> None:
    journal = Journal.open("r1")
    first = journal.record("note", text="a")
    second = journal.record("note", text="a")
    assert journal.find("note", text="a") == second
    journal.done(second)
    assert journal.find("note", text="a") == first
    assert journal.find("note", text="b") is None


def test_restore_leaves_a_living_owner_alone(trace: list[str]) -> None:
    journal = Journal.open("r1")
    journal.record("note", text="a")
    assert stale_journals() == [] and restore() == [] and trace == []
    assert journal.path.exists()
    with pytest.raises(EnvironmentProblem, match=f"process {os.getpid()}"):
        Journal.open("r1")


def test_restore_undoes_dead_owners_once(trace: list[str]) -> None:
    first = left_behind("r1", "a", "b")
    second = left_behind("r2", "c")
    assert sorted(journal.run_id for journal in stale_journals()) == ["r1", "r2"]
    assert sorted(restore()) == ["undid a", "undid b", "undid c"]
    assert not first.exists() and not second.exists()
    assert restore() == []
    assert sorted(trace) == ["a", "b", "c"]


def test_restore_without_any_state_makes_none(state: Path) -> None:
    assert restore() == [] and stale_journals() == []
    assert not state.exists()


def test_what_fails_stays_for_the_next_restore(trace: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = left_behind("r1", "a", "bad")
    with pytest.raises(RestoreFailed, match="can't undo bad") as caught:
        restore()
    assert caught.value.undone == ["undid a"] and path.exists()
    monkeypatch.setitem(undo.OPS, "note", lambda _shell, text: [f"now {text}"])
    assert "now bad" in restore()
    assert not path.exists()


@pytest.mark.parametrize("cut", range(1, 40, 4))
def test_line_cut_off_by_a_kill_does_not_stop_it(trace: list[str], cut: int) -> None:
    path = left_behind("r1", "a", "b")
    path.write_bytes(path.read_bytes()[:-cut])
    restore()
    assert trace == ["a"] if cut > 1 else trace == ["b", "a"]


def test_same_run_opened_again_undoes_first(trace: list[str]) -> None:
    left_behind("r1", "a")
    journal = Journal.open("r1")
    assert trace == ["a"] and len(lines(journal.path)) == 1


def test_after_a_reboot_only_files_are_removed(trace: list[str], tmp_path: Path) -> None:
    journal = Journal.open("r1")
    kept = journal.make_tmpdir()
    journal.record("note", text="of the boot before")
    head, *rest = journal.path.read_text().split("\n")
    journal.path.write_text("\n".join([json.dumps(json.loads(head) | {"boot_id": "another"}), *rest]))
    assert restore() == [f"removed {kept}"]
    assert trace == [] and not kept.exists()


def test_directories_of_others_and_symlinks_are_refused(state: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir(mode=0o700)
    state.symlink_to(real)
    with pytest.raises(EnvironmentProblem, match="not a directory of this user"):
        Journal.open("r1")
    state.unlink()
    state.mkdir()
    state.chmod(0o755)
    with pytest.raises(EnvironmentProblem, match="open to other users"):
        Journal.open("r1")
    state.chmod(0o700)
    assert Journal.open("r1").path.parent.stat().st_mode & 0o777 == 0o700


def test_journal_that_is_a_symlink_is_not_followed(trace: list[str], tmp_path: Path) -> None:
    path = left_behind("r1", "a")
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    left_behind("r2", "b")
    with pytest.raises(RestoreFailed, match="symbolic links") as caught:
        restore()
    assert trace == ["b"] and caught.value.undone == ["undid b"]


@pytest.mark.parametrize(
    "text", ["", "rubbish\n", '{"kbench_journal":99}\n', '{"kbench_journal":1}\n', "[1]\n"]
)
def test_journal_that_makes_no_sense_does_not_stop_the_others(trace: list[str], text: str) -> None:
    left_behind("r1", "a").with_name("r0.jsonl").write_text(text)
    with pytest.raises(RestoreFailed, match=r"r0\.jsonl"):
        restore()
    assert trace == ["a"]


def test_change_file_and_its_undo(tmp_path: Path) -> None:
    path = tmp_path / "sysctl"
    path.write_text("0\n")
    journal = Journal.open("r1")
    journal.change_file(str(path), "1")
    assert path.read_text() == "1"
    assert journal.close() == ([f"set {path} back to 0"], [])
    assert path.read_text() == "0\n"
    assert undo.undo_file(HERE, path=str(path), old="0\n") == []
    assert undo.undo_file(HERE, path=str(tmp_path / "gone"), old="0\n") == []
    assert not (tmp_path / "gone").exists()


def test_tmpdir_undo_never_goes_through_a_symlink(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "data").write_text("x")
    link = tmp_path / "link"
    link.symlink_to(precious)
    with pytest.raises(RuntimeError, match="not the directory"):
        undo.undo_tmpdir(HERE, path=str(link))
    inside = tmp_path / "dir"
    inside.mkdir()
    (inside / "to").symlink_to(precious)
    assert undo.undo_tmpdir(HERE, path=str(inside)) == [f"removed {inside}"]
    assert (precious / "data").exists()
    assert undo.undo_tmpdir(HERE, path=str(inside)) == []


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_process_is_ended_with_its_descendants_only_if_it_is_the_same() -> None:
    with subprocess.Popen(
        ["sh", "-c", "sleep 71 & trap '' TERM; echo $!; wait"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        child = int(process.stdout.readline())
        identity = process_identity(process.pid)
        assert undo.undo_process(HERE, pid=process.pid, starttime=(identity["starttime"] or 0) + 1) == []
        assert process.poll() is None
        assert undo.undo_process(HERE, **identity) == [f"ended process {process.pid} and 1 below it"]
        wait_until(lambda: undo.starttime(child) is None)
        assert process.wait(5) == -signal.SIGKILL
        assert undo.undo_process(HERE, **identity) == []


def test_own_process_is_never_ended() -> None:
    assert undo.undo_process(HERE, **process_identity(os.getpid())) == []


def test_two_restores_do_not_race(state: Path, tmp_path: Path) -> None:
    """Each change is undone once, whoever comes first."""
    journal = Journal.open("r1")
    for number in range(200):
        path = tmp_path / f"d{number}"
        journal.record("tmpdir", path=str(path))
        path.mkdir()
    orphan(journal.path)
    code = "from kbench.host.journal import restore; print(len(restore()))"
    root = str(Path(journals.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    counts = sorted(int(process.communicate()[0]) for process in both)
    assert counts == [0, 200]
