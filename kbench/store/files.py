# SPDX-License-Identifier: GPL-2.0-only
"""Files that are whole or not there, whatever kills the writer."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from kbench.errors import StoreError


def fsync_directory(path: Path) -> None:
    """Waits until the disk has the directory's entries."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: after a crash either the old or the new content is there, never half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def write_document(path: Path, data: bytes) -> Path:
    """Replace the file `path`, something for people or other programs, as a whole; its directory is made if need be.

    StoreError when it can't be written, or is no regular file: renaming one over a device or pipe would replace that.
    """
    if path.exists() and not path.is_file():
        raise StoreError(f"{path} is not a file: name one")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    except OSError as error:
        raise StoreError(f"can't write {path}: {reason(error)}; name another file for it") from error
    return path


def reason(error: OSError) -> str:
    """Why, in words for the user."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "no space left"
    return (error.strerror or str(error)).lower()
