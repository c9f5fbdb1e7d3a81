# SPDX-License-Identifier: GPL-2.0-only
"""How each kind of change to a machine is undone.

An undo works over a Shell of the machine where the change was made, and is idempotent: it may find its change not made,
half made or undone already, and then does nothing. It returns what it did as lines for people, and raises when what
should go stays.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

from kbench.host.nic.putback import undo_nic
from kbench.host.shell import HostFileError, Shell

GRACE_S = 4.0
"""What a process gets between SIGTERM and SIGKILL; the agent itself gives its children 2 s."""
BOOT_ID = "/proc/sys/kernel/random/boot_id"
REMOVE_DIRECTORY = """
[ -e "$1" ] || [ -L "$1" ] || exit 0
[ -d "$1" ] && [ ! -L "$1" ] && [ -O "$1" ] || { echo "$1 is not the directory that kbench made" >&2; exit 1; }
rm -rf -- "$1" && echo removed "$1"
"""
"""For sh. Prints what it did. rm does not go through symbolic links."""
END_PROGRAMS = """
found() { ls -l /proc/[0-9]*/exe 2>/dev/null | sed -n "s|.*/proc/\\([0-9]*\\)/exe -> $1/.*|\\1|p"; }
pids=$(found "$1")
[ "$pids" ] || exit 0
for sig in TERM TERM TERM TERM KILL KILL; do
	kill -$sig $pids 2>/dev/null
	sleep 1
	pids=$(found "$1")
	[ "$pids" ] || { echo ended programs of "$1"; exit 0; }
done
echo processes of "$1" do not end: $pids >&2
exit 1
"""
"""For sh. By their executables: such names are nobody else's, while a process id may be another process by now."""


def boot_id() -> str:
    """The kernel's name for this boot: pids and namespaces mean nothing in another one."""
    return Path(BOOT_ID).read_text().strip()


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


def undo_process(_shell: Shell, *, pid: int, starttime: int | None) -> list[str]:
    """End a process of this machine and what descends from it, if it is still the same one."""
    if starttime is None or pid == os.getpid():
        return []
    below = _descendants(pid)
    if not _end(pid, starttime, GRACE_S):
        return []
    orphans = sum(_end(child, started, 0) for child, started in below)
    return [f"ended process {pid}" + (f" and {orphans} below it" if orphans else "")]


def undo_programs(shell: Shell, *, directory: str) -> list[str]:
    """End what still runs of the programs that were put into a directory of ours."""
    done = shell.run(["sh", "-c", END_PROGRAMS, "sh", directory], check=False)
    if done.code:
        raise RuntimeError(done.stderr.strip())
    return done.stdout.splitlines()


def undo_netns(shell: Shell, *, name: str) -> list[str]:
    """Delete a network namespace; its links go with it once no process is in it."""
    if not shell.exists(f"/run/netns/{name}"):
        return []
    shell.run(["ip", "netns", "delete", name])
    return [f"deleted network namespace {name}"]


def undo_link(shell: Shell, *, name: str) -> list[str]:
    """Delete a network interface of the machine's own namespace."""
    if not shell.exists(f"/sys/class/net/{name}"):
        return []
    shell.run(["ip", "link", "delete", name])
    return [f"deleted link {name}"]


def undo_tmpdir(shell: Shell, *, path: str) -> list[str]:
    """Remove a directory of ours with all in it; never through a symbolic link."""
    done = shell.run(["sh", "-c", REMOVE_DIRECTORY, "sh", path], check=False)
    if done.code:
        raise RuntimeError(done.stderr.strip())
    return done.stdout.splitlines()


def undo_file(shell: Shell, *, path: str, old: str) -> list[str]:
    """Write the old value back, unless it is there or the file went (with its interface)."""
    try:
        if shell.read_text(path) == old:
            return []
    except HostFileError as error:
        if error.errno == errno.ENOENT:
            return []
        raise
    shell.write_text(path, old)
    return [f"set {path} back to {old.strip()}"]


def undo_module(shell: Shell, *, name: str) -> list[str]:
    """Unload a kernel module; one that is just going or in use by a dying program gets some time."""
    deadline = time.monotonic() + GRACE_S
    while shell.exists(f"/sys/module/{name}"):
        done = shell.run(["rmmod", name], check=False)
        if done.code == 0:
            return [f"unloaded module {name}"]
        if time.monotonic() > deadline:
            raise RuntimeError(done.stderr.strip())
        time.sleep(0.1)  # the kernel offers nothing to wait on
    return []


OPS: dict[str, Callable[..., list[str]]] = {
    "process": undo_process,
    "programs": undo_programs,
    "netns": undo_netns,
    "link": undo_link,
    "tmpdir": undo_tmpdir,
    "file": undo_file,
    "module": undo_module,
    "nic": undo_nic,
}
"""What a journal's entry can be, by its `op`: called with a Shell of its machine, and the entry's args by name."""

FIRST = frozenset({"programs"})
"""Undone before all else: what still runs would work against it."""

LOCAL_ONLY = frozenset({"process"})
"""What can be undone on this machine alone, where a process can be told from a later one with its number."""

SURVIVE_REBOOT = frozenset({"tmpdir"})
"""Changes that a reboot does not undo by itself."""
