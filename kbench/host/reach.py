# SPDX-License-Identifier: GPL-2.0-only
"""Shells of the machines that an undo journal speaks of, connected when first needed and once each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from kbench.host import undo
from kbench.host.remote import RemoteShell, Unreachable, parse_address
from kbench.host.shell import LocalShell, Shell


class Attached(Shell, Protocol):
    """A connection that is open already."""

    @property
    def address(self) -> str:
        """``ssh://...``, as in the journal."""

    @property
    def boot_id(self) -> str:
        """The name of the machine's boot."""

    def alive(self) -> bool:
        """Whether it can still be used."""


class Reach:
    """Close it, or use it as a context manager: that ends the connections that it made."""

    def __init__(self, attached: Mapping[str, Attached] | None = None) -> None:
        self._attached = dict(attached or {})
        self._local = LocalShell()
        self._opened: dict[str, RemoteShell] = {}
        self._failed: dict[str, Unreachable] = {}

    def shell(self, at: str | None) -> Shell:
        """Of this machine for None. Raises Unreachable, from the second time on without trying again."""
        return self._local if at is None else self._remote(at)

    def boot_id(self, at: str | None) -> str:
        """The name of the boot that the machine is in now; Unreachable."""
        return undo.boot_id() if at is None else self._remote(at).boot_id

    def _remote(self, at: str) -> Attached:
        open_already = self._opened.get(at) or self._attached.get(at)
        if open_already and open_already.alive():
            return open_already
        if at in self._failed:
            raise self._failed[at]
        try:
            self._opened[at] = RemoteShell.connect(parse_address(at))
        except Unreachable as error:
            self._failed[at] = error
            raise
        return self._opened[at]

    def close(self) -> None:
        """End the connections that were made."""
        for shell in self._opened.values():
            shell.close()

    def __enter__(self) -> Reach:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
