# SPDX-License-Identifier: GPL-2.0-only
"""Client of kb-agent: turns requests into lines and replies into messages.

The protocol is described in docs/programs.md, section "The agent".

Two threads own the connection, one for each direction. Everybody else only touches queues, whose operations
are atomic, so a KeyboardInterrupt at any moment leaves the stream and the client's state whole.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import socket
import threading
import time
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote_from_bytes, unquote

from kbench.errors import MeasureError

PROTOCOL = 2
READ_BYTES = 1 << 18
PAYLOAD_REPLIES = frozenset({"out", "err", "data"})
LAST_REPLIES = frozenset({"exit", "fail", "hello", "ok", "data", "stat"})
"""Replies after which an id is free again; `started`, `out` and `err` are followed by more."""
LOST = "lost"


class Channel(Protocol):
    """A connection to an agent."""

    def read(self) -> bytes:
        """Some bytes; empty when the other side has ended."""

    def write(self, data: bytes) -> None:
        """Write all of it; OSError when the other side is gone."""

    def end(self) -> None:
        """Nothing more will be written: the agent sees the end of its input."""

    def close(self) -> None:
        """Free the descriptors."""


class PipeChannel:
    """A pair of pipes, for an agent that is a child process (also behind ssh)."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd

    def read(self) -> bytes:
        return os.read(self._read_fd, READ_BYTES)

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._write_fd, view) :]

    def end(self) -> None:
        os.close(self._write_fd)

    def close(self) -> None:
        os.close(self._read_fd)


class SocketChannel:
    """A connected stream socket, for an agent at a virtio port of a virtual machine."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def read(self) -> bytes:
        try:
            return self._socket.recv(READ_BYTES)
        except ConnectionResetError:
            return b""

    def write(self, data: bytes) -> None:
        self._socket.sendall(data)

    def end(self) -> None:
        with contextlib.suppress(OSError):  # the machine behind it may be gone already
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True)
class Message:
    """A reply: its kind, the words behind the id, and the payload."""

    kind: str
    words: tuple[str, ...] = ()
    payload: bytes = b""


def encode_word(word: str) -> str:
    """One word of a request; bytes that are no UTF-8 travel as surrogate escapes, as in os.fsencode."""
    return quote_from_bytes(os.fsencode(word), safe="/:=,;+@!*()'&?#[]{}|<>\"\\^`$~")


class AgentClient:
    """One connection. `lost` is set when the agent's side has ended."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._ids = itertools.count(1)
        self._mailboxes: dict[str, queue.SimpleQueue[Message]] = {}
        self._to_send: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.lost = threading.Event()
        self._reader = threading.Thread(target=self._read, name="agent-reader", daemon=True)
        self._writer = threading.Thread(target=self._write, name="agent-writer", daemon=True)
        self._reader.start()
        self._writer.start()

    def send(self, verb: str, *words: str, payload: bytes = b"") -> tuple[str, queue.SimpleQueue[Message]]:
        """Send a request; returns its id and where its replies arrive."""
        request_id = str(next(self._ids))
        mailbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._mailboxes[request_id] = mailbox
        if self.lost.is_set():
            mailbox.put(Message(LOST))
        line = " ".join([verb, request_id, *map(encode_word, words)])
        self._to_send.put(line.encode() + b"\n" + payload)
        return request_id, mailbox

    def request(self, verb: str, *words: str, payload: bytes = b"", timeout_s: float = 20.0) -> Message:
        """Send a request that has one reply, and wait for it. Returns also `fail` and `lost` replies."""
        _, mailbox = self.send(verb, *words, payload=payload)
        return receive(mailbox, time.monotonic() + timeout_s, f"{verb} {' '.join(words)}"[:120])

    def close(self, timeout_s: float = 10.0) -> bool:
        """End the connection, so that the agent ends all its programs; False if it did not in time."""
        self._to_send.put(None)
        self._writer.join(timeout_s)
        self._reader.join(timeout_s)
        return not self._reader.is_alive()

    def _write(self) -> None:
        try:
            while (data := self._to_send.get()) is not None:
                self._channel.write(data)
        except OSError:
            pass  # the reader sees the end as well, and tells everybody
        with contextlib.suppress(OSError):
            self._channel.end()

    def _read(self) -> None:
        stream = _Stream(self._channel)
        try:
            while (message := stream.next()) is not None:
                request_id, reply = message
                mailbox = self._mailboxes.get(request_id)
                if reply.kind in LAST_REPLIES:
                    self._mailboxes.pop(request_id, None)
                if mailbox is not None:
                    mailbox.put(reply)
        except (OSError, ValueError):
            pass  # a broken stream is an ended one
        self.lost.set()
        for mailbox in list(self._mailboxes.values()):
            mailbox.put(Message(LOST))
        self._to_send.put(None)
        self._writer.join()
        self._channel.close()


class _Stream:
    """Cuts what arrives into messages."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._bytes = bytearray()

    def _more(self) -> bool:
        data = self._channel.read()
        self._bytes += data
        return bool(data)

    def next(self) -> tuple[str, Message] | None:
        """The next (id, message), None at the end; ValueError when the bytes make no sense."""
        scanned = 0
        while (end := self._bytes.find(b"\n", scanned)) < 0:
            scanned = len(self._bytes)
            if not self._more():
                return None
        kind, request_id, *rest = self._bytes[:end].decode("ascii").split(" ")
        del self._bytes[: end + 1]
        payload = b""
        if kind in PAYLOAD_REPLIES:
            length = int(rest[0])
            while len(self._bytes) < length:
                if not self._more():
                    return None
            payload = bytes(self._bytes[:length])
            del self._bytes[:length]
        return request_id, Message(kind, tuple(unquote(word) for word in rest), payload)


def receive(mailbox: queue.SimpleQueue[Message], deadline: float, what: str) -> Message:
    """The next message, until `deadline` (time.monotonic()); MeasureError when none came."""
    try:
        return mailbox.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        raise MeasureError(f"no answer from the agent in time to: {what}") from None
