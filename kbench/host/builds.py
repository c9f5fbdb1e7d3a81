# SPDX-License-Identifier: GPL-2.0-only
"""Builds the C parts into a cache, keyed by their sources and the tools, so a second start costs nothing."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kbench.errors import EnvironmentProblem
from kbench.host import packages

Progress = Callable[[str], None]

SOURCE_DIRS = ("core", "kmods", "userspace")
SOURCE_SUFFIXES = (".c", ".h", ".mk")
SOURCE_NAMES = ("Makefile", "Kbuild")
LOG_TAIL_LINES = 12
BUILD_TIMEOUT_S = 600
UNFINISHED_AGE_S = 3600
UNUSED_AGE_S = 30 * 24 * 3600
MAX_ATTEMPTS = 3
SLOWABLE = {"kb-xdp": "bpf", "kb-af-packet": "af_packet"}
"""Programs that can be built with a slow-down of the core, and their directories below userspace/."""


def source_root() -> Path:
    """Where core/, kmods/ and userspace/ are: the checkout beside the package, or the wheel's copy in it."""
    package = Path(__file__).resolve().parent.parent
    for root in (package.parent, package / "_src"):
        if (root / "userspace" / "common.mk").exists():
            return root
    raise EnvironmentProblem(f"the C sources are missing from {package}; install kbench again")


def cache_dir() -> Path:
    """KBENCH_CACHE, or kbench below XDG_CACHE_HOME or ~/.cache."""
    if own := os.environ.get("KBENCH_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "kbench"


def _sources(root: Path, dirs: Sequence[str]) -> list[Path]:
    found = []
    for name in dirs:
        for directory, subdirs, files in os.walk(root / name):
            subdirs.sort()
            found += [
                Path(directory, file)
                for file in sorted(files)
                if (file.endswith(SOURCE_SUFFIXES) and not file.endswith(".mod.c")) or file in SOURCE_NAMES
            ]
    return found


def _identity(tool: str) -> str:
    """A tool's resolved path, size and time: changes when it is upgraded, and costs no process to ask."""
    path = shutil.which(tool) or ""
    if not path:
        return f"{tool} missing"
    real = Path(path).resolve()
    stat = real.stat()
    return f"{tool} {real} {stat.st_size} {stat.st_mtime_ns}"


def _libbpf_identity() -> str:
    """The static libbpf that is linked in, by the same measure."""
    for archive in sorted(Path("/usr/lib").glob("*/libbpf.a")) + sorted(Path("/usr/lib64").glob("libbpf.a")):
        stat = archive.stat()
        return f"{archive} {stat.st_size} {stat.st_mtime_ns}"
    return "libbpf.a missing"


def _key(root: Path, dirs: Sequence[str], facts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for fact in facts:
        digest.update(fact.encode() + b"\0")
    for path in _sources(root, dirs):
        digest.update(_content(root, path))
    return digest.hexdigest()[:24]


def _content(root: Path, path: Path) -> bytes:
    """A file's name and content, told apart from those of the next one."""
    data = path.read_bytes()
    return str(path.relative_to(root)).encode() + b"\0" + len(data).to_bytes(8, "little") + data


def source_versions() -> dict[str, str]:
    """Directory of C sources -> SHA-256 of all that is in it, whatever tools make of them.

    core/ is what a packet's fate is decided by, the others are the datapaths and the testbed's programs.
    """
    root = source_root()
    digests: dict[str, Any] = {}
    for path in _sources(root, SOURCE_DIRS):
        name = "/".join(path.relative_to(root).parent.parts[:2])
        digests.setdefault(name, hashlib.sha256()).update(_content(root, path))
    return {name: digest.hexdigest() for name, digest in sorted(digests.items())}


def bpftool() -> str | None:
    """A bpftool that works: Ubuntu's wrapper refuses to run without tools for the running kernel."""
    candidates = [shutil.which("bpftool"), "/usr/sbin/bpftool"]
    candidates += map(str, sorted(Path("/usr/lib/linux-tools").glob("*/bpftool"), reverse=True))
    candidates += map(str, sorted(Path("/usr/lib").glob("linux-tools-*/bpftool"), reverse=True))
    for candidate in candidates:
        if candidate and Path(candidate).exists():
            done = subprocess.run([candidate, "version"], capture_output=True, check=False)
            if done.returncode == 0:
                return candidate
    return None


def missing() -> dict[str, str]:
    """What the programs' build lacks on this machine, mapped to the Debian package that has it."""
    lacking = {package.provides: package.name for package in packages.missing("build")}
    if bpftool() is None:
        lacking["bpftool"] = packages.package_of("bpftool")
    return lacking


def _require(lacking: dict[str, str]) -> None:
    if lacking:
        names = " ".join(dict.fromkeys(lacking.values()))
        raise EnvironmentProblem(f"can't build: missing {', '.join(lacking)}; apt-get install {names}")


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One build at a time for each cache; a killed builder's lock goes with it."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(argv: Sequence[str], cwd: Path, log: Path, what: str) -> None:
    """Run make with its output in `log`; EnvironmentProblem names the log and quotes its end."""
    with log.open("w") as out:
        out.write(" ".join(argv) + "\n")
        out.flush()
        # A session of its own, so that an interrupted or stuck build can be ended with all its compilers.
        build = subprocess.Popen(
            argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
        try:
            code = build.wait(timeout=BUILD_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            code = -1
        finally:
            if build.poll() is None:
                os.killpg(build.pid, 9)
                build.wait()
    if code:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
        raise EnvironmentProblem(f"building {what} failed, see {log}:\n{tail}")


def _sweep(builds: Path) -> None:
    """Remove what killed builds left, and builds that were not used for long; called under the lock."""
    for old in builds.iterdir():
        limit_s = UNFINISHED_AGE_S if old.name.startswith(".new-") else UNUSED_AGE_S
        with contextlib.suppress(OSError):
            if old.is_dir() and old.name != "logs" and time.time() - old.stat().st_mtime > limit_s:
                shutil.rmtree(old, ignore_errors=True)


def _build(
    key: Callable[[], str], what: str, progress: Progress | None, make: Callable[[Path, Path], None]
) -> Path:
    """builds/KEY, made by `make(directory, log)` in a directory that is renamed when it is whole."""
    builds = cache_dir() / "builds"
    try:
        if (found := builds / key()).is_dir():
            os.utime(found)
            return found
        with _locked(builds):
            _sweep(builds)
            (builds / "logs").mkdir(exist_ok=True)
            for _ in range(MAX_ATTEMPTS):
                before = key()
                final = builds / before
                if final.is_dir():
                    return final
                if progress:
                    progress(f"building {what}")
                work = Path(tempfile.mkdtemp(prefix=".new-", dir=builds))
                try:
                    make(work, builds / "logs" / f"{before}.log")
                    work.chmod(0o755)
                    # Sources that were edited meanwhile must not be taken for those of the key.
                    if key() == before:
                        work.rename(final)
                        return final
                finally:
                    shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise EnvironmentProblem(
            f"can't use the build cache: {error}; KBENCH_CACHE sets another place"
        ) from error
    raise EnvironmentProblem(f"the sources of {what} change while they are built; try again")


def programs(progress: Progress | None = None) -> Path:
    """Directory of the static programs, built when sources or tools have changed (12 s; else milliseconds).

    EnvironmentProblem names a missing tool and its package, or the log of a build that failed.
    """
    root = source_root()
    facts = ["programs", _libbpf_identity(), *map(_identity, ("cc", "clang", "bpftool"))]

    def make(work: Path, log: Path) -> None:
        _require(missing())
        argv = ["make", "-C", str(root / "userspace"), f"O={work}", f"-j{os.cpu_count() or 1}", "WERROR="]
        _make([*argv, f"BPFTOOL={bpftool()}"], root, log, "kbench's programs")
        shutil.rmtree(work / "obj", ignore_errors=True)

    return _build(lambda: _key(root, SOURCE_DIRS, facts), "kbench's programs", progress, make) / "bin"


def slowed(program: str, operations: int, progress: Progress | None = None) -> Path:
    """A test build of a program of SLOWABLE, whose core does `operations` for nothing on each packet (core/slowdown.h).

    In a directory of the cache that holds nothing else, so that no run takes it for the program itself.
    """
    root = source_root()
    facts = ["slowed", program, str(operations), _libbpf_identity()]
    facts += map(_identity, ("cc", "clang", "bpftool"))
    flags = f"-O2 -g -DKB_TEST_SLOWDOWN={operations}"
    what = f"{program} with {operations} operations more per packet"

    def make(work: Path, log: Path) -> None:
        _require(missing())
        argv = ["make", "-C", str(root / "userspace" / SLOWABLE[program]), f"O={work}", "WERROR="]
        argv += [f"CFLAGS={flags}", f"BPF_CFLAGS={flags}", f"BPFTOOL={bpftool()}"]
        _make(argv, root, log, what)
        shutil.rmtree(work / "obj", ignore_errors=True)

    return _build(lambda: _key(root, SOURCE_DIRS, facts), what, progress, make) / "bin" / program


def module(
    kernel_build_dir: Path,
    kernel_release: str,
    *,
    extra_make_args: Sequence[str] = (),
    progress: Progress | None = None,
) -> Path:
    """kbench_nf.ko for one kernel, built from a copy of the sources in the cache.

    `kernel_build_dir` is what ``make -C`` gets (/lib/modules/RELEASE/build, or unpacked headers, for which
    `extra_make_args` name the common Makefile: ``("-f", ".../linux-headers-V-common/Makefile")``).
    """
    root = source_root()
    config = kernel_build_dir / ".config"
    facts = ["module", kernel_release, str(kernel_build_dir.resolve()), *extra_make_args, _identity("cc")]
    if config.exists():
        facts.append(f"{config.stat().st_size} {config.stat().st_mtime_ns}")
    what = f"kbench_nf.ko for {kernel_release}"

    def make(work: Path, log: Path) -> None:
        if not (kernel_build_dir / "Makefile").exists() and not extra_make_args:
            raise EnvironmentProblem(
                f"no headers of kernel {kernel_release}; apt-get install linux-headers-{kernel_release}"
            )
        _require({tool: packages.package_of(tool) for tool in ("make", "gcc") if not packages.is_there(tool)})
        for name in ("core", "kmods"):
            for source in _sources(root, [name]):
                copy = work / "src" / source.relative_to(root)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, copy)
        directory = work / "src" / "kmods" / "netfilter"
        # No BTF: it would need pahole, and the build fails without it where the headers carry a vmlinux.
        nobtf = "CONFIG_DEBUG_INFO_BTF_MODULES="
        argv = ["make", "-C", str(kernel_build_dir), *extra_make_args, f"M={directory}", nobtf, "modules"]
        _make([*argv, f"-j{os.cpu_count() or 1}"], root, log, what)
        (directory / "kbench_nf.ko").rename(work / "kbench_nf.ko")
        shutil.rmtree(work / "src")

    return _build(lambda: _key(root, ("core", "kmods"), facts), what, progress, make) / "kbench_nf.ko"
