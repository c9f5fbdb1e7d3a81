# SPDX-License-Identifier: GPL-2.0-only
"""Run directories: what is appended reads back, by id, path and @latest; old runs keep reading."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kbench.errors import StoreError
from kbench.model import Counters, to_record
from kbench.store import RunStore, load_run, new_run_id, resolve_run
from tests.unit import synthetic_runs as synthetic

GOLDEN = Path(__file__).parent / "golden"


def test_everything_written_reads_back(tmp_path: Path) -> None:
    run = synthetic.write_full(tmp_path)
    assert run.ended and run.outcome == "complete" and run.problems == []
    assert len(run.trials) == 9 * 3 + 9 * 2 + 3 + 2 * 3
    assert [p.name for p in run.parts] == ["host", "lab"]
    assert run.parts[0] == synthetic.HOST
    assert run.cases == [synthetic.FORWARD, synthetic.FILTER]
    assert run.facts["host"]["hostname"] == synthetic.HOSTILE
    assert run.facts["lab"]["qemu"] == "7.2"
    again = synthetic.latency_trial(synthetic.FORWARD, "xdp", 600.0)
    assert next(t for t in run.trials if t.latency is not None) == again


def test_run_ids_sort_by_time() -> None:
    early, late = new_run_id(1_000_000_000), new_run_id(1_000_000_001)
    assert re.fullmatch(r"20010909-014640-[0-9a-f]{4}", early)
    assert early < late


def test_a_run_is_found_by_id_path_and_latest(tmp_path: Path) -> None:
    for run_id in ("20000101-000001-aaaa", "20000101-000002-0000"):
        RunStore.create(tmp_path, run_id, {}).close()
    old = tmp_path / "20000101-000001-aaaa"
    for reference in (old.name, old, str(old), old / "run.json", old / "trials.jsonl"):
        assert resolve_run(reference, tmp_path) == old
    assert resolve_run("@latest", tmp_path).name == "20000101-000002-0000"


def test_a_missing_run_is_one_line_with_the_near_match(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no runs in"):
        resolve_run("@latest", tmp_path)
    RunStore.create(tmp_path, "20000101-000001-aaaa", {}).close()
    with pytest.raises(StoreError, match="did you mean 20000101-000001-aaaa"):
        load_run("20000101-000001-aaab", tmp_path)
    (tmp_path / "other").mkdir()
    with pytest.raises(StoreError, match="is not a run"):
        load_run("other", tmp_path)


def test_an_id_is_used_once(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, "one", {}), pytest.raises(StoreError, match="exists already"):
        RunStore.create(tmp_path, "one", {})


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, "one", {}), pytest.raises(StoreError, match="another kbench is writing"):
        RunStore.reopen(tmp_path / "one")
    RunStore.reopen(tmp_path / "one").close()


def test_unknown_records_and_numbers_that_json_lacks_are_refused(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, "one", {}) as store:
        with pytest.raises(ValueError, match="unknown record kind"):
            store.append({"record": "trail"})
        with pytest.raises(ValueError, match="JSON"):
            store.append({"record": "notice", "text": "x", "rate": float("nan")})
    assert load_run("one", tmp_path).notices == []


def test_a_resumed_run_goes_on_after_its_interruption(tmp_path: Path) -> None:
    trial = synthetic.exact_trial("xdp", 1, 1000.0)
    with RunStore.create(tmp_path, "one", {}) as store:
        store.append_trial(trial)
        store.append_end("2000-01-01T00:00:00Z", "interrupted")
    assert load_run("one", tmp_path).outcome == "interrupted"
    with RunStore.reopen(tmp_path / "one") as store:
        store.append_trial(trial)
        assert not load_run("one", tmp_path).ended
        store.append_end("2000-01-01T00:01:00Z")
    run = load_run("one", tmp_path)
    assert run.ended and run.outcome == "complete" and len(run.trials) == 2


def test_both_files_name_the_schema(tmp_path: Path) -> None:
    RunStore.create(tmp_path, "one", {}).close()
    assert json.loads((tmp_path / "one/run.json").read_text())["schema_version"] == 1
    first = (tmp_path / "one/trials.jsonl").read_text().splitlines()[0]
    assert json.loads(first) == {"record": "header", "schema_version": 1, "run_id": "one"}
    assert [p.name for p in (tmp_path / "one").iterdir() if p.name.startswith(".")] == []


def still_there(expected: Any, got: Any) -> Any:
    """`got` without what `expected` does not know."""
    if isinstance(expected, dict) and isinstance(got, dict):
        return {key: still_there(value, got[key]) for key, value in expected.items() if key in got}
    if isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        return [still_there(old, new) for old, new in zip(expected, got, strict=True)]
    return got


def test_golden_run_of_schema_1_reads_with_the_same_numbers() -> None:
    run = load_run("schema-1", GOLDEN)
    assert run.run["schema_version"] == 1 and run.ended and run.problems == []
    expected = json.loads((GOLDEN / "schema-1.expected.json").read_text())
    from kbench.explain.table import summary  # the other tests go without

    got = json.loads(json.dumps(summary(run)))
    assert still_there(expected, got) == expected  # a newer kbench may say more, never anything else


def test_golden_run_has_every_field_that_is_stored_today() -> None:
    """A field that is added to the model must read from files that lack it; one removed must be noticed."""
    lines = [json.loads(x) for x in (GOLDEN / "schema-1/trials.jsonl").read_text().splitlines()]
    stored = next(x for x in lines if x["record"] == "trial")
    now = to_record("trial", synthetic.exact_trial("xdp", 1, 1.0))
    assert set(stored) <= set(now), "the model lost a field that schema 1 files have: raise SCHEMA_VERSION"
    assert set(stored["counters"]) <= set(to_record("x", Counters(0, 0, 0)))


def test_the_store_loads_nothing_heavy() -> None:
    code = "import sys, kbench.store; print([m for m in ('numpy', 'pandas', 'scipy', 'rich') if m in sys.modules])"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_runs_are_found_by_age(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        RunStore.create(tmp_path, f"20000101-00000{number}-aaaa", {}).close()
    for reference, second in (("@latest", 3), ("@-1", 3), ("@-2", 2), ("@-3", 1)):
        assert resolve_run(reference, tmp_path).name == f"20000101-00000{second}-aaaa"
    with pytest.raises(StoreError, match="no run @-4: only 3 runs in"):
        resolve_run("@-4", tmp_path)
    for unknown in ("@-0", "@2", "@first", "@-"):
        with pytest.raises(StoreError, match=f"no run '{unknown}' in .*@latest, or @-2"):
            resolve_run(unknown, tmp_path)


def test_one_run_is_said_in_the_singular(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no runs in"):
        resolve_run("@-2", tmp_path)
    RunStore.create(tmp_path, "20000101-000001-aaaa", {}).close()
    with pytest.raises(StoreError, match="no run @-2: only 1 run in"):
        resolve_run("@-2", tmp_path)
