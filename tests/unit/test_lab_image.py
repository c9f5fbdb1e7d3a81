# SPDX-License-Identifier: GPL-2.0-only
"""The lab's initramfs and QEMU: archive format, order of modules, command line, judging the console."""

from __future__ import annotations

import lzma
import subprocess
from pathlib import Path

import pytest

from kbench.errors import EnvironmentProblem, MeasureError
from kbench.host import initramfs, qemu
from kbench.host.cpio import Cpio
from kbench.host.initramfs import Modules
from kbench.host.kernels import LabKernel
from kbench.host.qemu import Console, Qemu, Spec

QEMU = Qemu("/usr/bin/qemu-system-x86_64", "7.2")


def test_cpio_reads_back(tmp_path: Path) -> None:
    archive = Cpio()
    archive.file("a/b/odd", b"12345", 0o755)
    archive.symlink("a/link", "b/odd")
    archive.directory("a/b")
    archive.character_device("dev/console", 5, 1)
    out = tmp_path / "out"
    out.mkdir()
    command = ["busybox", "cpio", "-i", "-d", "a/*"]
    subprocess.run(command, input=archive.finish(), cwd=out, check=True, capture_output=True)
    assert (out / "a/link").read_bytes() == b"12345"
    assert (out / "a/b/odd").stat().st_mode & 0o777 == 0o755
    listing = subprocess.run(
        ["busybox", "cpio", "-t", "-v"], input=archive.finish(), check=True, capture_output=True
    )
    assert b"crw-------" in listing.stdout
    with pytest.raises(ValueError, match="a/link"):
        archive.file("a/link", b"")


def modules_tree(tmp_path: Path, infos: dict[str, str], compress: tuple[str, ...] = ()) -> Modules:
    top = tmp_path / "lib/modules/1.0"
    (top / "kernel/net").mkdir(parents=True)
    (top / "modules.builtin").write_text("kernel/lib/built-in.ko\n")
    for name, info in infos.items():
        data = b"\x7fELF\0" + info.replace(";", "\0").encode() + b"\0"
        if name in compress:
            (top / f"kernel/net/{name}.ko.xz").write_bytes(lzma.compress(data))
        else:
            (top / f"kernel/net/{name}.ko").write_bytes(data)
    return Modules(top, "1.0")


def test_modules_come_after_what_they_depend_on(tmp_path: Path) -> None:
    infos = {
        "top": "depends=mid-a,mid_b",
        "mid-a": "depends=low,built_in",
        "mid_b": "depends=low;softdep=pre: crc32c post: late",
        "low": "depends=;alias=net-low",
        "crc32c_generic": "depends=",
        "late": "depends=",
    }
    modules = modules_tree(tmp_path, infos, compress=("mid-a",))
    order = modules.closure(["top"])
    assert sorted(order) == ["crc32c_generic", "low", "mid_a", "mid_b", "top"]
    for before, after in (("low", "mid_a"), ("mid_a", "top"), ("mid_b", "top"), ("crc32c_generic", "mid_b")):
        assert order.index(before) < order.index(after)
    assert modules.path("mid_a") == "kernel/net/mid-a.ko"
    assert modules.info("low", "alias") == ["net-low"]
    assert modules.closure(["built_in"]) == []
    with pytest.raises(EnvironmentProblem, match=r"kernel 1\.0 has no module pktgen"):
        modules.closure(["pktgen"])


def lab_kernel(tmp_path: Path) -> LabKernel:
    modules_tree(tmp_path, dict.fromkeys(initramfs.LOAD, "depends="))
    return LabKernel("1.0", None, tmp_path / "vmlinux", "00", tmp_path / "lib/modules/1.0", None)


def test_the_image_is_cached_by_what_goes_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KBENCH_CACHE", str(tmp_path / "cache"))
    programs = tmp_path / "bin"
    programs.mkdir()
    kernel = lab_kernel(tmp_path)
    with pytest.raises(EnvironmentProblem, match="no kb-agent"):
        initramfs.build(kernel, programs, None)
    (programs / "kb-agent").write_bytes(b"one")
    first = initramfs.build(kernel, programs, None)
    assert initramfs.build(kernel, programs, None) == first
    names = subprocess.run(
        ["busybox", "cpio", "-t"], input=first.read_bytes(), check=True, capture_output=True
    )
    listed = names.stdout.decode().split()
    for name in (
        "kbench/bin/kb-agent",
        "sbin/kb-agent",
        "sbin/ip",
        "bin/sh",
        "lib/modules/1.0/kernel/net/veth.ko",
    ):
        assert name in listed
    (programs / "kb-agent").write_bytes(b"other")
    assert initramfs.build(kernel, programs, None) != first


def test_drivers_and_ssh_are_in_images_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KBENCH_CACHE", str(tmp_path / "cache"))
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("kb-agent", "dropbear", "dash"):
        (programs / name).write_bytes(b"#!/bin/sh\n")
        (programs / name).chmod(0o755)
    modules_tree(tmp_path, dict.fromkeys([*initramfs.LOAD, "e1000e", "bonding"], "depends="))
    kernel = LabKernel("1.0", None, tmp_path / "vmlinux", "00", tmp_path / "lib/modules/1.0", None)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    plain = initramfs.build(kernel, programs, None)
    nics = initramfs.build(kernel, programs, None, nics=True)
    with monkeypatch.context() as patch:
        patch.setattr(initramfs, "SSH_TOOLS", {"/usr/sbin/absent-dropbear": "dropbear-bin"})
        with pytest.raises(
            EnvironmentProblem, match="the lab needs absent-dropbear: install the package dropbear-bin"
        ):
            initramfs.build(kernel, programs, None, nics=True, ssh=True)
    ssh = initramfs.build(kernel, programs, None, nics=True, ssh=True)
    assert initramfs.build(kernel, programs, None) == plain

    def listing(image: Path) -> str:
        command = ["busybox", "cpio", "-t", "-v"]
        return subprocess.run(
            command, input=image.read_bytes(), check=True, capture_output=True
        ).stdout.decode()

    assert "e1000e.ko" not in listing(plain)
    for module in ("e1000e.ko", "bonding.ko"):
        assert module in listing(nics)
    assert "bin/sh -> busybox" in listing(nics)
    assert "dropbear" not in listing(nics)
    for part in ("usr/sbin/dropbear", "bin/sh -> dash", "bin/dash", "etc/passwd", "e1000e.ko"):
        assert part in listing(ssh)


def test_exact_mode_is_driven_by_instructions() -> None:
    command = Spec(Path("v"), Path("i"), "exact", "tcg", 1, 512).command(QEMU, 7)
    line = " ".join(command)
    for part in ("-icount shift=0,sleep=off", "-smp 1", "clock=vm", "-seed 1", "thread=single", "fd=7"):
        assert part in line
    append = command[command.index("-append") + 1]
    assert "nokaslr norandmaps init_on_alloc=0" in append
    assert append.endswith("rdinit=/sbin/kb-agent -- --init")
    with pytest.raises(ValueError, match="exact"):
        Spec(Path("v"), Path("i"), "exact", "tcg", 2, 512).command(QEMU, 7)
    with pytest.raises(ValueError, match="exact"):
        Spec(Path("v"), Path("i"), "exact", "kvm", 1, 512).command(QEMU, 7)


def test_fast_mode_keeps_the_kernels_own_defaults() -> None:
    line = " ".join(Spec(Path("v"), Path("i"), "fast", "kvm", 2, 512).command(QEMU, None))
    assert "-icount" not in line
    assert "init_on_alloc" not in line
    assert "-accel kvm" in line
    assert "virtserialport" not in line


@pytest.mark.parametrize(
    "line",
    [
        "[   12.1] Kernel panic - not syncing: Fatal exception",
        "[   12.1] kernel BUG at net/core/skbuff.c:2043!",
        "[   12.1] BUG: kernel NULL pointer dereference, address: 0000000000000008",
        "[   12.1] BUG: scheduling while atomic: kb-x/12/0x00000100",
        "Oops: 0000 [#1] PREEMPT SMP",
    ],
)
def test_the_first_fatal_line_is_kept(line: str) -> None:
    console = Console(Path("log"))
    console.take("[    0.1] BUGS: none, debug options quiet")
    assert console.failure is None
    console.take(line)
    console.take("[   12.2] Kernel panic - not syncing: later")
    assert console.failure == line.removeprefix("[   12.1] ")


def test_console_tells_ready_warnings_and_the_agents_errors() -> None:
    console = Console(Path("log"))
    console.take("[   1.0] WARNING: CPU: 0 PID: 1 at kernel/x.c:1 y+0x1/0x2\r\n")
    console.take("KBENCH-AGENT error module /x.ko: Exec format error (errno 8)")
    assert not console.ready.is_set()
    console.take("KBENCH-AGENT ready 6.1.0-5-amd64")
    assert console.ready.is_set()
    assert len(console.warnings) == 1
    assert console.agent_errors == ["module /x.ko: Exec format error (errno 8)"]
    assert console.failure is None


def test_missing_qemu_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentProblem, match="install the package qemu-system-x86"):
        qemu.find_qemu()


def fake_qemu(tmp_path: Path, script: str) -> Qemu:
    path = tmp_path / "qemu"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return Qemu(str(path), "0")


def test_a_dying_qemu_is_reported_with_its_words_and_log(tmp_path: Path) -> None:
    emulator = fake_qemu(tmp_path, "echo qemu: no such machine >&2; exit 3")
    machine = qemu.Machine(emulator, Spec(Path("v"), Path("i"), "fast", "tcg", 1, 64), tmp_path / "log")
    try:
        with pytest.raises(MeasureError, match=r"status 3: qemu: no such machine.*console is in .*/log"):
            machine.wait_ready(10)
    finally:
        machine.kill()


def test_a_hanging_guest_is_given_up(tmp_path: Path) -> None:
    machine = qemu.Machine(
        fake_qemu(tmp_path, "exec sleep 60"),
        Spec(Path("v"), Path("i"), "fast", "tcg", 1, 64),
        tmp_path / "log",
    )
    try:
        with pytest.raises(MeasureError, match="not ready after 0 s"):
            machine.wait_ready(0.2)
    finally:
        machine.kill()
    assert machine.process.poll() is not None
