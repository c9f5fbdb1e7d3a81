# SPDX-License-Identifier: GPL-2.0-only
"""Another machine by the system's ssh: its address, one connection that all commands share, and commands through it.

Nothing of kbench needs to be there: `kbench restore` works by this alone, `SshHost` puts an agent on top.
The user's own ssh configuration, keys and known hosts count; KBENCH_SSH_OPTIONS adds words to every command line.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from kbench.errors import EnvironmentProblem, MeasureError, UsageError
from kbench.host import undo
from kbench.host.shell import CommandShell, Completed

if TYPE_CHECKING:  # the journal undoes through this module
    from kbench.host.journal import Journal

FORM = "ssh://[user@]host[:port][/interface[,interface]]"
CONNECT_TIMEOUT_S = 10
ALIVE_INTERVAL_S = 5
ALIVE_COUNT = 3
"""A connection that says nothing for their product is ended, and everybody who waits for it is told."""
END_TIMEOUT_S = 5.0
SOCKET_PATH_MAX = 108 - 18
"""Of sockaddr_un, less the suffix of the name under which ssh makes its socket."""
PREPARED = 'PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin LC_ALL=C; export PATH LC_ALL; exec "$@"'
"""For sh: what sshd gives to commands may lack sbin; errors are recognised by their English text."""

USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
ZONE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,14}")
URL = re.compile(
    r"ssh://(?:(?P<user>[^@/]*)@)?(?:\[(?P<v6>[^]/]*)\]|(?P<host>[^:/@]*))(?::(?P<port>[^/]*))?"
    r"(?:/(?P<interfaces>.*))?",
    re.DOTALL,
)


@dataclass(frozen=True)
class Address:
    """Where a machine is, and which of its interfaces are meant; what is None ssh's configuration decides."""

    host: str
    user: str | None = None
    port: int | None = None
    interfaces: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """``ssh://user@host:port``, without interfaces: the machine's name in journals and results."""
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ssh://{user}{host}" + (f":{self.port}" if self.port else "")


def parse_address(text: str) -> Address:
    """What an ``ssh://`` URL names; UsageError says what is wrong, and the right form."""

    def wrong(what: str) -> UsageError:
        return UsageError(f"{text!r}: {what}; it should be {FORM}")

    match = URL.fullmatch(text)
    if not match:
        raise wrong("no ssh address")
    user, v6, host, port, names = match.group("user", "v6", "host", "port", "interfaces")
    if user is not None and not USER.fullmatch(user):
        raise wrong("a bad user name")
    if v6 is not None:
        address, _, zone = v6.partition("%")
        try:
            ipaddress.IPv6Address(address)
        except ValueError:
            raise wrong("no IPv6 address in the brackets") from None
        if "%" in v6 and not ZONE.fullmatch(zone):
            raise wrong("a bad zone of the IPv6 address")
    elif not HOST.fullmatch(host):
        raise wrong("no host name" if not host else "a bad host name")
    if port is not None and not (re.fullmatch(r"[1-9][0-9]{0,4}", port) and int(port) < 65536):
        raise wrong("a bad port")
    interfaces = tuple(names.split(",")) if names else ()
    if len(interfaces) > 2 or len(set(interfaces)) != len(interfaces):
        raise wrong("one interface, or two different ones")
    if not all(INTERFACE.fullmatch(name) for name in interfaces):
        raise wrong("a bad name of an interface")
    return Address(v6 or host, user, int(port) if port else None, interfaces)


class Unreachable(EnvironmentProblem):
    """No connection to a machine could be made, or there is none any more."""


class RemoteShell(CommandShell):
    """A connection to a machine. Use `RemoteShell.connect`; close it, or use it as a context manager.

    It is a child process (ssh as a master of connections) that dies with this process. The kernel sees to that when the
    *thread* ends that started it: connect in one that lives as long.
    """

    def __init__(self, address: Address, directory: Path, journal: Journal | None) -> None:
        self.address = address.url
        self._to = address
        self._journal = journal
        self._directory = directory
        self._said = directory / "ssh.log"
        with self._said.open("wb") as said:
            self._master = subprocess.Popen(  # its own session: Ctrl-C is ours to handle
                ["setpriv", "--pdeathsig", "KILL", "--", "ssh", "-M", "-N", *self._options()],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    @classmethod
    def connect(cls, address: Address, journal: Journal | None = None) -> RemoteShell:
        """Connect without asking anybody anything (keys or an agent must do). Raises Unreachable in ssh's words."""
        for tool, package in (("ssh", "openssh-client"), ("setpriv", "util-linux")):
            if not shutil.which(tool):
                raise EnvironmentProblem(
                    f"{address.url}: {tool} is missing here: install the package {package}"
                )
        directory = journal.make_tmpdir() if journal else Path(tempfile.mkdtemp(prefix="kbench-"))
        if len(str(directory / "ssh")) > SOCKET_PATH_MAX:
            directory.rmdir()
            raise EnvironmentProblem(
                f"{directory}: too long a path for ssh's socket; set TMPDIR to another place"
            )
        shell = cls(address, directory, journal)
        try:
            if journal:
                journal.record_process(shell._master.pid)
            shell._wait_connected()
        except BaseException:
            shell.close()
            raise
        return shell

    def _wait_connected(self) -> None:
        # The name server and the exchange of keys take time as well.
        deadline = time.monotonic() + 2 * CONNECT_TIMEOUT_S
        while not (self._directory / "ssh").exists():
            if not self.alive() or time.monotonic() > deadline:
                why = self.last_words() or f"no answer in {2 * CONNECT_TIMEOUT_S} s"
                raise Unreachable(f"can't connect to {self.address}: {why}")
            time.sleep(0.01)

    def _options(self) -> list[str]:
        """Words of an ssh command line that must be the same for the master and for those who use it."""
        options = {
            "ControlPath": str(self._directory / "ssh"),
            "ControlPersist": "no",
            "BatchMode": "yes",
            "ConnectTimeout": str(CONNECT_TIMEOUT_S),
            "ServerAliveInterval": str(ALIVE_INTERVAL_S),
            "ServerAliveCountMax": str(ALIVE_COUNT),
            "ClearAllForwardings": "yes",
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "RequestTTY": "no",
            "RemoteCommand": "none",
        }
        # The first value counts: the user's words may set other time-outs.
        words = shlex.split(os.environ.get("KBENCH_SSH_OPTIONS", ""))
        words += [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        words += ["-p", str(self._to.port)] if self._to.port else []
        words += ["-l", self._to.user] if self._to.user else []
        return [*words, "--", self._to.host]

    def command(self, argv: Sequence[str]) -> list[str]:
        """A local command line that runs `argv` there, with this connection or not at all."""
        # Without a master ssh would make a connection of its own, which nobody watches.
        alone = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "--",
            "ssh",
            "-o",
            "ControlMaster=no",
            "-o",
            "ProxyCommand=false",
        ]
        return [*alone, *self._options(), shlex.join(["exec", "sh", "-c", PREPARED, "sh", *argv])]

    def _execute(self, argv: Sequence[str], stdin: bytes, timeout_s: float) -> Completed:
        what = f"{' '.join(argv)[:200]} on {self.address}"
        try:
            done = subprocess.run(
                self.command(argv), input=stdin, capture_output=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            raise MeasureError(f"{what} did not end in {timeout_s:g} s") from None
        if done.returncode == 255 and not self.alive():
            raise Unreachable(self.describe_loss())
        return Completed(
            done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"), done.returncode
        )

    @cached_property
    def boot_id(self) -> str:
        """The name of the machine's boot, see `undo.boot_id`."""
        return self.read_text(undo.BOOT_ID).strip()

    def alive(self) -> bool:
        """Whether the connection is there, as far as ssh knows."""
        return self._master.poll() is None

    def last_words(self) -> str:
        """The last line that ssh wrote about this connection, or nothing."""
        with contextlib.suppress(OSError):
            lines = self._said.read_text(errors="replace").strip().splitlines()
            return lines[-1].strip() if lines else ""
        return ""

    def describe_loss(self) -> str:
        """Why there is no connection, for messages; waits a moment for ssh to end."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._master.wait(1.0)
        said = self.last_words()
        return f"the connection to {self.address} was lost" + (f" ({said})" if said else "")

    def close(self) -> None:
        """End the connection. May be called again."""
        if self.alive():
            self._master.terminate()
            try:
                self._master.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._master.kill()
        self._master.wait()
        shutil.rmtree(self._directory, ignore_errors=True)
        if self._journal:
            for op, args in (
                ("process", {"pid": self._master.pid}),
                ("tmpdir", {"path": str(self._directory)}),
            ):
                if entry := self._journal.find(op, **args):
                    self._journal.done(entry)

    def __enter__(self) -> RemoteShell:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
