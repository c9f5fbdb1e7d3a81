# SPDX-License-Identifier: GPL-2.0-only
"""An ssh server of the tests' own: dropbear on 127.0.0.1, with keys in a temporary directory, for root.

It runs in mounts of its own, where /root is an empty file system: root's keys on this machine are not touched, and
namespaces that are made over a connection are out of sight here (but for a file of their name).
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SERVE = """
set -e
mount -t tmpfs -o mode=0700 none /root
mkdir -m 0700 /root/.ssh
cp "$1/key.pub" /root/.ssh/authorized_keys
exec dropbear -F -E -s -r "$1/host_key" -p "127.0.0.1:$2" -P ""
"""


@dataclass
class Server:
    """A server that runs; `options` is for KBENCH_SSH_OPTIONS."""

    port: int
    options: str
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Of root on it."""
        return f"ssh://root@127.0.0.1:{self.port}"

    def sessions(self) -> list[int]:
        """Pids of the processes that serve a connection each."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def signal_sessions(self, sig: signal.Signals) -> None:
        """Send a signal to those."""
        for pid in self.sessions():
            os.kill(pid, sig)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            return connection.recv(4).startswith(b"SSH-")
    except OSError:
        return False


@contextmanager
def serving(directory: Path) -> Iterator[Server]:
    """Start one; skips the test where dropbear or a client is missing."""
    for tool in ("dropbear", "dropbearkey", "ssh", "ssh-keygen", "unshare"):
        if not shutil.which(tool):
            pytest.skip(f"no {tool} (packages dropbear-bin, openssh-client)")
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / "key"], check=True)
    make_key = ["dropbearkey", "-t", "ed25519", "-f", directory / "host_key"]
    made = subprocess.run(make_key, check=True, capture_output=True, text=True).stdout
    port = _free_port()
    host_key = next(line for line in made.splitlines() if line.startswith("ssh-ed25519"))
    (directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    words = ["-F", "none", "-i", str(directory / "key")]
    for option in ("IdentitiesOnly=yes", f"UserKnownHostsFile={directory}/known_hosts", "StrictHostKeyChecking=yes",
                   "ServerAliveInterval=1", "ServerAliveCountMax=2"):  # fmt: skip
        words += ["-o", option]
    with (directory / "server.log").open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", "unshare", "-m", "sh", "-c", SERVE, "sh", directory, str(port)],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 20
        while not _answers(port):
            assert process.poll() is None, (directory / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        server = Server(port, shlex.join(words), process)
        yield server
    finally:
        if process.poll() is None:
            for pid in server.sessions():
                os.kill(pid, signal.SIGKILL)
            process.kill()
        process.wait()
