# SPDX-License-Identifier: GPL-2.0-only
"""Labs with an ssh server as machines behind ssh: a key of their own, and what ssh needs to know of them."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from kbench.host.lab import LabHost, LabSsh


def new_key(directory: Path) -> LabSsh:
    """Makes the key that all labs of a test let in."""
    key = directory / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    return LabSsh(key.with_suffix(".pub").read_text())


def url(lab: LabHost) -> str:
    """How kbench is told of it."""
    return f"ssh://root@127.0.0.1:{lab.ssh_port}"


def ssh_options(directory: Path, labs: Sequence[LabHost], *more: str) -> str:
    """Words for KBENCH_SSH_OPTIONS: that key, the host keys of these labs, nothing of this machine's user."""
    known = directory / "known_hosts"
    known.write_text("".join(f"[127.0.0.1]:{lab.ssh_port} {lab.ssh_host_key}\n" for lab in labs))
    values = ("IdentitiesOnly=yes", "StrictHostKeyChecking=yes", f"UserKnownHostsFile={known}", *more)
    words = ["-F", "none", "-i", str(directory / "key")]
    return shlex.join([*words, *(word for value in values for word in ("-o", value))])
