# SPDX-License-Identifier: GPL-2.0-only
"""Runs on NICs as readers see them: the ports in words, emulated figures without claims, figures at line rate."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kbench.explain.answer import answer
from kbench.explain.compare import compare
from kbench.explain.comparison import Comparison
from kbench.explain.methods import Methods, beside
from kbench.explain.nic import line_rate_pps, machine, speed, topology
from kbench.explain.summary import summary
from kbench.explain.table import print_tables
from kbench.model import Finding
from kbench.store import Run
from tests.unit import synthetic_findings as of_methods
from tests.unit import synthetic_nics as nics
from tests.unit import synthetic_runs as synthetic


def only(run: Run) -> Comparison:
    (made,) = compare(run)
    return made


def shown(run: Run, width: int = 120) -> str:
    out = io.StringIO()
    print_tables(run, Console(file=out, width=width, force_terminal=False))
    return out.getvalue()


def pair(nic: Any) -> str:
    found = topology(nics.part(nic))
    assert found is not None
    return found.pair


def test_the_ports_in_words() -> None:
    assert pair(nics.hairpin()) == "eth1 (e1000e) ⇄ eth2"
    assert pair(nics.two_port()) == "eth1, eth3 (ice) ⇄ eth2, eth4 on 10.0.0.2"
    assert pair(nics.loopback()) == "eth1 (mlx5_core), looped back"
    other = nics.hairpin(tester=nics.TESTER)
    other["ports"]["generator"]["driver"] = other["ports"]["sink"]["driver"] = "igb"
    assert pair(other) == "eth1 (e1000e) ⇄ eth2 (igb) on 10.0.0.2"


def test_machines_and_speeds_in_words() -> None:
    assert machine("ssh://root@10.0.0.2:2222") == machine("ssh://10.0.0.2/eth1") == "10.0.0.2"
    assert machine("ssh://u@[fe80::1]:22") == "[fe80::1]"
    assert machine("this machine") == "this machine" and machine("ssh://") == "ssh://"
    assert [speed(mbps) for mbps in (None, 10, 1000, 2500, 100_000)] == [
        "unknown", "10 Mbit/s", "1 Gbit/s", "2.5 Gbit/s", "100 Gbit/s",
    ]  # fmt: skip


def test_the_line_rate_is_that_of_rfc_2544() -> None:
    assert [int(line_rate_pps(1000, size)) for size in (64, 1518)] == [1_488_095, 81_274]
    slow = nics.two_port()
    slow["ports"]["tx"]["speed_mbps"] = 1000
    found = topology(nics.part(slow))
    assert found is not None
    # What is dropped leaves by no port.
    assert found.line_rate_pps("forward", 64) == line_rate_pps(1000, 64)
    assert found.line_rate_pps("drop", 64) == line_rate_pps(25_000, 64)
    unknown = topology(nics.part(nics.hairpin(speed=None)))
    assert unknown is not None and unknown.line_rate_pps("drop", 64) is None


@pytest.mark.parametrize("stored", [None, {}, {"ports": "eth1"}, "eth1 to eth2"])
def test_without_ports_there_is_no_topology(stored: Any) -> None:
    assert topology(dataclasses.replace(synthetic.HOST, nic=stored)) is None


def test_a_damaged_topology_is_read_as_far_as_it_goes() -> None:
    found = topology(nics.part({"ports": {"rx": {"name": "eth1", "speed_mbps": "fast"}, "tx": 3}}))
    assert found is not None and found.pair == "eth1, looped back" and found.kind == "unknown"
    assert found.ports["rx"].speed_mbps is None and found.line_rate_pps("drop", 64) is None


# Emulated figures --------------------------------------------------------------------------------


@pytest.fixture
def emulated(tmp_path: Path) -> Run:
    return nics.emulated(tmp_path)


def test_emulated_figures_are_neither_ranked_nor_claimed(emulated: Run) -> None:
    made = only(emulated)
    assert [row.datapath for row in made.rows] == list(
        nics.DATAPATHS
    )  # the plan's order, not the fastest first
    assert made.reference is None and not made.claims and made.timed
    for row in made.rows:
        assert row.figure is not None and row.ratio is None and row.told_apart is None
        assert row.grade.letter == "E" and not row.outliers


def test_the_answer_says_what_works_there(emulated: Run) -> None:
    said = answer(only(emulated))
    assert said.headline.startswith("In the lab (Linux 6.12.9-test), eth1 (e1000e) ⇄ eth2, forward, 1 route")
    assert "xdp, af_packet and kernel work on e1000e, verified; rates by an emulated clock" in said.headline
    assert "no measure of speed: xdp 56" in said.headline
    text = said.headline + " ".join(said.caveats)
    assert "x [" not in text and "what kernel does" not in text and "Nothing is ranked" in text


def test_what_was_not_verified_is_not_called_that(emulated: Run) -> None:
    emulated.verifications = emulated.verifications[:1]
    words = answer(only(emulated)).headline
    assert "xdp works on e1000e, verified; af_packet and kernel pass packets on e1000e, unverified" in words
    emulated.verifications[0].passed = False
    assert "verified;" not in answer(only(emulated)).headline.replace("unverified;", "")


def test_without_a_valid_trial_nothing_is_shown_to_work(emulated: Run) -> None:
    for trial in emulated.trials:
        trial.valid = False
    assert "no valid trial, so nothing is shown to work" in answer(only(emulated)).headline


def test_the_terminal_has_rates_and_no_ratio(emulated: Run) -> None:
    text = shown(emulated)
    lines = text.splitlines()
    assert lines[0].startswith("In the lab (Linux 6.12.9-test), eth1 (e1000e) ⇄ eth2 (emulated):")
    head = next(line for line in lines if "datapath" in line)
    assert head.split() == ["datapath", "kpps", "DUT", "ns", "lost", "p50", "p99", "max", "grade", "n"]
    assert "E all: emulated machine and NIC: shows that it works, not how fast" in text


def test_searches_of_an_emulated_part_have_no_ratio(emulated: Run) -> None:
    for datapath in nics.DATAPATHS:
        emulated.findings.append(
            Finding(
                "lab", "throughput", synthetic.FORWARD.case_id, datapath, 0, of_methods.search(datapath, 1)
            )
        )
    (methods,) = beside(emulated, compare(emulated))
    assert isinstance(methods, Methods) and methods.found is not None
    assert {b.ratio for b in methods.found.bounds} == {b.reference for b in methods.found.bounds} == {None}
    assert [b.datapath for b in methods.found.bounds if b.goal == "pdr"] == list(nics.DATAPATHS)
    assert "by the same clock without loss (NDR) " in answer(only(emulated), methods.said).headline


# Figures at line rate, and where -----------------------------------------------------------------


def test_a_figure_at_line_rate_is_a_lower_bound(tmp_path: Path) -> None:
    run = nics.at_line_rate(tmp_path)
    made = only(run)
    xdp, kernel = made.rows
    assert xdp.line_limited and xdp.at_least and not kernel.line_limited
    assert xdp.line_share == pytest.approx(0.97, rel=0.05)
    said = answer(made)
    assert "xdp forwards at least 1.6" in said.headline
    assert any(
        "xdp runs at line rate: 1.49 Mpps of 64-byte frames is all that 1 Gbit/s" in c for c in said.caveats
    )
    assert "at line rate" in {reason.saw.split(":")[0] for reason in xdp.grade.reasons}
    text = shown(run)
    assert ">=1.4" in text and ">= at line rate: xdp" in text


def test_what_is_slower_than_the_wire_is_at_most_that_much_slower(tmp_path: Path) -> None:
    run = nics.at_line_rate(tmp_path)
    for trial in run.trials:  # kernel, the reference, fills the wire
        trial.datapath = {"xdp": "kernel", "kernel": "xdp"}[trial.datapath]
    assert "xdp forwards at most 0.6" in answer(only(run)).headline


def test_a_link_that_carries_more_than_it_claims_is_no_limit(tmp_path: Path) -> None:
    run = nics.at_line_rate(tmp_path)
    for ports in (run.run["plan"]["parts"][0]["nic"]["ports"],):
        for port in ports.values():
            port["speed_mbps"] = 10
    assert not any(row.at_least for row in only(run).rows)


def test_where_it_was_measured_in_words(tmp_path: Path) -> None:
    run = nics.queues(tmp_path)
    first = compare(run)[0]
    said = answer(first)
    assert said.headline.startswith(
        "On this host, eth1, eth3 (ice) ⇄ eth2, eth4 on 10.0.0.2, forward, 1,000 routes"
    )
    assert ", 1 queue: " in said.headline
    assert "The generator runs on another machine (10.0.0.2)." in said.caveats
    (part,) = run.run["plan"]["parts"]
    part["name"], part["nic"]["dut"] = "remote", "ssh://root@dut:22"
    run.facts = {"remote": run.facts["host"]}
    for trial in run.trials:
        trial.part = "remote"
    assert answer(compare(run)[0]).headline.startswith("On dut, eth1, eth3 (ice)")
    run.trials = run.trials[:1]
    assert any(text.endswith("on the remote DUT.") for text in summary(run)["missing"])


def test_json_has_the_topology_and_the_queues(tmp_path: Path) -> None:
    run = nics.queues(tmp_path)
    found = summary(run)["comparisons"]
    assert [item["queues"] for item in found] == list(nics.QUEUES)
    assert found[0]["topology"] == nics.two_port()
    row = found[0]["rows"][0]
    assert row["nic_stats"]["sink"]["rx_no_dma_resources"] == 30 and 0 < row["line_share"] < 0.5


def test_runs_on_veth_are_as_they_were(tmp_path: Path) -> None:
    run = synthetic.write_full(tmp_path)
    for item in summary(run)["comparisons"]:
        assert not {"topology", "queues"} & item.keys()
        assert not any({"line_share", "nic_stats"} & row.keys() for row in item["rows"])
    assert "⇄" not in shown(run)
