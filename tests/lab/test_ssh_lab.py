# SPDX-License-Identifier: GPL-2.0-only
"""A lab as the machine behind ssh: another kernel, its module, busybox for tools, and that it goes down."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kbench.errors import MeasureError
from kbench.host.facts import host_facts
from kbench.host.journal import Journal, RestoreFailed, restore
from kbench.host.lab import LabHost, Parts
from kbench.host.lab_nics import LabNics
from kbench.host.ssh import RemoteShell, SshHost, parse_address
from tests.ssh_lab import new_key, ssh_options, url


def silent(_text: str) -> None:
    pass


@dataclass(frozen=True)
class Remote:
    """The lab, how it is reached, and the words for KBENCH_SSH_OPTIONS."""

    lab: LabHost
    url: str
    options: str


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Generator[Remote, None, None]:
    directory = tmp_path_factory.mktemp("ssh")
    nics = LabNics(pairs=1, ssh=new_key(directory))
    parts = Parts.prepare("6.12", silent, need_module=False)
    with LabHost.boot(parts, mode="fast", log_dir=directory, progress=silent, nics=nics) as lab:
        options = ssh_options(directory, (lab,), "ServerAliveInterval=2", "ServerAliveCountMax=3")
        yield Remote(lab, url(lab), options)


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remote: Remote) -> None:
    monkeypatch.setenv("KBENCH_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("KBENCH_SSH_OPTIONS", remote.options)


def test_what_runs_there_is_that_machines(remote: Remote) -> None:
    with Journal.open("r1") as journal, SshHost.connect(remote.url, journal, silent) as host:
        assert host.kernel_release == remote.lab.kernel_release
        assert host.session_address() == "10.0.2.15"  # QEMU's user network gives it to the guest
        assert host_facts(host)["kernel"]["release"] == remote.lab.kernel_release
        answers = json.loads(host.run([host.program("kb-probe")]).stdout)
        assert answers["xdp_native"]["ok"] and answers["namespace"]["ok"]
    assert [name for name in remote.lab.list_dir("/tmp") if name.startswith("kbench-")] == []


KILLED = """
    import os, signal, sys
    from kbench.host import net
    from kbench.host.journal import Journal
    from kbench.host.ssh import SshHost
    journal = Journal.open("killed")
    host = SshHost.connect(sys.argv[1], journal, lambda _: None)
    net.add_namespace(host, journal, "kbtest-ns")
    journal.record("module", at=host.address, name="kbench_nf")
    host.run(["insmod", host.module("kbench_nf")])
    journal.record("link", at=host.address, name="kbtest0")
    net.batch(host, None, ["link add kbtest0 type veth peer name kbtest1 netns kbtest-ns", "link set kbtest0 up"])
    host.start([host.program("kb-sink"), "--if", "kbtest0", "--mode", "count"])
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_restore_puts_back_what_a_killed_run_did_there(remote: Remote) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), remote.url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert remote.lab.exists("/sys/module/kbench_nf") and remote.lab.exists("/sys/class/net/kbtest0")
    undone = restore()
    for line in ("deleted link kbtest0", "unloaded module kbench_nf", "deleted network namespace kbtest-ns"):
        assert f"{line} on {remote.url}" in undone
    for path in ("/sys/module/kbench_nf", "/sys/class/net/kbtest0", "/run/netns/kbtest-ns"):
        assert not remote.lab.exists(path)
    assert [name for name in remote.lab.list_dir("/tmp") if name.startswith("kbench-")] == []
    assert restore() == []


def test_the_shell_works_with_busybox(remote: Remote) -> None:
    with RemoteShell.connect(parse_address(remote.url)) as shell:
        assert "eth0" in shell.list_dir("/sys/class/net") and not shell.exists("/sys/class/net/nope")
        before = shell.read_text("/proc/sys/net/core/netdev_budget")
        shell.write_text("/proc/sys/net/core/netdev_budget", "301")
        assert remote.lab.read_text("/proc/sys/net/core/netdev_budget") == "301\n"
        shell.write_text("/proc/sys/net/core/netdev_budget", before)
        with pytest.raises(MeasureError, match="Invalid argument"):
            shell.write_text("/proc/sys/net/core/netdev_budget", "rubbish")


def test_a_machine_that_goes_down(remote: Remote) -> None:
    """The last test of this lab: it is gone afterwards."""
    journal = Journal.open("r1")
    host = SshHost.connect(remote.url, journal, silent)
    remote.lab.close()
    with pytest.raises(MeasureError, match=f"the connection to {remote.url} was lost"):
        host.run(["sleep", "60"], timeout_s=60)
    host.close()
    undone, failed = journal.close()
    assert undone == [] and len(failed) == 1
    assert failed[0].startswith(f"can't connect to {remote.url}: ")
    assert "`kbench restore` again" in str(RestoreFailed(undone, failed)) and journal.path.exists()
