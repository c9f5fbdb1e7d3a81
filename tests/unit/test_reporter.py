# SPDX-License-Identifier: GPL-2.0-only
"""Lines and bars of a run: quiet where asked, drawn only on a terminal, estimates from the last time."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from kbench.measure import reporter as module
from kbench.measure.reporter import Reporter


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "QUICK_S", 0.05)
    monkeypatch.setattr(module, "REDRAW_S", 0.01)
    return tmp_path


def on(terminal: bool, *, quiet: bool = False) -> tuple[Reporter, io.StringIO]:
    reporter, out = Reporter(quiet=quiet), io.StringIO()
    reporter._console = Console(file=out, force_terminal=terminal, width=100, highlight=False)
    return reporter, out


def test_a_step_is_drawn_with_what_is_left_by_the_last_time(cache: Path) -> None:
    reporter, out = on(True)
    for _ in range(2):
        with reporter.timed("booting the lab"):
            time.sleep(0.2)
    assert "booting the lab" in out.getvalue() and "left" in out.getvalue()
    assert 0.1 <= module._usual_s("booting the lab") <= 5  # type: ignore[operator]
    assert module._usual_s("something else") is None


def test_quick_steps_and_pipes_get_no_bar(cache: Path) -> None:
    for terminal, spent_s in ((True, 0.0), (False, 0.2)):
        reporter, out = on(terminal)
        with reporter.timed("x"):
            time.sleep(spent_s)
        assert out.getvalue() == ""
    assert module._usual_s("x") is None


def test_an_error_passes_through_and_teaches_nothing(cache: Path) -> None:
    reporter, _ = on(True)
    with pytest.raises(RuntimeError), reporter.timed("y"):
        time.sleep(0.1)
        raise RuntimeError
    assert module._usual_s("y") is None


def test_quiet_leaves_warnings(cache: Path) -> None:
    reporter, out = on(True, quiet=True)
    reporter.say("a line")
    reporter.step("a step")
    with reporter.bar("a bar", 3) as bar:
        bar.advance()
    assert out.getvalue() == ""
    reporter.warn("a warning")
    assert "a warning" in out.getvalue()


def test_without_a_terminal_a_bar_is_its_title(cache: Path) -> None:
    reporter, out = on(False)
    with reporter.bar("host: rate", 3) as bar:
        bar.advance()
    assert out.getvalue() == "host: rate\n"
