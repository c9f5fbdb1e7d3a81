# SPDX-License-Identifier: GPL-2.0-only
"""Facts of machines that are not like this one, and the package list."""

from __future__ import annotations

import errno
import gzip
import json
import re
from pathlib import Path

import pytest

from kbench.host import facts, packages
from kbench.host.base import Completed, HostFileError

ROOT = Path(__file__).parents[2]
CPU = "/sys/devices/system/cpu"
FILES = {
    "/proc/cpuinfo": "model name\t: A CPU\ncpu MHz\t\t: 2400.5\nflags\t\t: fpu hypervisor sse\nmodel name\t: other\n",
    "/proc/meminfo": "MemTotal:       2048 kB\nMemFree: 1 kB\n",
    "/etc/os-release": 'NAME="X"\nPRETTY_NAME="X 1 (one)"\n',
    f"{CPU}/online": "0-1,4",
    f"{CPU}/smt/active": "1",
    f"{CPU}/intel_pstate/no_turbo": "1",
    f"{CPU}/cpu0/cpufreq/scaling_governor": "performance\n",
    f"{CPU}/cpu4/cpufreq/scaling_governor": "powersave\n",
    f"{CPU}/vulnerabilities/meltdown": "Not affected\n",
    f"{CPU}/vulnerabilities/spectre_v2": "Mitigation: IBRS\n",
    "/sys/class/net/eth0/device/uevent": "DRIVER=mlx5_core\nPCI_ID=1\n",
    "/sys/class/net/eth0/mtu": "1500\n",
    "/sys/class/net/eth0/speed": "-1\n",
    "/sys/class/net/lo/mtu": "65536\n",
    "/sys/class/dmi/id/sys_vendor": "QEMU\n",
    "/proc/loadavg": "0.50 0.1 0.1 1/2 3\n",
    "/proc/net/packet": "sk RefCnt\n",
}


class FakeHost:
    kind = "lab"
    kernel_release = "6.1.0"

    def __init__(self, files: dict[str, str | bytes]) -> None:
        self.files = files

    def read(self, path: str) -> bytes:
        if path not in self.files:
            raise HostFileError(errno.ENOENT, path)
        data = self.files[path]
        return data if isinstance(data, bytes) else data.encode()

    def read_text(self, path: str) -> str:
        return self.read(path).decode()

    def list_dir(self, path: str) -> list[str]:
        names = {name[len(path) + 1 :].split("/")[0] for name in self.files if name.startswith(path + "/")}
        if not names:
            raise HostFileError(errno.ENOENT, path)
        return sorted(names)


def test_facts_of_a_machine() -> None:
    config = b"# CONFIG_KASAN is not set\nCONFIG_HZ=250\nCONFIG_HZ_250=y\nCONFIG_PREEMPT_NONE=y\n"
    found = facts.host_facts(FakeHost({**FILES, "/proc/config.gz": gzip.compress(config)}))  # type: ignore[arg-type]
    json.dumps(found, allow_nan=False)
    assert found["distribution"] == "X 1 (one)"
    assert found["memory_bytes"] == 2048 * 1024
    assert found["kernel"]["config"] == {"HZ": "250", "PREEMPT_NONE": "y"}
    assert found["virtualization"] == "QEMU"
    assert found["mitigations"] == {"spectre_v2": "Mitigation: IBRS"}
    assert found["network_cards"] == [
        {"name": "eth0", "driver": "mlx5_core", "mtu": 1500, "speed_mbps": None, "numa_node": None}
    ]
    cpu = found["cpu"]
    assert (cpu["model"], cpu["mhz"], cpu["online"]) == ("A CPU", 2400.5, 3)
    assert (cpu["governor"], cpu["smt"], cpu["turbo"]) == ("performance, powersave", True, False)
    assert found["packet_sockets"] == 0
    assert "tools" not in found  # the lab has none


def test_what_is_not_told_is_none() -> None:
    found = facts.host_facts(FakeHost({"/sys/class/net/lo/mtu": "1"}))  # type: ignore[arg-type]
    assert (
        found["virtualization"] is None and found["memory_bytes"] is None and found["packet_sockets"] is None
    )
    assert (
        found["kernel"]["config"] is None and found["cpu"]["smt"] is None and found["cpu"]["online"] is None
    )


@pytest.mark.parametrize(("text", "cpus"), [("0", [0]), ("0-2,7", [0, 1, 2, 7]), ("", []), (None, [])])
def test_cpu_lists(text: str | None, cpus: list[int]) -> None:
    assert facts.expand_cpus(text) == cpus


def test_the_package_list_is_well_formed() -> None:
    found = packages.packages()
    assert len(found) > 15
    assert len({package.name for package in found}) == len(found)
    for package in found:
        assert package.tier in ("build", "run", "test", "weak", "kernel") and package.reason
        assert all(re.fullmatch(r"[a-z0-9][a-z0-9.+-]+(@kernel@)?", name) for name in package.names)


def test_a_missing_package_is_found_by_what_it_provides(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a-pkg|b-pkg  no-such-command-kb  run  for a\nc-pkg  sh  run  for c\nd-pkg /usr/include/no-kb.h test for d\n"
    listed = packages.parse(text)
    monkeypatch.setattr(packages, "packages", lambda: listed)
    assert [package.name for package in packages.missing("run")] == ["a-pkg"]
    assert [package.name for package in packages.missing("test")] == ["d-pkg"]
    assert packages.package_of("no-such-command-kb") == "a-pkg"
    assert packages.package_of("unheard-of") == "unheard-of"


def test_libraries_and_fonts_are_found_wherever_releases_have_them(tmp_path: Path) -> None:
    (tmp_path / "lib64").mkdir()
    (tmp_path / "lib64" / "libx.so.0").touch()
    assert packages.is_there(f"{tmp_path}/lib/*/libx.so.0|{tmp_path}/lib*/libx.so.0")
    assert not packages.is_there(f"{tmp_path}/lib/*/libx.so.0|{tmp_path}/lib*/liby.so.0")
    for package in packages.packages():
        if package.name.startswith(("libpango", "fonts-")):
            assert package.tier == "run" and package.provides.count("|") == 1


def test_smt_siblings_and_throttling() -> None:
    files: dict[str, str | bytes] = {
        f"{CPU}/online": "0-2",
        f"{CPU}/cpu0/topology/thread_siblings_list": "0,2",
        f"{CPU}/cpu1/topology/thread_siblings_list": "1",
        f"{CPU}/cpu2/topology/thread_siblings_list": "0,2",
    }
    quiet = facts.cpu_facts(FakeHost(files))  # type: ignore[arg-type]
    assert quiet["siblings"] == {"0": [2], "1": [], "2": [0]}
    assert quiet["throttle_events"] is None
    for cpu, count in ((0, 3), (1, 4)):
        files[f"{CPU}/cpu{cpu}/thermal_throttle/core_throttle_count"] = f"{count}\n"
    files[f"{CPU}/cpu0/thermal_throttle/package_throttle_count"] = "10\n"
    assert facts.throttle_events(FakeHost(files)) == 17  # type: ignore[arg-type]
    assert facts.cpu_facts(FakeHost({}))["siblings"] is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("version", "cmdline", "config", "debugfs", "model"),
    [
        ("#1 SMP PREEMPT_RT x", "", {"PREEMPT_RT": "y"}, None, "rt"),
        ("#1 SMP PREEMPT_DYNAMIC x", "quiet", {"PREEMPT_NONE": "y", "PREEMPT_DYNAMIC": "y"}, None, "none"),
        ("", "a preempt=full b", {"PREEMPT_NONE": "y", "PREEMPT_DYNAMIC": "y"}, None, "full"),
        ("", "preempt=full", {"PREEMPT_NONE": "y"}, None, "none"),
        ("", "", {"PREEMPT": "y", "PREEMPT_DYNAMIC": "y"}, "none (voluntary) full", "voluntary"),
        ("", "", {"PREEMPT_VOLUNTARY": "y"}, None, "voluntary"),
        ("#1 SMP x", None, None, None, None),
    ],
)
def test_the_preemption_model(
    version: str, cmdline: str | None, config: dict[str, str] | None, debugfs: str | None, model: str | None
) -> None:
    host = FakeHost({"/sys/kernel/debug/sched/preempt": debugfs} if debugfs else {})
    assert facts.preemption(host, version, cmdline, config) == model  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (
            '[{"ifname": "x", "tx-gso-list": {"active": false}, "rx-gro-hw": {"active": true}, '
            '"generic-receive-offload": {"active": true, "fixed": false}}]',
            ["generic-receive-offload", "rx-gro-hw"],
        ),
        ("netlink error: no device matches name", None),
        ("", None),
    ],
)
def test_offloads_are_what_ethtool_says_is_on(text: str, names: list[str] | None) -> None:
    class Ethtool(FakeHost):
        def run(self, argv: list[str], *, netns: str | None, check: bool) -> Completed:
            assert (argv, netns, check) == (["ethtool", "--json", "-k", "x"], "ns", False)
            return Completed(text, "", 0 if names else 1)

    assert facts.offloads(Ethtool({}), "x", "ns") == names  # type: ignore[arg-type]
