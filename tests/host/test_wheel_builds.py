# SPDX-License-Identifier: GPL-2.0-only
"""An installed kbench, away from the checkout, builds its C parts from the sources in the wheel and runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = """
from kbench.host import builds, packages
from kbench.host.local import LocalHost
from kbench import doctor
print(builds.source_root())
assert packages.packages()
with LocalHost(builds.programs()) as host:
    print(doctor.probe(host).can_measure)
"""


@pytest.mark.timeout_s(300)
def test_the_installed_wheel_builds_and_probes(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip"]
    wheel = [
        *pip,
        "wheel",
        "-q",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(wheel, check=True, capture_output=True)
    (built,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    subprocess.run(
        [*pip, "install", "-q", "--no-index", "--no-deps", "--target", str(site), str(built)],
        check=True,
        capture_output=True,
    )
    environment = {**os.environ, "PYTHONPATH": str(site), "KBENCH_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", CODE],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(site / "kbench" / "_src"), "True"]
