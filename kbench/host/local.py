# SPDX-License-Identifier: GPL-2.0-only
"""This machine as a Host: kb-agent as a child process, spoken to through pipes."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Literal

from kbench.errors import EnvironmentProblem
from kbench.host import builds
from kbench.host.agent import PipeChannel
from kbench.host.base import Host

AUTOGROUP_NICE = "-15"
"""Of the agent's session, and so of all that it starts: their own nice values mean nothing to other sessions
(sched(7), "The autogroup feature"). It ends with the session, so there is nothing to undo."""


class LocalHost(Host):
    """`bin_dir` holds the programs, see `builds.programs`."""

    kind: Literal["local"] = "local"

    def __init__(self, bin_dir: Path) -> None:
        self._bin_dir = bin_dir
        # A session of its own: Ctrl-C in the terminal reaches Python alone, which then undoes things
        # in order. The agent ends when the pipe does, so also when this process is killed.
        self._agent = subprocess.Popen(
            [self.program("kb-agent")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
            env={**os.environ, "LC_ALL": "C"},
        )
        with contextlib.suppress(OSError):  # a kernel without autogroups, or not root: then nothing is gained
            Path(f"/proc/{self._agent.pid}/autogroup").write_text(AUTOGROUP_NICE, encoding="ascii")
        assert self._agent.stdin and self._agent.stdout
        channel = PipeChannel(os.dup(self._agent.stdout.fileno()), os.dup(self._agent.stdin.fileno()))
        self._agent.stdout.close()
        self._agent.stdin.close()
        super().__init__(channel)

    def program(self, name: str) -> str:
        path = self._bin_dir / name
        if not path.exists():
            raise EnvironmentProblem(f"{path} was not built; run `make -C userspace` to see why")
        return str(path)

    def module(self, name: str) -> str:
        if name != "kbench_nf":
            raise ValueError(f"no module {name}")
        build_dir = Path("/lib/modules") / self.kernel_release / "build"
        return str(builds.module(build_dir, self.kernel_release))

    def session_address(self) -> str | None:
        return session_address()

    def describe_loss(self) -> str:
        code = self._agent.poll()
        why = f" (it ended with {code})" if code is not None else ""
        return f"the connection to kb-agent was lost{why}"

    def close(self) -> None:
        super().close()
        try:
            self._agent.wait(timeout=10.0)
        except subprocess.TimeoutExpired:
            self._agent.kill()
            self._agent.wait()


def session_address(pid: int | None = None) -> str | None:
    """The address of this machine that the ssh session came to in which this process (or `pid`) runs; else None.

    The nearest ancestor that knows a session tells it: sudo cleans the environment of what it runs.
    """
    at = os.getpid() if pid is None else pid
    while at:
        try:
            variables = Path(f"/proc/{at}/environ").read_bytes().split(b"\0")
            status = Path(f"/proc/{at}/status").read_text(encoding="utf-8", errors="replace")
        except OSError:  # it has ended, or is hidden from us: who is above it is not known
            return None
        for variable in variables:
            name, _, value = variable.partition(b"=")
            words = value.decode(errors="replace").split()
            if name == b"SSH_CONNECTION" and len(words) == 4:  # client, its port, server, its port: ssh(1)
                return words[2]
        at = int(status.split("\nPPid:", 1)[1].split(None, 1)[0])
    return None
