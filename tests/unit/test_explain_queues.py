# SPDX-License-Identifier: GPL-2.0-only
"""Several receive queues: scaling and its efficiency, and what each CPU and queue got."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from kbench.explain.compare import compare
from kbench.explain.per_cpu import packets_by_cpu
from kbench.explain.report.queues import scaling, spread
from kbench.explain.report.works import Work, sweeps, works
from kbench.explain.scaling import by_queue, families, steps
from kbench.model import Trial
from kbench.store import Run
from tests.unit import synthetic_nics as nics


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return nics.queues(tmp_path_factory.mktemp("queues"))


@pytest.fixture(scope="module")
def done(run: Run) -> list[Work]:
    return works([run])


def test_queues_alone_make_a_family(run: Run) -> None:
    made = compare(run)
    (family,) = families(made)
    assert [c.case.queues for c in family if c.case] == list(nics.QUEUES)
    assert families(made[:1]) == []
    assert made[0].case is not None
    other = dataclasses.replace(made[1], case=dataclasses.replace(made[0].case, queues=2, frame_bytes=128))
    assert families([made[0], other]) == []


def test_efficiency_is_against_the_fewest_queues(run: Run) -> None:
    (family,) = families(compare(run))
    by = {(step.row.datapath, step.queues): step for step in steps(family)}
    assert len(by) == len(nics.DATAPATHS) * len(nics.QUEUES)
    for datapath, more in nics.SCALES.items():
        assert by[datapath, 1].times is None and by[datapath, 1].efficiency is None
        for queues in (2, 4):
            step = by[datapath, queues]
            assert step.times is not None and step.efficiency is not None
            ideal = 1 + (queues - 1) * more
            assert step.times.value == pytest.approx(ideal, rel=0.03)
            assert step.efficiency.value == pytest.approx(ideal / queues, rel=0.03)
            assert step.efficiency.low is not None and step.efficiency.low < step.efficiency.value


def test_the_table_of_scaling(done: list[Work]) -> None:
    (sweep,) = sweeps(done)
    (table,) = scaling(sweep)
    assert table.caption == "Scaling with queues: forward-p1000-f64, host"
    assert [head.name for head in table.heads][4:6] == ["× 1 queue", "efficiency, %"]
    rows = {(row[0].text, row[1].text): row for row in table.rows}
    assert rows["xdp", "1"][5].text == "100" and rows["xdp", "4"][5].text.startswith("98 [")
    assert rows["af_packet", "4"][5].text.startswith("2")
    assert any("af_packet is one thread on one CPU" in note for note in table.notes)


def test_the_chart_has_the_ideal_and_says_so(done: list[Work]) -> None:
    (sweep,) = sweeps(done)
    (chart,) = sweep.charts
    assert chart.name.endswith("-by-queues") and "by number of queues" in chart.title
    assert "which is ideal scaling" in chart.note
    assert re.search(r"xdp: 1 queues 4\.\d+ Mpps.*, 4 queues 16\.\d Mpps", chart.alt)
    assert chart.inline_svg().startswith("<svg")


def test_an_emulated_clock_scales_nothing(tmp_path: Path) -> None:
    run = nics.queues(tmp_path)
    run.run["plan"]["parts"][0]["kind"] = "emulated"
    for trial in run.trials:
        trial.kind = "emulated"
    (sweep,) = sweeps(works([run]))
    assert scaling(sweep) == []
    assert "ideal" not in sweep.charts[0].note and "no measure of speed" in sweep.charts[0].note


def test_packets_by_cpu_and_by_queue(done: list[Work]) -> None:
    tables, notes = spread(done[-1])
    by_cpu, by_queue_ = tables
    # Native XDP decides before the kernel counts per CPU: the NIC's counters per queue tell.
    assert {row[0].text for row in by_cpu.rows} == {"af_packet", "kernel"}
    assert {row[0].text for row in by_queue_.rows} == set(nics.DATAPATHS)
    kernel = [row for row in by_cpu.rows if row[0].text == "kernel"]
    assert [row[1].text for row in kernel] == ["1", "2", "3", "4"]
    assert [row[4].text for row in kernel] == ["0.85 x", "0.95 x", "1.05 x", "1.15 x"]
    assert [row[5].text for row in kernel] == ["92 %"] * 4
    assert "kernel: CPU 4 took 1.15 times an even share, the most of all." in by_cpu.notes
    assert notes[0].startswith("No packets by CPU of xdp: the kernel counts")
    assert any("one thread" in note for note in notes)


def test_a_single_queue_has_nothing_to_spread(done: list[Work]) -> None:
    assert spread(done[0]) == ([], [])


def test_queues_of_a_profile_are_spread_as_well(tmp_path: Path) -> None:
    run = nics.queues(tmp_path)
    for case in run.run["plan"]["cases"]:
        case["queues"] = 0
    names = {f"forward-p1000-f64-q{n}": "forward-p1000-f64" for n in nics.QUEUES}
    for item in (*run.trials, *run.verifications):
        item.case_id = names[item.case_id]
    run.trials = [t for t in run.trials if len(t.raw["cpus"]["receive_all"]) == 4]
    tables, _ = spread(works([run])[0])
    assert "kernel: CPU 4 took 1.15 times an even share, the most of all." in tables[0].notes


def test_of_one_machine_only_receiving_cpus_count(run: Run) -> None:
    trial: Trial = next(t for t in run.trials if t.datapath == "kernel")
    trial = dataclasses.replace(
        trial, softnet={"processed/cpu1": 70, "processed/cpu5": 30, "dropped/cpu1": 9}
    )
    assert packets_by_cpu([trial, trial], shared=True) == {1: 140}
    assert packets_by_cpu([trial], shared=False) == {1: 70, 5: 30}


@pytest.mark.parametrize(
    ("name", "queue"),
    [
        ("rx_queue_3_packets", 3),  # igb, ixgbe, virtio_net
        ("rx-11.packets", 11),  # i40e
        ("rx2_packets", 2),  # mlx5
        ("queue_1_rx_cnt", 1),  # ena
        ("[5]: rx_ucast_packets", 5),  # bnxt_en
        ("rx_packets", None),
        ("rx_queue_3_bytes", None),
        ("tx_queue_0_packets", None),
    ],
)
def test_drivers_have_their_own_names_for_a_queues_packets(name: str, queue: int | None) -> None:
    assert by_queue({name: 7}) == ({} if queue is None else {queue: 7})
