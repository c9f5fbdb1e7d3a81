# SPDX-License-Identifier: GPL-2.0-only
"""What this machine can run, what not, why not, and what to install or change.

`probe` asks by trying (kb-probe, in a namespace of its own) and takes a few milliseconds, so that a run's plan rests
on it; `render` and `as_data` show it.
"""

from __future__ import annotations

import dataclasses
import errno
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Group
from rich.table import Table
from rich.text import Text

from kbench.errors import EnvironmentProblem, MeasureError
from kbench.host import archive, kernels, packages, qemu
from kbench.host.base import Host
from kbench.host.builds import cache_dir
from kbench.host.facts import cpu_facts, read_or_none, stray_packet_sockets

BUSY_SHARE = 0.10
"""Share of all CPUs that others may use before a warning."""


@dataclass(frozen=True)
class Answer:
    """Whether a thing works here; `why` tells what was found, `what_to_do` what would help."""

    ok: bool
    why: str = ""
    what_to_do: str = ""


@dataclass(frozen=True)
class Capabilities:
    """The abilities of one machine. `modules` means: kbench's own module can be built for this kernel and loaded."""

    namespaces: Answer
    veth: Answer
    modules: Answer
    netfilter: Answer
    xdp: Answer
    af_packet: Answer
    kernel: Answer
    pktgen: Answer
    live_frames: Answer
    kvm: Answer
    lab: Answer
    tools: Answer
    warnings: tuple[str, ...] = ()

    @property
    def datapaths(self) -> tuple[str, ...]:
        """Names of the datapaths that run on this machine itself."""
        return tuple(name for name in ("netfilter", "xdp", "af_packet", "kernel") if getattr(self, name).ok)

    @property
    def generators(self) -> tuple[str, ...]:
        """Names of the generators that run on this machine itself, the preferred first."""
        return tuple(n for n, answer in (("pktgen", self.pktgen), ("xdp", self.live_frames)) if answer.ok)

    @property
    def can_measure(self) -> bool:
        """Whether `kbench run` has anything to do here, on the machine itself or in the lab."""
        return bool(self.datapaths and self.generators) or self.lab.ok


AS_ROOT = "run it as root (sudo kbench ...)"
USE_LAB = "use --where lab"


def _from_probe(
    answers: Mapping[str, Any], key: str, advice: str, *, needs: tuple[Answer, ...] = ()
) -> Answer:
    """The kernel's answer about `key`; something that was not tried fails for what it needs."""
    for need in needs:
        if not need.ok:
            return need
    given = answers.get(key)
    if given is None:
        return Answer(False, "not tried", advice)
    if given["ok"]:
        return Answer(True)
    why = str(given["error"]).lower()
    return Answer(
        False, why, AS_ROOT if given["errno"] in (errno.EPERM, errno.EACCES) and answers["uid"] else advice
    )


def _loadable(host: Host, name: str) -> Answer:
    """Whether the running kernel has module `name` on disk or built in, from the indices that modprobe reads."""
    directory = f"/lib/modules/{host.kernel_release}"
    listed = [read_or_none(host, f"{directory}/{index}") for index in ("modules.dep", "modules.builtin")]
    if listed == [None, None]:
        return Answer(
            False, f"no {directory}", f"apt-get install linux-image-{host.kernel_release}, or {USE_LAB}"
        )
    for text in listed:
        if any(f"/{name}.ko" in line.partition(":")[0] for line in (text or "").splitlines()):
            return Answer(True)
    extra = f"linux-modules-extra-{host.kernel_release}"
    return Answer(
        False, f"this kernel has no module {name}", f"on Ubuntu apt-get install {extra}; or {USE_LAB}"
    )


def _modules(host: Host, answers: Mapping[str, Any]) -> Answer:
    """Whether an unsigned module can be built for this kernel and loaded."""
    given = answers["modules"]
    if not given["ok"] and given["errno"] == errno.ENOSYS:
        return Answer(False, "this kernel is built without modules", USE_LAB)
    if read_or_none(host, "/proc/sys/kernel/modules_disabled") == "1":
        return Answer(
            False,
            "loading is switched off until the next boot (kernel.modules_disabled)",
            f"reboot, or {USE_LAB}",
        )
    if not given["ok"]:
        return _from_probe(answers, "modules", f"a container or security module forbids it: {USE_LAB}")
    lockdown = read_or_none(host, "/sys/kernel/security/lockdown") or ""
    if read_or_none(host, "/sys/module/module/parameters/sig_enforce") == "Y" or (
        "[none]" not in lockdown and lockdown
    ):
        return Answer(False, "this kernel takes only signed modules", f"switch Secure Boot off, or {USE_LAB}")
    if not host.exists(f"/lib/modules/{host.kernel_release}/build/Makefile"):
        headers = f"linux-headers-{host.kernel_release}"
        return Answer(False, "no headers of the running kernel", f"apt-get install {headers}, or {USE_LAB}")
    return Answer(True, "can be built and loaded")


def _pktgen(host: Host, answers: Mapping[str, Any]) -> Answer:
    if answers["pktgen"]["ok"]:
        return Answer(True, "loaded")
    if answers["pktgen"]["errno"] in (errno.EPERM, errno.EACCES):
        return _from_probe(answers, "pktgen", USE_LAB)
    given = answers["modules"]
    if not given["ok"]:
        if given["errno"] == errno.ENOSYS:
            return Answer(
                False, "not in this kernel, which is built without modules", f"--generator xdp, or {USE_LAB}"
            )
        return _from_probe(answers, "modules", USE_LAB)
    answer = _loadable(host, "pktgen")
    return Answer(True, "can be loaded") if answer.ok else answer


def _kvm(host: Host, answers: Mapping[str, Any]) -> Answer:
    """The device's answer; that guests really run is known only after the lab's own trial boot."""
    given = answers["kvm"]
    if not given["ok"]:
        why = "no /dev/kvm" if given["errno"] == errno.ENOENT else f"/dev/kvm: {str(given['error']).lower()}"
        return Answer(False, why, "nothing: the lab then emulates the CPU (TCG)")
    if host.kind == "local":
        try:
            tried: dict[str, str] = json.loads((cache_dir() / "kvm.json").read_text())
        except (OSError, ValueError):
            tried = {}
        if tried and all(tried.values()):
            why = "a trial boot failed: " + next(iter(tried.values())).partition(" (")[0]
            return Answer(False, why, "nothing: the lab then emulates the CPU (TCG)")
        if tried:
            return Answer(True, "a trial boot worked")
    return Answer(True, "the device answers; the lab's first start tries it")


def _lab(host: Host) -> Answer:
    if host.kind != "local":
        return Answer(False, "the lab runs on the machine that kbench is started on")
    try:
        emulator = qemu.find_qemu()
    except EnvironmentProblem as problem:
        return Answer(False, str(problem), f"apt-get install {packages.package_of('qemu-system-x86_64')}")
    if not packages.is_there("busybox"):
        return Answer(False, "no busybox", f"apt-get install {packages.package_of('busybox')}")
    have = [name for name in kernels.series() if list((cache_dir() / "kernels").glob(f"{name}-*.json"))]
    if not have:
        if not packages.is_there("dpkg-deb"):
            return Answer(False, "no dpkg-deb to unpack Debian's kernels with", "give --kernel PATH")
        try:
            archive.debian_mirrors(archive.read_sources(), archive.read_os_release())
        except EnvironmentProblem as problem:
            return Answer(False, str(problem), "give --kernel PATH")
    kept = (
        f"kernels {', '.join(have)} in the cache"
        if have
        else "kernels are fetched at first use (about 80 MB each)"
    )
    return Answer(True, f"QEMU {emulator.version.split()[0]}; {kept}")


def _tools(host: Host) -> Answer:
    if host.kind != "local":
        return Answer(True, "not needed there")
    lacking = packages.missing("build") + packages.missing("run")
    if not lacking:
        return Answer(True)
    names = ", ".join(Path(package.provides.split("|")[0]).name for package in lacking)
    return Answer(
        False, f"missing: {names}", "apt-get install " + " ".join(package.name for package in lacking)
    )


def _warnings(host: Host) -> tuple[str, ...]:
    found = []
    cpu = cpu_facts(host)
    if cpu["governor"] and cpu["governor"] != "performance":
        found.append(
            f"CPU frequency governor is {cpu['governor']}: cpupower frequency-set -g performance steadies figures"
        )
    if cpu["smt"]:
        found.append(
            "SMT is on: what runs on a sibling slows a CPU by up to half; /sys/devices/system/cpu/smt/control"
        )
    if (sockets := stray_packet_sockets(host) or 0) > 0:
        found.append(
            f"{sockets} packet socket(s) are open (ss -0p shows whose): each gets a copy of what passes"
        )
    if read_or_none(host, "/proc/sys/kernel/bpf_stats_enabled") == "1":
        found.append("kernel.bpf_stats_enabled is 1: it costs each BPF program some 70 ns a packet")
    if host.kind == "local":
        if len(psutil.Process().cpu_affinity() or []) < 2:
            found.append(
                "only one CPU may be used: generator and datapath share it, and --placement split can't work"
            )
        busy = _busy_share()
        if busy > BUSY_SHARE:
            found.append(f"other programs use {busy:.0%} of the CPUs: figures get wider intervals")
    return tuple(found)


def _busy_share(interval_s: float = 0.1) -> float:
    """What all CPUs together did in `interval_s`, as a share, steal included."""
    times = psutil.cpu_times_percent(interval=interval_s)
    return max(0.0, 1.0 - (times.idle + times.iowait) / 100)


def ask(host: Host) -> dict[str, Any]:
    """What kb-probe answers on a machine."""
    done = host.run([host.program("kb-probe")], timeout_s=20)
    try:
        answers: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise MeasureError(f"kb-probe said {done.stdout!r}; {done.stderr.strip()}") from None
    return answers


def probe(host: Host) -> Capabilities:
    """Ask a machine what it can do; about 0.2 s, nothing on it is changed.

    Raises EnvironmentProblem where the C parts can't run at all.
    """
    answers = ask(host)
    namespaces = _from_probe(answers, "namespace", "needs CAP_SYS_ADMIN and CONFIG_NET_NS")
    veth = _from_probe(answers, "veth", "needs CONFIG_VETH", needs=(namespaces,))
    bpf = _from_probe(answers, "bpf", "needs CAP_BPF and CONFIG_BPF_SYSCALL", needs=(namespaces,))
    modules = _modules(host, answers)
    return Capabilities(
        namespaces=namespaces,
        veth=veth,
        modules=modules,
        netfilter=veth if not veth.ok else modules,
        xdp=_from_probe(
            answers, "xdp_native", f"this kernel's veth has no native XDP: {USE_LAB}", needs=(veth, bpf)
        ),
        af_packet=_from_probe(answers, "af_packet_v3", "needs CONFIG_PACKET", needs=(veth,)),
        kernel=_from_probe(
            answers, "forwarding", "/proc/sys must be writable (not so in most containers)", needs=(veth,)
        ),
        pktgen=_pktgen(host, answers),
        live_frames=_from_probe(
            answers,
            "live_frames",
            f"needs Linux 5.18's live frames: --generator pktgen, or {USE_LAB}",
            needs=(veth, bpf),
        ),
        kvm=_kvm(host, answers),
        lab=_lab(host),
        tools=_tools(host),
        warnings=_warnings(host),
    )


ROWS = (
    ("testbed", "namespaces", "namespaces"),
    ("testbed", "veth", "veth"),
    ("datapath", "netfilter", "netfilter"),
    ("datapath", "xdp", "xdp"),
    ("datapath", "af_packet", "af_packet"),
    ("datapath", "kernel", "kernel"),
    ("generator", "pktgen", "pktgen"),
    ("generator", "xdp", "live_frames"),
    ("host", "modules", "modules"),
    ("host", "build tools", "tools"),
    ("lab", "QEMU", "lab"),
    ("lab", "KVM", "kvm"),
)


def verdict(found: Capabilities) -> str:
    """What `kbench run` would do here, in a line."""
    paths, generators = ", ".join(found.datapaths), " or ".join(found.generators)
    if found.datapaths and found.generators:
        text = f"This machine measures {paths} with {generators}"
        if "netfilter" in found.datapaths and found.pktgen.ok:
            return text + "."
        return text + (
            ", and all datapaths with pktgen in the lab." if found.lab.ok else "; the lab can't run here."
        )
    if found.lab.ok:
        return "This machine measures in the lab only."
    return "Nothing can be measured on this machine yet."


def render(found: Capabilities) -> Group:
    """The table, the warnings and the verdict for the terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "", "", "why", "what to do"):
        table.add_column(column, overflow="fold")
    last = ""
    for group, label, name in ROWS:
        answer: Answer = getattr(found, name)
        mark = Text("yes", "green") if answer.ok else Text("no", "red")
        advice = "" if answer.ok else answer.what_to_do
        table.add_row(
            Text("" if group == last else group, "dim"), label, mark, Text(answer.why), Text(advice)
        )
        last = group
    lines = [Text(f"warning: {text}", "yellow") for text in found.warnings]
    return Group(table, Text(), *lines, *([Text()] if lines else []), Text(verdict(found), "bold"))


def as_data(found: Capabilities) -> dict[str, Any]:
    """The same, for machines: `kbench doctor --json`."""
    fields = {name: dataclasses.asdict(getattr(found, name)) for _, _, name in ROWS}
    return {
        **fields,
        "datapaths": list(found.datapaths),
        "generators": list(found.generators),
        "can_measure": found.can_measure,
        "warnings": list(found.warnings),
        "verdict": verdict(found),
    }


def exit_code(found: Capabilities) -> int:
    """0 where something can be measured, else that of EnvironmentProblem."""
    return 0 if found.can_measure else EnvironmentProblem.exit_code
