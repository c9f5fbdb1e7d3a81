# SPDX-License-Identifier: GPL-2.0-only
"""The lab's kernels: reading apt sources, choosing packages, checking checksums, unpacking images."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import struct
from pathlib import Path
from typing import Any

import pytest

from kbench.errors import EnvironmentProblem, UsageError
from kbench.host import archive, kernels
from kbench.host.archive import Archive, Package

DEBIAN = {"ID": "debian", "VERSION_CODENAME": "bookworm", "PRETTY_NAME": "Debian GNU/Linux 12"}
ELF = b"\x7fELF" + bytes(range(256)) * 40
PIN: dict[str, Any] = {
    "codename": "bookworm",
    "version": "6.1.10-1",
    "release": "6.1.0-5-amd64",
    "pattern": r"image-6\.1\.0-\d+-amd64|headers-6\.1\.0-\d+-(amd64|common)|kbuild-6\.1",
    "kbuild": "linux-kbuild-6.1",
    "packages": {
        "linux-image-6.1.0-5-amd64": "aa",
        "linux-headers-6.1.0-5-amd64": "bb",
        "linux-headers-6.1.0-5-common": "cc",
        "linux-kbuild-6.1": "dd",
    },
}


def silent(_text: str) -> None:
    """A caller without a terminal."""


def bzimage(payload: bytes, release: str = "6.1.0-5-amd64") -> bytes:
    """The fields of a bzImage that kbench reads, around a compressed payload."""
    head = bytearray(0x400)
    head[0x1F1] = 1
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x20E, 0x100)
    struct.pack_into("<II", head, 0x248, 16, len(payload))
    text = f"{release} (build@host) #1\0".encode()
    head[0x300 : 0x300 + len(text)] = text
    return bytes(head) + bytes(16) + payload + b"after"


class Offered(Archive):
    """An archive that offers a fixed list."""

    def __init__(self, *packages: tuple[str, str]) -> None:
        super().__init__(Path("/nonexistent"))
        self.packages = [Package(name, version, f"sum-{name}-{version}", 1) for name, version in packages]

    def offers(self, pattern: str) -> list[Package]:
        import re

        return [p for p in self.packages if re.fullmatch(pattern, p.name)]


def kernel_set(abi: str, version: str, kbuild: bool = True) -> list[tuple[str, str]]:
    names = [f"linux-image-{abi}-amd64", f"linux-headers-{abi}-amd64", f"linux-headers-{abi}-common"]
    return [(name, version) for name in [*names, *(["linux-kbuild-6.1"] if kbuild else [])]]


def test_sources_are_read_in_both_formats(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://old.example/debian stretch main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://one.example/debian/ bookworm main contrib # note\n"
        "deb-src http://src.example/debian bookworm main\n"
    )
    (tmp_path / "sources.list.d/a.sources").write_text(
        "Types: deb deb-src\n# http://comment.example\nURIs: http://two.example/debian\n"
        "Suites: bookworm\n bookworm-updates\nComponents: main\nSigned-By:\n -----BEGIN PGP-----\n\n"
        "Types: deb\nURIs: http://off.example/debian\nSuites: bookworm\nComponents: main\nEnabled: no\n"
    )
    one, two = archive.read_sources(tmp_path)
    assert (one.uri, one.suites, one.components) == (
        "http://one.example/debian",
        ("bookworm",),
        ("main", "contrib"),
    )
    assert one.keyring == "/k.gpg"
    assert (two.uri, two.suites, two.keyring) == (
        "http://two.example/debian",
        ("bookworm", "bookworm-updates"),
        None,
    )


def test_debians_own_mirror_wins_over_third_parties() -> None:
    third = archive.Source("http://third.example/x", ("bookworm",), ("main",), "/third.gpg")
    main = archive.Source("http://m.example/debian", ("bookworm", "bookworm-updates"), ("main",), None)
    security = archive.Source("http://m.example/debian-security", ("bookworm-security",), ("main",), None)
    assert archive.debian_mirrors([third, main, security], DEBIAN) == (main, security)
    assert archive.debian_mirrors([main], DEBIAN) == (main, None)


@pytest.mark.parametrize(
    ("sources", "release"),
    [([], DEBIAN), ([archive.Source("http://u.example", ("noble",), ("main",), None)], {"ID": "ubuntu"})],
)
def test_without_the_debian_archive_the_error_names_the_way_out(
    sources: list[archive.Source], release: dict[str, str]
) -> None:
    with pytest.raises(EnvironmentProblem, match="--kernel PATH"):
        archive.debian_mirrors(sources, release)


def test_the_pinned_version_is_chosen_although_a_newer_one_is_offered() -> None:
    offered = Offered(*kernel_set("6.1.0-5", "6.1.10-1"), *kernel_set("6.1.0-9", "6.1.20-1"))
    release, packages, notices = kernels.choose("6.1", PIN, offered)
    assert release == "6.1.0-5-amd64"
    assert not notices
    assert [p.name for p in packages] == list(PIN["packages"])
    assert {p.version for p in packages} == {"6.1.10-1"}


def test_a_dropped_version_gives_the_newest_complete_set_and_a_notice() -> None:
    offered = Offered(
        *kernel_set("6.1.0-9", "6.1.20-1"),
        *kernel_set("6.1.0-10", "6.1.100-1"),
        *kernel_set("6.1.0-11", "6.1.110-1", kbuild=False),
    )
    release, packages, notices = kernels.choose("6.1", PIN, offered)
    assert release == "6.1.0-10-amd64"
    assert {p.version for p in packages} == {"6.1.100-1"}
    assert "6.1.10-1" in notices[0]
    assert "6.1.100-1" in notices[0]


def test_a_missing_package_is_named() -> None:
    with pytest.raises(EnvironmentProblem, match=r"no package linux-image-6\.1\.0-5-amd64"):
        kernels.choose("6.1", PIN, Offered())


def fake_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> Archive:
    """An apt-get whose download leaves a file with `content`."""
    tool = tmp_path / "bin/apt-get"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\nprintf '{content}' > linux-x_1_amd64.deb\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    (tmp_path / "apt/cache/archives").mkdir(parents=True)
    return Archive(tmp_path / "apt")


def test_a_wrong_checksum_names_both_and_removes_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apt = fake_apt(tmp_path, monkeypatch, "tampered")
    got = hashlib.sha256(b"tampered").hexdigest()
    with pytest.raises(EnvironmentProblem, match=f"linux-x 1: expected {'0' * 64}, got {got}"):
        apt.fetch(Package("linux-x", "1", "", 8), "0" * 64, silent)
    assert not list(tmp_path.rglob("*.deb"))


def test_a_right_checksum_gives_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apt = fake_apt(tmp_path, monkeypatch, "good")
    said: list[str] = []
    deb = apt.fetch(Package("linux-x", "1", "", 4), hashlib.sha256(b"good").hexdigest(), said.append)
    assert deb.read_bytes() == b"good"
    assert said[0].startswith("fetching linux-x")


@pytest.mark.parametrize(
    "payload",
    [
        lzma.compress(ELF, lzma.FORMAT_XZ) + struct.pack("<I", len(ELF)),
        gzip.compress(ELF) + struct.pack("<I", len(ELF)),
        lzma.compress(ELF, lzma.FORMAT_ALONE) + struct.pack("<I", len(ELF)),
    ],
    ids=["xz", "gzip", "lzma"],
)
def test_vmlinux_comes_out_of_an_image(payload: bytes) -> None:
    assert kernels.extract_vmlinux(bzimage(payload), "image") == ELF


def test_an_image_without_elf_is_refused() -> None:
    with pytest.raises(EnvironmentProblem, match="no ELF image"):
        kernels.extract_vmlinux(bzimage(gzip.compress(b"text") + bytes(4)), "image")
    with pytest.raises(EnvironmentProblem, match="can't read"):
        kernels.extract_vmlinux(bzimage(b"????????"), "image")


def unpacked(tmp_path: Path) -> Path:
    root = tmp_path / "kernel"
    (root / "boot").mkdir(parents=True)
    (root / "boot/vmlinuz-6.1.0-5-amd64").write_bytes(bzimage(gzip.compress(ELF) + bytes(4)))
    (root / "lib/modules/6.1.0-5-amd64").mkdir(parents=True)
    return root


def test_a_kernel_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KBENCH_CACHE", str(tmp_path / "cache"))
    root = unpacked(tmp_path)
    by_directory = kernels.kernel(str(root), silent)
    assert by_directory.release == "6.1.0-5-amd64"
    assert by_directory.vmlinux.read_bytes() == ELF
    assert by_directory == kernels.kernel(str(root / "boot/vmlinuz-6.1.0-5-amd64"), silent)
    with pytest.raises(EnvironmentProblem, match=r"no headers for kernel 6\.1\.0-5-amd64"):
        by_directory.require_build_dir()
    headers = root / "usr/src/linux-headers-6.1.0-5-amd64"
    headers.mkdir(parents=True)
    (headers / "Makefile").touch()
    assert kernels.kernel(str(root), silent).require_build_dir() == headers


def test_bad_kernel_arguments_are_usage_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KBENCH_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UsageError, match=r"unknown kernel '7\.9': one of 6\.1, 6\.12, or a path"):
        kernels.kernel("7.9", silent)
    with pytest.raises(UsageError, match="no such file"):
        kernels.kernel(str(tmp_path / "absent"), silent)
    with pytest.raises(UsageError, match="no boot/vmlinuz"):
        kernels.kernel(str(tmp_path), silent)
    other = tmp_path / "text"
    other.write_text("no kernel")
    with pytest.raises(UsageError, match="not a Linux kernel image"):
        kernels.kernel(str(other), silent)
    root = unpacked(tmp_path)
    (root / "lib/modules/6.1.0-5-amd64").rmdir()
    with pytest.raises(UsageError, match=r"no lib/modules/6\.1\.0-5-amd64"):
        kernels.kernel(str(root), silent)


def test_every_pin_is_complete() -> None:
    for name in kernels.series():
        pin = kernels._pins()[name]
        packages = pin["packages"]
        assert next(iter(packages)) == f"linux-image-{pin['release']}"
        assert len(packages) == 4
        assert all(len(digest) == 64 for digest in packages.values())
        offered = Offered(*((package, pin["version"]) for package in packages))
        assert kernels.choose(name, pin, offered)[2] == []
