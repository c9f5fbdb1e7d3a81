# SPDX-License-Identifier: GPL-2.0-only
"""QEMU: its command line, one running machine with its console, and the probe whether KVM works here."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kbench.errors import EnvironmentProblem, MeasureError
from kbench.host import newer_qemu
from kbench.host.builds import Progress, cache_dir
from kbench.host.lab_nics import Wiring
from kbench.host.qmp import Monitor

Mode = Literal["exact", "fast"]
Accel = Literal["kvm", "tcg"]

PROBE_TIMEOUT_S = 8.0
"""A guest that KVM runs at all is ready within 2 s."""

READY = re.compile(r"KBENCH-AGENT ready (\S+)")
AGENT_ERROR = re.compile(r"KBENCH-AGENT error (.*)")
FATAL = re.compile(r"Kernel panic|kernel BUG at|\bBUG: |\bOops: |general protection fault|unable to handle")
TIMESTAMP = re.compile(r"^\[\s*[\d.]+\]\s*")

BASE_ARGUMENTS = (
    "console=ttyS0",
    "loglevel=5",
    "panic=-1",
    "oops=panic",
    "mitigations=off",
    "tsc=reliable",
    "nowatchdog",
    "audit=0",
    "random.trust_cpu=on",
    # Self-tests and certificates that the lab has no use for: 0.3 s of emulated boot.
    "cryptomgr.notests",
    "initcall_blacklist=jent_mod_init,load_system_certificate_list",
)
EXACT_ARGUMENTS = ("nokaslr", "norandmaps", "init_on_alloc=0", "nolapic_timer")
"""No random layout; no zeroing of pages, which makes XDP behind pktgen 2.5 times slower on 6.1; ticks from the
HPET, as calibrating the local APIC's timer reads the TSC for 100 ms, under icount 2 s of the host's time."""


@dataclass(frozen=True)
class Qemu:
    """The emulator of this machine."""

    path: str
    version: str
    data_dirs: tuple[Path, ...] = ()
    """Where its firmware is, if not where it looks for it."""
    notice: str | None = None
    """What the reader of a result must know about it."""


def find_newer_qemu(progress: Progress) -> Qemu:
    """A QEMU that emulates igb, and an e1000e whose driver notices a pulled cable: of this machine, or fetched.

    Raises EnvironmentProblem where neither is to be had.
    """
    own = find_qemu()
    done = subprocess.run([own.path, "-device", "help"], capture_output=True, text=True, check=False)
    if re.search(r'^name "igb"', done.stdout, re.M):
        return own
    unpacked = newer_qemu.fetch(progress)
    return _described(str(unpacked.program), unpacked.data_dirs, unpacked.notice)


def find_qemu() -> Qemu:
    """This machine's QEMU. Raises EnvironmentProblem naming the package where there is none."""
    path = shutil.which("qemu-system-x86_64")
    if not path:
        raise EnvironmentProblem("the lab needs qemu-system-x86_64: install the package qemu-system-x86")
    if not shutil.which("setpriv"):
        raise EnvironmentProblem("the lab needs setpriv: install the package util-linux")
    return _described(path)


def _described(path: str, data_dirs: tuple[Path, ...] = (), notice: str | None = None) -> Qemu:
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"version (.*)", done.stdout)
    if not match:
        raise EnvironmentProblem(
            f"{path} does not run ({done.stderr.strip() or 'no version'}): reinstall qemu-system-x86"
        )
    return Qemu(path, match[1], data_dirs, notice)


@dataclass(frozen=True)
class Spec:
    """What to boot, and how."""

    vmlinux: Path
    initramfs: Path
    mode: Mode
    accel: Accel
    cpus: int
    memory_mib: int
    arguments: tuple[str, ...] = ()
    """More words for the kernel's command line."""
    wiring: Wiring | None = None
    """NICs; none in exact mode, as each device takes part in what is counted."""

    def kernel_line(self) -> str:
        """The kernel's command line."""
        exact = EXACT_ARGUMENTS if self.mode == "exact" else ()
        return " ".join([*BASE_ARGUMENTS, *exact, *self.arguments, "rdinit=/sbin/kb-agent", "--", "--init"])

    def command(self, qemu: Qemu, agent_fd: int | None, monitor_fd: int | None = None) -> list[str]:
        """QEMU's command line; the console is its stdin and stdout.

        The agent's port is socket `agent_fd`, the monitor's `monitor_fd`.
        """
        if self.mode == "exact" and (self.accel != "tcg" or self.cpus != 1):
            raise ValueError("exact mode is TCG with one CPU")
        if self.mode == "exact" and self.wiring:
            raise ValueError("exact mode has no NICs")
        accel = (
            "kvm" if self.accel == "kvm" else f"tcg,thread={'single' if self.mode == 'exact' else 'multi'}"
        )
        command = [
            qemu.path,
            *(word for directory in qemu.data_dirs for word in ("-L", str(directory))),
            "-nodefaults",
            "-no-user-config",
            "-machine",
            "q35",
            "-accel",
            accel,
            "-cpu",
            "host" if self.accel == "kvm" else "max",
            "-smp",
            str(self.cpus),
            "-m",
            str(self.memory_mib),
            "-display",
            "none",
            "-no-reboot",
            "-kernel",
            str(self.vmlinux),
            "-initrd",
            str(self.initramfs),
            "-append",
            self.kernel_line(),
            "-chardev",
            "stdio,id=console,signal=off",
            "-serial",
            "chardev:console",
        ]
        if self.mode == "exact":
            # Time is driven by instructions: one is one guest nanosecond. Idle time is skipped, not slept.
            command += [
                "-icount",
                "shift=0,sleep=off",
                "-rtc",
                "base=2024-01-01T00:00:00,clock=vm",
                "-seed",
                "1",
            ]
        if agent_fd is not None:
            command += [
                "-chardev",
                f"socket,id=agent,fd={agent_fd}",
                "-device",
                "virtio-serial-pci,max_ports=2",
                "-device",
                "virtserialport,chardev=agent,name=kbench.agent",
            ]
        if monitor_fd is not None:
            command += ["-chardev", f"socket,id=monitor,fd={monitor_fd}"]
            command += ["-mon", "chardev=monitor,mode=control"]
        if self.wiring:
            command += self.wiring.arguments()
        return command


@dataclass
class Console:
    """What the guest said: complete in the log, and what matters of it in memory."""

    log: Path
    failure: str | None = None
    """The first line of a panic, BUG or Oops."""
    warnings: list[str] = field(default_factory=list)
    agent_errors: list[str] = field(default_factory=list)
    last: str = ""
    ready: threading.Event = field(default_factory=threading.Event)

    def take(self, line: str) -> None:
        """Judge one line."""
        text = TIMESTAMP.sub("", line).strip()
        if not text:
            return
        self.last = text
        if READY.search(text):
            self.ready.set()
        error = AGENT_ERROR.search(text)
        if error:
            self.agent_errors.append(error[1])
        if self.failure is None and FATAL.search(text):
            self.failure = text
        elif text.startswith("WARNING:") or ("rcu" in text and "stall" in text):
            self.warnings.append(text)


class Machine:
    """One running QEMU. It dies with this process: by the parent-death signal, and as its connection ends.

    The kernel sends that signal when the *thread* ends that started QEMU: use one that lives as long.
    """

    def __init__(
        self, qemu: Qemu, spec: Spec, log: Path, on_line: Callable[[str], None] | None = None
    ) -> None:
        self.socket, theirs = socket.socketpair()
        ours, monitors = socket.socketpair()
        self.monitor = Monitor(ours)
        fds = [theirs.fileno()]
        self.command = spec.command(qemu, theirs.fileno())
        if spec.wiring:  # without NICs there is nothing to ask the monitor for
            fds += [monitors.fileno(), *spec.wiring.fds]
            self.command = spec.command(qemu, theirs.fileno(), monitors.fileno())
        self.console = Console(log)
        self._on_line = on_line
        log.parent.mkdir(parents=True, exist_ok=True)
        with theirs, monitors:
            self.process = (
                subprocess.Popen(  # its own session: Ctrl-C is ours to handle, and ends it in order
                    ["setpriv", "--pdeathsig", "KILL", "--", *self.command],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    pass_fds=fds,
                    start_new_session=True,
                )
            )
        self._reader = threading.Thread(target=self._read, name="lab-console", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        with self.console.log.open("wb") as log:
            for raw in self.process.stdout:
                log.write(raw)
                log.flush()
                line = raw.decode(errors="replace").rstrip("\r\n")
                self.console.take(line)
                if self._on_line:
                    self._on_line(line)

    def wait_ready(self, timeout_s: float) -> None:
        """Until the agent says so. Raises MeasureError when the guest fails, ends, or takes too long."""
        deadline = time.monotonic() + timeout_s
        while not self.console.ready.wait(0.01):
            if self.process.poll() is not None or self.console.failure:
                raise self.problem("did not boot")
            if time.monotonic() > deadline:
                raise MeasureError(
                    f"the lab was not ready after {timeout_s:.0f} s; its console is in {self.console.log}"
                )

    def problem(self, what: str) -> MeasureError:
        """The error for a machine that failed; waits a moment for its last words."""
        self._reader.join(2.0)
        cause = self.console.failure or next(iter(self.console.agent_errors), None)
        if cause is None and self.process.poll() not in (None, 0):
            cause = f"QEMU ended with status {self.process.returncode}: {self.console.last}"
        return MeasureError(
            f"the lab {what} ({cause or self.console.last or 'no word on its console'}); "
            f"its console is in {self.console.log}"
        )

    def wait(self, timeout_s: float) -> bool:
        """Whether QEMU ended by itself in time."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End it now, whatever state it is in."""
        self.socket.close()
        self.monitor.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(2.0)
        if self.process.stdout and not self._reader.is_alive():
            self.process.stdout.close()


def choose_accel(qemu: Qemu, spec: Spec, identity: str, log: Path, progress: Progress) -> tuple[Accel, str]:
    """KVM where a short boot of this very guest works, else TCG; and why.

    `spec` is the fast-mode guest with accel "kvm"; `identity` names its kernel. The answer is kept until this
    machine is booted again or the kernel or QEMU changes.
    """
    if not Path("/dev/kvm").exists():
        return "tcg", "no /dev/kvm on this machine"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg", "/dev/kvm may not be used by this user"
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    key = f"{boot_id} {qemu.version} {identity}"
    store = cache_dir() / "kvm.json"
    try:
        known: dict[str, str] = json.loads(store.read_text())
    except (OSError, ValueError):
        known = {}
    if key not in known:
        known = {k: v for k, v in known.items() if k.startswith(boot_id)}
        progress(f"trying whether KVM works here (at most {PROBE_TIMEOUT_S:.0f} s, once)")
        known[key] = _probe(qemu, spec, log)
        store.parent.mkdir(parents=True, exist_ok=True)
        fresh = store.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(known))
        fresh.replace(store)
    return (
        ("kvm", "a probe boot under KVM worked")
        if not known[key]
        else ("tcg", f"KVM does not work here: {known[key]}")
    )


def _probe(qemu: Qemu, spec: Spec, log: Path) -> str:
    """Empty when the guest got ready under KVM, else the reason."""
    machine = Machine(qemu, spec, log)
    try:
        machine.wait_ready(PROBE_TIMEOUT_S)
    except MeasureError as error:
        return str(error).split(";")[0]
    finally:
        machine.kill()
    return ""
