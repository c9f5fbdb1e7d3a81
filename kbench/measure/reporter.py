# SPDX-License-Identifier: GPL-2.0-only
"""What a run tells its user while it works: lines, and progress with time left.

Nothing is drawn while a trial runs: a redraw in the middle would be a load that kbench put there itself.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from kbench.host.builds import cache_dir

QUICK_S = 1.0
"""What takes less gets no bar."""
REDRAW_S = 0.25
DURATIONS = "durations.json"
"""In the cache: seconds that steps took the last time."""


class Reporter:
    """Lines on stderr; bars only on a terminal; nothing but warnings with `quiet`."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """A line of information."""
        if not self.quiet:
            self._console.print(text, markup=False)

    def warn(self, text: str) -> None:
        """A line that is shown also with --quiet."""
        self._console.print(f"warning: {text}", markup=False, style="yellow")

    def step(self, text: str) -> None:
        """A line about something that is under way."""
        self.say(f"  {text}")

    @contextmanager
    def timed(self, title: str) -> Iterator[None]:
        """A bar for one step of unknown parts: how much is left is told from how long it took the last time."""
        if self.quiet or not self._console.is_terminal:
            yield
            return
        usual_s = _usual_s(title)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        progress = Progress(*columns, console=self._console, auto_refresh=False, transient=True)
        ended = threading.Event()
        started = time.monotonic()

        def draw() -> None:
            if ended.wait(QUICK_S):
                return
            with progress:
                task = progress.add_task(title, total=usual_s)
                while not ended.wait(REDRAW_S):
                    spent = time.monotonic() - started
                    progress.update(task, completed=min(spent, usual_s or 0.0))
                    progress.refresh()

        drawer = threading.Thread(target=draw, name="progress", daemon=True)
        drawer.start()
        try:
            yield
        finally:
            ended.set()
            drawer.join()
        _remember(title, time.monotonic() - started)

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Bar]:
        """A bar of `total` steps, each announced before it starts."""
        if self.quiet or not self._console.is_terminal:
            self.say(title)
            yield Bar(None, None)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        progress = Progress(*columns, console=self._console, auto_refresh=False, transient=True)
        with progress:
            yield Bar(progress, progress.add_task(title, total=total))


def _durations() -> dict[str, float]:
    try:
        stored: dict[str, float] = json.loads((cache_dir() / DURATIONS).read_text())
    except (OSError, ValueError):
        return {}
    return stored


def _usual_s(title: str) -> float | None:
    """Seconds that a step took the last time on this machine, or None."""
    return _durations().get(title)


def _remember(title: str, spent_s: float) -> None:
    if spent_s < QUICK_S:
        return
    with suppress(OSError):  # it only serves the next bar
        (cache_dir() / DURATIONS).write_text(json.dumps(_durations() | {title: round(spent_s, 1)}))


class Bar:
    """One progress bar; silent where there is no terminal."""

    def __init__(self, progress: Progress | None, task: TaskID | None) -> None:
        self._progress = progress
        self._task = task

    def advance(self) -> None:
        """A step is done; draws."""
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task)
            self._progress.refresh()
