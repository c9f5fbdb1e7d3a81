# SPDX-License-Identifier: GPL-2.0-only
"""Exports of runs on NICs: queues and drivers are labels, and an emulated clock's figures keep their kind."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from kbench.errors import UsageError
from kbench.explain.export import export
from kbench.store import Run
from tests.unit import synthetic_nics as nics
from tests.unit import synthetic_runs as synthetic


@pytest.fixture(scope="module")
def queues(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return nics.queues(tmp_path_factory.mktemp("queues"))


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return nics.emulated(tmp_path_factory.mktemp("emulated"))


def rows(run: Run, table: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(export(run, "csv", table=table).data.decode())))


def test_tables_have_queues_and_driver(queues: Run) -> None:
    for table in ("trials", "results"):
        found = rows(queues, table)
        assert {row["queues"] for row in found} == {"1", "2", "4"}
        assert {row["driver"] for row in found} == {"ice"}


def test_on_veth_there_is_no_driver(tmp_path: Path) -> None:
    found = rows(synthetic.write_full(tmp_path), "results")
    assert {row["driver"] for row in found} == {""} and {row["queues"] for row in found} == {"0"}


def test_metrics_have_both_labels_in_runs_on_nics_only(queues: Run, tmp_path: Path) -> None:
    text = export(queues, "openmetrics").data.decode()
    assert list(text_string_to_metric_families(text))
    rates = [line for line in text.splitlines() if line.startswith("kbench_handled_rate_packets_per_second{")]
    assert rates and all('driver="ice"' in line for line in rates)
    assert {found for line in rates for found in re.findall(r'queues="(\d)"', line)} == {"1", "2", "4"}
    old = export(synthetic.write_full(tmp_path), "openmetrics").data.decode()
    assert "queues=" not in old and "driver=" not in old


def test_emulated_rates_are_exported_as_what_they_are(emulated: Run) -> None:
    ranked = [row for row in rows(emulated, "results") if row["metric"] == "rate"]
    assert [row["datapath"] for row in ranked] == list(nics.DATAPATHS)
    assert {(row["kind"], row["grade"]) for row in ranked} == {("emulated", "E")}
    assert not [row for row in rows(emulated, "results") if row["metric"].endswith("_ratio") and row["method"] == "max"
                and row["metric"] != "loss_ratio"]  # fmt: skip


def test_junit_names_ports_and_driver_and_fails_nothing(emulated: Run) -> None:
    root = ET.fromstring(export(emulated, "junit").data)
    assert root.get("failures") == root.get("errors") == "0"
    (suite,) = [suite for suite in root if suite.get("name") == "kbench.lab"]
    told = {p.get("name"): p.get("value") for p in suite.iter("property")}
    assert (
        told["driver"] == "e1000e"
        and told["topology"] == "hairpin"
        and told["ports"] == "eth1 (e1000e) ⇄ eth2"
    )
    names = [case.get("name") or "" for case in suite.iter("testcase")]
    assert "xdp: rate by an emulated clock, generator xdp" in names


def test_pyperf_gets_no_emulated_seconds(emulated: Run) -> None:
    with pytest.raises(UsageError, match="an emulated clock's seconds are none"):
        export(emulated, "pyperf")
