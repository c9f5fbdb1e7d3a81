# SPDX-License-Identifier: GPL-2.0-only
"""report, compare and export as they are typed: what they write, print and exit with."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path

import pytest

from kbench import cli
from tests.unit import synthetic_runs as synthetic

OTHER = "20000102-000000-0e4e"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with two runs below results/: the second is a copy of the first, a day later."""
    monkeypatch.chdir(tmp_path)
    for run_id in (synthetic.RUN_ID, OTHER):
        synthetic.write_full(tmp_path / "results", run_id=run_id)
    return tmp_path


def files(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_a_page_is_what_report_writes_by_itself(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "@-2"]) == 0
    assert capsys.readouterr().out == f"reports/{synthetic.RUN_ID}.html\n"
    assert files(here / "reports") == {f"{synthetic.RUN_ID}.html"}


def test_all_formats_of_two_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "@-2", "@latest", "--html", "--pdf", "--csv", "--figures", "figures"]) == 0
    both = f"{synthetic.RUN_ID}_{OTHER}"
    assert files(here / "reports") == {
        f"{both}.html", f"{both}.pdf", f"{synthetic.RUN_ID}.csv", f"{OTHER}.csv",
    }  # fmt: skip
    assert (here / "reports" / f"{both}.pdf").read_bytes().startswith(b"%PDF")
    page = (here / "reports" / f"{both}.html").read_text()
    assert synthetic.RUN_ID in page and OTHER in page
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 4
    drawn = files(here / "figures")
    assert {Path(name).suffix for name in drawn} == {".svg", ".png"}
    assert said.err == f"{len(drawn)} files in figures\n"


def test_out_names_a_file_or_a_directory(here: Path) -> None:
    (here / "there").mkdir()
    assert cli.main(["report", "@latest", "--csv", "--out", "there"]) == 0
    assert cli.main(["report", "@latest", "--csv", "--html", "--out", "new/mine.html"]) == 0
    assert files(here / "there") == {f"{OTHER}.csv"} and files(here / "new") == {"mine.html", "mine.csv"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["report", "@latest", "@latest"], 2, "named twice"),
        (["report", "@latest", "@-2", "--html", "--csv", "--out", "one.csv"], 2, "name a directory"),
        (["report", "@latest", "--csv", "--open"], 2, "add --html or --pdf"),
        (["report", "@-3"], 6, "only 2 runs"),
        (["compare", "@latest", "@latest"], 2, "the same run"),
        (["export", "@latest", "--format", "xls"], 2, "choose from csv, parquet"),
        (["export", "@latest", "--format", "parquet"], 2, "--out"),
        (["export", "@latest", "--format", "junit", "--table", "trials"], 2, "no tables"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_writes_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    assert cli.main(arguments) == code
    err = capsys.readouterr().err
    assert said in err and len(err.splitlines()) == 1
    assert files(here) == {"results"}


def test_json_of_one_run_and_of_several(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "@latest", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["run_id"] == OTHER
    assert cli.main(["report", "@-2", "@latest", "--json"]) == 0
    assert [run["run_id"] for run in json.loads(capsys.readouterr().out)] == [synthetic.RUN_ID, OTHER]
    assert files(here) == {"results"}


def test_open_shows_the_page(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: bool(shown.append(url)) or len(shown) == 1)
    assert cli.main(["report", "@latest", "--open"]) == 0
    assert shown == [(here / "reports" / f"{OTHER}.html").as_uri()]
    assert cli.main(["report", "@latest", "--open"]) == 3
    assert "no browser" in capsys.readouterr().err


def test_compare_writes_pages_and_its_exit_code_says_what_it_found(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.main(["compare", "@-2", "@latest", "--html", "c.html", "--pdf", "c.pdf", "--json"])
    data = json.loads(capsys.readouterr().out)
    outcomes = {change["claim"]["outcome"] for change in data["changes"]}
    assert "changed" not in outcomes and code == (11 if "not enough data" in outcomes else 0)
    assert (here / "c.pdf").read_bytes().startswith(b"%PDF") and OTHER in (here / "c.html").read_text()


def test_export_prints_or_writes(here: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert cli.main(["export", "@latest", "--format", "csv", "--table", "results"]) == 0
    printed = capsysbinary.readouterr().out
    assert printed.startswith(b"run_id,") and printed.count(OTHER.encode()) > 5
    assert cli.main(["export", "@latest", "--format", "csv", "--table", "results", "--out", "t.csv"]) == 0
    assert (here / "t.csv").read_bytes() == printed and capsysbinary.readouterr().out == b"t.csv\n"
    assert cli.main(["export", "@latest", "--format", "pyperf"]) == 0
    captured = capsysbinary.readouterr()
    assert json.loads(captured.out)["version"] and b"kbench: " in captured.err
