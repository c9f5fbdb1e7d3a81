# SPDX-License-Identifier: GPL-2.0-only
"""An ssh server in the lab, by which the guest is reached as any machine is, without the lab's own agent.

Dropbear and a shell are in the image; keys are put there at each boot.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from kbench.errors import EnvironmentProblem, MeasureError
from kbench.host.base import Host
from kbench.host.qmp import Monitor

HOST_KEY = "/root/host_key"
LISTEN_TIMEOUT_S = 30
LISTENING = re.compile(r"^ *\d+: 00000000:0016 00000000:0000 0A ", re.M)
"""Port 22 in /proc/net/tcp."""


def start(host: Host, public_key: str) -> str:
    """In the guest: let root in with `public_key`; returns the server's own public key once it listens.

    Raises EnvironmentProblem where this machine can't make keys, MeasureError when the server does not start.
    """
    private, public = _new_host_key()
    host.put(HOST_KEY, private, mode=0o600)
    host.make_dir("/root/.ssh")
    host.put("/root/.ssh/authorized_keys", f"{public_key.strip()}\n".encode(), mode=0o600)
    # No passwords; in the foreground: the agent ends what a program leaves in its process group, and one that goes into
    # the background may not have left that yet.
    host.start(["/usr/sbin/dropbear", "-F", "-s", "-r", HOST_KEY], ready=False)
    deadline = time.monotonic() + LISTEN_TIMEOUT_S
    while not LISTENING.search(host.read_text("/proc/net/tcp")):
        if time.monotonic() > deadline:
            raise MeasureError(f"the lab's ssh server does not listen after {LISTEN_TIMEOUT_S} s")
        time.sleep(0.02)
    return public


def _new_host_key() -> tuple[bytes, str]:
    """A private key in dropbear's format, and the public one as known_hosts has it: type and base64."""
    maker = shutil.which("dropbearkey")
    if not maker:
        raise EnvironmentProblem(
            "an ssh server in the lab needs dropbearkey: install the package dropbear-bin"
        )
    with tempfile.TemporaryDirectory(prefix="kbench-") as directory:
        path = Path(directory, "key")
        done = subprocess.run(
            [maker, "-t", "ed25519", "-f", path], capture_output=True, text=True, check=False
        )
        found = re.search(r"^(ssh-ed25519 \S+)", done.stdout, re.M)
        if done.returncode or not found:
            raise EnvironmentProblem(
                f"dropbearkey makes no key: {done.stderr.strip() or 'no public key printed'}"
            )
        return path.read_bytes(), found[1]


def forwarded_port(monitor: Monitor) -> int:
    """The port of this machine's loopback that QEMU chose to lead to the server."""
    table = monitor.ask_human("info usernet")
    found = re.search(r"TCP\[HOST_FORWARD]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s", table)
    if not found:
        raise MeasureError(f"QEMU forwards no port to the lab: {table.strip()}")
    return int(found[1])
