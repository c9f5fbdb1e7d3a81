# SPDX-License-Identifier: GPL-2.0-only
"""kb-perf: what it counts, and what it says of what it can't count."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kbench.host.base import Process
from kbench.host.local import LocalHost

HARDWARE = ["cycles", "instructions", "cache-references", "cache-misses", "branches", "branch-misses"]
SOFTWARE = "cpu-clock,context-switches"


def spin(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_counts_from_the_reset_on(local_host: LocalHost) -> None:
    perf = local_host.start([local_host.program("kb-perf"), "--cpu", "0,1", "--events", SOFTWARE])
    assert perf.ready["cpus"] == [0, 1]
    assert perf.ready["events"] == SOFTWARE.split(",") and perf.ready["absent"] == {}
    spin(0.2)
    before = perf.snapshot()
    perf.reset()
    after = perf.snapshot()
    assert before["elapsed_ns"] > 100e6
    for name, count in before["counters"].items():
        assert count["time_running_ns"] == count["time_enabled_ns"] and count["multiplexed"] is False
        assert after["counters"][name]["time_enabled_ns"] < count["time_enabled_ns"]
    # A CPU's clock runs whether or not it is busy: two of them, as long as it watched.
    clock = before["counters"]["cpu-clock"]["value"]
    assert clock == pytest.approx(before["counters"]["cpu-clock"]["time_enabled_ns"], rel=0.01)
    assert clock > 1.5 * 0.2e9
    assert after["counters"]["cpu-clock"]["value"] < clock
    last = perf.stop()
    assert last is not None and last["counters"]["context-switches"]["value"] >= 0


def test_hardware_events_are_counted_or_absent_but_never_zero(local_host: LocalHost) -> None:
    perf = local_host.start([local_host.program("kb-perf"), "--cpu", "0"])
    assert sorted([*perf.ready["events"], *perf.ready["absent"]]) == sorted(HARDWARE)
    spin(0.1)
    last = perf.stop()
    assert last is not None
    for name in HARDWARE:
        count = last["counters"].get(name)
        if name in perf.ready["absent"]:
            assert count is None and last["absent"][name] == perf.ready["absent"][name]
            assert any(why in last["absent"][name] for why in ("ENOENT", "EOPNOTSUPP", "EACCES", "EPERM"))
        else:
            assert count is not None and ("value" in count) == (count["time_running_ns"] > 0)


@contextmanager
def as_nobody(bin_dir: Path, *arguments: str) -> Generator[subprocess.Popen[bytes], None, None]:
    """kb-perf without privileges."""
    # Its directory may be closed to others, so the program comes by a descriptor.
    fd = os.open(bin_dir / "kb-perf", os.O_RDONLY)
    try:
        perf = subprocess.Popen(
            [f"/proc/self/fd/{fd}", *arguments], pass_fds=[fd], user=65534, group=65534, extra_groups=[],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    finally:
        os.close(fd)
    try:
        yield perf
    finally:
        perf.kill()
        perf.communicate(timeout=10)


def test_events_that_are_not_allowed_say_so(bin_dir: Path) -> None:
    """Without privileges, per-CPU events need perf_event_paranoid <= 0."""
    if int(Path("/proc/sys/kernel/perf_event_paranoid").read_text()) <= 0:
        pytest.skip("kernel.perf_event_paranoid lets everybody watch CPUs")
    with as_nobody(bin_dir, "--cpu", "0", "--events", "cpu-clock") as perf:
        assert perf.stdout is not None
        ready = json.loads(perf.stdout.readline())
        perf.send_signal(signal.SIGTERM)
        assert perf.wait(timeout=10) == 0
    assert ready["events"] == []
    assert "perf_event_paranoid" in ready["absent"]["cpu-clock"]


def test_samples_that_are_not_allowed_say_so(bin_dir: Path) -> None:
    with as_nobody(bin_dir, "--cpu", "0", "--sample") as perf:
        out, err = perf.communicate(timeout=10)
        assert perf.returncode == 3 and out == b""
    assert b"names of kernel functions are hidden" in err and len(err.splitlines()) == 1


def test_an_event_on_a_cpu_that_is_not_there_is_absent(local_host: LocalHost) -> None:
    perf = local_host.start([local_host.program("kb-perf"), "--cpu", "0,1023", "--events", "cpu-clock"])
    assert perf.ready["events"] == []
    assert "CPU 1023" in perf.ready["absent"]["cpu-clock"]
    perf.stop()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--cpu is missing"),
        (["--cpu", "1-"], "not a number"),
        (["--cpu", "3-1"], "not in 3"),
        (["--cpu", "0", "--events", "cycles,miles"], '"miles" is not one of cycles'),
        (["--sample"], "--cpu is missing"),
        (["--cpu", "0", "--sample", "--hz", "0"], "not in 1"),
        (["--cpu", "0", "--sample", "--bpf-stats"], "--sample is alone"),
        (["--cpu", "0", "--hz", "10"], "--hz is of --sample"),
    ],
)
def test_bad_arguments_are_one_line(local_host: LocalHost, arguments: list[str], says: str) -> None:
    done = local_host.run([local_host.program("kb-perf"), *arguments], check=False)
    assert done.code == 2
    assert says in done.stderr and len(done.stderr.splitlines()) == 1


def test_bpf_run_time_leaves_the_sysctl_alone(local_host: LocalHost) -> None:
    sysctl = "/proc/sys/kernel/bpf_stats_enabled"
    before = local_host.read_text(sysctl)
    perf = local_host.start([local_host.program("kb-perf"), "--bpf-stats"])
    assert perf.ready["bpf_stats"] is True and perf.ready["cpus"] == []
    assert perf.snapshot()["counters"] == {}
    assert local_host.read_text(sysctl) == before
    perf.stop()


# --- Samples ----------------------------------------------------------------------------------------------------


@contextmanager
def busy_loop(directory: Path, name: str) -> Generator[None, None, None]:
    """A process of that name that does nothing but compute on CPU 1."""
    program = directory / name
    program.symlink_to("/bin/sh")
    loop = subprocess.Popen([program, "-c", "while :; do :; done"])
    try:
        os.sched_setaffinity(loop.pid, {1})
        yield
    finally:
        loop.kill()
        loop.wait(timeout=10)


def sampled_often(perf: Process, name: str) -> int:
    """Samples of a busy thread, once there are fifty; fewer if there are never so many."""
    for _ in range(100):
        (cpu,) = perf.snapshot()["cpus"]
        if cpu["user"].get(name, 0) >= 50:
            break
        time.sleep(0.1)
    return int(cpu["user"].get(name, 0))


def sampled(cpu: dict[str, Any]) -> int:
    """All that is told of one CPU's samples."""
    return int(
        sum(cpu["user"].values()) + sum(count for _, count in cpu["chains"]) + sum(cpu["other"].values())
    )


def test_samples_are_of_what_runs(local_host: LocalHost, tmp_path: Path) -> None:
    perf = local_host.start([local_host.program("kb-perf"), "--sample", "--cpu", "1", "--hz", "999"])
    assert perf.ready["cpus"] == [1] and perf.ready["hz"] == 999
    assert perf.ready["sampled"] in ("cycles", "cpu-clock")
    assert ("cycles" in perf.ready["absent"]) == (perf.ready["sampled"] == "cpu-clock")
    with busy_loop(tmp_path, "busy-loop"):
        assert sampled_often(perf, "busy-loop") >= 50
    (cpu,) = perf.snapshot()["cpus"]
    assert cpu["cpu"] == 1 and sampled(cpu) == cpu["samples"]
    perf.reset()
    last = perf.stop()
    assert last is not None and sampled(last["cpus"][0]) == last["cpus"][0]["samples"]
    # What was before the reset is gone: a clock can't have given more than it is asked for.
    assert last["cpus"][0]["samples"] <= 10 + 2 * 999 * last["elapsed_ns"] / 1e9


def test_idle_cpus_and_functions_have_names(local_host: LocalHost) -> None:
    perf = local_host.start([local_host.program("kb-perf"), "--sample", "--cpu", "0,1"])
    time.sleep(0.3)
    last = perf.stop()
    assert last is not None and [cpu["cpu"] for cpu in last["cpus"]] == [0, 1]
    counts = [(chain, count) for cpu in last["cpus"] for chain, count in cpu["chains"]]
    chains = [chain for chain, _ in counts]
    assert chains and all(";" in chain for chain in chains)
    # A busy machine has none, and a PMU's cycles stand still while nothing runs. A clock's tick can also fall on the
    # way into an interrupt or out of it, where callers can't be told.
    idle = [(";do_idle" in chain, count) for chain, count in counts if chain.startswith("[idle];")]
    assert 10 * sum(count for told, count in idle if told) >= 9 * sum(count for _, count in idle)
    names = {name for chain in chains for name in chain.split(";")[1:]}
    assert len(names - {"[unknown]"}) > 0.9 * len(names)


def test_names_of_threads_stay_text(local_host: LocalHost, tmp_path: Path) -> None:
    with busy_loop(tmp_path, os.fsdecode(b'a;"b\xff\x01')):
        perf = local_host.start([local_host.program("kb-perf"), "--sample", "--cpu", "1"])
        assert sampled_often(perf, 'a?"b??') > 0


def test_a_killed_sampler_leaves_nothing(local_host: LocalHost) -> None:
    argv = [local_host.program("kb-perf"), "--sample", "--cpu", "0,1"]
    first = local_host.start(argv)
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait(10, check=False).code == -signal.SIGKILL
    assert not Path(f"/proc/{first.pid}").exists()
    # Neither its place on the CPUs' clocks nor the memory of its rings is taken.
    second = local_host.start(argv)
    assert second.stop() is not None
