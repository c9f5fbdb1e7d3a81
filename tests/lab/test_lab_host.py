# SPDX-License-Identifier: GPL-2.0-only
"""The lab as a Host: it boots, runs programs in namespaces, counts exactly, and its failures are told."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kbench.errors import EnvironmentProblem, MeasureError
from kbench.host import builds, kernels
from kbench.host.journal import Journal
from kbench.host.lab import LabHost, Parts
from kbench.host.qemu import Mode

ROOT = Path(__file__).parents[2]
READY_LIMIT_S = 40.0
"""5 s on an idle machine; a busy one must not fail the test."""

TESTBED = """set -e
ip=/sbin/ip
$ip netns add A; $ip netns add B
$ip link add va netns A type veth peer name vb netns B
$ip -n A addr add 10.0.0.1/24 dev va; $ip -n B addr add 10.0.0.2/24 dev vb
$ip -n A link set va up; $ip -n B link set vb up
"""


def silent(_text: str) -> None:
    """A caller without a terminal."""


def parts(series: str = "6.12") -> Parts:
    return Parts.prepare(series, silent, need_module=False)


def boot(tmp_path: Path, mode: Mode, series: str = "6.12", journal: Journal | None = None) -> LabHost:
    return LabHost.boot(parts(series), mode=mode, log_dir=tmp_path, progress=silent, journal=journal)


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    with boot(tmp_path_factory.mktemp("lab"), "fast") as lab:
        yield lab


def test_the_lab_is_a_host(fast: LabHost) -> None:
    assert fast.kind == "lab"
    assert fast.kernel_release.startswith("6.12.")
    fast.run(["/sbin/ip", "netns", "add", "kbL-n"])
    fast.run(["/sbin/ip", "link", "add", "dummy7", "type", "dummy"], netns="kbL-n")
    assert "dummy7" in fast.list_dir("/sys/class/net", netns="kbL-n")
    assert "dummy7" not in fast.list_dir("/sys/class/net")
    fast.put("/tmp/big", bytes(range(256)) * 8192)
    assert fast.read("/tmp/big") == bytes(range(256)) * 8192
    with pytest.raises(MeasureError, match="exit status 1"):
        fast.run(["/bin/false"])


def test_modules_are_loaded_and_others_come_on_request(fast: LabHost) -> None:
    loaded = fast.read_text("/proc/modules")
    for name in ("veth", "pktgen"):
        assert re.search(rf"^{name} ", loaded, re.M)
    fast.run(["/sbin/modprobe", "nf_tables"])
    assert re.search(r"^nf_tables ", fast.read_text("/proc/modules"), re.M)
    fast.run(["/sbin/ip", "link", "add", "br7", "type", "bridge"])  # the kernel itself asks for modprobe here


def test_programs_are_there_or_the_error_says_so(fast: LabHost) -> None:
    assert fast.run([fast.program("kb-agent"), "--nonsense"], check=False).code == 2
    with pytest.raises(EnvironmentProblem, match="kb-absent is not in the lab's image"):
        fast.program("kb-absent")
    with pytest.raises(EnvironmentProblem, match=r"absent\.ko"):
        fast.module("absent")


def test_facts_say_what_ran(fast: LabHost) -> None:
    facts = fast.facts()
    kernel = kernels.kernel("6.12", silent)
    assert facts["kernel_version"] == kernel.version
    assert facts["kernel_sha256s"] == kernel.sha256s
    assert facts["qemu_command"][0].endswith("qemu-system-x86_64")
    assert facts["mode"] == "fast"
    assert facts["accel"] in ("kvm", "tcg")
    assert facts["accel_reason"]
    assert facts["console_warnings"] == []


def test_the_console_is_logged_and_streamed_and_the_end_is_in_order(tmp_path: Path) -> None:
    lines: list[str] = []
    journal = Journal.open("kbL-lab-test")
    with journal:
        lab = LabHost.boot(
            parts(), mode="fast", log_dir=tmp_path, progress=silent, console=lines.append, journal=journal
        )
        assert journal.find("process")
        lab.finish()
        assert lab.in_order
        assert not journal.find("process")
    assert any("KBENCH-AGENT ready" in line for line in lines)
    # Of several boots, because emulation makes some panic, the last is the lab.
    *_, log = sorted(tmp_path.glob("lab-*.log"))
    assert "Power down" in log.read_text()


def test_a_panic_is_told_with_its_first_line_and_the_log(tmp_path: Path) -> None:
    lab = boot(tmp_path, "fast")
    with (
        lab,
        pytest.raises(MeasureError, match=r"Kernel panic - not syncing: sysrq triggered crash.*lab-\d+\.log"),
    ):
        lab.write_text("/proc/sysrq-trigger", "c")
        lab.run(["/bin/sleep", "5"])
    assert lab.in_order is False
    with pytest.raises(MeasureError, match="Kernel panic"):
        lab.finish()


def test_a_guest_that_is_gone_is_an_error(tmp_path: Path) -> None:
    lab = boot(tmp_path, "fast")
    with lab, pytest.raises(MeasureError, match="the lab was lost"):
        lab._machine.process.kill()
        lab.run(["/bin/true"])
    assert lab.in_order is False


def test_qemu_dies_with_a_killed_owner(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom kbench.host.lab import LabHost, Parts\n"
        "lab = LabHost.boot(Parts.prepare('6.12', lambda t: None, need_module=False), mode='fast',"
        f" log_dir=Path({str(tmp_path)!r}), progress=lambda t: None)\n"
        "print(lab._machine.process.pid, flush=True)\ntime.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as owner:
        assert owner.stdout
        pid = int(owner.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        owner.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, "QEMU outlives its owner"
        time.sleep(0.05)


def test_ready_in_time(tmp_path: Path) -> None:
    parts()
    started = time.monotonic()
    with boot(tmp_path, "exact") as lab:
        took_s = time.monotonic() - started
        assert lab.facts()["accel"] == "tcg"
        clock = lab.read_text("/sys/devices/system/clocksource/clocksource0/current_clocksource")
        assert clock.strip() == "tsc"  # one tick of it is one instruction
        lab.finish()
    assert took_s < READY_LIMIT_S


def set_up_pktgen(lab: LabHost) -> None:
    lab.run(["/bin/sh", "-c", TESTBED])
    mac = lab.read_text("/sys/class/net/vb/address", netns="B").strip()
    for command in ("rem_device_all", "add_device va"):
        lab.write_text("/proc/net/pktgen/kpktgend_0", f"{command}\n", netns="A")
    for command in (
        "pkt_size 60",
        "delay 0",
        "dst 10.0.0.2",
        "src_min 10.0.0.1",
        "src_max 10.0.0.1",
        f"dst_mac {mac}",
    ):
        lab.write_text("/proc/net/pktgen/va", f"{command}\n", netns="A")


def pktgen_ns(lab: LabHost, packets: int) -> int:
    """Guest nanoseconds (= instructions) that pktgen took; its clock ticks in microseconds."""
    lab.write_text("/proc/net/pktgen/va", f"count {packets}\n", netns="A")
    lab.write_text("/proc/net/pktgen/pgctrl", "start\n", netns="A")
    result = lab.read_text("/proc/net/pktgen/va", netns="A")
    match = re.search(r"OK: (\d+)\(c", result)
    assert match, result
    return int(match[1]) * 1000


def instructions_per_packet(tmp_path: Path, series: str) -> float:
    with boot(tmp_path, "exact", series) as lab:
        set_up_pktgen(lab)
        pktgen_ns(lab, 2000)
        slopes = [(-pktgen_ns(lab, 20000) + pktgen_ns(lab, 40000)) / 20000 for _ in range(3)]
        received = int(lab.read_text("/sys/class/net/vb/statistics/rx_packets", netns="B"))
        assert received >= 2000 + 3 * 60000
        lab.finish()
    return statistics.median(slopes)


@pytest.mark.parametrize("series", ["6.12", "6.1"])
def test_exact_counts_repeat_under_foreign_load(tmp_path: Path, series: str) -> None:
    quiet = instructions_per_packet(tmp_path, series)
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        loaded = instructions_per_packet(tmp_path, series)
    finally:
        burner.kill()
        burner.wait()
    assert 500 < quiet < 20000
    assert abs(loaded / quiet - 1) < 0.002


def test_the_leaping_clock_of_an_idle_exact_lab_is_harmless(tmp_path: Path) -> None:
    with boot(tmp_path, "exact") as lab:
        set_up_pktgen(lab)
        before = float(lab.read_text("/proc/uptime").split()[0])
        time.sleep(3)
        assert float(lab.read_text("/proc/uptime").split()[0]) - before > 30
        pktgen_ns(lab, 2000)
        first = pktgen_ns(lab, 40000) - pktgen_ns(lab, 20000)
        time.sleep(1)
        second = pktgen_ns(lab, 40000) - pktgen_ns(lab, 20000)
        assert abs(second / first - 1) < 0.01
        lab.finish()
        assert lab.console.warnings == []


def test_shell_runs_commands_and_powers_off() -> None:
    parts()
    code = "from kbench.host import lab\nlab.shell('6.12', print, need_module=False)\n"
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execvpe(sys.executable, [sys.executable, "-c", code], {**os.environ, "PYTHONPATH": str(ROOT)})
    seen = b""
    # At its first prompt busybox asks the terminal where the cursor is, and takes what comes for the answer.
    answers = [b"\n", b"echo sum $((40+2)); command -v kb-agent; exit\n"]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                seen += os.read(terminal, 4096)
            except OSError:
                break  # the other side has closed: the end
        if answers and seen.count(b"lab:") > 2 - len(answers):
            os.write(terminal, answers.pop(0))
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0, seen[-500:]
    assert b"sum 42" in seen
    assert b"/kbench/bin/kb-agent" in seen


def test_programs_of_the_build_are_all_in_the_lab(fast: LabHost) -> None:
    built = sorted(p.name for p in builds.programs().glob("kb-*"))
    assert [name for name in fast.list_dir("/kbench/bin") if name.startswith("kb-")] == built
