# SPDX-License-Identifier: GPL-2.0-only
"""`kbench selftest` on this machine, and the test build that it compares with: slower, but the same work."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from kbench.functions.generate import generate_routes
from kbench.functions.model import Tables
from kbench.functions.rulegen import generate_rules
from kbench.host import builds
from kbench.model import Function
from kbench.store import Run, load_run
from tests.host.injection import Work, inject
from tests.xdp_bed import Bed, run

OPERATIONS = 100
BYTES = 8
"""Of a BPF instruction."""


def selftest(*arguments: str, cwd: Path) -> tuple[dict[str, Any], Run]:
    """The result and its run. Too few trials for a verdict that holds, so the exit code may be either."""
    done = subprocess.run(
        [sys.executable, "-m", "kbench", "selftest", *arguments, "--duration", "0.05", "--quiet", "--json"],
        cwd=cwd, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    result = json.loads(done.stdout)
    assert done.returncode == (0 if result["failure"] is None else 5), done.stderr
    return result, load_run("@latest", cwd / "results")


def test_aa_compares_and_stores(tmp_path: Path) -> None:
    result, stored = selftest("aa", "--rounds", "2", "--blocks", "3", "--slices", "2", cwd=tmp_path)
    assert result["comparisons"] == 2 and 0 <= result["claimed"] <= result["decided"] <= 2
    assert stored.outcome == "complete" and stored.run["label"] == "selftest aa"
    assert {(v.datapath, v.passed) for v in stored.verifications} == {("a", True), ("b", True)}
    scored = [t for t in stored.trials if not t.warm_up]
    assert {(t.datapath, t.block, t.round) for t in scored} == {
        (name, block, round_) for name in "ab" for block in range(6) for round_ in (2 * block, 2 * block + 1)
    }
    assert {(t.datapath, t.block) for t in stored.trials if t.warm_up} == {
        (name, block) for name in "ab" for block in range(6)
    }
    assert not list(Path("/run/netns").glob(f"kbench-{stored.run_id[-4:]}-*"))


def test_overhead_takes_turns(tmp_path: Path) -> None:
    result, stored = selftest("overhead", "--rounds", "6", "--blocks", "3", "--slices", "2", cwd=tmp_path)
    assert result["cost"]["low"] <= result["cost"]["value"] <= result["cost"]["high"]
    scored = [t for t in stored.trials if not t.warm_up]
    assert len(scored) == 12
    for round_ in range(6):
        assert sorted(bool(t.probes) for t in scored if t.round == round_) == [False, True]


@pytest.fixture(scope="module")
def bed(bin_dir: Path) -> Generator[Bed, None, None]:
    made = Bed(bin_dir, "kbSelf-")
    yield made
    made.down()


def attached_bytes(bed: Bed) -> int:
    """Size of the attached XDP program, as the kernel has it."""
    (link,) = json.loads(run("ip", "-n", bed.dut, "-j", "link", "show", "d0"))
    shown = run(str(builds.bpftool()), "-j", "prog", "show", "id", str(link["xdp"]["prog"]["id"]))
    return int(json.loads(shown)["bytes_xlated"])


def sizes(bed: Bed, work: Work, programs: tuple[Path, ...]) -> list[int]:
    found = []
    for program in programs:
        started = bed.start_datapath(str(program), work.function, work.image)
        found.append(attached_bytes(bed))
        started.stop()
    return found


def test_slow_build_of_xdp_has_the_operations_and_the_shipped_one_none(bed: Bed, tmp_path: Path) -> None:
    work = Work(tmp_path, "forward", Tables(generate_routes(10, seed=3), ()))
    shipped, none, slow = sizes(
        bed, work, (bed.bin / "kb-xdp", builds.slowed("kb-xdp", 0), builds.slowed("kb-xdp", OPERATIONS))
    )
    assert shipped == none
    # One instruction each, once for IPv4 and IPv6 together, and a few to begin with.
    assert OPERATIONS * BYTES <= slow - none <= (OPERATIONS + 4) * BYTES


def test_slow_build_of_af_packet_has_the_operations(bed: Bed) -> None:
    def text(program: Path) -> str:
        return run("objdump", "-d", "--no-show-raw-insn", str(program))

    limit = f"$0x{OPERATIONS:x},"
    loops = text(builds.slowed("kb-af-packet", OPERATIONS)).count(limit)
    assert loops > text(bed.bin / "kb-af-packet").count(limit)


@pytest.mark.parametrize("program", sorted(builds.SLOWABLE))
@pytest.mark.parametrize("function", ["forward", "filter"])
def test_slow_build_does_the_same_work(bed: Bed, tmp_path: Path, function: Function, program: str) -> None:
    rules = generate_rules(200, "acl", seed=3) if function == "filter" else ()
    work = Work(tmp_path, function, Tables(generate_routes(300, seed=3), rules))
    started = bed.start_datapath(str(builds.slowed(program, OPERATIONS)), function, work.image)
    code, events, stderr = inject(bed, "--packets", work.packets_path, "--marker-file", work.marker_path)
    assert (code, stderr) == (0, "")
    assert started.stop()["forwarded"] == work.count("forwarded") + len(work.packets)
    assert work.differences(events) == []
