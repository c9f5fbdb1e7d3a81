# SPDX-License-Identifier: GPL-2.0-only
"""Options and abilities become cases and parts, or one clear line."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest

from kbench.errors import EnvironmentProblem, UsageError
from kbench.measure.plan import Options, make_cases, make_plan


@dataclass(frozen=True)
class Answer:
    ok: bool
    why: str = ""
    what_to_do: str = ""


@dataclass(frozen=True)
class Machine:
    netfilter: Answer = Answer(True)
    xdp: Answer = Answer(True)
    af_packet: Answer = Answer(True)
    kernel: Answer = Answer(True)
    pktgen: Answer = Answer(True)
    live_frames: Answer = Answer(True)
    lab: Answer = Answer(True)


FULL = Machine()
LOCKED = Machine(
    netfilter=Answer(False, "the kernel has no loadable modules", "use --where lab"),
    pktgen=Answer(False, "no pktgen", "use --where lab"),
)


def test_a_full_host_measures_everything_itself() -> None:
    plan = make_plan(Options(), FULL)
    (part,) = plan.parts
    assert (part.name, part.kind, part.generator) == ("host", "wall", "pktgen")
    assert set(part.datapaths) == {"netfilter", "xdp", "af_packet", "kernel"}
    assert any("makes xdp look bad" in text for text in plan.notices)


def test_a_locked_down_host_is_joined_by_the_lab_and_says_why() -> None:
    plan = make_plan(Options(), LOCKED)
    host, lab = plan.parts
    assert (host.kind, host.generator) == ("wall", "xdp")
    assert "netfilter" not in host.datapaths
    assert (lab.kind, lab.generator) == ("exact", "pktgen")
    assert set(lab.datapaths) == {"netfilter", "xdp", "af_packet", "kernel"}
    assert "no loadable modules" in plan.why


def test_without_lab_the_host_goes_alone_but_says_what_is_missing() -> None:
    can = dataclasses.replace(LOCKED, lab=Answer(False, "no QEMU", "install qemu-system-x86"))
    plan = make_plan(Options(), can)
    assert [part.name for part in plan.parts] == ["host"]
    assert "install qemu-system-x86" in plan.why


def test_netfilter_alone_needs_the_lab() -> None:
    can = dataclasses.replace(LOCKED, lab=Answer(False, "no QEMU", "install qemu-system-x86"))
    with pytest.raises(EnvironmentProblem, match="install qemu-system-x86"):
        make_plan(Options(datapaths=("netfilter",)), can)
    plan = make_plan(Options(datapaths=("netfilter",)), LOCKED)
    assert [part.name for part in plan.parts] == ["lab"]


def test_netfilter_asked_for_on_a_locked_host() -> None:
    with pytest.raises(EnvironmentProblem, match=r"netfilter can't run on this host.*use --where lab"):
        make_plan(Options(where="host", datapaths=("netfilter", "xdp")), LOCKED)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"datapaths": ("xpd",)}, "did you mean 'xdp'"),
        ({"datapaths": ("zzzz",)}, "choose from netfilter"),
        ({"functions": ("forwrad",)}, "did you mean 'forward'"),
        ({"generator": "pkgen"}, "did you mean 'pktgen'"),
        ({"load_pps": 0.0}, "--load"),
        ({"rounds": 0}, "--rounds"),
        ({"duration_s": 0.0}, "--duration"),
        ({"frame_bytes": (63,)}, "63"),
        ({"frame_bytes": (1519,)}, "1519"),
        ({"rules": (10_001,)}, "10001"),
        ({"flows": 0}, "flows"),
        ({"match_share": 1.5}, "1.5"),
        ({"shapes": ("clam",)}, "clam"),
        ({"xdp_mode": "generic", "generator": "pktgen"}, "crashes"),
        ({"where": "lab", "load_pps": 1000.0}, "--where host"),
        ({"where": "lab", "placement": "split"}, "one CPU"),
        ({"datapaths": ("kernel",), "functions": ("filter",)}, "filter"),
    ],
)
def test_bad_options_are_one_line_that_says_what_to_do(change: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_plan(dataclasses.replace(Options(), **change), FULL)  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cases_are_the_combinations_that_differ() -> None:
    cases = make_cases(
        Options(
            functions=("drop", "forward", "filter"), rules=(1, 100), shapes=("acl", "fw"), routes=(1, 1000)
        )
    )
    ids = [case.case_id for case in cases]
    assert len(ids) == len(set(ids)) == 1 + 2 + 2 * 2 * 2


def test_pktgen_asked_for_on_a_locked_host() -> None:
    with pytest.raises(EnvironmentProblem, match="pktgen can't run on this host"):
        make_plan(Options(where="host", generator="pktgen", datapaths=("xdp",)), LOCKED)


def test_a_machine_that_can_do_nothing_says_so() -> None:
    nothing = Answer(False, "no veth", "needs CONFIG_VETH")
    can = Machine(nothing, nothing, nothing, nothing, nothing, nothing, nothing)
    with pytest.raises(EnvironmentProblem, match="no veth"):
        make_plan(Options(), can)


def test_another_generator_than_asked_for_is_said() -> None:
    plan = make_plan(Options(generator="pktgen", datapaths=("kernel",), functions=("forward",)), LOCKED)
    assert [part.generator for part in plan.parts] == ["xdp", "pktgen"]
    (notice,) = plan.notices
    assert notice == "host: generator xdp in place of pktgen, which can't run here: no pktgen"
    assert (
        make_plan(Options(generator="xdp", datapaths=("kernel",), functions=("forward",)), LOCKED).notices
        == ()
    )
