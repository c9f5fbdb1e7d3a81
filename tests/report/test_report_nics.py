# SPDX-License-Identifier: GPL-2.0-only
"""Reports of runs on NICs: ports and cable, settings before and during, NIC counters, queues, emulated figures."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from kbench.explain import report
from kbench.explain.report import document
from kbench.store import Run
from tests.report.pages import SECTIONS, Page
from tests.report.test_report_pdf import Pdf
from tests.unit import synthetic_nics as nics
from tests.unit import synthetic_runs as synthetic


@pytest.fixture(scope="module")
def queues(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return nics.queues(tmp_path_factory.mktemp("queues"))


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return nics.emulated(tmp_path_factory.mktemp("emulated"))


@pytest.fixture(scope="module")
def page(queues: Run) -> str:
    return report.html([queues])


def test_ports_and_cable_come_after_what_was_compared(page: str) -> None:
    seen = Page(page)
    assert seen.sections == [*SECTIONS[:2], "ports", *SECTIONS[2:]]
    assert not seen.unbalanced and not seen.loads and not seen.styled
    assert len(seen.ids) == len(set(seen.ids))
    assert '<a href="#ports">Ports and cable</a>' in page


def test_runs_on_veth_have_no_such_section(tmp_path: Path) -> None:
    assert Page(report.html([synthetic.write_full(tmp_path)])).sections == list(SECTIONS)


def test_each_port_is_told(page: str) -> None:
    rows = {row[0]: row[1:] for row in Page(page).rows if row}
    assert rows["port"] == ["eth1", "eth3", "eth2", "eth4"]
    assert rows["does"] == ["rx", "tx", "generator", "sink"]
    assert rows["machine"] == ["this machine", "this machine", "10.0.0.2", "10.0.0.2"]
    assert rows["speed"] == ["25 Gbit/s"] * 4 and rows["firmware"] == ["4.40 0x8001c967"] * 4
    assert rows["time stamps"][2] == "hardware (PHC 0)"


def test_settings_that_differ_stand_first_and_the_rest_is_folded(queues: Run) -> None:
    (ports, *_) = document.document([queues]).topics
    (sub,) = ports.subs
    changed = sub.tables[1]
    assert [[cell.text for cell in row] for row in changed.rows] == [
        ["pause.rx", "all", "on", "on", "the driver refuses it: Operation not supported"],
        ["channels.combined", "all", "16", "4", ""],
        ["features.generic-receive-offload", "all", "on", "off", ""],
        ["rings.rx", "all", "512", "4096", ""],
    ]
    folded = {table.caption: [row[0].text for row in table.rows] for table in sub.folded}
    assert folded["Settings left as they were: host"] == [
        "coalesce.rx-usecs", "features.large-receive-offload", "mtu", "rings.tx", "threaded",
    ]  # fmt: skip
    interrupts = folded["Interrupts and queues, before and during: host"]
    assert interrupts[0] == "irq.130.smp_affinity_list" and interrupts[-1] == "queue.rx-3.rps_cpus"
    assert folded["NIC profile default: host"] == ["gro", "lro", "rings"]


def test_a_setting_that_only_one_port_has_names_it(queues: Run, tmp_path: Path) -> None:
    run = nics.at_line_rate(tmp_path)
    run.facts["host"]["nics"][1]["during"]["rings.tx"] = 64
    (ports, *_) = document.document([run]).topics
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in ports.subs[0].tables[1].rows}
    assert rows["rings.tx"] == ["eth1", "512", "64", ""] and rows["rings.rx"][0] == "all"


def test_clocks_profile_and_irqbalance_are_told(page: str, emulated: Run) -> None:
    text = html.unescape(re.sub(r"<[^>]*>", "", page))
    assert "Latency was timed by hardware time stamps: PHC of eth2 to PHC of eth4." in text
    assert "NIC profile default: what the ports are set to" in text
    assert text.count(nics.NOTICE) == 2  # with what must be read, and here
    other = html.unescape(report.html([emulated]))
    assert "all: no hardware time stamps: the driver offers no hardware receive filter." in other
    assert "Latency was timed by software time stamps: the tester's own clock." in other


def test_reasons_that_differ_in_the_port_only_are_one(tmp_path: Path) -> None:
    run = nics.at_line_rate(tmp_path)
    for nic in run.facts["host"]["nics"]:
        nic["clock"]["why"] = f"{nic['name']} has no hardware clock"
    (ports, *_) = document.document([run]).topics
    assert "all: no hardware time stamps: the port has no hardware clock." in ports.subs[0].notes


def test_ports_are_not_told_again_among_the_facts(queues: Run) -> None:
    (machine,) = document.document([queues]).machines
    names = [row[0].text for _, _, table in machine.facts for row in table.rows]
    assert "hostname" in names and not [name for name in names if name.startswith("nic")]


def test_what_the_nics_counted_is_in_the_ledger(queues: Run) -> None:
    ledger = next(topic for topic in document.document([queues]).topics if topic.id == "ledger")
    sub = ledger.subs[0]
    loss = sub.tables[1]
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in loss.rows}
    assert list(rows) == ["rx_missed_errors", "rx_no_dma_resources"]
    assert rows["rx_no_dma_resources"] == ["eth4 (sink)", "30", "30", "30"]
    (others,) = sub.folded
    assert {row[0].text for row in others.rows} == {"rx_bytes", "rx_packets", "rx_queue_0_packets"}


def test_a_queue_s_counter_folds_where_its_sum_is(tmp_path: Path) -> None:
    run = nics.at_line_rate(tmp_path)
    for trial in run.trials:
        trial.raw["nic_stats"] = {"rx": {"rx0_xdp_drops": 4, "rx_xdp_drops": 4, "rx_queue_1_drops": 2}}
    ledger = next(topic for topic in document.document([run]).topics if topic.id == "ledger")
    shown = {row[0].text for row in ledger.subs[0].tables[1].rows}
    assert shown == {"rx_xdp_drops", "rx_queue_1_drops"}
    assert [row[0].text for row in ledger.subs[0].folded[0].rows] == ["rx0_xdp_drops"]


def test_what_a_profile_leaves_alone_is_not_listed(tmp_path: Path) -> None:
    run = nics.at_line_rate(tmp_path)
    run.facts["host"]["nic_profile"]["settings"] |= {"mtu": "keep", "rings.tx": None}
    (ports, *_) = document.document([run]).topics
    assert [row[0].text for row in ports.subs[0].folded[-1].rows] == ["gro", "lro", "rings"]


def test_nics_that_counted_nothing_say_so(tmp_path: Path) -> None:
    run = nics.at_line_rate(tmp_path)
    for trial in run.trials:
        trial.raw["nic_stats"] = {}
    assert "No NIC has counters of its own that moved" in report.html([run])


def test_an_emulated_report_ranks_nothing(emulated: Run) -> None:
    page = report.html([emulated])
    seen = Page(page)
    assert not seen.unbalanced and "Ranking:" not in page and "× kernel" not in page
    made = document.document([emulated])
    table = made.answers[0].ranking
    assert table is not None and table.caption == "What works: forward-p1-f64, lab"
    assert [row[0].text for row in table.rows] == list(nics.DATAPATHS)
    assert [row[2].text for row in table.rows] == ["78 packets"] * 3
    assert {row[3].text for row in table.rows} == {"E"}
    assert page.count("no measure of speed") >= 3


def test_hostile_ports_stay_text(tmp_path: Path) -> None:
    run = nics.at_line_rate(tmp_path)
    evil = synthetic.HOSTILE
    for port in run.run["plan"]["parts"][0]["nic"]["ports"].values():
        port.update(name=evil, driver=evil, bus=evil, mac=evil)
    for nic in run.facts["host"]["nics"]:
        nic.update(name=evil, firmware=evil, before={evil: evil}, not_set={evil: evil})
    for trial in run.trials:
        trial.raw["nic_stats"] = {"rx": {evil: 3}}
        trial.raw["latency_clock"] = {"kind": evil, "what": evil}
    page = report.html([run])
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    assert not Page(page).unbalanced


def test_on_paper_the_section_is_whole_and_nothing_is_cut(tmp_path: Path) -> None:
    (path,) = report.write_report([nics.at_line_rate(tmp_path)], tmp_path / "nics.pdf", ["pdf"])
    pdf = Pdf(path)
    words = " ".join(" ".join(pdf.pages).split())
    for told in (
        "Ports and cable",
        "Interrupts and queues, before and during: host",
        "irq.130.smp_affinity_list",
    ):
        assert told in words
    assert pdf.outside() == [] and min(pdf.dark_shares()) > 0.005


def test_the_pictures_are_files_too(queues: Run) -> None:
    assert report.figures([queues])[0].name.endswith("-ports")
