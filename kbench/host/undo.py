# SPDX-License-Identifier: GPL-2.0-only
"""How each kind of change to this machine is undone.

An undo is idempotent: it may find its change not made, half made or undone already, and then does nothing.
It returns what it did as lines for people, and raises when what should go stays.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

GRACE_S = 4.0
"""What a process gets between SIGTERM and SIGKILL; the agent itself gives its children 2 s."""
COMMAND_TIMEOUT_S = 30.0


def boot_id() -> str:
    """The kernel's name for this boot: pids and namespaces mean nothing in another one."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _stat_fields(pid: int) -> list[str] | None:
    """/proc/PID/stat from the state on (proc(5) field 3), or None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split()


def starttime(pid: int) -> int | None:
    """Start time of a process, in clock ticks since boot; with the pid it names it. None if it has ended."""
    fields = _stat_fields(pid)
    if fields is None or fields[0] in "ZX":
        return None
    return int(fields[19])


def _descendants(pid: int) -> list[tuple[int, int]]:
    """(pid, start time) of all processes below `pid`."""
    children: dict[int, list[tuple[int, int]]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat_fields(int(entry.name))):
            children.setdefault(int(fields[1]), []).append((int(entry.name), int(fields[19])))
    found: list[tuple[int, int]] = []
    ahead = [pid]
    while ahead:
        for child in children.get(ahead.pop(), []):
            found.append(child)
            ahead.append(child[0])
    return found


def _end(pid: int, started: int, grace_s: float) -> bool:
    """SIGTERM (if there is a grace), then SIGKILL, to exactly this process; False if it was not running."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        # The descriptor was opened first, so if the start time matches now it stands for that process.
        if starttime(pid) != started:
            return False
        waiter = select.poll()
        waiter.register(fd, select.POLLIN)
        for sig, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, GRACE_S)):
            if wait_s <= 0:
                continue
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, sig)
            if waiter.poll(wait_s * 1000):
                return True
    finally:
        os.close(fd)
    raise TimeoutError(f"process {pid} does not end")


def undo_process(pid: int, starttime: int | None) -> list[str]:
    """End a process and what descends from it, if it is still the same one."""
    if starttime is None or pid == os.getpid():
        return []
    below = _descendants(pid)
    if not _end(pid, starttime, GRACE_S):
        return []
    orphans = sum(_end(child, started, 0) for child, started in below)
    return [f"ended process {pid}" + (f" and {orphans} below it" if orphans else "")]


def _ip(*args: str) -> None:
    done = subprocess.run(
        ["ip", *args], capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"ip {' '.join(args)} failed")


def undo_netns(name: str) -> list[str]:
    """Delete a network namespace; its links go with it once no process is in it."""
    if not os.path.lexists(f"/run/netns/{name}"):
        return []
    _ip("netns", "delete", name)
    return [f"deleted network namespace {name}"]


def undo_link(name: str) -> list[str]:
    """Delete a network interface of this machine's own namespace."""
    if not os.path.lexists(f"/sys/class/net/{name}"):
        return []
    _ip("link", "delete", name)
    return [f"deleted link {name}"]


def undo_tmpdir(path: str) -> list[str]:
    """Remove a directory of ours with all in it; never through a symbolic link."""
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return []
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid():
        raise RuntimeError(f"{path} is not the directory that kbench made")
    shutil.rmtree(path)
    return [f"removed {path}"]


def write_existing(path: str, text: str) -> None:
    """Write to a file that is there, with one write() as /proc and /sys want it."""
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def undo_file(path: str, old: str) -> list[str]:
    """Write the old value back, unless it is there or the file went (with its interface)."""
    try:
        if Path(path).read_text() == old:
            return []
    except FileNotFoundError:
        return []
    write_existing(path, old)
    return [f"set {path} back to {old.strip()}"]


def undo_module(name: str) -> list[str]:
    """Unload a kernel module; one that is just going or in use by a dying program gets some time."""
    deadline = time.monotonic() + GRACE_S
    while Path(f"/sys/module/{name}").exists():
        done = subprocess.run(["rmmod", name], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return [f"unloaded module {name}"]
        if time.monotonic() > deadline:
            raise RuntimeError(done.stderr.strip())
        time.sleep(0.1)  # the kernel offers nothing to wait on
    return []


OPS: dict[str, Callable[..., list[str]]] = {
    "process": undo_process,
    "netns": undo_netns,
    "link": undo_link,
    "tmpdir": undo_tmpdir,
    "file": undo_file,
    "module": undo_module,
}
"""What a journal's entry can be, by its `op`; the entry's args are the function's."""

SURVIVE_REBOOT = frozenset({"tmpdir"})
"""Changes that a reboot does not undo by itself."""
