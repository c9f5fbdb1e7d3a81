# SPDX-License-Identifier: GPL-2.0-only
"""The lab's root file system: busybox, ip, ethtool, kbench's programs, and the kernel modules they need.

Everything in it comes from named files; it is cached by what went into it.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from kbench.errors import EnvironmentProblem
from kbench.host.builds import cache_dir
from kbench.host.cpio import Cpio
from kbench.host.kernels import LabKernel, unzstd

LAYOUT = 1
"""Version of what this file builds; part of the cache's key."""

LOAD = ("virtio_pci", "virtio_console", "veth", "dummy", "pktgen")
"""Loaded at boot."""
CARRY = (
    "bridge",
    "br_netfilter",
    "sch_ingress",
    "cls_bpf",
    "act_gact",
    "act_mirred",
    "nf_conntrack",
    "nf_tables",
    "tun",
    "ifb",
    "xsk_diag",
    "virtio_net",
)
"""Carried where the kernel has them, for modprobe and for the kernel's own requests."""
NIC_DRIVERS = ("virtio_net", "e1000e", "e1000", "vmxnet3", "igb")
NIC_CARRY = (
    *NIC_DRIVERS,
    "8021q",
    "bonding",
    "ipvlan",
    "macvlan",
    "openvswitch",
    "team",
    "team_mode_activebackup",
    "team_mode_broadcast",
    "team_mode_loadbalance",
    "team_mode_random",
    "team_mode_roundrobin",
    "vrf",
    "vxlan",
)
"""Carried besides, where the kernel has them, in a lab with NICs: drivers, and what a machine makes of its ports."""

TOOLS = {"ip": "iproute2", "ethtool": "ethtool"}
"""Programs taken from this machine, and the package that each is in."""

SSH_TOOLS = {"/usr/sbin/dropbear": "dropbear-bin", "/bin/dash": "dash"}
"""The server, and the shell that it starts: busybox's would run its own `ip`, which knows too little."""
SSH_FILES = {"etc/passwd": "root:*:0:0:root:/root:/bin/sh\n", "etc/shells": "/bin/sh\n"}

KEEP = 12
"""Images kept in the cache."""

PROFILE = """export PATH=/kbench/bin:/sbin:/bin:/usr/sbin:/usr/bin
echo "Lab: Linux $(uname -r). Programs are in /kbench/bin, the module in /kbench/modules; 'exit' powers off."
alias ip=/sbin/ip  # busybox's shell prefers its own, which knows no veth
PS1='lab:\\w# '
"""
"""/etc/profile, for `kbench lab shell`."""


def build(
    kernel: LabKernel, programs_dir: Path, module: Path | None, *, nics: bool = False, ssh: bool = False
) -> Path:
    """The image for this kernel with the static programs of `programs_dir` (kb-*) and kbench's module.

    With `nics` it carries their drivers, with `ssh` a server (see lab_ssh.py). Without, it stays what it is: its
    size is part of exact figures.

    Raises EnvironmentProblem naming the package when this machine lacks a part.
    """
    busybox = _busybox()
    tools = {f"/sbin/{name}": _tool(name, package) for name, package in TOOLS.items()}
    if ssh:
        tools |= {path: _tool(Path(path).name, package) for path, package in SSH_TOOLS.items()}
    libraries = _libraries(tools.values())
    programs = sorted(p for p in programs_dir.glob("kb-*") if p.is_file())
    if not any(p.name == "kb-agent" for p in programs):
        raise EnvironmentProblem(f"{programs_dir} has no kb-agent: build the programs first")
    inputs = [busybox, *tools.values(), *libraries.values(), *programs, *([module] if module else [])]
    carry = CARRY + NIC_CARRY if nics else CARRY
    files = SSH_FILES if ssh else {}
    key = _key(kernel, inputs, carry, files)
    cache = cache_dir() / "initramfs"
    cache.mkdir(parents=True, exist_ok=True)
    image = cache / f"{kernel.release}-{key}.cpio"
    if image.exists():
        os.utime(image)
        return image

    cpio = Cpio()
    for name in ("dev", "proc", "sys", "tmp", "run/netns", "root", "etc/kbench", "mnt"):
        cpio.directory(name)
    cpio.character_device("dev/console", 5, 1)
    cpio.file("bin/busybox", busybox.read_bytes(), 0o755)
    for dest, source in {**tools, **libraries}.items():
        cpio.file(dest, source.read_bytes(), 0o755)
    for applet in subprocess.run(
        [busybox, "--list"], capture_output=True, text=True, check=True
    ).stdout.split():
        if applet not in ("busybox", *(Path(tool).name for tool in tools)):
            cpio.symlink(f"bin/{applet}", "dash" if ssh and applet == "sh" else "busybox")
    for program in programs:
        cpio.file(f"kbench/bin/{program.name}", program.read_bytes(), 0o755)
    cpio.symlink("sbin/kb-agent", "/kbench/bin/kb-agent")
    cpio.symlink("sbin/modprobe", "/bin/busybox")  # where the kernel looks for it
    if module:
        cpio.file(f"kbench/modules/{module.name}", module.read_bytes())
    _add_modules(cpio, Modules(kernel.modules_dir, kernel.release), carry)
    cpio.file("etc/profile", PROFILE.encode())
    for path, text in files.items():
        cpio.file(path, text.encode())
    _store(image, cpio.finish())
    return image


class Modules:
    """The loadable modules of an unpacked kernel, and what each depends on.

    The packages carry no modules.dep (it is made at installation), so the modules' own words are read.
    """

    def __init__(self, modules_dir: Path, release: str) -> None:
        self.release = release
        self.top = modules_dir
        self._files = {_name(p.name): p for p in sorted((modules_dir / "kernel").rglob("*.ko*"))}
        builtin = modules_dir / "modules.builtin"
        lines = builtin.read_text().split() if builtin.exists() else []
        self.builtin = {_name(Path(line).name) for line in lines}
        self._data: dict[str, bytes] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def data(self, name: str) -> bytes:
        """A module's ELF file, decompressed."""
        if name not in self._data:
            path = self._files[name]
            raw = path.read_bytes()
            if path.suffix == ".xz":
                raw = lzma.decompress(raw)
            elif path.suffix == ".zst":
                raw = unzstd(raw)
            self._data[name] = raw
        return self._data[name]

    def path(self, name: str) -> str:
        """Where the decompressed module lies below lib/modules/RELEASE."""
        relative = str(self._files[name].relative_to(self.top))
        return relative[: relative.index(".ko") + 3]

    def info(self, name: str, key: str) -> list[str]:
        """The values of one key of a module's .modinfo."""
        found = re.findall(rb"(?:^|\0)" + key.encode() + rb"=([^\0]*)", self.data(name))
        return [value.decode(errors="replace") for value in found]

    def depends(self, name: str) -> list[str]:
        """Modules that must be loaded before: hard dependencies, then what a softdep wants first."""
        names = [x for value in self.info(name, "depends") for x in value.split(",") if x]
        for value in self.info(name, "softdep"):
            before = re.search(r"pre:(.*?)(?:post:|$)", value)
            names += before[1].split() if before else []
        # A soft dependency may name a crypto algorithm; its portable implementation is NAME_generic.
        resolved = (n if n in self or n in self.builtin else f"{n}_generic" for n in map(_name, names))
        return [n for n in resolved if n in self]

    def closure(self, wanted: Iterable[str]) -> list[str]:
        """`wanted` and all that they depend on, in an order in which they can be loaded."""
        order: list[str] = []
        seen: set[str] = set()

        def visit(name: str) -> None:
            if name in seen:
                return
            seen.add(name)
            for other in self.depends(name):
                visit(other)
            order.append(name)

        for name in wanted:
            if name in self:
                visit(name)
            elif name not in self.builtin:
                raise EnvironmentProblem(f"kernel {self.release} has no module {name}, which the lab needs")
        return order


def _add_modules(cpio: Cpio, modules: Modules, extra: Iterable[str]) -> None:
    top = f"lib/modules/{modules.release}"
    load = modules.closure(LOAD)
    carry = modules.closure([*load, *(m for m in extra if m in modules)])
    dependencies, aliases = [], []
    for name in carry:
        cpio.file(f"{top}/{modules.path(name)}", modules.data(name))
        needs = [n for n in reversed(modules.closure([name])) if n != name]
        dependencies.append(f"{modules.path(name)}: {' '.join(modules.path(n) for n in needs)}\n")
        aliases += [f"alias {alias} {name}\n" for alias in modules.info(name, "alias")]
    cpio.file(f"{top}/modules.dep", "".join(dependencies).encode())
    cpio.file(f"{top}/modules.alias", "".join(aliases).encode())
    cpio.file("etc/kbench/modules", "".join(f"/{top}/{modules.path(n)}\n" for n in load).encode())


def _name(file: str) -> str:
    return file.split(".ko", 1)[0].replace("-", "_")


def _busybox() -> Path:
    found = shutil.which("busybox", path=f"{os.environ.get('PATH', '')}:/bin:/usr/bin")
    if not found or _is_dynamic(Path(found)):
        raise EnvironmentProblem("the lab needs a static busybox: install the package busybox-static")
    return Path(found)


def _is_dynamic(path: Path) -> bool:
    """Whether an ELF file names an interpreter (program header PT_INTERP)."""
    data = path.read_bytes()
    if data[:5] != b"\x7fELF\x02":
        return True
    start, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    return any(struct.unpack_from("<I", data, start + i * size)[0] == 3 for i in range(count))


def _tool(name: str, package: str) -> Path:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if not found:
        raise EnvironmentProblem(f"the lab needs {name}: install the package {package}")
    return Path(found)


def _libraries(programs: Iterable[Path]) -> dict[str, Path]:
    """The shared libraries of programs, and the dynamic linker, by the path they are looked up at."""
    found: dict[str, Path] = {}
    for program in programs:
        done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
        for match in re.finditer(r"(?:=> )?(/\S+) \(0x", done.stdout):
            found[match[1]] = Path(match[1])
        missing = re.search(r"(\S+) => not found", done.stdout)
        if missing:
            raise EnvironmentProblem(f"{program} lacks its library {missing[1]}: reinstall its package")
    return found


def _key(kernel: LabKernel, inputs: Iterable[Path], carry: tuple[str, ...], files: Mapping[str, str]) -> str:
    digest = hashlib.sha256(
        f"{LAYOUT} {LOAD} {carry} {PROFILE} {kernel.vmlinux_sha256} {kernel.modules_dir}".encode()
    )
    for name, text in files.items():
        digest.update(f"{name} {text}".encode())
    for path in (kernel.modules_dir, *inputs):
        status = path.stat()
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _store(image: Path, data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=image.parent, prefix=".new-", delete=False) as file:
        file.write(data)
    Path(file.name).replace(image)
    old = sorted(image.parent.glob("*.cpio"), key=lambda p: p.stat().st_mtime, reverse=True)[KEEP:]
    for path in old:
        path.unlink(missing_ok=True)
