# SPDX-License-Identifier: GPL-2.0-only
"""The few verbs that suffice to look at a machine and to put it back: what every Host has, and what needs no agent.

`Shell` is what code asks for that works on any machine. `CommandShell` is one that has nothing but commands, so that
`kbench restore` works where no program of kbench could be built.
"""

from __future__ import annotations

import errno
import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

from kbench.errors import EnvironmentProblem, MeasureError

NOT_FOUND = 127
"""Exit status of sh for a command that is not there."""
ERRNOS = {os.strerror(code): code for code in errno.errorcode}


class HostFileError(MeasureError):
    """A file on a Host could not be read or written; `errno` says why."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.errno = code


@dataclass(frozen=True)
class Completed:
    """What a program left that ran to its end: text, and its exit code (or minus a signal)."""

    stdout: str
    stderr: str
    code: int


class Shell(Protocol):
    """A machine to work on. `netns` is a name in /run/netns; files of /sys and /proc are then as seen there."""

    def run(
        self,
        argv: Sequence[str],
        *,
        netns: str | None = None,
        timeout_s: float = 30.0,
        check: bool = True,
        stdin: bytes = b"",
    ) -> Completed:
        """Run a program to its end.

        MeasureError when it takes too long or, with `check`, fails; EnvironmentProblem when it is not there.
        """

    def read_text(self, path: str, *, netns: str | None = None) -> str:
        """A file's text; HostFileError."""

    def write_text(self, path: str, text: str, *, netns: str | None = None) -> None:
        """Write a file of /proc or /sys, or an ordinary one from its start; HostFileError."""

    def exists(self, path: str, *, netns: str | None = None) -> bool:
        """Whether there is something at `path` (links are not followed)."""

    def list_dir(self, path: str, *, netns: str | None = None) -> list[str]:
        """Names in a directory, sorted; HostFileError."""


class CommandShell(ABC):
    """The verbs by sh, cat, ls and ip; a subclass knows how a command gets to its machine."""

    @abstractmethod
    def _execute(self, argv: Sequence[str], stdin: bytes, timeout_s: float) -> Completed:
        """Run it whatever its status; MeasureError when it takes too long or the machine is lost."""

    def run(
        self,
        argv: Sequence[str],
        *,
        netns: str | None = None,
        timeout_s: float = 30.0,
        check: bool = True,
        stdin: bytes = b"",
    ) -> Completed:
        """See `Shell.run`."""
        inside = ["ip", "netns", "exec", netns] if netns else []
        done = self._execute([*inside, *argv], stdin, timeout_s)
        if done.code == NOT_FOUND or (netns and f'exec of "{argv[0]}" failed' in done.stderr):
            raise EnvironmentProblem(f"can't run {argv[0]}: {done.stderr.strip() or 'it is not there'}")
        if check and done.code:
            tail = done.stderr.strip() or done.stdout.strip() or "no word why"
            raise MeasureError(f"{' '.join(argv)[:200]} ended with exit status {done.code}: {tail[-1000:]}")
        return done

    def _file(self, script: str, path: str, netns: str | None, stdin: bytes = b"") -> str:
        """What a script prints that knows the path as $1; HostFileError with the cause it names."""
        done = self.run(["sh", "-c", script, "sh", path], netns=netns, check=False, stdin=stdin)
        if done.code:
            _raise_file_error(path, done.stderr.strip())
        return done.stdout

    def read_text(self, path: str, *, netns: str | None = None) -> str:
        """See `Shell.read_text`."""
        return self._file('exec cat -- "$1"', path, netns)

    def write_text(self, path: str, text: str, *, netns: str | None = None) -> None:
        """See `Shell.write_text`. Text of at most 4096 bytes goes by one write(), as /proc and /sys want it."""
        self._file('exec cat > "$1"', path, netns, stdin=text.encode())

    def exists(self, path: str, *, netns: str | None = None) -> bool:
        """See `Shell.exists`."""
        return self._file('[ -e "$1" ] || [ -L "$1" ] && echo yes || echo no', path, netns).strip() == "yes"

    def list_dir(self, path: str, *, netns: str | None = None) -> list[str]:
        """See `Shell.list_dir`; names that hold a newline come in pieces."""
        return sorted(self._file('cd -- "$1" && exec ls -A', path, netns).splitlines())


def _raise_file_error(path: str, stderr: str) -> NoReturn:
    """The errno is found by its text: commands end with 1 whatever went wrong."""
    last = stderr.splitlines()[-1] if stderr else "no word why"
    known = [text for text in ERRNOS if text in last]
    code = ERRNOS[max(known, key=len)] if known else errno.EIO  # "No such device" begins another one as well
    if "nonexistent" in last or "can't cd" in last:  # the words of shells, for a redirection and for cd
        code = errno.ENOENT
    raise HostFileError(code, f"{path}: {os.strerror(code)}" if code != errno.EIO else f"{path}: {last}")


class LocalShell(CommandShell):
    """This machine, by child processes."""

    def _execute(self, argv: Sequence[str], stdin: bytes, timeout_s: float) -> Completed:
        environment = {**os.environ, "LC_ALL": "C"}
        try:
            done = subprocess.run(
                argv, input=stdin, capture_output=True, timeout=timeout_s, env=environment, check=False
            )
        except subprocess.TimeoutExpired:
            raise MeasureError(f"{' '.join(argv)[:200]} did not end in {timeout_s:g} s") from None
        except OSError as error:
            raise EnvironmentProblem(f"can't run {argv[0]}: {error.strerror}") from error
        return Completed(
            done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"), done.returncode
        )
