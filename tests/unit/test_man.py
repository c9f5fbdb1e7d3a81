# SPDX-License-Identifier: GPL-2.0-only
"""The man page and the README say what the command line has: every command, option and exit code, and no other."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kbench import cli, errors
from kbench.cli import measuring

ROOT = Path(__file__).parents[2]
MAN = ROOT / "docs" / "kbench.1"


def parsers(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield name, child
                yield from parsers(child)


def man_text() -> str:
    return MAN.read_text().replace("\\-", "-")


def test_every_command_is_there() -> None:
    names = [name for name, _ in parsers(cli._parser())]
    assert len(names) >= 8
    assert [
        name for name in names if not re.search(rf"^\.(B|BI|TP).*\b{name}\b", man_text(), re.MULTILINE)
    ] == []


def test_options_are_the_same() -> None:
    said = set(re.findall(r"--[a-z][a-z-]+", man_text()))
    known = {
        option
        for _, parser in parsers(cli._parser())
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--")
    }
    assert said - known == set(), "the man page has options that do not exist"
    assert known - said - {"--help"} == set(), "options that the man page does not have"


def test_defaults_are_the_same() -> None:
    options = measuring.options(cli._parser().parse_args(["run"]))
    for option, default in (
        ("flows", options.flows),
        ("kernel", options.kernel),
        ("rounds", options.rounds),
        ("blocks", options.blocks),
        ("duration", options.duration_s),
        ("budget", f"{options.budget_s:g}"),
        ("pdr-loss", f"{options.pdr_loss:.1%}"),
        ("trial", options.trial_s),
        ("repeats", options.repeats),
    ):
        entry = man_text().split(f".BI --{option} ")[1].split(".TP")[0]
        assert f"default: {default})" in entry or f"{default} (default)" in entry, option


def test_exit_codes_are_the_same() -> None:
    classes = [errors.KbenchError, *errors.KbenchError.__subclasses__()]
    others = {value for name, value in vars(errors).items() if name.endswith("_EXIT_CODE")}
    assert len(others) == 3
    codes = {0, *others, *(cls.exit_code for cls in classes)}
    status = man_text().split(".SH EXIT STATUS")[1].split(".SH ENVIRONMENT")[0]
    assert {int(code) for code in re.findall(r"^\.B (\d+)$", status, re.MULTILINE)} == codes
    assert {
        int(code) for code in re.findall(r"^\| (\d+) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    } == codes


def test_files_that_the_texts_link_to_exist() -> None:
    for text in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text.read_text()):
            assert (text.parent / target).exists(), f"{text.name} links to {target}"


@pytest.mark.skipif(not shutil.which("groff"), reason="no groff")
def test_the_page_renders_without_warnings() -> None:
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-z", str(MAN)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
