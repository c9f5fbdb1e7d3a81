# SPDX-License-Identifier: GPL-2.0-only
"""A program that runs on a Host: its events, its counters and its end (contract: docs/programs.md).

Not for use by several threads at once.
"""

from __future__ import annotations

import contextlib
import errno
import json
import queue
import signal as signals
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from kbench.errors import EnvironmentProblem, KbenchError, MeasureError, UsageError
from kbench.host.agent import LOST, AgentClient, Message

ANSWER_S = 30.0
"""How long a running program may take to answer a signal: an emulated CPU on a busy machine stalls for seconds."""
STDERR_TAIL_BYTES = 2000
STDERR_TAIL_LINES = 8
Event = dict[str, Any]


@dataclass(frozen=True)
class Finished:
    """A program that has ended: `code` is its exit code, or minus the signal that killed it."""

    code: int
    events: list[Event]
    stdout: str
    stderr: str


class Process:
    """A program in the background. `ready` is its ready event, empty if nobody waited for one."""

    def __init__(
        self,
        client: AgentClient,
        argv: list[str],
        spawn_id: str,
        mailbox: queue.SimpleQueue[Message],
        describe_loss: Callable[[], str],
    ) -> None:
        self.argv = argv
        self.name = Path(argv[0]).name
        self.pid = 0
        self.code: int | None = None
        self.ready: Event = {}
        self.events: list[Event] = []
        self._client = client
        self._id = spawn_id
        self._mailbox = mailbox
        self._describe_loss = describe_loss
        self._unseen: deque[Event] = deque()
        self._stdout = bytearray()
        self._stderr = bytearray()
        self._line = bytearray()

    # What arrives ---------------------------------------------------------------------------------

    def _take(self, deadline: float, wanted: str) -> None:
        """Handle one message of the program; MeasureError when none comes before the deadline."""
        try:
            message = self._mailbox.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise MeasureError(f"{self.name}: {wanted} did not come in time{self._tail_clause()}") from None
        if message.kind == "out":
            self._stdout += message.payload
            *ends, rest = message.payload.split(b"\n")
            for end in ends:
                line = bytes(self._line) + end
                self._line.clear()
                self._take_line(line)
            self._line += rest
        elif message.kind == "err":
            self._stderr += message.payload
        elif message.kind == "started":
            self.pid = int(message.words[0])
        elif message.kind == "exit":
            self.code = int(message.words[0])
        elif message.kind == "fail":
            self._not_started(int(message.words[0]), message.words[1])
        elif message.kind == LOST:
            raise MeasureError(f"{self.name}: {self._describe_loss()}{self._tail_clause()}")

    def _take_line(self, line: bytes) -> None:
        if not line.startswith(b"{"):
            return  # other people's programs write text; `Finished.stdout` has it
        try:
            event = json.loads(line)
            event["event"]
        except (ValueError, KeyError):
            raise MeasureError(f"{self.name} printed a broken event: {line[:200]!r}") from None
        self.events.append(event)
        self._unseen.append(event)

    def _not_started(self, error: int, text: str) -> NoReturn:
        if text.startswith(f"{self.argv[0]}:"):
            raise EnvironmentProblem(f"can't run {text}")
        raise MeasureError(f"can't start {self.name}: {text}")

    # Waiting --------------------------------------------------------------------------------------

    def wait_started(self, timeout_s: float) -> None:
        """Wait until the program runs; EnvironmentProblem when it can't be executed."""
        deadline = time.monotonic() + timeout_s
        while not self.pid:
            self._take(deadline, "its start")

    def wait_event(self, name: str, timeout_s: float) -> Event:
        """The next event `name` that was not returned before; events of other names are kept."""
        deadline = time.monotonic() + timeout_s
        while True:
            for event in self._unseen:
                if event["event"] == name:
                    self._unseen.remove(event)
                    return event
            if self.code is not None:
                self.raise_for_code(f'before its event "{name}"')
            self._take(deadline, f'its event "{name}"')

    def wait(self, timeout_s: float, *, check: bool = True) -> Finished:
        """Wait for the end. With `check` a status other than 0 raises what the contract says it means."""
        deadline = time.monotonic() + timeout_s
        while self.code is None:
            self._take(deadline, "its end")
        if check and self.code:
            self.raise_for_code()
        return Finished(self.code, self.events, self.stdout(), self.stderr())

    def running(self) -> bool:
        """Whether it still ran when its last message was sent; takes what has arrived, without waiting."""
        while self.code is None and not self._mailbox.empty():
            self._take(time.monotonic(), "output")
        return self.code is None

    # Acting ---------------------------------------------------------------------------------------

    def signal(self, sig: int) -> None:
        """Send a signal (SIGKILL: to its whole group); MeasureError when the program has ended already."""
        reply = self._client.request("kill", self._id, str(int(sig)))
        if reply.kind == LOST:
            raise MeasureError(f"{self.name}: {self._describe_loss()}")
        if reply.kind == "fail":
            if self.code is None:
                self.wait(5.0, check=False)
            self.raise_for_code(f"before it got {signals.Signals(sig).name}")

    def send_line(self, text: str) -> None:
        """Write a line to its stdin, which was left open; returns when the agent has it.

        What the program has not read yet waits in the agent, up to 1 MB. MeasureError when the program has ended
        (what its status means, as in `raise_for_code`), has closed its stdin, or does not read.
        """
        self._write(text.encode() + b"\n")

    def end_input(self) -> None:
        """End its stdin, behind what was written before; MeasureError as for `send_line`."""
        self._write(b"")

    def _write(self, data: bytes) -> None:
        reply = self._client.request("write", self._id, str(len(data)), payload=data)
        if reply.kind == LOST:
            raise MeasureError(f"{self.name}: {self._describe_loss()}")
        if reply.kind != "fail":
            return
        code = int(reply.words[0])
        why = {errno.ENOBUFS: "it does not read its stdin", errno.EPIPE: "its stdin is closed"}.get(
            code, reply.words[1]
        )
        if code in (errno.ESRCH, errno.EPIPE):
            with contextlib.suppress(
                MeasureError
            ):  # mostly stdin is closed because the program ends just now
                self.wait(1.0, check=False)
            if self.code is not None:
                self.raise_for_code("before it could be written to")
        raise MeasureError(f"{self.name} can't be written to: {why}{self._tail_clause()}")

    def snapshot(self, timeout_s: float = ANSWER_S) -> Event:
        """Counters as of now (SIGUSR1)."""
        self._forget("counters")
        self.signal(signals.SIGUSR1)
        return self.wait_event("counters", timeout_s)

    def reset(self, timeout_s: float = ANSWER_S) -> None:
        """Set the counters to zero (SIGUSR2) and wait for the confirmation."""
        self._forget("reset")
        self.signal(signals.SIGUSR2)
        self.wait_event("reset", timeout_s)

    def stop(self, timeout_s: float = ANSWER_S) -> Event | None:
        """End the program (SIGTERM) and return its last counters, None if it never printed any.

        MeasureError when it does not end in time (it is killed then) or ended badly.
        """
        self.running()
        if self.code is None:
            self._client.request("kill", self._id, str(int(signals.SIGTERM)))
            try:
                self.wait(timeout_s, check=False)
            except MeasureError:
                self.kill()
                raise
        if self.code not in (0, -signals.SIGTERM):
            self.raise_for_code()
        return next((e for e in reversed(self.events) if e["event"] == "counters"), None)

    def kill(self) -> None:
        """SIGKILL to the program's group, without waiting; nothing happens if it has ended."""
        if self.code is None:
            self._client.send("kill", self._id, str(int(signals.SIGKILL)))

    def _forget(self, name: str) -> None:
        self.running()
        self._unseen = deque(e for e in self._unseen if e["event"] != name)

    # Telling --------------------------------------------------------------------------------------

    def stdout(self) -> str:
        """All that it wrote to stdout so far."""
        return self._stdout.decode(errors="replace")

    def stderr(self) -> str:
        """All that it wrote to stderr so far."""
        return self._stderr.decode(errors="replace")

    def stderr_tail(self) -> str:
        """The last lines of stderr, for messages."""
        lines = self._stderr[-STDERR_TAIL_BYTES:].decode(errors="replace").strip().splitlines()
        return "\n".join(lines[-STDERR_TAIL_LINES:])

    def _tail_clause(self) -> str:
        tail = self.stderr_tail()
        return f"; its last words: {tail}" if tail else ""

    def raise_for_code(self, when: str = "") -> NoReturn:
        """Raise what the status means: for our programs 2 is UsageError, 3 EnvironmentProblem."""
        assert self.code is not None
        kinds: dict[int, type[KbenchError]] = {2: UsageError, 3: EnvironmentProblem}
        tail = self.stderr_tail()
        if self.name.startswith("kb-") and self.code in kinds and tail:
            raise kinds[self.code](tail.splitlines()[-1])
        if self.code < 0:
            how = f"was killed by {signals.Signals(-self.code).name}"
        else:
            how = f"ended with exit status {self.code}"
        what = " ".join(self.argv) if not self.name.startswith("kb-") else self.name
        raise MeasureError(f"{what[:200]} {how}{' ' + when if when else ''}{self._tail_clause()}")
