# SPDX-License-Identifier: GPL-2.0-only
"""Two runs: what the datapaths were built of, and what else can be behind a change."""

from __future__ import annotations

from pathlib import Path

import pytest

from kbench.explain.across import AcrossResult, compare_runs
from kbench.explain.across.words import causes
from kbench.host import builds
from kbench.measure import run as measuring
from tests.unit.test_across import pair

SAME = {"xdp": 3e6, "kernel": 0.75e6}
SOURCES = {"core": "a" * 64, "userspace/bpf": "b" * 64}


def compared(base: object, head: object, xdp: float = 3e6) -> AcrossResult:
    runs = pair({**SAME, "xdp": xdp})
    for run, sources in zip(runs, (base, head), strict=True):
        if sources is not None:
            run.run["sources"] = sources
    return compare_runs(*runs)


def test_other_sources_are_a_difference_by_directory() -> None:
    result = compared(SOURCES, {**SOURCES, "core": "c" * 64, "userspace/new": "d" * 64})
    assert result.same_sources is False
    assert [(d.part, d.what, d.base, d.head) for d in result.differences] == [
        ("sources", "core", "a" * 12, "c" * 12), ("sources", "userspace/new", None, "d" * 12),
    ]  # fmt: skip
    assert {d.cause for d in result.differences} == {"other sources of the datapaths"}


def test_the_same_sources_clear_the_datapaths_of_what_changed() -> None:
    same = causes(compared(SOURCES, SOURCES, xdp=2.4e6))
    assert same.endswith("sources are the same in both, so what changed is not their code.")
    assert causes(compared(SOURCES, SOURCES)).endswith("sources are the same in both.")
    assert "sources are the same" not in causes(compared(None, None, xdp=2.4e6))
    other = causes(compared(SOURCES, {**SOURCES, "core": "c" * 64}, xdp=2.4e6))
    assert "more than their figures: other sources of the datapaths; each a possible cause" in other


@pytest.mark.parametrize(("base", "head", "told"), [(None, None, 0), (SOURCES, None, 1), (None, SOURCES, 1)])
def test_runs_that_do_not_tell_their_sources_say_so(base: object, head: object, told: int) -> None:
    result = compared(base, head)
    assert result.same_sources is None and len(result.differences) == told
    assert any("does not tell which sources" in caveat for caveat in result.caveats)


def test_another_kbench_is_a_difference() -> None:
    base, head = pair(SAME)
    head.run["kbench_version"] = "9.9"
    (found,) = compare_runs(base, head).differences
    assert (found.part, found.what, found.head, found.cause) == ("kbench", "version", "9.9", "another kbench")
    assert str(found) == "kbench version: 0.0-synthetic -> 9.9"


def test_facts_that_move_figures_have_a_cause_each() -> None:
    base, head = pair(SAME)
    facts = head.facts["host"]
    facts["cpu"] |= {"microcode": "0x2", "governor": "powersave", "smt": True}
    facts["mitigations"] = {"meltdown": "Mitigation: PTI"}
    facts["sysctl"] = {"net.core.bpf_jit_enable": "0"}
    causes = {d.what: d.cause for d in compare_runs(base, head, force=True).differences}
    assert causes == {
        "cpu microcode": "other microcode",
        "cpu governor": "other settings of the CPUs",
        "cpu smt": "other settings of the CPUs",
        "mitigations meltdown": "other mitigations",
        "sysctl net.core.bpf_jit_enable": "another configuration of the kernel",
    }


def test_the_sources_are_hashed_by_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (
        ("core/a.c", "1"), ("core/deep/er/b.h", "2"), ("kmods/bpf/x.bpf.c", "3"), ("userspace/common.mk", "4"),
        ("userspace/bpf/xdp.c", "5"), ("userspace/bpf/README.md", "6"),
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(builds, "source_root", lambda: tmp_path)
    before = builds.source_versions()
    assert list(before) == ["core", "core/deep", "kmods/bpf", "userspace", "userspace/bpf"]
    assert all(len(digest) == 64 for digest in before.values())
    assert builds.source_versions() == before
    (tmp_path / "userspace/bpf/README.md").write_text("7")
    assert builds.source_versions() == before
    (tmp_path / "core/a.c").write_text("1 ")
    after = builds.source_versions()
    assert {name for name in before if before[name] != after[name]} == {"core"}
    (tmp_path / "userspace/bpf/xdp.c").rename(tmp_path / "userspace/bpf/xdp2.c")
    assert builds.source_versions()["userspace/bpf"] != before["userspace/bpf"]


def test_a_run_records_its_sources() -> None:
    assert {"core", "kmods/bpf", "kmods/netfilter", "userspace/af_packet"} <= builds.source_versions().keys()
    assert "source_versions()" in Path(measuring.__file__).read_text()
