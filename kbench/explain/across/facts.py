# SPDX-License-Identifier: GPL-2.0-only
"""What else differs between two runs: machine, kernel, settings, versions. Any of it can be the cause of a change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kbench.explain.across.nics import differences_of_nics, other_testbed
from kbench.explain.across.result import Difference, unlike
from kbench.explain.answer import part_name
from kbench.model import Kind
from kbench.store import Run

Path = tuple[str, ...]

MACHINE: dict[Kind, dict[str, tuple[Path, ...]]] = {
    "wall": {
        "host": (("hostname",), ("cpu", "model"), ("virtualization",)),
        "lab": (("qemu_version",), ("accel",)),
        "remote": (("hostname",), ("cpu", "model"), ("virtualization",)),
    },
    "exact": {"lab": (("qemu_version",),)},
    "functional": {},
    "emulated": {},
}
"""Facts that make it another machine, by kind of figure and by whose facts they are. Instruction counts depend on
QEMU, never on the host."""
CAUSES: dict[str, tuple[Path, ...]] = {
    "another machine": (("hostname",), ("cpu", "model"), ("virtualization",), ("memory_bytes",)),
    "another kernel": (
        ("kernel", "release"), ("kernel", "version"), ("kernel_release",), ("kernel_version",), ("vmlinux_sha256",),
    ),
    "another configuration of the kernel": (
        ("kernel", "config"), ("kernel", "preemption"), ("kernel", "cmdline"), ("sysctl",),
    ),
    "other microcode": (("cpu", "microcode"),),
    "other mitigations": (("mitigations",),),
    "other settings of the CPUs": (
        ("cpu", "governor"), ("cpu", "turbo"), ("cpu", "smt"), ("cpu", "online"), ("cpu", "isolated"),
        ("cpu", "cpufreq_driver"),
    ),
    "another clock source": (("clocksource",),),
    "stray packet sockets": (("packet_sockets",),),
    "another emulator": (("qemu_version",), ("accel",), ("mode",)),
    "other tools": (("distribution",), ("tools",)),
}  # fmt: skip
"""Facts that move figures without a change of the code under test, by what they are called as a cause."""
OPTIONS_APART = frozenset({
    "results", "reports", "label", "resume", "keep", "given", "methods",
    "rounds", "blocks", "budget_s", "repeats", "until_ci",
})  # fmt: skip
"""Options that say what and how much was measured, or where it was written, and move no figure."""
OTHER_OPTIONS, OTHER_KBENCH, OTHER_SOURCES = (
    "other options",
    "another kbench",
    "other sources of the datapaths",
)


def other_machine(base: Run, head: Run, kinds: Iterable[Kind]) -> list[str]:
    """Why the runs are not of the same machine, as far as figures of these kinds depend on it."""
    found = []
    for kind in sorted(kinds):
        for part, paths in MACHINE[kind].items():
            for path in paths:
                was, is_ = (at(run.facts.get(part, {}), path) for run in (base, head))
                if was != is_:
                    what = " ".join(path).replace("_", " ")
                    found.append(
                        f"another machine: {part_name(part)}'s {what} is {was} in BASE and {is_} in HEAD"
                    )
    return list(dict.fromkeys(found + other_testbed(base, head)))


def differences(base: Run, head: Run) -> list[Difference]:
    """Of the facts of every part that both have, of kbench and the sources, and of the options."""
    found = []
    for part in [name for name in base.facts if name in head.facts]:
        for cause, paths in CAUSES.items():
            for path in paths:
                was, is_ = (at(run.facts[part], path) for run in (base, head))
                found += unlike(part, " ".join(path), was, is_, cause)
    found += differences_of_nics(base, head)
    versions = [run.run.get("kbench_version") for run in (base, head)]
    found += unlike("kbench", "version", versions[0], versions[1], OTHER_KBENCH)
    found += _of_sources(base.run.get("sources"), head.run.get("sources"))
    options = [
        {k: v for k, v in run.run.get("options", {}).items() if k not in OPTIONS_APART}
        for run in (base, head)
    ]
    return found + unlike("options", "", options[0], options[1], OTHER_OPTIONS)


def same_sources(base: Run, head: Run) -> bool | None:
    """Whether the programs and modules were built of the same sources; None where a run does not tell."""
    was, is_ = (run.run.get("sources") for run in (base, head))
    return None if was is None or is_ is None else bool(was == is_)


def at(facts: Mapping[str, Any], path: Path) -> Any:
    """A fact by its path; None where it was not recorded."""
    found: Any = facts
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _of_sources(was: Mapping[str, str] | None, is_: Mapping[str, str] | None) -> list[Difference]:
    if was is None and is_ is None:
        return []
    if was is None or is_ is None:
        told = "recorded"
        return [Difference("sources", "", told if was else None, told if is_ else None, OTHER_SOURCES)]
    short = [{name: digest[:12] for name, digest in side.items()} for side in (was, is_)]
    return unlike("sources", "", short[0], short[1], OTHER_SOURCES)
