# SPDX-License-Identifier: GPL-2.0-only
"""Grades: each rule can fire and can be silent, the worst decides, and docs/method.md lists them all."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from kbench.explain.grade import MEANING, Evidence, Grade, Reason
from kbench.explain.grade_rules import RULES, grade
from kbench.explain.nic import Topology, topology
from kbench.explain.stats import Estimate
from kbench.model import CpuTime, Trial
from tests.unit import synthetic_nics as nics
from tests.unit import synthetic_runs as synthetic

METHOD = Path(__file__).parents[2] / "docs/method.md"
QUIET: dict[str, Any] = {
    "virtualization": None,
    "clocksource": "tsc",
    "packet_sockets": 0,
    "cpu": {
        "virtual": False, "governor": "performance", "turbo": False, "smt": False,
        "throttle_events": 3, "siblings": {"0": [2], "1": [3]},
    },
    "end": {"throttle_events": 3},
    "mitigations": {},
    "kernel": {"config": {"IRQ_TIME_ACCOUNTING": "y", "HZ": "1000"}},
    "sysctl": {"kernel.bpf_stats_enabled": "0", "net.core.bpf_jit_enable": "1"},
}  # fmt: skip
"""A machine that nothing can be said against."""
NARROW = Estimate(1.0, 0.995, 1.005, 50, None, 5)
WIDE = Estimate(1.0, 0.93, 1.07, 50, None, 5)


def quiet_trial(**changes: Any) -> Trial:
    trial = synthetic.exact_trial("xdp", 1, 1000.0)
    raw = {
        "testbed": "nic",
        "cpus": {"generator": 5, "receive": 0, "application": 1},
        "offloads": {"rx": ["rx-checksumming"], "tx": []},
    }
    return dataclasses.replace(
        trial, part="host", kind="wall", purpose="rate", placement="split", raw=raw,
        steal_share=0.0, foreign_cpu_share=0.01, softirqs={"NET_RX/cpu0": 90_000},
        cpus=[CpuTime(n, 0, 0.2, 0, 0.7, 0, 0.1) for n in (0, 1)] + [CpuTime(2, 0, 0, 0, 0, 0, 1)],
    )  # fmt: skip


def evidence(**changes: Any) -> Evidence:
    """Nothing can be said against it, but for `changes`; ``trial`` changes a trial, dotted names a fact."""
    facts = {k: dict(v) if isinstance(v, dict) else v for k, v in QUIET.items()}
    for name in [n for n in changes if "." in n]:
        group, _, key = name.partition(".")
        facts[group] = {**facts[group], key: changes.pop(name)}
    facts |= changes.pop("facts", {})
    trial = dataclasses.replace(quiet_trial(), **changes.pop("trial", {}))
    defaults: dict[str, Any] = {
        "kind": "wall", "facts": facts, "scored": [trial] * 10, "figure": NARROW, "ratio": NARROW,
        "ceiling_share": 0.5, "verified": True,
    }  # fmt: skip
    return Evidence(**(defaults | changes))


def wired(**more: Any) -> Topology | None:
    """A hairpin of this machine's own ports."""
    return topology(nics.part(nics.hairpin(**more)))


def fired(seen: Evidence) -> dict[str, str]:
    return {reason.rule: reason.worst for reason in grade(seen).reasons}


def raw(**changes: Any) -> dict[str, Any]:
    return {"raw": {**quiet_trial().raw, **changes}}


def test_an_a_needs_that_no_rule_fires() -> None:
    made = grade(evidence())
    assert made == Grade("A", []) and made.meaning == MEANING["A"] and made.deciding == []


FIRES = [
    ("no-figure", {"figure": None, "ratio": None}, "F"),
    ("no-figure", {"kind": "functional"}, "F"),
    ("unverified", {"verified": None}, "D"),
    ("unverified", {"verified": False}, "F"),
    ("emulated", {"kind": "exact"}, "C"),
    ("emulated", {"kind": "emulated"}, "E"),
    ("emulated", {"nic": wired(emulated=True)}, "D"),
    ("testbed", {"trial": raw(testbed="veth")}, "C"),
    ("testbed", {"nic": wired(driver="virtio_net")}, "C"),
    ("testbed", {"nic": topology(nics.part(nics.loopback()))}, "B"),
    ("link", {"nic": wired(speed=None)}, "B"),
    ("link", {"nic": wired(duplex="half")}, "D"),
    ("link", {"nic": wired(), "line_share": 0.96}, "D"),
    ("link", {"nic": wired(), "line_share": 3.0}, "B"),
    ("same-machine", {"nic": wired()}, "B"),
    ("virtual-machine", {"facts": {"virtualization": "QEMU"}}, "C"),
    ("virtual-machine", {"cpu.virtual": True}, "C"),
    ("virtual-machine", {"cpu.virtual": None}, "B"),
    ("shared-cpu", {"trial": {"placement": "same"}}, "C"),
    ("shared-cpu", {"facts": {"virtualization": "QEMU"}}, "D"),
    ("governor", {"cpu.governor": "powersave"}, "C"),
    ("governor", {"cpu.governor": None}, "B"),
    ("turbo", {"cpu.turbo": True}, "B"),
    ("turbo", {"cpu.turbo": None}, "B"),
    ("throttling", {"end.throttle_events": 4}, "D"),
    ("throttling", {"end.throttle_events": None}, "B"),
    ("throttling", {"cpu.throttle_events": None}, "B"),
    ("smt", {"cpu.smt": None}, "B"),
    ("smt", {"cpu.smt": True, "cpu.siblings": None}, "B"),
    ("smt", {"cpu.smt": True, "cpu.siblings": {"0": [5], "5": [0]}}, "C"),
    ("smt", {"cpu.smt": True, "trial": {"cpus": [CpuTime(2, 0.1, 0, 0, 0, 0, 0.9)]}}, "C"),
    ("mitigations", {"facts": {"mitigations": {"spectre_v2": "Vulnerable"}}}, "B"),
    ("mitigations", {"facts": {"mitigations": {"spectre_v2": "Mitigation: IBRS"}}}, "A"),
    ("mitigations", {"facts": {"mitigations": None}}, "B"),
    ("irq-time", {"kernel.config": {"HZ": "250"}}, "B"),
    ("irq-time", {"kernel.config": None}, "B"),
    ("clock-source", {"facts": {"clocksource": "hpet"}}, "C"),
    ("clock-source", {"facts": {"clocksource": None}}, "B"),
    ("debug-kernel", {"kernel.config": {"IRQ_TIME_ACCOUNTING": "y", "KASAN": "y"}}, "D"),
    ("debug-kernel", {"sysctl.kernel.bpf_stats_enabled": "1"}, "D"),
    ("debug-kernel", {"sysctl.net.core.bpf_jit_enable": "0"}, "D"),
    ("packet-sockets", {"facts": {"packet_sockets": 2}}, "C"),
    ("packet-sockets", {"facts": {"packet_sockets": None}}, "B"),
    ("offloads", {"trial": raw(offloads=None)}, "B"),
    ("offloads", {"trial": raw(offloads={"rx": ["generic-receive-offload"]})}, "A"),
    ("offloads", {"trial": raw(offloads={"rx": ["large-receive-offload"], "tx": None})}, "D"),
    ("steal", {"trial": {"steal_share": 0.01}}, "C"),
    ("steal", {"trial": {"steal_share": 0.03}}, "D"),
    ("foreign-load", {"trial": {"foreign_cpu_share": 0.05}}, "C"),
    ("foreign-load", {"trial": {"foreign_cpu_share": 0.5}}, "D"),
    ("contaminated", {"contaminated": 2}, "C"),
    ("contaminated", {"contaminated": 8}, "D"),
    ("contaminated", {"contaminated": 90}, "D"),
    ("invalid", {"invalid": 1}, "C"),
    ("invalid", {"invalid": 6}, "D"),
    ("invalid", {"invalid": 20}, "E"),
    ("softirqs-elsewhere",
     {"trial": {"placement": "same", "softirqs": {"NET_RX/cpu0": 9000, "NET_RX/cpu1": 2000}}}, "D"),
    ("generator-limited", {"ceiling_share": 0.96}, "D"),
    ("blocks", {"figure": dataclasses.replace(NARROW, blocks=1)}, "C"),
    ("blocks", {"figure": dataclasses.replace(NARROW, blocks=4)}, "B"),
    ("interval", {"ratio": dataclasses.replace(NARROW, high=1.03)}, "B"),
    ("interval", {"ratio": WIDE}, "C"),
    ("interval", {"ratio": dataclasses.replace(WIDE, high=1.2)}, "D"),
    ("interval", {"ratio": None, "figure": WIDE}, "C"),
    ("interval", {"ratio": Estimate(1.0, None, None, 2, "2 rounds: an interval needs 5")}, "E"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "changes", "worst"), FIRES)
def test_a_rule_fires(rule: str, changes: dict[str, Any], worst: str) -> None:
    assert fired(evidence(**dict(changes)))[rule] == worst


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("shared-cpu", {}),  # split, but on real CPUs
        ("smt", {"cpu.smt": True}),  # the sibling idled
        ("steal", {"trial": {"steal_share": None}}),
        ("generator-limited", {"ceiling_share": None}),
        ("generator-limited", {"ceiling_share": 0.94}),
        ("softirqs-elsewhere", {"userspace": True, "trial": {"placement": "same"}}),
        ("softirqs-elsewhere", {"trial": {"placement": "same", "raw": {}}}),
        ("contaminated", {"contaminated": 1}),
        ("governor", {"kind": "exact", "cpu.governor": "powersave"}),  # instructions do not depend on it
        ("steal", {"kind": "exact", "trial": {"steal_share": 0.5}}),
        ("testbed", {"nic": wired()}),  # a NIC, and nothing else to say
        ("testbed", {"kind": "emulated", "trial": raw(testbed="veth")}),
        ("emulated", {"nic": wired(driver="virtio_net", emulated=True)}),  # `testbed` calls it paravirtual
        ("link", {}),
        ("link", {"nic": wired(), "line_share": 0.94}),
        ("link", {"nic": wired(), "line_share": None}),  # of a latency, say
        ("same-machine", {"nic": wired(tester=nics.TESTER)}),
        # The generator is elsewhere: no cache line moves between two virtual CPUs for it.
        ("shared-cpu", {"facts": {"virtualization": "QEMU"}, "nic": wired(tester=nics.TESTER)}),
    ],
)
def test_a_rule_is_silent(rule: str, changes: dict[str, Any]) -> None:
    assert rule not in fired(evidence(**dict(changes)))


def test_every_rule_is_tried() -> None:
    names = [name for name, _, _ in RULES]
    assert sorted(set(names)) == sorted(names) == sorted({rule for rule, _, _ in FIRES})


def test_the_worst_rule_decides_and_comes_first() -> None:
    made = grade(evidence(**{"cpu.turbo": True, "invalid": 6, "facts": {"packet_sockets": 2}}))
    assert made.letter == "D" and [r.worst for r in made.reasons] == ["D", "C", "B"]
    assert made.deciding == [Reason("invalid", "38 % of the trials were invalid", "D")]


def test_a_wide_interval_says_how_much_more_it_takes() -> None:
    (reason,) = grade(evidence(ratio=WIDE)).reasons
    assert reason.saw == "the interval is +-7 %; +-2 % needs about 29 more blocks"


def test_an_emulated_part_is_an_e_whatever_its_machine_is() -> None:
    seen = evidence(kind="emulated", facts={"virtualization": "QEMU"}, ratio=None, nic=wired(emulated=True))
    assert grade(seen) == Grade(
        "E", [Reason("emulated", "emulated machine and NIC: shows that it works, not how fast", "E")]
    )


def test_a_real_nic_with_the_tester_elsewhere_can_be_an_a() -> None:
    assert grade(evidence(nic=wired(tester=nics.TESTER), line_share=0.5)).letter == "A"


def test_siblings_are_looked_for_on_the_duts_machine_only() -> None:
    given = {"generator": 2, "receive": 0, "application": 1, "receive_all": [0, 3]}
    seen = {"trial": raw(cpus=given)}
    assert evidence(nic=wired(), **seen).cpus() == {0, 2, 3}
    assert evidence(nic=wired(tester=nics.TESTER), **seen).cpus() == {0, 3}
    assert evidence(**seen).cpus() == {0, 2}  # veth: as before there were NICs


def test_nothing_known_of_the_machine_is_never_a_pass() -> None:
    made = grade(Evidence("wall", scored=[quiet_trial()] * 10, figure=NARROW, ratio=NARROW, verified=True))
    assert made.letter == "D"
    unknown = {"virtual-machine", "governor", "turbo", "throttling", "smt", "mitigations", "irq-time",
               "clock-source", "packet-sockets"}  # fmt: skip
    assert unknown <= {r.rule for r in made.reasons}


def test_same_cpu_veth_on_a_virtual_machine_is_a_c_at_best() -> None:
    seen = evidence(facts={"virtualization": "QEMU"}, trial={**raw(testbed="veth"), "placement": "same"})
    assert grade(seen).letter == "C"


def test_the_manual_lists_every_rule_with_its_grades() -> None:
    text = METHOD.read_text()
    section = text[text.index("\n## Grade") :]
    rows = dict(re.findall(r"^\| `([a-z-]+)` \|.*\| ([A-F, ]+) \|$", section, re.MULTILINE))
    assert set(rows) == {name for name, _, _ in RULES}
    for rule, _, worst in FIRES:
        assert worst in rows[rule], rule
    for letter, meaning in MEANING.items():
        assert f"| {letter} | {meaning} |" in section
