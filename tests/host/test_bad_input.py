# SPDX-License-Identifier: GPL-2.0-only
"""Bad input: one clear line, the documented exit code, nothing written and nothing changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BAD_RULES = """default = "accept"
[[rule]]
action = "drop"
src = "10.0.0.0/8"

[[rule]]
action = "drop"
src = "10.0.0.0/99"
"""


def kbench(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kbench", *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **env},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "--datapath", "xpd"], 2, "did you mean 'xdp'"),
        (["run", "--function", "foward"], 2, "did you mean 'forward'"),
        (["run", "--rules-file", "missing.toml"], 2, "missing.toml"),
        (["run", "--rules-file", "bad.toml"], 2, "bad.toml:8"),
        (["run", "--rules", "10001"], 2, "10001"),
        (["run", "--routes", "0"], 2, "routes"),
        (["run", "--frame-bytes", "63"], 2, "63"),
        (["run", "--frame-bytes", "1519"], 2, "1519"),
        (["run", "--load", "0"], 2, "--load"),
        (["run", "--load", "fast"], 2, "packets per second"),
        (["run", "--where", "host", "--load", "1e12", "--datapath", "xdp", "--function", "forward"], 2, "above what"),
        (["run", "--where", "lab", "--kernel", "5.4"], 2, "5.4"),
        (["run", "--where", "lab", "--kernel", "/nowhere"], 2, "/nowhere"),
        (["run", "--generator", "trex"], 2, "choose from"),
        (["run", "--nonsense"], 2, "--nonsense"),
        (["report", "20200101-000000-0000"], 6, "no run"),
        (["report", "newer"], 6, "newer"),
        (["report", "empty"], 6, "no finished trial"),
    ],
)  # fmt: skip
def test_one_line_and_the_documented_code(
    arguments: list[str], code: int, words: str, tmp_path: Path
) -> None:
    (tmp_path / "bad.toml").write_text(BAD_RULES)
    for name, version in (("newer", 99), ("empty", 1)):
        (tmp_path / "results" / name).mkdir(parents=True)
        (tmp_path / "results" / name / "run.json").write_text(
            json.dumps({"schema_version": version, "run_id": name})
        )
        (tmp_path / "results" / name / "trials.jsonl").write_text("")
    done = kbench(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert done.stderr.splitlines()[-1].startswith("kbench: ")
    assert words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    if "1e12" not in arguments:  # what a generator can do is measured, so that run has begun
        assert {path.name for path in (tmp_path / "results").iterdir()} == {"newer", "empty"}


def test_without_root_nothing_is_tried(tmp_path: Path) -> None:
    # Imported before root is given up: other users may not be able to read the interpreter's modules.
    script = (
        "import os, sys, kbench.commands.measuring, kbench.doctor, kbench.measure.reporter;"
        "import kbench.measure.run, kbench.store;"
        "from kbench.cli import main; os.setgroups([]); os.setuid(65534); sys.exit(main(['run']))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd="/", capture_output=True, text=True,
                          timeout=60, check=False)  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "as root" in done.stderr


def test_qemu_missing_is_named_with_its_package(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for directory in os.environ["PATH"].split(":"):
        for tool in Path(directory).glob("*") if Path(directory).is_dir() else ():
            if not tool.name.startswith("qemu-system") and not (tools / tool.name).exists():
                (tools / tool.name).symlink_to(tool)
    done = kbench("run", "--where", "lab", cwd=tmp_path, PATH=str(tools))
    assert done.returncode == 3, done.stderr
    assert "qemu-system-x86" in done.stderr
