# SPDX-License-Identifier: GPL-2.0-only
"""The build cache: when it builds, when it does not, and what it says when it can't."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kbench.errors import EnvironmentProblem
from kbench.host import builds, packages

REPOSITORY = Path(builds.__file__).parents[2]
MAKEFILE = "all:\n\tmkdir -p $(O)/bin\n\tcp core.c $(O)/bin/kb-x\n"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small source tree, and a cache of its own."""
    root = tmp_path / "tree"
    for name in builds.SOURCE_DIRS:
        (root / name).mkdir(parents=True)
    (root / "userspace" / "Makefile").write_text(MAKEFILE)
    (root / "userspace" / "core.c").write_text("one")
    monkeypatch.setattr(builds, "source_root", lambda: root)
    monkeypatch.setattr(builds, "missing", dict)
    monkeypatch.setenv("KBENCH_CACHE", str(tmp_path / "cache"))
    return root


def test_builds_once_and_again_when_a_source_changes(tree: Path) -> None:
    said: list[str] = []
    first = builds.programs(said.append)
    assert (first / "kb-x").read_text() == "one"
    assert builds.programs(said.append) == first and len(said) == 1
    (tree / "userspace" / "core.c").write_text("two")
    second = builds.programs(said.append)
    assert (second / "kb-x").read_text() == "two" and (first / "kb-x").read_text() == "one" and len(said) == 2
    (tree / "core" / "new.h").write_text("")
    assert builds.programs(said.append) not in (first, second)
    (tree / "core" / "README.md").write_text("not a source")
    builds.programs(said.append)
    assert len(said) == 3


def test_another_compiler_is_another_build(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = builds.programs()
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "cc").write_text("#!/bin/sh\n")
    (tools / "cc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    assert builds.programs() != first


def test_failed_build_names_the_log_and_leaves_nothing(tree: Path) -> None:
    (tree / "userspace" / "Makefile").write_text(
        "all:\n\t@echo core.c:7: error: no such thing >&2\n\t@exit 1\n"
    )
    with pytest.raises(
        EnvironmentProblem, match=r"see (\S+\.log):\n(.*\n)*.*core.c:7: error: no such thing"
    ) as caught:
        builds.programs()
    log = Path(str(caught.value).split("see ")[1].split(":\n")[0])
    assert "no such thing" in log.read_text()
    assert {path.name for path in (builds.cache_dir() / "builds").iterdir()} == {"lock", "logs"}
    (tree / "userspace" / "Makefile").write_text(MAKEFILE)
    assert (builds.programs() / "kb-x").exists()


def test_sources_that_change_during_the_build_are_not_mixed_up(tree: Path) -> None:
    edit = "all:\n\tmkdir -p $(O)/bin\n\tcp core.c $(O)/bin/kb-x\n\tprintf {} core.c\n"
    (tree / "userspace" / "Makefile").write_text(edit.format("two >"))
    assert (builds.programs() / "kb-x").read_text() == "two"
    (tree / "userspace" / "Makefile").write_text(edit.format("x >>"))
    with pytest.raises(EnvironmentProblem, match="change while they are built"):
        builds.programs()


def test_what_is_missing_is_named_with_its_package(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(builds, "source_root", lambda: tree)
    monkeypatch.setenv("KBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(packages, "SBIN", str(tmp_path))
    listed = (
        *packages.packages(),
        packages.Package(("libnosuch-dev",), "/usr/include/no/such.h", "build", "x"),
    )
    monkeypatch.setattr(packages, "packages", lambda: listed)
    lacking = builds.missing()
    assert lacking["clang"] == "clang" and lacking["gcc"] == "gcc" and lacking["make"] == "make"
    with pytest.raises(
        EnvironmentProblem, match=r"no/such.h.*; apt-get install make gcc .*clang .*libnosuch-dev"
    ):
        builds.programs()


def test_nothing_is_missing_where_these_tests_run() -> None:
    assert builds.missing() == {}


def test_cache_that_cannot_be_written(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KBENCH_CACHE", "/proc/1/nowhere")
    with pytest.raises(EnvironmentProblem, match=r"KBENCH_CACHE sets another place"):
        builds.programs()


def test_cache_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/someone")
    monkeypatch.delenv("KBENCH_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert builds.cache_dir() == Path("/someone/.cache/kbench")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert builds.cache_dir() == Path("/x/kbench")
    monkeypatch.setenv("KBENCH_CACHE", "/own")
    assert builds.cache_dir() == Path("/own")


def test_old_leftovers_are_swept(tree: Path) -> None:
    final = builds.programs().parent
    ages_s = {".new-old": 2 * builds.UNFINISHED_AGE_S, ".new-young": 60, "unused": 2 * builds.UNUSED_AGE_S}
    for name, age_s in ages_s.items():
        path = final.parent / name
        path.mkdir()
        os.utime(path, (0, time.time() - age_s))
    (tree / "userspace" / "core.c").write_text("two")
    builds.programs()
    names = {path.name for path in final.parent.iterdir()}
    assert ".new-young" in names and final.name in names and not {".new-old", "unused"} & names


CALL = """
import sys
from pathlib import Path
from kbench.host import builds
builds.source_root = lambda: Path(sys.argv[1])
builds.missing = dict
print(builds.programs(lambda text: print("built", flush=True)), flush=True)
"""


def start(tree: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        [sys.executable, "-c", CALL, str(tree)], stdout=subprocess.PIPE, text=True, env=environment
    )


def test_two_at_once_build_once(tree: Path) -> None:
    (tree / "userspace" / "Makefile").write_text(MAKEFILE.replace("\tcp", "\tsleep 0.5\n\tcp"))
    answers = [process.communicate(timeout=20)[0].split() for process in [start(tree) for _ in range(3)]]
    assert sorted(len(answer) for answer in answers) == [1, 1, 2]
    assert len({answer[-1] for answer in answers}) == 1


def test_killed_build_does_not_block_the_next(tree: Path) -> None:
    good = MAKEFILE.replace("\tcp", "\tsleep 1\n\tcp")
    (tree / "userspace" / "Makefile").write_text(good)
    process = start(tree)
    assert process.stdout and process.stdout.readline() == "built\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (builds.programs() / "kb-x").read_text() == "one"


def test_interrupted_build_ends_make(tree: Path) -> None:
    (tree / "userspace" / "Makefile").write_text(f"all:\n\tsleep 73\n\techo {tree}\n")
    process = start(tree)
    assert process.stdout and process.stdout.readline() == "built\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [command for command in commands if str(tree).encode() in command]
    assert {path.name for path in (builds.cache_dir() / "builds").iterdir()} == {"lock", "logs"}


def test_module_without_headers_says_what_to_install(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match=r"apt-get install linux-headers-9\.9\.9"):
        builds.module(tmp_path / "nowhere", "9.9.9")


def test_module_is_built_from_a_copy(tree: Path, tmp_path: Path) -> None:
    source = tree / "kmods" / "netfilter"
    source.mkdir()
    (source / "main.c").write_text("module")
    headers = tmp_path / "headers"
    headers.mkdir()
    (headers / "Makefile").write_text("modules:\n\tcp $(M)/main.c $(M)/kbench_nf.ko\n\ttouch $(M)/junk.o\n")
    path = builds.module(headers, "9.9.9")
    assert path.read_text() == "module" and {p.name for p in source.iterdir()} == {"main.c"}
    assert [p.name for p in path.parent.iterdir()] == ["kbench_nf.ko"]
    assert builds.module(headers, "9.9.9") == path
    assert builds.module(headers, "9.9.8") != path
