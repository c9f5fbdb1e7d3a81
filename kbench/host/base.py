# SPDX-License-Identifier: GPL-2.0-only
"""A Host is a machine to work on: this one, a lab VM, one behind ssh; all verbs go to its kb-agent.

A transport is a subclass that opens a Channel and knows where the programs are on that machine.
"""

from __future__ import annotations

import errno
import stat
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Literal, Self

from kbench.errors import EnvironmentProblem, MeasureError
from kbench.host.agent import LOST, PROTOCOL, AgentClient, Channel, Message
from kbench.host.process import Finished, Process
from kbench.host.shell import Completed, HostFileError

__all__ = ["Completed", "Finished", "Host", "HostFileError", "Process"]

HostKind = Literal["local", "lab", "ssh"]


class Host(ABC):
    """The verbs. Close it, or use it as a context manager: closing ends every program that it started."""

    kind: HostKind
    address: str | None = None
    """Where an undo journal finds it: ``ssh://...``; None for this machine, and for the lab, which has no journal."""

    def __init__(self, channel: Channel) -> None:
        self._client = AgentClient(channel)
        hello = self._client.request("hello")
        if hello.kind != "hello" or int(hello.words[0]) != PROTOCOL:
            self._client.close()
            answer = " ".join([hello.kind, *hello.words])
            raise EnvironmentProblem(f"the agent does not answer as expected: {answer}")
        self.agent_pid = int(hello.words[1])
        self.kernel_release = hello.words[2]

    @abstractmethod
    def program(self, name: str) -> str:
        """Path of one of kbench's programs (``kb-xdp``) on this machine; EnvironmentProblem if missing."""

    @abstractmethod
    def module(self, name: str) -> str:
        """Path of one of kbench's kernel modules (``kbench_nf``), built for this machine's kernel."""

    def session_address(self) -> str | None:
        """The address of this machine's own by which somebody works on it over ssh; None when nobody does.

        The interface that has it must not be touched.
        """
        return None

    def describe_loss(self) -> str:
        """Why the connection to the agent may have ended; for messages."""
        return "the connection to the machine's agent was lost"

    # Programs -------------------------------------------------------------------------------------

    def _spawn(
        self,
        argv: Sequence[str],
        netns: str | None,
        cpu: int | None,
        stdin: bytes | None,
        env: Mapping[str, str] | None,
    ) -> Process:
        """Sends the request; stdin None leaves it open."""
        environment = [f"{key}={value}" for key, value in (env or {}).items()]
        where = "-" if cpu is None else str(cpu)
        given = "-" if stdin is None else str(len(stdin))
        words = [netns or "-", where, given, str(len(environment)), *environment, *argv]
        spawn_id, mailbox = self._client.send("spawn", *words, payload=stdin or b"")
        return Process(self._client, list(argv), spawn_id, mailbox, self.describe_loss)

    def run(
        self,
        argv: Sequence[str],
        *,
        netns: str | None = None,
        timeout_s: float = 30.0,
        check: bool = True,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        cpu: int | None = None,
    ) -> Completed:
        """Run a program to its end.

        With `check`, a status other than 0 raises (see `Process.raise_for_code`). A time-out kills the
        program's group and raises MeasureError, an executable that is missing EnvironmentProblem.
        """
        process = self._spawn(argv, netns, cpu, stdin, env)
        try:
            finished = process.wait(timeout_s, check=check)
        finally:
            process.kill()
        return Completed(finished.stdout, finished.stderr, finished.code)

    def start(
        self,
        argv: Sequence[str],
        *,
        netns: str | None = None,
        ready: bool = True,
        timeout_s: float = 20.0,
        stdin: bytes = b"",
        stdin_open: bool = False,
        env: Mapping[str, str] | None = None,
        cpu: int | None = None,
    ) -> Process:
        """Start a program and wait until it says that it is ready (with `ready`), or has been started.

        `cpu` pins the process before it runs; programs of kbench rather take ``--cpu`` and confirm it.
        `stdin_open` (then `stdin` must be empty): `Process.send_line` writes to it, `Process.end_input` ends it.
        """
        if stdin and stdin_open:
            raise ValueError("stdin is either given or left open")
        process = self._spawn(argv, netns, cpu, None if stdin_open else stdin, env)
        try:
            process.wait_started(timeout_s)
            if ready:
                process.ready = process.wait_event("ready", timeout_s)
        except BaseException:
            process.kill()
            raise
        return process

    # Files ----------------------------------------------------------------------------------------

    def _file(self, verb: str, *words: str, payload: bytes = b"", timeout_s: float = 20.0) -> Message:
        reply = self._client.request(verb, *words, payload=payload, timeout_s=timeout_s)
        if reply.kind == LOST:
            raise MeasureError(self.describe_loss())
        if reply.kind == "fail":
            raise HostFileError(int(reply.words[0]), reply.words[1])
        return reply

    def read(self, path: str, *, netns: str | None = None) -> bytes:
        """A file's bytes; under /proc/net, /proc/sys/net and /sys as the namespace sees it."""
        return self._file("get", netns or "-", path).payload

    def read_text(self, path: str, *, netns: str | None = None) -> str:
        """A file's text."""
        return self.read(path, netns=netns).decode(errors="replace")

    def put(self, path: str, data: bytes, *, mode: int = 0o644, netns: str | None = None) -> None:
        """Write a file, made or cut short first; one write() for /proc and /sys. Raises HostFileError."""
        timeout_s = 20.0 + len(data) / 4e6  # a virtio port under emulation moves some MB/s
        self._file(
            "put", netns or "-", path, f"{mode:o}", "-", str(len(data)), payload=data, timeout_s=timeout_s
        )

    def write_text(self, path: str, text: str, *, netns: str | None = None) -> None:
        """Write text, for sysctls and files of /sys."""
        self.put(path, text.encode(), netns=netns)

    def list_dir(self, path: str, *, netns: str | None = None) -> list[str]:
        """Names in a directory, sorted."""
        names = self._file("list", netns or "-", path).payload.decode(errors="surrogateescape")
        return sorted(name for name in names.split("\0") if name)

    def exists(self, path: str, *, netns: str | None = None) -> bool:
        """Whether there is something at `path` (links are not followed)."""
        try:
            self._file("stat", netns or "-", path)
        except HostFileError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return False
            raise
        return True

    def is_dir(self, path: str) -> bool:
        """Whether `path` is a directory."""
        return self.exists(path) and stat.S_ISDIR(int(self._file("stat", "-", path).words[0], 8))

    def make_dir(self, path: str, *, mode: int = 0o700) -> None:
        """Make a directory; its parent must be there and it must be new."""
        self._file("mkdir", path, f"{mode:o}")

    def remove(self, path: str) -> None:
        """Remove a file or an empty directory."""
        self._file("remove", path)

    # End ------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End all programs and the agent. May be called again."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
