# SPDX-License-Identifier: GPL-2.0-only
"""What a reader must know of a machine to judge its figures: kernel, CPUs, memory, network cards, settings, tools.

Everything comes from /proc and /sys by way of the Host, so that the lab is described like this machine.
What a machine does not tell is None, never a guess.
"""

from __future__ import annotations

import functools
import gzip
import json
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil

from kbench import __version__
from kbench.host.base import Host, HostFileError
from kbench.host.shell import Shell

SYSCTLS = (
    "kernel.bpf_stats_enabled",
    "kernel.sched_autogroup_enabled",
    "kernel.timer_migration",
    "kernel.unprivileged_bpf_disabled",
    "net.core.bpf_jit_enable",
    "net.core.bpf_jit_harden",
    "net.core.dev_weight",
    "net.core.netdev_budget",
    "net.core.netdev_budget_usecs",
    "net.core.netdev_max_backlog",
    "net.core.rmem_max",
    "net.ipv4.ip_forward",
)

CONFIG_PATTERN = re.compile(
    r"^CONFIG_(HZ|NO_HZ_FULL|PREEMPT\w*|IRQ_TIME_ACCOUNTING|VIRT_CPU_ACCOUNTING_GEN|INIT_ON_ALLOC_DEFAULT_ON|BPF_JIT\w*|"
    r"MITIGATION_RETPOLINE|RETPOLINE|NET_PKTGEN|MODULES|MODULE_SIG_FORCE|XDP_SOCKETS|NF_CONNTRACK|KASAN|PROVE_LOCKING)=(.*)$",
    re.MULTILINE,
)

TOOLS = {
    "clang": ("clang", "--version"),
    "gcc": ("gcc", "--version"),
    "libbpf": ("pkg-config", "--modversion", "libbpf"),
    "qemu": ("qemu-system-x86_64", "--version"),
}


def read_or_none(host: Shell, path: str) -> str | None:
    """A small file's text without the newline at its end; None where it can't be read."""
    try:
        return host.read_text(path).strip()
    except HostFileError:
        return None


def _number(text: str | None) -> int | None:
    try:
        return int(text) if text else None
    except ValueError:
        return None


def os_release(text: str | None) -> str | None:
    """PRETTY_NAME of /etc/os-release."""
    match = re.search(r'^PRETTY_NAME="?(.*?)"?$', text or "", re.MULTILINE)
    return match[1] if match else None


def expand_cpus(text: str | None) -> list[int]:
    """CPU numbers of a kernel list such as ``0-3,8``."""
    cpus: list[int] = []
    for piece in filter(None, (text or "").split(",")):
        first, _, last = piece.partition("-")
        cpus += range(int(first), int(last or first) + 1)
    return cpus


def cpu_facts(host: Host) -> dict[str, Any]:
    """Model and how the CPUs are set up: what moves a figure without a change of code."""
    info = read_or_none(host, "/proc/cpuinfo") or ""

    def field(name: str) -> str | None:
        match = re.search(rf"^{name}\s*:\s*(.*)$", info, re.MULTILINE)
        return match[1].strip() if match else None

    sys_cpu = "/sys/devices/system/cpu"
    online = expand_cpus(read_or_none(host, f"{sys_cpu}/online"))
    governors = {read_or_none(host, f"{sys_cpu}/cpu{cpu}/cpufreq/scaling_governor") for cpu in online}
    no_turbo = read_or_none(host, f"{sys_cpu}/intel_pstate/no_turbo")
    boost = read_or_none(host, f"{sys_cpu}/cpufreq/boost")
    cores = {
        (
            read_or_none(host, f"{sys_cpu}/cpu{cpu}/topology/physical_package_id"),
            read_or_none(host, f"{sys_cpu}/cpu{cpu}/topology/core_id"),
        )
        for cpu in online
    }
    smt = read_or_none(host, f"{sys_cpu}/smt/active")
    return {
        "model": field("model name"),
        "microcode": field("microcode"),
        "mhz": float(mhz) if (mhz := field("cpu MHz")) else None,
        "online": len(online) or None,
        "cores": len(cores) or None,
        "smt": smt == "1" if smt is not None else None,
        "siblings": siblings(host, online) or None,
        "cpufreq_driver": read_or_none(host, f"{sys_cpu}/cpu0/cpufreq/scaling_driver"),
        "throttle_events": throttle_events(host, online),
        "governor": ", ".join(sorted(filter(None, governors))) or None,
        "turbo": no_turbo == "0" if no_turbo is not None else boost == "1" if boost is not None else None,
        "isolated": read_or_none(host, f"{sys_cpu}/isolated") or None,
        "l3": read_or_none(host, f"{sys_cpu}/cpu0/cache/index3/size"),
        "virtual": "hypervisor" in (field("flags") or "").split(),
    }


def siblings(host: Host, online: Iterable[int]) -> dict[str, list[int]]:
    """CPU -> the other CPUs that are threads of its core (SMT); keys are text, as JSON has them."""
    found = {}
    for cpu in online:
        text = read_or_none(host, f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        if text is not None:
            found[str(cpu)] = [other for other in expand_cpus(text) if other != cpu]
    return found


def throttle_events(host: Host, online: Iterable[int] | None = None) -> int | None:
    """How often CPUs were slowed for heat since boot, cores and packages summed; None where that is not counted.

    A run that begins and ends with different counts was throttled.
    """
    sys_cpu = "/sys/devices/system/cpu"
    cpus = expand_cpus(read_or_none(host, f"{sys_cpu}/online")) if online is None else online
    counts = [
        _number(read_or_none(host, f"{sys_cpu}/cpu{cpu}/thermal_throttle/{what}_throttle_count"))
        for cpu in cpus
        for what in ("core", "package")
    ]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def preemption(
    host: Host, version: str | None, cmdline: str | None, config: Mapping[str, str] | None
) -> str | None:
    """The kernel's preemption model: none, voluntary, full, lazy or rt; None where nothing tells it.

    With PREEMPT_DYNAMIC it can be chosen at boot (preempt=) and while it runs (debugfs): kernel commit 826bfeb37bb4.
    """
    if "PREEMPT_RT" in (version or ""):
        return "rt"
    if chosen := re.search(r"\((\w+)\)", read_or_none(host, "/sys/kernel/debug/sched/preempt") or ""):
        return chosen[1]
    options = config or {}
    asked = re.search(r"(?:^|\s)preempt=(\w+)", cmdline or "")
    if asked and options.get("PREEMPT_DYNAMIC") == "y":
        return asked[1]
    models = {
        "PREEMPT_NONE": "none",
        "PREEMPT_VOLUNTARY": "voluntary",
        "PREEMPT": "full",
        "PREEMPT_LAZY": "lazy",
    }
    return next((model for option, model in models.items() if options.get(option) == "y"), None)


def offloads(host: Host, interface: str, netns: str | None = None) -> list[str] | None:
    """The interface's features that are on (``generic-receive-offload``), sorted; None if ethtool can't tell."""
    done = host.run(["ethtool", "--json", "-k", interface], netns=netns, check=False)
    try:
        (features,) = json.loads(done.stdout)
    except ValueError:
        return None
    return sorted(name for name, state in features.items() if isinstance(state, dict) and state.get("active"))


def mitigations(host: Host) -> dict[str, str]:
    """Vulnerability -> the kernel's answer, those that do not affect this CPU left out."""
    directory = "/sys/devices/system/cpu/vulnerabilities"
    try:
        names = host.list_dir(directory)
    except HostFileError:
        return {}
    found = {name: read_or_none(host, f"{directory}/{name}") or "" for name in names}
    return {name: text for name, text in found.items() if text and text != "Not affected"}


def virtualization(host: Host) -> str | None:
    """Who runs this machine, as far as it says; None on bare metal."""
    parts = [read_or_none(host, f"/sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name")]
    named = (
        " ".join(filter(None, parts)) or read_or_none(host, "/sys/hypervisor/type") or "unnamed hypervisor"
    )
    flags = read_or_none(host, "/proc/cpuinfo") or ""
    return named if re.search(r"^flags\s*:.*\bhypervisor\b", flags, re.MULTILINE) else None


def kernel_config(host: Host) -> dict[str, str] | None:
    """The build options that move packet figures; None where the kernel's configuration is not to be had."""
    for path in ("/proc/config.gz", f"/boot/config-{host.kernel_release}"):
        try:
            data = host.read(path)
        except HostFileError:
            continue
        text = (gzip.decompress(data) if path.endswith(".gz") else data).decode(errors="replace")
        return dict(CONFIG_PATTERN.findall(text))
    return None


def network_cards(host: Host) -> list[dict[str, Any]]:
    """Interfaces with a device behind them."""
    cards = []
    for name in host.list_dir("/sys/class/net"):
        base = f"/sys/class/net/{name}"
        uevent = read_or_none(host, f"{base}/device/uevent")
        if uevent is None:
            continue
        driver = re.search(r"^DRIVER=(.*)$", uevent, re.MULTILINE)
        cards.append(
            {
                "name": name,
                "driver": driver[1] if driver else None,
                "mtu": _number(read_or_none(host, f"{base}/mtu")),
                "speed_mbps": speed
                if (speed := _number(read_or_none(host, f"{base}/speed"))) and speed > 0
                else None,
                "numa_node": _number(read_or_none(host, f"{base}/device/numa_node")),
            }
        )
    return cards


def _version(command: Iterable[str]) -> str | None:
    argv = list(command)
    path = shutil.which(argv[0])
    if not path:
        return None
    done = subprocess.run([path, *argv[1:]], capture_output=True, text=True, timeout=10, check=False)
    first = done.stdout.strip().splitlines()
    return first[0] if done.returncode == 0 and first else None


@functools.cache
def tool_versions() -> dict[str, str | None]:
    """Versions of what builds and boots the parts; tools run where Python runs, whatever the Host."""
    with ThreadPoolExecutor(len(TOOLS)) as pool:
        return dict(zip(TOOLS, pool.map(_version, TOOLS.values()), strict=True))


def stray_packet_sockets(host: Host) -> int | None:
    """Packet sockets of the first namespace: each one gets a copy of what passes, and slows everything."""
    text = read_or_none(host, "/proc/net/packet")
    return None if text is None else max(0, len(text.splitlines()) - 1)


def _load(host: Host) -> dict[str, Any]:
    text = read_or_none(host, "/proc/loadavg")
    load: dict[str, Any] = {"loadavg_1min": float(text.split()[0]) if text else None}
    if host.kind == "local":
        load["processes"] = len(psutil.pids())
    return load


def _memory_bytes(host: Host) -> int | None:
    match = re.search(r"^MemTotal:\s*(\d+) kB", read_or_none(host, "/proc/meminfo") or "", re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def host_facts(host: Host) -> dict[str, Any]:
    """Everything of this page, for run.json; nested, JSON-ready."""
    clocksource = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
    version, cmdline = (read_or_none(host, f"/proc/{name}") for name in ("sys/kernel/version", "cmdline"))
    config = kernel_config(host)
    facts: dict[str, Any] = {
        "hostname": read_or_none(host, "/proc/sys/kernel/hostname"),
        "distribution": os_release(read_or_none(host, "/etc/os-release")),
        "kernel": {
            "release": host.kernel_release,
            "version": version,
            "cmdline": cmdline,
            "config": config,
            "preemption": preemption(host, version, cmdline, config),
        },
        "cpu": cpu_facts(host),
        "mitigations": mitigations(host),
        "memory_bytes": _memory_bytes(host),
        "virtualization": virtualization(host),
        "clocksource": read_or_none(host, clocksource),
        "sysctl": {name: read_or_none(host, "/proc/sys/" + name.replace(".", "/")) for name in SYSCTLS},
        "network_cards": network_cards(host),
        "packet_sockets": stray_packet_sockets(host),
        "load": _load(host),
        "kbench": __version__,
    }
    if host.kind == "local":
        facts["tools"] = {**tool_versions(), "python": platform.python_version()}
    return facts
