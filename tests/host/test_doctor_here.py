# SPDX-License-Identifier: GPL-2.0-only
"""Doctor on this machine: fast, without a trace, and right about what the datapaths' programs then do."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from kbench import doctor
from kbench.host.facts import host_facts
from kbench.host.local import LocalHost
from tests import leftovers


def test_it_is_fast_and_leaves_nothing(local_host: LocalHost) -> None:
    before = leftovers.snapshot()["link"]
    took = []
    for _ in range(3):
        start = time.monotonic()
        found = doctor.probe(local_host)
        took.append(time.monotonic() - start)
    assert min(took) < 1.0
    assert leftovers.snapshot()["link"] - before == set()
    assert found.veth.ok and found.xdp.ok and found.live_frames.ok  # what this tier needs


def test_modules_agree_with_the_kernel(local_host: LocalHost) -> None:
    answer = doctor.probe(local_host).modules
    if not Path("/proc/modules").exists():
        assert not answer.ok and "without modules" in answer.why


def test_without_root_the_probe_says_so(bin_dir: Path, tmp_path: Path) -> None:
    copy = Path("/var/tmp") / f"kb-probe-{tmp_path.name}"
    copy.write_bytes((bin_dir / "kb-probe").read_bytes())
    copy.chmod(0o755)
    try:
        done = subprocess.run(
            [copy], user=65534, group=65534, extra_groups=[], capture_output=True, check=True
        )
    finally:
        copy.unlink()
    said = json.loads(done.stdout)
    assert said["uid"] == 65534 and not said["namespace"]["ok"] and "veth" not in said


def test_the_probe_refuses_arguments(bin_dir: Path) -> None:
    done = subprocess.run([bin_dir / "kb-probe", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("kb-probe: ")


def test_facts_of_this_machine(local_host: LocalHost) -> None:
    found = host_facts(local_host)
    json.dumps(found, allow_nan=False)
    assert found["cpu"]["online"] >= 1 and found["memory_bytes"] > 2**28
    assert found["kernel"]["release"] == Path("/proc/sys/kernel/osrelease").read_text().strip()
    assert found["tools"]["clang"]
