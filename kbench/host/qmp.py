# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's monitor: what must be changed in or asked of a running lab from outside (QMP, one JSON object a line)."""

from __future__ import annotations

import json
import socket
from typing import Any

from kbench.errors import MeasureError

TIMEOUT_S = 20.0
"""QEMU answers at once; an emulated guest on a busy machine may hold its lock for a while."""


class Monitor:
    """The client's end of a monitor; QEMU has the other end of `channel`, a stream socket."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        channel.settimeout(TIMEOUT_S)
        self._lines = channel.makefile("rb")
        self._greeted = False

    def ask(self, command: str, **arguments: Any) -> Any:
        """What QEMU returns. Raises MeasureError when it refuses, or is gone."""
        if not self._greeted:  # it greets on its own; commands are taken after this one
            self._exchange({"execute": "qmp_capabilities"})
            self._greeted = True
        return self._exchange({"execute": command, "arguments": arguments})

    def ask_human(self, line: str) -> str:
        """A command of the monitor for people, which knows some things that QMP doesn't; its output."""
        return str(self.ask("human-monitor-command", **{"command-line": line}))

    def _exchange(self, request: dict[str, Any]) -> Any:
        name = request["execute"]
        try:
            self._channel.sendall(json.dumps(request).encode() + b"\n")
            for line in self._lines:
                answer = json.loads(line)
                if "return" in answer:
                    return answer["return"]
                if "error" in answer:
                    raise MeasureError(f"QEMU refuses {name}: {answer['error']['desc']}")
        except OSError as error:
            raise MeasureError(f"QEMU does not answer {name} ({error})") from error
        raise MeasureError(f"QEMU ended before it answered {name}")

    def close(self) -> None:
        """Hang up; QEMU goes on without a client."""
        self._lines.close()
        self._channel.close()
