# SPDX-License-Identifier: GPL-2.0-only
"""What a machine has that kbench may make: compared before and after a test session."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

Snapshot = dict[str, set[str]]
BEFORE = pytest.StashKey[Snapshot]()
SETTLE_S = 5.0
"""The kernel frees namespaces and programs a little after their last user ended."""


def _names(directory: str, pattern: str = "*") -> set[str]:
    try:
        return {str(path) for path in Path(directory).glob(pattern)}
    except OSError:
        return set()


def _processes() -> set[str]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            name = path.read_text(errors="replace").strip()
        except OSError:
            continue
        if name.startswith(("kb-", "qemu-system")):
            found.add(f"{path.parent.name} {name}")
    return found


def _bpf_programs() -> set[str]:
    """Programs that carry packets or trace; not those that systemd puts on control groups as it likes."""
    try:
        done = subprocess.run(["bpftool", "-j", "prog", "show"], capture_output=True, timeout=20, check=False)
        programs = json.loads(done.stdout or "[]")
    except (OSError, ValueError):
        return set()
    if not isinstance(programs, list):  # {"error": ...} when not root
        return set()
    return {
        f"{p['id']} {p['type']} {p.get('name', '')}" for p in programs if not p["type"].startswith("cgroup")
    }


def _mounts() -> set[str]:
    return {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}


def snapshot() -> Snapshot:
    """Everything of this machine that a run could leave behind, by kind."""
    return {
        "network namespace": _names("/run/netns"),
        "link": _names("/sys/class/net"),
        "BPF program": _bpf_programs(),
        "process": _processes(),
        "mount": _mounts(),
        # The lock file stays, it is what two runs meet at.
        "file": _names("/run/kbench", "**/*") - {"/run/kbench/lock"}
        | _names(tempfile.gettempdir(), "kbench-*"),
        "module": _names("/sys/module", "kbench*") | _names("/sys/module", "pktgen"),
    }


def after(before: Snapshot) -> list[str]:
    """What is there now and was not, or was and is not: one line for each, after waiting for it to settle."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        now = snapshot()
        lines = [f"{kind} {name}" for kind in now for name in sorted(now[kind] - before[kind])]
        lines += [
            f"{kind} {name} is gone"
            for kind in ("network namespace", "link", "mount")
            for name in sorted(before[kind] - now[kind])
        ]
        if not lines or time.monotonic() > deadline:
            return lines
        time.sleep(0.25)
