# SPDX-License-Identifier: GPL-2.0-only
"""Probes around real trials: what is there has values, what is absent says why, and without probes nothing is read."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kbench.errors import EnvironmentProblem
from kbench.explain.chains import OTHER, by_stage, clean
from kbench.host.local import LocalHost
from kbench.measure import trial as trial_module
from kbench.measure.bench import Bench, Benches
from kbench.measure.datapaths import DATAPATHS
from kbench.measure.datapaths.base import Options
from kbench.measure.generators.base import Load
from kbench.measure.generators.xdp import XdpLiveFrames
from kbench.measure.latency_cost import latency_cost
from kbench.measure.observe import Setting
from kbench.measure.pacing import pacing
from kbench.measure.prepare import prepare
from kbench.measure.probes.base import Absent
from kbench.measure.probes.threads import idle_cost
from kbench.measure.testbeds.base import cpus_for
from kbench.measure.testbeds.veth import VethTestbed
from kbench.measure.trial import run_trial
from kbench.model import Case, Placement

LOAD = Load(None, 0.1)
Stand = Callable[[Placement, str], tuple[Setting, Bench]]


@pytest.fixture
def stand(local_host: LocalHost, tmp_path: Path) -> Generator[Stand, None, None]:
    """Builds a bench of a datapath, or the baseline, on a testbed of its own."""
    with ExitStack() as stack:

        def build(placement: Placement, name: str) -> tuple[Setting, Bench]:
            bed = VethTestbed(local_host, f"probe-{name}", placement, cpus_for(placement, 2), None)
            case = Case("forward")
            prepared = prepare(case, local_host, str(tmp_path), bed.image_ports)
            generator = stack.enter_context(XdpLiveFrames())
            benches = stack.enter_context(Benches())
            if name == "baseline":
                bench = benches.add_baseline(bed)
            else:
                bench = benches.add(name, bed, DATAPATHS[name], Options(), prepared.work)
            return Setting("host", "wall", case, generator, prepared.traffic), bench

        yield build


def test_each_probe_gives_values_or_says_why(stand: Stand) -> None:
    setting, bench = stand("same", "xdp")
    trial = run_trial(bench, setting, LOAD, purpose="rate", round_=0)
    assert set(trial.probes) == {"hardware", "bpf", "samples", "scheduler", "energy", "threads"}
    for name, values in trial.probes.items():
        assert values, name
        if "absent" in values:
            assert set(values) == {"absent"} and len(values["absent"]) > 10
    assert "profiling" in trial.probes["bpf"]["absent"]
    hardware = trial.probes["hardware"]
    assert "absent" in hardware or (hardware["includes_generator"] and hardware["cpus"] == [0])
    threads = trial.probes["threads"]
    assert 0 < threads["ran_ns"]["generator"] <= 0.4e9
    assert "dut_cpu_ns" not in threads and "split" in threads["incomplete"]


def test_userspace_paths_count_system_calls_and_switches(stand: Stand) -> None:
    setting, bench = stand("same", "af_packet")
    run_trial(bench, setting, LOAD, purpose="rate", round_=0)
    trial = run_trial(bench, setting, Load(20_000, 0.1), purpose="rate", round_=1)
    counts = trial.probes["scheduler"]
    assert 0 < counts["syscalls"] < 2 * trial.counters.offered
    assert counts["per_packet"]["syscalls"] == pytest.approx(counts["syscalls"] / trial.counters.handled)
    # Of this trial alone: the program's own counters run on.
    assert counts["syscalls"] < trial.raw["datapath"]["syscalls"]


def test_without_probes_nothing_is_read(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    setting, bench = stand("same", "xdp")

    def forbidden(*_: object) -> None:
        raise AssertionError("read without probes")

    for name in ("read_cpus", "read_foreign", "Watch"):
        monkeypatch.setattr(trial_module, name, forbidden)
    trial = run_trial(bench, setting, LOAD, purpose="rate", round_=0, probes=False)
    assert trial.valid and trial.forwarded_pps
    assert trial.probes == {} and trial.cpus == [] and trial.contaminated == []
    assert trial.foreign_cpu_share is None and trial.cpu_ns_per_packet is None


def test_only_wall_clock_figures_are_probed_and_contaminated(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting, bench = stand("same", "xdp")
    monkeypatch.setattr(trial_module, "contaminated", lambda *_, **__: ["others ran"])
    assert run_trial(bench, setting, LOAD, purpose="rate", round_=0).contaminated == ["others ran"]
    counted = dataclasses.replace(setting, kind="functional")
    trial = run_trial(bench, counted, LOAD, purpose="account", round_=0)
    assert trial.contaminated == [] and trial.probes == {} and trial.cpus


def test_profiling_trials_time_bpf_programs_and_leave_no_accounting(stand: Stand) -> None:
    setting, bench = stand("same", "xdp")
    trial = run_trial(bench, setting, LOAD, purpose="profile", profile="bpf", round_=0)
    programs = {p["name"]: p for p in trial.probes["bpf"]["programs"]}
    assert programs["xdp_forward"]["runs"] >= trial.counters.offered
    assert 1 < programs["xdp_forward"]["ns_per_run"] < 100_000
    after = run_trial(bench, setting, LOAD, purpose="rate", round_=1)
    assert "absent" in after.probes["bpf"]


@pytest.mark.parametrize(
    ("name", "functions"),
    [
        ("xdp", {"xdp_test_run_batch", "veth_poll", "net_rx_action"}),
        ("kernel", {"xdp_test_run_batch", "veth_poll", "ip_forward", "net_rx_action"}),
        ("af_packet", {"xdp_test_run_batch", "veth_poll", "tpacket_rcv", "packet_sendmsg", "net_rx_action"}),
    ],
)
def test_samples_show_the_way_of_a_packet(stand: Stand, name: str, functions: set[str]) -> None:
    setting, bench = stand("same", name)
    run_trial(bench, setting, LOAD, purpose="rate", round_=0)
    trial = run_trial(bench, setting, Load(None, 0.3), purpose="profile", profile="samples", round_=0)
    read = trial.probes["samples"]
    assert read["sampled"] in ("cycles", "cpu-clock") and read["elapsed_ns"] > 0.3e9
    assert [cpu["cpu"] for cpu in read["cpus"]] == ([0, 1] if name == "af_packet" else [0])
    found = {
        clean(function)
        for cpu in read["cpus"] for chain, _ in cpu["chains"] for function in chain.split(";")[1:]
    }  # fmt: skip
    assert functions <= found
    if name == "xdp":
        assert any(re.fullmatch(r"bpf_prog_[0-9a-f]{16}_xdp_forward", function) for function in found)
    if name == "af_packet":
        assert any("kb-af-packet" in cpu["user"] for cpu in read["cpus"])
    for cpu in read["cpus"]:
        counts = by_stage(cpu, "xdp")
        assert counts.total() == cpu["samples"] and counts[OTHER] < 0.15 * cpu["samples"], counts
    after = run_trial(bench, setting, LOAD, purpose="rate", round_=1)
    assert "profiling" in after.probes["samples"]["absent"]


def test_the_dut_s_thread_has_the_forwarding_in_it(stand: Stand) -> None:
    setting, bench = stand("split", "kernel")
    bare_setting, bare = stand("split", "baseline")
    costs = {}
    for name, at, where in (("kernel", setting, bench), ("baseline", bare_setting, bare)):
        trial = run_trial(where, at, LOAD, purpose="load", round_=0)
        threads = trial.probes["threads"]
        assert [label for label in threads["ran_ns"] if label.startswith("napi/")], threads
        costs[name] = threads["dut_cpu_ns_per_packet"]
    # At overload one wake-up serves many packets: forwarding costs several times what a bare drop does.
    assert costs["kernel"] > 1.5 * costs["baseline"]


def test_cost_at_a_load_is_of_the_threads(stand: Stand) -> None:
    setting, bench = stand("split", "xdp")
    trial = run_trial(bench, setting, Load(20_000, 0.2), purpose="load", round_=0)
    assert trial.dut_cpu_ns_per_packet == trial.probes["threads"]["dut_cpu_ns_per_packet"]
    assert trial.dut_cpu_ns_per_packet and trial.dut_cpu_ns_per_packet > 50
    assert 0 <= idle_cost(bench, 0.2) < 0.2


def test_idle_cost_needs_threads(stand: Stand) -> None:
    _, bench = stand("same", "xdp")
    with pytest.raises(Absent, match="no threads"):
        idle_cost(bench, 0.01)


def test_latency_s_own_cost_and_floor(stand: Stand) -> None:
    setting, bench = stand("same", "baseline")
    kept: list[object] = []
    found = latency_cost(bench, setting, slices=3, slice_s=0.05, keep=kept.append)
    assert found.method == "latency-cost" and found.datapath == "baseline"
    assert found.values["rounds"] == 3 and len(kept) == 3 * 4 + 1
    assert 20 < found.values["plain_ns"] < 20_000
    assert found.values["floor"]["count"] > 1000 and found.values["floor"]["p50"] > 20


def test_latency_s_cost_is_refused_on_split_cpus(stand: Stand) -> None:
    setting, bench = stand("split", "baseline")
    with pytest.raises(EnvironmentProblem, match="--placement same"):
        latency_cost(bench, setting)


def test_pacing_tells_rate_and_gaps(stand: Stand) -> None:
    setting, bench = stand("same", "baseline")
    found = pacing(bench, setting, rates_pps=(20_000.0,), duration_s=0.2)
    (rate,) = found.values["rates"]
    assert rate["ideal_gap_ns"] == 50_000.0
    assert rate["rate_error"] == pytest.approx(rate["offered_pps"] / 20_000 - 1)
    assert rate["gaps"] > 100 and rate["gap_ns"]["p1"] <= rate["gap_ns"]["p50"]
