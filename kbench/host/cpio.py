# SPDX-License-Identifier: GPL-2.0-only
"""A writer of cpio archives in the "newc" format.

The format is described in Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
"""

from __future__ import annotations

import stat
from pathlib import PurePosixPath


class Cpio:
    """Collects entries in memory; owner is root, times are zero, so equal input gives equal bytes."""

    def __init__(self) -> None:
        self._blobs: list[bytes] = []
        self._names: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name.lstrip("/") in self._names

    def directory(self, name: str, mode: int = 0o755) -> None:
        """A directory and its parents; what is there already stays as it is."""
        path = PurePosixPath(name.lstrip("/"))
        if str(path) == "." or str(path) in self._names:
            return
        self.directory(str(path.parent))
        self._add(str(path), stat.S_IFDIR | mode, b"")

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """A regular file, with its parent directories."""
        self.directory(str(PurePosixPath(name.lstrip("/")).parent))
        self._add(name, stat.S_IFREG | mode, data)

    def symlink(self, name: str, target: str) -> None:
        """A symbolic link, with its parent directories."""
        self.directory(str(PurePosixPath(name.lstrip("/")).parent))
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def character_device(self, name: str, major: int, minor: int, mode: int = 0o600) -> None:
        """A character device node; needs no privilege, as it is only bytes here."""
        self.directory(str(PurePosixPath(name.lstrip("/")).parent))
        self._add(name, stat.S_IFCHR | mode, b"", (major, minor))

    def _add(self, name: str, mode: int, data: bytes, device: tuple[int, int] = (0, 0)) -> None:
        name = name.lstrip("/")
        if name in self._names:
            raise ValueError(f"{name} is in the archive already")
        self._names.add(name)
        self._blobs.append(_entry(name, len(self._names), mode, data, device))

    def finish(self) -> bytes:
        """The archive, with its trailer."""
        return b"".join([*self._blobs, _entry("TRAILER!!!", 0, 0, b"", (0, 0))])


def _entry(name: str, inode: int, mode: int, data: bytes, device: tuple[int, int]) -> bytes:
    encoded = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (inode, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % f for f in fields) + encoded
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
