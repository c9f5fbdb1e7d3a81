# SPDX-License-Identifier: GPL-2.0-only
"""A machine behind ssh as a Host: kb-agent is copied there and spoken to through the connection.

Nothing is installed: one directory below /tmp holds the programs while the connection lasts. When the connection ends,
whatever the reason, the agent there ends with all that it started; also when it has heard nothing for a minute, as an
ssh server may take hours to notice that a cable was cut, and a generator must not go on for so long.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kbench.errors import EnvironmentProblem, MeasureError
from kbench.host import builds, undo
from kbench.host.agent import PipeChannel
from kbench.host.base import Host
from kbench.host.builds import Progress
from kbench.host.journal import Entry, Journal
from kbench.host.remote import Address, RemoteShell, Unreachable, parse_address

__all__ = ["Address", "RemoteShell", "SshHost", "Unreachable", "parse_address"]

AGENT_END_S = 10.0
SILENCE_S = 60
"""After so long without a word from here the agent ends."""
WORD_S = 15.0
CONNECTION_FAILED = 255
"""Exit status of ssh when it failed itself; kb-agent has no such."""
QUESTIONS = f'id -u; uname -m; uname -r; cat {undo.BOOT_ID}; echo "$SSH_CONNECTION"'


@dataclass(frozen=True)
class About:
    """What a machine says of itself before anything of kbench is there."""

    uid: str
    machine: str
    release: str
    session: str | None
    """The address of its own that the connection came to; None where its server does not tell."""


def _ask(shell: RemoteShell) -> About:
    done = shell.run(["sh", "-c", QUESTIONS], check=False)
    answers = done.stdout.splitlines()
    if done.code or len(answers) != 5:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise EnvironmentProblem(
            f"{shell.address}: kbench needs a plain shell there, whose start-up files print nothing "
            f"({said[-1] if said else 'no answer'})"
        )
    words = answers[4].split()
    return About(answers[0], answers[1], answers[2], words[2] if len(words) == 4 else None)


def _check(about: About, address: str) -> None:
    if about.uid != "0":
        raise EnvironmentProblem(
            f"{address}: kbench must be root there, and is user {about.uid}: use ssh://root@..."
        )
    own = os.uname().machine
    if about.machine != own:
        raise EnvironmentProblem(
            f"{address}: it is a {about.machine}, and the programs are built for {own} here"
        )


class SshHost(Host):
    """Use `SshHost.connect`, in a thread that lives as long (see `RemoteShell`); close it, or use it in `with`."""

    kind: Literal["ssh"] = "ssh"

    def __init__(
        self, shell: RemoteShell, about: About, programs_dir: Path, directory: str, entries: tuple[Entry, ...],
        journal: Journal,
    ) -> None:  # fmt: skip
        self.address: str = shell.address
        self.about = about
        self._shell = shell
        self._programs_dir = programs_dir
        self.directory = directory
        """Where the programs are there; removed when this is closed, with whatever else was put into it."""
        self._entries = entries
        self._journal = journal
        self._there: set[str] = set()
        self._said: list[str] = []
        self._closed = False
        self._agent = subprocess.Popen(
            shell.command([f"{directory}/kb-agent", "--silence", str(SILENCE_S)]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
        assert self._agent.stdin and self._agent.stdout
        channel = PipeChannel(os.dup(self._agent.stdout.fileno()), os.dup(self._agent.stdin.fileno()))
        self._agent.stdout.close()
        self._agent.stdin.close()
        try:
            super().__init__(channel)
        except (EnvironmentProblem, ValueError) as error:
            raise EnvironmentProblem(f"kb-agent does not run: {self._agent_said() or error}") from error
        threading.Thread(target=self._keep_alive, name="agent-keep-alive", daemon=True).start()

    def _keep_alive(self) -> None:
        while not self._client.lost.wait(WORD_S):
            self._client.send("hello")

    @classmethod
    def connect(cls, url: str | Address, journal: Journal, progress: Progress) -> SshHost:
        """Connect, check that the machine will do, and start the agent there.

        Raises UsageError for a bad URL, Unreachable in ssh's words, EnvironmentProblem when it is another architecture,
        the user is not root there, or programs can't be executed below /tmp.
        """
        address = parse_address(url) if isinstance(url, str) else url
        programs_dir = builds.programs(progress)
        progress(f"connecting to {address.url}")
        shell = RemoteShell.connect(address, journal)
        try:
            about = _ask(shell)
            _check(about, shell.address)
            journal.attach(shell)
            directory = f"/tmp/kbench-{secrets.token_hex(8)}"
            entries = (
                journal.record("tmpdir", at=shell.address, path=directory),
                journal.record("programs", at=shell.address, directory=directory),
            )
            try:
                shell.run(["mkdir", "-m", "0700", directory])
                _copy(shell, programs_dir / "kb-agent", f"{directory}/kb-agent")
                return cls(shell, about, programs_dir, directory, entries, journal)
            except BaseException:
                _clean(shell, directory, entries, journal)
                raise
        except BaseException as error:
            shell.close()
            if isinstance(error, EnvironmentProblem) and shell.address not in str(error):
                raise EnvironmentProblem(f"{shell.address}: {error}") from error
            raise

    def program(self, name: str) -> str:
        path = f"{self.directory}/{name}"
        if name not in self._there:
            local = self._programs_dir / name
            if not local.exists():
                raise EnvironmentProblem(f"{local} was not built; run `make -C userspace` to see why")
            self.put(path, local.read_bytes(), mode=0o755)
            self._there.add(name)
        return path

    def module(self, name: str) -> str:
        """See `Host.module`; built here, for which this machine needs the headers of that machine's kernel."""
        if name != "kbench_nf":
            raise ValueError(f"no module {name}")
        path = f"{self.directory}/{name}.ko"
        if path not in self._there:
            self.put(path, builds.module(headers(self.kernel_release), self.kernel_release).read_bytes())
            self._there.add(path)
        return path

    def session_address(self) -> str | None:
        return self.about.session

    def describe_loss(self) -> str:
        said = self._agent_said()
        if self._agent.returncode in (None, CONNECTION_FAILED):
            return self._shell.describe_loss()
        return f"kb-agent on {self.address} has ended with status {self._agent.returncode} ({said or 'no word why'})"

    def _agent_said(self) -> str:
        """The last line of the agent, or of the ssh that runs it, if that ends within a moment."""
        try:
            self._agent.wait(AGENT_END_S)
        except subprocess.TimeoutExpired:
            return ""
        if not self._said:
            assert self._agent.stderr
            with self._agent.stderr as stderr:
                self._said = stderr.read().decode(errors="replace").strip().splitlines() or [""]
        return self._said[-1].strip()

    def close(self) -> None:
        """End all programs and the agent, remove the programs, and end the connection. May be called again.

        Of a machine that is lost already the journal keeps what is to be removed. Never raises.
        """
        if self._closed:
            return
        self._closed = True
        try:
            super().close()
            try:
                self._agent.wait(AGENT_END_S)
            except subprocess.TimeoutExpired:
                self._agent.kill()
                self._agent.wait()
            self._agent_said()
            _clean(self._shell, self.directory, self._entries, self._journal)
        finally:
            self._shell.close()


def _copy(shell: RemoteShell, local: Path, path: str) -> None:
    """Put a program there by the shell alone."""
    script = 'cat > "$1" && chmod 0755 "$1"'
    shell.run(["sh", "-c", script, "sh", path], stdin=local.read_bytes(), timeout_s=60.0)


def _clean(shell: RemoteShell, directory: str, entries: tuple[Entry, ...], journal: Journal) -> None:
    """Remove the directory; what fails stays in the journal, which tries again on a connection of its own."""
    undos: dict[str, Callable[[], object]] = {
        "tmpdir": lambda: undo.undo_tmpdir(shell, path=directory),
        "programs": lambda: undo.undo_programs(shell, directory=directory),
    }
    try:
        for entry in reversed(entries):
            undos[entry.op]()
            journal.done(entry)
    except (EnvironmentProblem, MeasureError, RuntimeError):
        return


def headers(release: str) -> Path:
    """What the netfilter module is built with for a kernel `release`: headers installed here, or of a lab's kernel.

    EnvironmentProblem says how to get them.
    """
    kernels = builds.cache_dir() / "kernels"
    unpacked = kernels.glob(f"[!u]*/usr/src/linux-headers-{release}")  # "unpack-..." are not whole
    for directory in (Path("/lib/modules") / release / "build", *sorted(unpacked)):
        if (directory / "Makefile").is_file():
            return directory
    raise EnvironmentProblem(
        f"no headers of kernel {release} on this machine, where modules are built: install linux-headers-{release}, "
        "or leave netfilter out"
    )
