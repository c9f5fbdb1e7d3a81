# SPDX-License-Identifier: GPL-2.0-only
"""Packages of the Debian archive, fetched and unpacked without touching the machine's own apt.

The mirror and the keyring are read from the machine's apt sources; suites, state, lists and downloads are
private to kbench's cache, so that nothing is installed and `apt` on this machine works as before.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kbench.errors import EnvironmentProblem
from kbench.host.builds import Progress

DEFAULT_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
HELP = "give an unpacked kernel with --kernel PATH instead"


@dataclass(frozen=True)
class Source:
    """One `deb` line of the machine's apt sources: where, which suites, signed by whom."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    keyring: str | None


@dataclass(frozen=True)
class Package:
    """One package as the signed index of the archive offers it."""

    name: str
    version: str
    sha256: str
    size_bytes: int


def read_sources(etc_apt: Path = Path("/etc/apt")) -> list[Source]:
    """All enabled binary sources, from one-line (.list) and deb822 (.sources) files."""
    found: list[Source] = []
    lists = [etc_apt / "sources.list", *sorted((etc_apt / "sources.list.d").glob("*.list"))]
    for path in lists:
        if path.is_file():
            found += _read_one_line(path.read_text(errors="replace"))
    for path in sorted((etc_apt / "sources.list.d").glob("*.sources")):
        found += _read_deb822(path.read_text(errors="replace"))
    return found


def _read_one_line(text: str) -> list[Source]:
    found = []
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^]]*)\]\s*)?(\S+)\s+(\S+)([^#]*)", line)
        if match:
            options = dict(o.split("=", 1) for o in (match[1] or "").split() if "=" in o)
            found.append(
                Source(match[2].rstrip("/"), (match[3],), tuple(match[4].split()), options.get("signed-by"))
            )
    return found


def _read_deb822(text: str) -> list[Source]:
    found = []
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line[:1] in (" ", "\t"):
                fields[key] = fields.get(key, "") + "\n" + line.strip()
            elif ":" in line:
                key, _, value = line.partition(":")
                key = key.strip().lower()
                fields[key] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in (
            "no",
            "false",
        ):
            continue
        signed = fields.get("signed-by", "").strip()
        keyring = (
            signed if signed.startswith("/") else None
        )  # an embedded key block: the default keyring serves
        suites, components = (
            tuple(fields.get("suites", "").split()),
            tuple(fields.get("components", "").split()),
        )
        found += [Source(u.rstrip("/"), suites, components, keyring) for u in fields.get("uris", "").split()]
    return found


def debian_mirrors(
    sources: Iterable[Source],
    os_release: dict[str, str],
    what: str = "the lab's kernels",
    help_text: str = HELP,
) -> tuple[Source, Source | None]:
    """The machine's main Debian mirror and, where it has one, its security mirror; `what` is to come from them.

    Raises EnvironmentProblem where the machine does not use the Debian archive (Ubuntu, other systems).
    """
    ours = {os_release.get("VERSION_CODENAME", ""), "stable", "oldstable", "testing", "unstable", "sid"} - {
        ""
    }
    if os_release.get("ID") != "debian":
        name = os_release.get("PRETTY_NAME", "this system")
        raise EnvironmentProblem(
            f"{what} would come from the Debian archive, which {name} does not use: {help_text}"
        )
    sources = [s for s in sources if "main" in s.components]
    mains = [s for s in sources if ours & set(s.suites)]
    # Third parties name their suites like Debian's; Debian's own mirror also carries the -updates suite.
    updates = {
        s.uri for s in sources if any(x.removesuffix("-updates") in ours for x in s.suites if "-updates" in x)
    }
    mains.sort(key=lambda s: (s.uri not in updates, "debian-archive" not in (s.keyring or "")))
    if not mains:
        raise EnvironmentProblem(
            f"no Debian mirror in the apt sources of this machine (deb ... main): {help_text}"
        )
    security = [s for s in sources if any(re.search(r"(-security|/updates)$", x) for x in s.suites)]
    return mains[0], security[0] if security else None


def read_os_release(path: Path = Path("/etc/os-release")) -> dict[str, str]:
    """The fields of os-release(5)."""
    pairs = (line.partition("=") for line in path.read_text().splitlines() if "=" in line)
    return {key.strip(): value.strip().strip('"') for key, _, value in pairs}


class Archive:
    """A private apt below `directory`, for one Debian release and its backports."""

    def __init__(self, directory: Path, codename: str = "bookworm", help_text: str = HELP) -> None:
        self.directory = directory
        self.help_text = help_text
        self.codename = codename
        self._config = directory / "apt.conf"

    def configure(self, main: Source, security: Source | None) -> None:
        """Write the private configuration. Proxies and the like still come from the machine's own."""
        for name in ("state/lists/partial", "cache/archives/partial", "etc/preferences.d"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        keyring = main.keyring or str(DEFAULT_KEYRING)
        if not Path(keyring).is_file():
            raise EnvironmentProblem(f"{keyring} is missing: install the package debian-archive-keyring")
        stanzas = [(main.uri, f"{self.codename} {self.codename}-backports", keyring)]
        if security:
            stanzas.append((security.uri, f"{self.codename}-security", security.keyring or keyring))
        text = "\n".join(
            f"Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main\n"
            f"Architectures: amd64\nSigned-By: {key}\n"
            for uri, suites, key in stanzas
        )
        (self.directory / "etc/debian.sources").write_text(text)
        base = self.directory.resolve()
        settings = {
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": f"{base}/etc",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": f"{base}/etc/preferences.d",
            "Dir::State": f"{base}/state",
            "Dir::Cache": f"{base}/cache",
            "Dir::Log": f"{base}",
            "Dir::State::status": f"{base}/state/status",
            "APT::Architecture": "amd64",
            "APT::Architectures": "amd64",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::Check-Valid-Until": "false",
            "Acquire::Retries": "2",
        }
        (self.directory / "state/status").touch()
        self._config.write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))

    def _apt(self, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "APT_CONFIG": str(self._config.resolve()), "LC_ALL": "C"}
        try:
            return subprocess.run(
                command, env=environment, cwd=cwd, capture_output=True, text=True, check=False
            )
        except FileNotFoundError as error:
            raise EnvironmentProblem(f"{command[0]} is missing on this machine: {self.help_text}") from error

    def update(self) -> None:
        """Fetch the signed indexes of the archive."""
        done = self._apt("apt-get", "-q", "--error-on=any", "update")
        if done.returncode:
            lines = [x for x in done.stderr.splitlines() if x.startswith(("E:", "W:"))] or [
                "apt-get update failed"
            ]
            raise EnvironmentProblem(
                f"can't read the Debian archive ({lines[0][2:].strip()}): check the network, or {self.help_text}"
            )

    def offers(self, pattern: str, prefix: str = "linux-") -> list[Package]:
        """Packages whose whole name matches the regular expression and has the prefix, every version of them."""
        names = self._apt("apt-cache", "pkgnames", prefix).stdout.split()
        names = [n for n in names if re.fullmatch(pattern, n)]
        if not names:
            return []
        found: dict[tuple[str, str], Package] = {}
        for stanza in self._apt("apt-cache", "show", *names).stdout.split("\n\n"):
            f = dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", stanza, re.M))
            if re.fullmatch(pattern, f.get("Package", "")) and f.get("SHA256"):
                found[f["Package"], f["Version"]] = Package(
                    f["Package"], f["Version"], f["SHA256"], int(f["Size"])
                )
        return list(found.values())

    @staticmethod
    def newest_first(packages: list[Package]) -> list[Package]:
        """Sorted by Debian's order of versions."""
        return sorted(packages, key=functools.cmp_to_key(_by_version), reverse=True)

    def fetch(self, package: Package, expected: str, progress: Progress) -> Path:
        """Download one package and check it against `expected`; a wrong file is removed."""
        target = self.directory / "cache/archives"
        for old in target.glob(f"{package.name}_*.deb"):
            old.unlink()
        command = ["apt-get", "-q", "download", f"{package.name}={package.version}"]
        environment = {**os.environ, "APT_CONFIG": str(self._config.resolve()), "LC_ALL": "C"}
        with subprocess.Popen(
            command, env=environment, cwd=target, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as child:
            start, told = time.monotonic(), 0
            progress(_fetching(package, 0, 0.0))
            while child.poll() is None:
                have = sum(_size(p) for p in target.rglob(f"{package.name}_*.deb*"))
                tenths = have * 10 // package.size_bytes
                if tenths > told:
                    progress(_fetching(package, have, time.monotonic() - start))
                    told = tenths
                time.sleep(0.2)
            errors = child.stderr.read() if child.stderr else ""
        files = list(target.glob(f"{package.name}_*.deb"))
        if child.returncode or len(files) != 1:
            first = next(
                (x[2:].strip() for x in errors.splitlines() if x.startswith("E:")), "no file arrived"
            )
            raise EnvironmentProblem(
                f"can't fetch {package.name} {package.version} ({first}): try again, or {self.help_text}"
            )
        got = sha256(files[0])
        if got != expected:
            files[0].unlink()
            raise EnvironmentProblem(
                f"wrong checksum of package {package.name} {package.version}: "
                f"expected {expected}, got {got}; the file was removed"
            )
        return files[0]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # apt renames its partial files while we look
        return 0


def _fetching(package: Package, have_bytes: int, elapsed_s: float) -> str:
    text = f"fetching {package.name}: {have_bytes / 1e6:.0f} of {package.size_bytes / 1e6:.0f} MB"
    if have_bytes and elapsed_s > 1:
        text += f", {elapsed_s * (package.size_bytes / have_bytes - 1):.0f} s left"
    return text


def _by_version(a: Package, b: Package) -> int:
    if a.version == b.version:
        return (a.name > b.name) - (a.name < b.name)
    newer = (
        subprocess.run(["dpkg", "--compare-versions", a.version, "gt", b.version], check=False).returncode
        == 0
    )
    return 1 if newer else -1


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(deb: Path, root: Path) -> None:
    """Unpack a package's files below `root`; nothing of it is run."""
    if not shutil.which("dpkg-deb"):
        raise EnvironmentProblem("dpkg-deb is missing: install the package dpkg")
    done = subprocess.run(
        ["dpkg-deb", "-x", str(deb), str(root)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise EnvironmentProblem(f"can't unpack {deb.name}: {done.stderr.strip().splitlines()[-1]}")
