# SPDX-License-Identifier: GPL-2.0-only
"""The list of system packages (tools/packages.txt) and what of it is missing on this machine."""

from __future__ import annotations

import functools
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from kbench.errors import EnvironmentProblem

Tier = Literal["build", "run", "test", "weak", "kernel"]
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where a user's PATH may not lead."""


@dataclass(frozen=True)
class Package:
    """One line of the list."""

    names: tuple[str, ...]
    """Debian's name first, then those of other releases."""
    provides: str
    """A command, or a file by its absolute path; of that patterns, and alternatives parted by ``|``."""
    tier: Tier
    reason: str

    @property
    def name(self) -> str:
        """The package as Debian calls it."""
        return self.names[0]


def parse(text: str) -> tuple[Package, ...]:
    """The lines of packages.txt."""
    found = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            names, provides, tier, reason = line.split(maxsplit=3)
            found.append(Package(tuple(names.split("|")), provides, cast(Tier, tier), reason))
    return tuple(found)


@functools.cache
def packages() -> tuple[Package, ...]:
    """The list that this copy of kbench came with."""
    package = Path(__file__).resolve().parent.parent
    for root in (package.parent, package / "_src"):
        path = root / "tools" / "packages.txt"
        if path.exists():
            return parse(path.read_text())
    raise EnvironmentProblem(f"tools/packages.txt is missing from {package}; install kbench again")


def is_there(provides: str) -> bool:
    """Whether a command is on PATH (or where root's is), or a header below any of the usual places."""
    if not provides.startswith("/"):
        return bool(shutil.which(provides) or shutil.which(provides, path=SBIN))
    if any(any(Path("/").glob(pattern.lstrip("/"))) for pattern in provides.split("|")):
        return True
    path = Path(provides)
    if not path.is_relative_to("/usr/include"):
        return False
    below = path.relative_to("/usr/include")
    places = [*Path("/usr/include").glob("*-linux-gnu*"), Path("/usr/local/include")]
    return any((place / below).exists() for place in places)


def missing(tier: Tier = "run") -> tuple[Package, ...]:
    """What of a tier is not on this machine."""
    return tuple(package for package in packages() if package.tier == tier and not is_there(package.provides))


def package_of(provides: str) -> str:
    """The Debian package that has a command or header, for messages; what is not in the list stays as it is."""
    for package in packages():
        if provides in (package.provides, Path(package.provides).name):
            return package.name
    return provides
