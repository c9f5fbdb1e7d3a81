# SPDX-License-Identifier: GPL-2.0-only
"""A newer QEMU from Debian's backports, unpacked into the cache, for what this machine's own does not emulate.

qemu.toml names what is known good. Nothing is installed, and nothing of the packages is run but the emulator.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbench.errors import EnvironmentProblem
from kbench.host import archive
from kbench.host.archive import Package
from kbench.host.builds import Progress, cache_dir
from kbench.host.kernels import locked, write_atomically

PINS = Path(__file__).with_name("qemu.toml")
HELP = "install a QEMU of version 8.1 or newer"
DATA = ("usr/share/qemu", "usr/share/seabios")
"""Where the packages have the firmware."""


@dataclass(frozen=True)
class Unpacked:
    """The emulator in the cache."""

    program: Path
    data_dirs: tuple[Path, ...]
    notice: str | None
    """What the reader of a result must know: that the pinned version was not to be had."""


def fetch(progress: Progress) -> Unpacked:
    """The newer QEMU, from the cache or, at first use, from the Debian archive.

    Raises EnvironmentProblem where that can't be had, or does not run here.
    """
    pins = tomllib.loads(PINS.read_text())
    key = hashlib.sha256(json.dumps(pins, sort_keys=True).encode()).hexdigest()[:16]
    top = cache_dir() / "kernels"  # shares its private apt
    top.mkdir(parents=True, exist_ok=True)
    root = top / f"qemu-{key}"
    marker = root / "kbench.json"
    with locked(top):
        if not marker.exists():
            shutil.rmtree(root, ignore_errors=True)
            _unpack(pins, top, root, progress)
        notice = json.loads(marker.read_text())["notice"]
    return Unpacked(root / "usr/bin/qemu-system-x86_64", tuple(root / name for name in DATA), notice)


def _unpack(pins: dict[str, Any], top: Path, root: Path, progress: Progress) -> None:
    apt = archive.Archive(top / "apt", pins["codename"], HELP)
    apt.configure(*archive.debian_mirrors(archive.read_sources(), archive.read_os_release(), "QEMU", HELP))
    progress("reading the index of the Debian archive")
    apt.update()
    packages, notice = choose(pins["packages"], apt)
    work = Path(tempfile.mkdtemp(prefix="unpack-", dir=top))
    try:
        for package in packages:
            deb = apt.fetch(package, package.sha256, progress)
            archive.unpack(deb, work)
            deb.unlink()
        _check(work / "usr/bin/qemu-system-x86_64")
        write_atomically(work / "kbench.json", json.dumps({"notice": notice}).encode())
        work.chmod(0o755)
        work.rename(root)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def choose(pins: dict[str, dict[str, str]], apt: archive.Archive) -> tuple[list[Package], str | None]:
    """The pinned packages with their pinned checksums, else the newest of each, and the notice that says so."""
    offered = {name: [p for p in apt.offers(re.escape(name), prefix=name) if p.name == name] for name in pins}
    lacking = [name for name, packages in offered.items() if not packages]
    if lacking:
        raise EnvironmentProblem(f"the Debian archive has no package {lacking[0]}: {HELP}")
    if all(any(p.version == pin["version"] for p in offered[name]) for name, pin in pins.items()):
        return [
            next(
                Package(name, p.version, pin["sha256"], p.size_bytes)
                for p in offered[name]
                if p.version == pin["version"]
            )
            for name, pin in pins.items()
        ], None
    newest = [apt.newest_first(packages)[0] for packages in offered.values()]
    return newest, (
        f"the archive no longer has the pinned QEMU; using {newest[0].version}, checked against the archive's "
        "signed index"
    )


def _check(program: Path) -> None:
    """Its libraries are those of the machine's own QEMU."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    missing = re.findall(r"(\S+) => not found", done.stdout)
    if missing:
        raise EnvironmentProblem(
            f"the newer QEMU lacks {', '.join(missing)}: install the package qemu-system-x86, which has the same "
            "libraries"
        )
