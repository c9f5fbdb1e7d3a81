# SPDX-License-Identifier: GPL-2.0-only
"""The lab: a virtual machine with modules and pktgen, as a Host.

In exact mode time is driven by instructions (TCG, one CPU): one instruction is one nanosecond of the guest,
so durations inside the guest are instruction counts. While the guest idles its clock leaps forward, about a
thousand times as fast as the host's: time-outs of the host must never be compared with clocks of the guest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kbench.errors import EnvironmentProblem, MeasureError
from kbench.host import builds, initramfs, kernels, lab_nics, lab_ssh, qemu
from kbench.host.agent import SocketChannel
from kbench.host.base import Host
from kbench.host.builds import Progress
from kbench.host.journal import Journal
from kbench.host.kernels import LabKernel
from kbench.host.lab_nics import LabNics, LabSsh, Wiring, cabled
from kbench.host.qemu import Console, Mode

__all__ = ["LabHost", "LabNics", "LabSsh", "Parts", "cabled", "shell"]

BOOT_TIMEOUT_S = 60.0
BOOT_ATTEMPTS = 2
"""Under TCG with several virtual CPUs, kernels die of an int3 now and then while they patch their own code."""
END_TIMEOUT_S = 10.0
MEMORY_MIB = 1536
SETTLE_S = 3
"""Guest seconds that an exact lab idles after its boot: what the kernel put off during boot would be counted
with the first packets otherwise (30 ms in one slope). It costs the host some milliseconds."""


@dataclass(frozen=True)
class Parts:
    """What a lab is made of, ready to boot."""

    kernel: LabKernel
    programs_dir: Path
    module: Path | None

    @classmethod
    def prepare(cls, kernel: str, progress: Progress, *, need_module: bool = True) -> Parts:
        """Fetch the kernel and build the programs and the module, as far as the cache does not have them."""
        lab_kernel = kernels.kernel(kernel, progress)
        programs = builds.programs(progress)
        module = None
        if need_module:
            module = builds.module(lab_kernel.require_build_dir(), lab_kernel.release, progress=progress)
        return cls(lab_kernel, programs, module)


class LabHost(Host):
    """A running lab. Use `LabHost.boot`; close it, or use it as a context manager."""

    kind: Literal["lab"] = "lab"

    def __init__(
        self,
        machine: qemu.Machine,
        facts: dict[str, Any],
        journal: Journal | None = None,
        wiring: Wiring | None = None,
    ) -> None:
        self._machine = machine
        self._journal = journal
        self._wiring = wiring
        self._facts = facts
        self.in_order: bool | None = None
        """After `close`: whether the guest switched itself off, as it should."""
        self.ssh_port: int | None = None
        """Port of 127.0.0.1 that leads to the guest's ssh server, if it has one."""
        self.ssh_host_key: str | None = None
        """The server's key, as known_hosts has it behind the name of a host."""
        super().__init__(SocketChannel(machine.socket))

    @classmethod
    def boot(
        cls,
        parts: Parts,
        *,
        mode: Mode,
        log_dir: Path,
        progress: Progress,
        cpus: int = 2,
        memory_mib: int = MEMORY_MIB,
        console: Callable[[str], None] | None = None,
        journal: Journal | None = None,
        nics: LabNics | None = None,
    ) -> LabHost:
        """Boot a lab; `cpus` is ignored in exact mode, which has one.

        `nics` gives it emulated NICs, in fast mode only; sockets in it are closed here, also on failure.
        `console` gets each line of the guest's console. Call it in a thread that lives longer than the lab
        (see `qemu.Machine`).

        Raises EnvironmentProblem where QEMU or another part is missing, MeasureError when the guest does not
        come up; the latter names the console's log in `log_dir`.
        """
        started = time.monotonic()
        with contextlib.closing(Wiring(nics)) if nics else contextlib.nullcontext() as wiring:
            newer = wiring is not None and wiring.needs_newer_qemu
            emulator = qemu.find_newer_qemu(progress) if newer else qemu.find_qemu()
            kernel = parts.kernel
            image = initramfs.build(
                kernel, parts.programs_dir, parts.module, nics=nics is not None, ssh=bool(nics and nics.ssh)
            )
            log_dir.mkdir(parents=True, exist_ok=True)
            accel: qemu.Accel = "tcg"
            why = "exact mode counts instructions, which only emulation can"
            if mode == "fast":
                probe = qemu.Spec(kernel.vmlinux, image, "fast", "kvm", cpus, memory_mib)
                accel, why = qemu.choose_accel(
                    emulator, probe, kernel.vmlinux_sha256, log_dir / "kvm-probe.log", progress
                )
            else:
                cpus = 1
            spec = qemu.Spec(kernel.vmlinux, image, mode, accel, cpus, memory_mib, wiring=wiring)
            attempts = BOOT_ATTEMPTS if accel == "tcg" else 1
            for attempt in range(attempts):
                progress(f"booting the lab: Linux {kernel.release}, {mode} mode, {accel} ({why})")
                facts = _facts(kernel, emulator, mode, accel=accel, why=why)
                try:
                    lab = cls._start(emulator, spec, facts, _new_log(log_dir), console, journal)
                except MeasureError as problem:
                    if attempt + 1 == attempts:
                        raise
                    progress(f"the lab did not come up, once more: {problem}")
                else:
                    lab._facts["boot_s"] = round(time.monotonic() - started, 2)
                    return lab
        raise AssertionError("unreachable: the last attempt returns or raises")

    @classmethod
    def _start(
        cls,
        emulator: qemu.Qemu,
        spec: qemu.Spec,
        facts: dict[str, Any],
        log: Path,
        console: Callable[[str], None] | None,
        journal: Journal | None,
    ) -> LabHost:
        """One attempt; what it started is ended when it fails."""
        machine = qemu.Machine(emulator, spec, log, console)
        try:
            if journal:
                journal.record_process(machine.process.pid)
            machine.wait_ready(BOOT_TIMEOUT_S)
            facts["qemu_command"] = machine.command
            lab = cls(machine, facts, journal, spec.wiring)
            if machine.console.agent_errors:
                raise machine.problem("did not boot in order")
            if spec.mode == "exact":
                lab.run(["/bin/busybox", "sleep", str(SETTLE_S)])
            else:
                lab._let_reception_go_first()
            if spec.wiring:
                lab_nics.set_up(lab, spec.wiring)
            if spec.wiring and spec.wiring.ssh:
                lab.ssh_host_key = lab_ssh.start(lab, spec.wiring.ssh.public_key)
                lab.ssh_port = lab_ssh.forwarded_port(machine.monitor)
        except BaseException:
            machine.kill()
            _ended(machine, journal)
            raise
        return lab

    def _let_reception_go_first(self) -> None:
        """ksoftirqd preempts the generator, so that counts are exact however slow the virtual CPUs are.

        Once a slow CPU has woken ksoftirqd, kernels before 6.5 (d15121be7485) leave all reception to it, and pktgen
        overflows the ring of the veth during the rest of its time slice.
        """
        self.run([self.program("kb-pin"), "--comm", "ksoftirqd/", "--fifo", "1"])

    def program(self, name: str) -> str:
        path = f"/kbench/bin/{name}"
        if not self.exists(path):
            raise EnvironmentProblem(
                f"{name} is not in the lab's image; run `make -C userspace` to see why it was not built"
            )
        return path

    def module(self, name: str) -> str:
        path = f"/kbench/modules/{name}.ko"
        if not self.exists(path):
            raise EnvironmentProblem(f"{name}.ko is not in the lab's image")
        return path

    @property
    def ports(self) -> list[str]:
        """Names of the ports with a cable, besides the management port."""
        return [port.name for port in self._wiring.ports] if self._wiring else []

    def pull_cable(self, port: str, up: bool) -> None:
        """Unplug (`up` False) or plug in the cable of a port; both its ends lose or regain their carrier.

        Where the other end is in another lab, that one keeps its carrier: pull there as well. Raises ValueError for
        a port that has no cable.
        """
        if not self._wiring:
            raise ValueError("the lab was booted without NICs")
        for end in self._wiring.one_cable(port):
            self._machine.monitor.ask("set_link", name=end.device, up=up)

    @property
    def process_id(self) -> int:
        """QEMU's, on this machine."""
        return self._machine.process.pid

    @property
    def console(self) -> Console:
        """What the guest said so far."""
        return self._machine.console

    def describe_loss(self) -> str:
        return str(self._machine.problem("was lost"))

    def check(self) -> None:
        """Raise MeasureError when the guest's kernel has reported a BUG, also one that it survived."""
        if self.console.failure or self._machine.process.poll() is not None:
            raise self._machine.problem("failed")

    def facts(self) -> dict[str, Any]:
        """For the record: kernel with version and checksums, QEMU with command line, accelerator and why."""
        return {**self._facts, "console_warnings": list(self.console.warnings)}

    def close(self) -> None:
        """End all programs and switch the guest off; one that does not obey is killed. Never raises."""
        if self.in_order is not None:
            return
        try:
            super().close()
            ended = self._machine.wait(END_TIMEOUT_S)
        finally:
            self._machine.kill()
            _ended(self._machine, self._journal)
        self.in_order = (
            ended
            and self._machine.process.returncode == 0
            and not self.console.failure
            and "Power down" in self.console.last
        )

    def finish(self) -> None:
        """`close`, and raise MeasureError unless the guest had no BUG and switched itself off."""
        self.check()
        self.close()
        if not self.in_order:
            raise self._machine.problem("did not end in order")


def _ended(machine: qemu.Machine, journal: Journal | None) -> None:
    entry = journal.find("process", pid=machine.process.pid) if journal else None
    if journal and entry:
        journal.done(entry)


def _new_log(log_dir: Path) -> Path:
    """A name that is free: a run boots more than one lab."""
    number = 1
    while (log_dir / f"lab-{number}.log").exists():
        number += 1
    return log_dir / f"lab-{number}.log"


def _facts(kernel: LabKernel, emulator: qemu.Qemu, mode: Mode, *, accel: str, why: str) -> dict[str, Any]:
    return {
        "kernel_release": kernel.release,
        "kernel_version": kernel.version,
        "kernel_sha256s": kernel.sha256s,
        "vmlinux_sha256": kernel.vmlinux_sha256,
        "notices": [*kernel.notices, *([emulator.notice] if emulator.notice else [])],
        "qemu_version": emulator.version,
        "mode": mode,
        "accel": accel,
        "accel_reason": why,
    }


def shell(
    kernel: str, progress: Progress, *, cpus: int = 2, memory_mib: int = MEMORY_MIB, need_module: bool = True
) -> None:
    """An interactive shell in a lab, on the caller's terminal, until it is left."""
    emulator = qemu.find_qemu()
    parts = Parts.prepare(kernel, progress, need_module=need_module)
    image = initramfs.build(parts.kernel, parts.programs_dir, parts.module)
    log_dir = builds.cache_dir() / "logs"
    probe = qemu.Spec(parts.kernel.vmlinux, image, "fast", "kvm", cpus, memory_mib)
    accel, why = qemu.choose_accel(
        emulator, probe, parts.kernel.vmlinux_sha256, log_dir / "kvm-probe.log", progress
    )
    spec = dataclasses.replace(probe, accel=accel, arguments=("kbench.shell",))
    progress(f"booting the lab: Linux {parts.kernel.release}, {accel} ({why})")
    status = subprocess.run(
        ["setpriv", "--pdeathsig", "KILL", "--", *spec.command(emulator, None)], check=False
    )
    if status.returncode:
        raise MeasureError(f"QEMU ended with status {status.returncode}")
