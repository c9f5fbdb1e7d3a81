# SPDX-License-Identifier: GPL-2.0-only
"""What all tests share: tiers, what they need of the machine, time limits, and the check that nothing stays behind.

A test's tier is its directory: unit (no root), host (root, namespaces), lab (boots a VM), report (browser, PDF).
A test that the machine can't run is skipped with the reason. ``KBENCH_REQUIRE=all`` (or some of
``host,lab,browser,pdf``) turns such a skip into a failure; with ``all`` any other skip fails the session as well.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests import leftovers

TESTS = Path(__file__).parent
TIER_NEEDS = {"host": ("needs_root", "needs_host_datapaths"), "lab": ("needs_root", "needs_lab")}
TIER_LIMIT_S = {"unit": 60, "host": 180, "lab": 400, "report": 180}
GROUPS = {
    "host": {"needs_root", "needs_host_datapaths"},
    "lab": {"needs_root", "needs_lab"},
    "browser": {"needs_browser"},
    "pdf": {"needs_pdf"},
}


def _required() -> tuple[set[str], bool]:
    """The marks that must not be skipped, and whether nothing at all may be."""
    words = {word.strip() for word in os.environ.get("KBENCH_REQUIRE", "").split(",")} - {""}
    unknown = words - set(GROUPS) - {"all"}
    if unknown:
        raise pytest.UsageError(
            f"KBENCH_REQUIRE: {', '.join(sorted(unknown))} is none of all, {', '.join(GROUPS)}"
        )
    if "all" in words:
        return set().union(*GROUPS.values()), True
    return set().union(*(GROUPS[word] for word in words)), False


@functools.cache
def _programs() -> Path:
    from kbench.host import builds

    return builds.programs()


# --- Why this machine can't run a test, or "" -------------------------------------------------------------------


def _lacks_root() -> str:
    return "" if os.geteuid() == 0 else "not root"


def _lacks_host_datapaths() -> str:
    done = subprocess.run([_programs() / "kb-probe"], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        return f"kb-probe: {done.stderr.strip()}"
    answers: dict[str, Any] = json.loads(done.stdout)
    for name in ("namespace", "veth", "bpf", "xdp_native", "live_frames", "af_packet_v3"):
        given = answers.get(name, {"ok": False, "error": "not tried"})
        if not given["ok"]:
            return f"{name}: {given['error']}"
    return ""


def _lacks_lab() -> str:
    from kbench.errors import KbenchError
    from kbench.host import kernels

    if not shutil.which("qemu-system-x86_64"):
        return "no qemu-system-x86_64"
    try:
        kernels.kernel("6.12", lambda *_: None)
    except KbenchError as error:
        return f"no lab kernel: {error}"
    return ""


def browser() -> str | None:
    """Path of a Chromium that starts, or None. Ubuntu's is a wrapper that asks for a snap."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        path = shutil.which(name)
        if path:
            done = subprocess.run([path, "--version"], capture_output=True, timeout=60, check=False)
            if done.returncode == 0:
                return path
    return None


def _lacks_browser() -> str:
    return "" if browser() else "no Chromium that starts"


def _lacks_pdf() -> str:
    absent = [tool for tool in ("pdftotext", "pdftoppm", "pdffonts") if not shutil.which(tool)]
    return f"no {', '.join(absent)} (package poppler-utils)" if absent else ""


LACKS: dict[str, Callable[[], str]] = {
    "needs_root": functools.cache(_lacks_root),
    "needs_host_datapaths": functools.cache(_lacks_host_datapaths),
    "needs_lab": functools.cache(_lacks_lab),
    "needs_browser": functools.cache(_lacks_browser),
    "needs_pdf": functools.cache(_lacks_pdf),
}

# --- Hooks ------------------------------------------------------------------------------------------------------


def _tier(item: pytest.Item) -> str:
    parts = item.path.relative_to(TESTS).parts if item.path.is_relative_to(TESTS) else ()
    return parts[0] if parts else ""


def pytest_configure(config: pytest.Config) -> None:
    _required()
    config.stash[leftovers.BEFORE] = leftovers.snapshot()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in TIER_NEEDS.get(_tier(item), ()):
            item.add_marker(mark)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    marks = {mark.name for mark in item.iter_markers()}
    required, _ = _required()
    for need, lacks in LACKS.items():
        if need not in marks:
            continue
        reason = lacks()
        if reason and need in required:
            pytest.fail(f"KBENCH_REQUIRE: this machine must run it, but: {reason}", pytrace=False)
        if reason:
            pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    own = item.get_closest_marker("timeout_s")
    limit_s = float(own.args[0]) if own else TIER_LIMIT_S.get(_tier(item), 60)

    def expired(_signal: int, _frame: FrameType | None) -> None:
        pytest.fail(f"longer than {limit_s:g} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    problems = []
    _, all_required = _required()
    skipped = len(reporter.stats.get("skipped", ())) if reporter else 0
    if all_required and skipped:
        problems.append(f"KBENCH_REQUIRE=all, but {skipped} were skipped")
    left = leftovers.after(session.config.stash[leftovers.BEFORE])
    if left and os.environ.get("KBENCH_LEFTOVERS") != "warn":
        problems += [f"left on the machine: {line}" for line in left]
        problems.append("(if something else on this machine made it meanwhile: KBENCH_LEFTOVERS=warn)")
    elif left and reporter:
        reporter.write_line(f"\nleft on the machine, tolerated: {'; '.join(left)}")
    if problems and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if reporter:
            reporter.write_line("")
            for line in problems:
                reporter.write_line(f"FAILED session: {line}", red=True)


# --- Fixtures ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def bin_dir() -> Path:
    """Directory of the built C programs."""
    return _programs()


@pytest.fixture
def local_host() -> Generator[Any, None, None]:
    """This machine as a `kbench.host` Host, closed at the end of the test."""
    from kbench.host.local import LocalHost

    with LocalHost(_programs()) as host:
        yield host


@pytest.fixture(scope="session")
def browser_path() -> str:
    """A Chromium that starts; mark the test `needs_browser`."""
    path = browser()
    assert path, "mark the test needs_browser"
    return path
