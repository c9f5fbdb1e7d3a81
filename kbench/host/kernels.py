# SPDX-License-Identifier: GPL-2.0-only
"""The lab's kernels: Debian packages by exact version and checksum, unpacked into the cache, never installed.

kernels.toml names what is known good. A kernel that the user already has is described by `from_path`.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import lzma
import os
import shutil
import struct
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kbench.errors import EnvironmentProblem, UsageError
from kbench.host import archive
from kbench.host.archive import Package
from kbench.host.builds import Progress, cache_dir

PINS = Path(__file__).with_name("kernels.toml")
LAYOUT = 2
"""Version of an unpacked kernel's directory; a change makes older ones be unpacked again."""


@dataclass(frozen=True)
class LabKernel:
    """One kernel that the lab can boot, and where its parts are."""

    release: str
    """As `uname -r` prints it."""
    version: str | None
    """Version of the Debian package; None for a kernel given by path."""
    vmlinux: Path
    """ELF image, as QEMU boots it by PVH."""
    vmlinux_sha256: str
    modules_dir: Path
    """lib/modules/RELEASE."""
    build_dir: Path | None
    """What `make -C` builds modules in; None when no headers are there."""
    sha256s: dict[str, str] = field(default_factory=dict)
    """Checksum of each package that it was unpacked from."""
    notices: tuple[str, ...] = ()
    """What the reader of a result must know, for example that the pinned version was not to be had."""

    def require_build_dir(self) -> Path:
        """`build_dir`, or the error that tells the user what is missing."""
        if self.build_dir is None:
            raise EnvironmentProblem(
                f"no headers for kernel {self.release}: put linux-headers-{self.release} beside it "
                "(usr/src or lib/modules/*/build)"
            )
        return self.build_dir


def series() -> list[str]:
    """The names that --kernel takes besides a path."""
    return list(_pins())


def kernel(series_or_path: str, progress: Progress) -> LabKernel:
    """The kernel of a Debian series ("6.1", "6.12"), fetched at first use, or of a path (see `from_path`)."""
    pins = _pins()
    if series_or_path in pins:
        return _from_archive(series_or_path, pins[series_or_path], progress)
    if "/" in series_or_path or Path(series_or_path).exists():
        return from_path(Path(series_or_path), progress)
    raise UsageError(f"unknown kernel '{series_or_path}': one of {', '.join(pins)}, or a path")


def from_path(path: Path, progress: Progress) -> LabKernel:
    """A kernel that the user has.

    Either a directory that holds an unpacked kernel package (boot/vmlinuz-RELEASE, lib/modules/RELEASE and,
    to build modules, usr/src/linux-headers-RELEASE or lib/modules/RELEASE/build), or a vmlinuz file whose
    modules are in lib/modules/RELEASE beside it or one directory up (so /boot/vmlinuz-RELEASE works). The
    image needs CONFIG_PVH.
    """
    if not path.exists():
        raise UsageError(f"--kernel {path}: no such file or directory")
    path = path.resolve()
    if path.is_dir():
        images = sorted((path / "boot").glob("vmlinuz-*"))
        if len(images) != 1:
            what = "no boot/vmlinuz-* there" if not images else "several boot/vmlinuz-* there: name the file"
            raise UsageError(f"--kernel {path}: {what}")
        image = images[0]
    else:
        image = path
    release = image_release(image)
    tops = [top for top in (image.parent, image.parent.parent) if (top / "lib/modules" / release).is_dir()]
    if not tops:
        raise UsageError(f"--kernel {path}: no lib/modules/{release} beside the image")
    modules = tops[0] / "lib/modules" / release
    headers = [tops[0] / "usr/src" / f"linux-headers-{release}", modules / "build"]
    build = next((h for h in headers if (h / "Makefile").is_file()), None)
    digest = archive.sha256(image)
    cache = cache_dir() / "kernels" / "images"
    cache.mkdir(parents=True, exist_ok=True)
    vmlinux = cache / f"vmlinux-{digest[:16]}"
    with locked(cache):
        if not vmlinux.exists():
            progress(f"unpacking the image of kernel {release}")
            write_atomically(vmlinux, extract_vmlinux(image.read_bytes(), str(image)))
    return LabKernel(release, None, vmlinux, archive.sha256(vmlinux), modules, build, {image.name: digest})


def image_release(image: Path) -> str:
    """Release string in the header of a bzImage (Documentation/arch/x86/boot.rst, kernel_version)."""
    with image.open("rb") as file:
        head = file.read(0x8000)
    if head[0x202:0x206] != b"HdrS":
        raise UsageError(f"--kernel {image}: not a Linux kernel image (bzImage)")
    start = struct.unpack_from("<H", head, 0x20E)[0] + 0x200
    return head[start:].split(b"\0", 1)[0].split(b" ", 1)[0].decode(errors="replace")


def extract_vmlinux(image: bytes, name: str) -> bytes:
    """The ELF file in a bzImage, which is compressed at payload_offset of its header."""
    sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * 512 + offset
    payload = image[start : start + length]
    if payload.startswith(b"\xfd7zXZ\0"):
        raw = lzma.LZMADecompressor().decompress(payload)
    elif payload.startswith(b"\x1f\x8b"):
        raw = gzip.decompress(payload[:-4])  # the kernel appends the unpacked size
    elif payload.startswith(b"\x5d\0\0"):
        raw = lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(payload)
    elif payload.startswith(b"\x28\xb5\x2f\xfd"):
        raw = unzstd(payload[:-4])
    elif payload.startswith(b"\x7fELF"):
        raw = payload
    else:
        raise EnvironmentProblem(f"{name}: its image is compressed in a way that kbench can't read")
    if not raw.startswith(b"\x7fELF"):
        raise EnvironmentProblem(f"{name}: no ELF image in it")
    return raw


def unzstd(data: bytes) -> bytes:
    """Decompress Zstandard data with the `zstd` program; Python 3.11 has no module for it."""
    try:
        return subprocess.run(["zstd", "-dcq"], input=data, capture_output=True, check=True).stdout
    except FileNotFoundError as error:
        raise EnvironmentProblem("zstd is missing: install the package zstd") from error
    except subprocess.CalledProcessError as error:
        raise EnvironmentProblem(f"zstd failed: {error.stderr.decode(errors='replace').strip()}") from error


def _pins() -> dict[str, dict[str, Any]]:
    pins: dict[str, dict[str, Any]] = tomllib.loads(PINS.read_text())["series"]
    return pins


def _from_archive(name: str, pin: dict[str, Any], progress: Progress) -> LabKernel:
    top = cache_dir() / "kernels"
    top.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(json.dumps([LAYOUT, pin], sort_keys=True).encode()).hexdigest()[:16]
    marker = top / f"{name}-{key}.json"
    with locked(top):
        if not marker.exists():
            record = _fetch(name, pin, top, progress)
            write_atomically(marker, json.dumps(record, indent=1).encode())
        record = json.loads(marker.read_text())
    root = top / record["directory"]
    release: str = record["release"]
    found = LabKernel(
        release,
        record["version"],
        root / "vmlinux",
        record["vmlinux_sha256"],
        root / "lib/modules" / release,
        root / "usr/src" / f"linux-headers-{release}",
        record["sha256s"],
        tuple(record["notices"]),
    )
    if not found.vmlinux.is_file():
        marker.unlink()
        return _from_archive(name, pin, progress)
    return found


def _fetch(name: str, pin: dict[str, Any], top: Path, progress: Progress) -> dict[str, Any]:
    apt = archive.Archive(top / "apt", pin["codename"])
    mirrors = archive.debian_mirrors(archive.read_sources(), archive.read_os_release())
    apt.configure(*mirrors)
    progress("reading the index of the Debian archive")
    apt.update()
    release, packages, notices = choose(name, pin, apt)
    for notice in notices:
        progress(notice)
    directory = f"{release}_{packages[0].version}"
    work = Path(tempfile.mkdtemp(prefix="unpack-", dir=top))
    try:
        pinned: dict[str, str] = pin["packages"] if not notices else {}
        for package in packages:
            deb = apt.fetch(package, pinned.get(package.name, package.sha256), progress)
            progress(f"unpacking {package.name}")
            archive.unpack(deb, work)
            deb.unlink()
        progress(f"unpacking the image of kernel {release}")
        image = work / "boot" / f"vmlinuz-{release}"
        elf = extract_vmlinux(image.read_bytes(), image.name)
        (work / "vmlinux").write_bytes(elf)
        _relocate(work, release)
        work.chmod(0o755)
        if (top / directory).exists():
            shutil.rmtree(top / directory)
        work.rename(top / directory)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return {
        "directory": directory,
        "release": release,
        "version": packages[0].version,
        "notices": notices,
        "vmlinux_sha256": hashlib.sha256(elf).hexdigest(),
        "sha256s": {p.name: pinned.get(p.name, p.sha256) for p in packages},
    }


def choose(name: str, pin: dict[str, Any], apt: archive.Archive) -> tuple[str, list[Package], list[str]]:
    """Release, packages (image first) and notices: the pinned packages, else the newest set of the series."""
    offered: dict[str, list[Package]] = {}
    for package in apt.offers(f"linux-(?:{pin['pattern']})"):
        offered.setdefault(package.name, []).append(package)
    exact = [p for wanted in pin["packages"] for p in offered.get(wanted, []) if p.version == pin["version"]]
    if len(exact) == len(pin["packages"]):
        return pin["release"], exact, []
    images = [p for n, ps in offered.items() if n.startswith("linux-image-") for p in ps]
    for image in apt.newest_first(images):
        release = image.name.removeprefix("linux-image-")
        common = release.removesuffix("-amd64") + "-common"
        kbuild = pin["kbuild"].replace("ABI", release.removesuffix("-amd64"))
        wanted = [f"linux-headers-{release}", f"linux-headers-{common}", kbuild]
        rest = [next((p for p in offered.get(w, []) if p.version == image.version), None) for w in wanted]
        if all(rest):
            notice = (
                f"kernel {name}: the archive no longer has the pinned version {pin['version']}; "
                f"using {image.version}, checked against the archive's signed index. "
                "Exact figures of the two are not comparable"
            )
            return release, [image, *(p for p in rest if p)], [notice]
    missing = next((w for w in pin["packages"] if w not in offered), next(iter(pin["packages"])))
    raise EnvironmentProblem(
        f"the Debian archive has no package {missing} nor another kernel {name} with headers: {archive.HELP}"
    )


def _relocate(root: Path, release: str) -> None:
    """Let modules be built where the headers were unpacked: their paths name /usr/src."""
    headers = root / "usr/src" / f"linux-headers-{release}"
    makefile = headers / "Makefile"
    text = makefile.read_text()
    makefile.write_text(text.replace("include /usr/src/", "include $(dir $(lastword $(MAKEFILE_LIST)))../"))
    btf = (
        headers / "vmlinux"
    )  # with it kbuild wants pahole, to make type information that kbench's module doesn't need
    if btf.exists():
        btf.rename(headers / "vmlinux.btf")
    for name, target in (("build", headers.name), ("source", headers.name.removesuffix("amd64") + "common")):
        link = root / "lib/modules" / release / name
        link.unlink(missing_ok=True)
        link.symlink_to(f"../../../usr/src/{target}")


def write_atomically(path: Path, data: bytes) -> None:
    """The whole file or none of it, also when the machine stops meanwhile."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    done = Path(file.name)
    done.chmod(0o644)
    done.replace(path)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One process at a time; the others wait."""
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
