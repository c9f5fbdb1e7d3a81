# SPDX-License-Identifier: GPL-2.0-only
"""Cables found by probe frames on veth pairs, and kb-wire as a program: nothing is sent where it must not be."""

from __future__ import annotations

import errno
import json
import secrets
import socket
import subprocess
import sys
import textwrap
from collections.abc import Generator
from pathlib import Path

import pytest

from kbench.errors import UsageError
from kbench.host.base import Host
from kbench.host.journal import Journal, restore
from kbench.host.local import LocalHost
from kbench.host.nic import cabling, guard
from kbench.host.nic.cabling import End, Place

PROBE = 0x88B5
NONCE = "00112233445566778899aabbccddeeff"


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def tag() -> str:
    return f"kbD{secrets.token_hex(2)}"


@pytest.fixture
def cables(tag: str) -> Generator[list[str], None, None]:
    """Three pairs of ports of this machine, down, as after use: 0-1, 2-3, 4-5."""
    names = [f"{tag}{number}" for number in range(6)]
    for first, second in zip(names[::2], names[1::2], strict=True):
        ip("link", "add", first, "type", "veth", "peer", "name", second)
    for name in names:  # what was never up has another qdisc than what was
        ip("link", "set", name, "up")
        ip("link", "set", name, "down")
    yield names
    for first in names[::2]:
        subprocess.run(["ip", "link", "delete", first], capture_output=True, check=False)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Journal, None, None]:
    monkeypatch.setenv("KBENCH_RUN_DIR", str(tmp_path / "run"))
    with Journal.open("wire") as opened:
        yield opened


def state_of(names: list[str]) -> list[str]:
    return [ip("-details", "link", "show", "dev", name) for name in names]


def listener(name: str) -> socket.socket:
    """Captures all that passes the port, in and out."""
    found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    found.bind((name, 3))
    found.setblocking(False)
    return found


def probes(capture: socket.socket) -> int:
    count = 0
    while True:
        try:
            frame = capture.recv(2048)
        except BlockingIOError:
            return count
        except OSError as error:
            if error.errno != errno.ENETDOWN:  # said once; what came before is kept
                raise
            continue
        count += int.from_bytes(frame[12:14], "big") == PROBE


def test_cables_are_found_and_ports_in_use_stay_silent(
    local_host: Host, journal: Journal, cables: list[str], tag: str
) -> None:
    """Two pairs that are down, and a third of which one end is in a bridge."""
    bridge = f"{tag}br"
    ip("link", "add", bridge, "type", "bridge")
    try:
        ip("link", "set", cables[5], "master", bridge)
        for name in (bridge, cables[4], cables[5]):
            ip("link", "set", name, "up")
        before = state_of([*cables[:4], cables[5]])
        free, refused = guard.free_ports(local_host)
        own = [name for name in free if name in cables]
        assert sorted(own) == cables[:4]
        assert "it belongs to the bridge" in refused[cables[5]]
        assert "its other end" in refused[cables[4]]
        told: list[str] = []
        with listener(cables[5]) as silent, listener(cables[1]) as busy:
            found = cabling.find_cables([Place("here", local_host, own)], journal, told.append)
            assert probes(silent) == 0
            assert probes(busy) >= 2  # the capture would have seen them
    finally:
        ip("link", "delete", bridge)
    ends = {name: End("here", name) for name in cables}
    assert {frozenset(pair) for pair in found.pairs} == {
        frozenset((ends[cables[0]], ends[cables[1]])),
        frozenset((ends[cables[2]], ends[cables[3]])),
    }
    assert found.tried() == [ends[name] for name in sorted(own)]
    assert told and own[0] in told[0]
    assert state_of(cables[:4]) == before[:4]  # down again
    assert journal.find("nic") is None


def test_a_silent_port_and_one_without_carrier_are_told(local_host: Host, cables: list[str]) -> None:
    """Port 0's other end is up but not asked; the other end of 2 is down and not asked either."""
    ip("link", "set", cables[1], "up")
    place = Place("here", local_host, [cables[0], cables[2]])
    found = cabling.find_cables([place], None, lambda _text: None, carrier_s=0.5)
    assert found.silent == {
        End("here", cables[0]): cabling.NO_ANSWER,
        End("here", cables[2]): cabling.NO_CARRIER,
    }
    assert found.pairs == ()


def test_a_switch_in_between_is_noticed(local_host: Host, cables: list[str], tag: str) -> None:
    """Three ports whose other ends are in one bridge hear each other all."""
    bridge = f"{tag}br"
    ip("link", "add", bridge, "type", "bridge")
    try:
        for name in cables[1::2]:
            ip("link", "set", name, "master", bridge)
            ip("link", "set", name, "up")
        ip("link", "set", bridge, "up")
        place = Place("here", local_host, cables[::2])
        found = cabling.find_cables([place], None, lambda _text: None)
    finally:
        ip("link", "delete", bridge)
    assert {end.port for end in found.shared} == set(cables[::2])
    assert not found.pairs and not found.silent


def test_two_machines_find_the_cable_between_them(local_host: Host, bin_dir: Path, cables: list[str]) -> None:
    """Two agents stand for them: each knows only its own port."""
    with LocalHost(bin_dir) as other:
        places = [Place("near", local_host, [cables[0]]), Place("far", other, [cables[1]])]
        found = cabling.find_cables(places, None, lambda _text: None)
    near, far = End("near", cables[0]), End("far", cables[1])
    assert found == cabling.Cables(pairs=((near, far),))
    assert cabling.peer_of(found, far, {}) == near


def test_after_a_failure_ports_are_down_again(local_host: Host, journal: Journal, cables: list[str]) -> None:
    before = state_of(cables[:2])
    with pytest.raises(UsageError, match="--label: longer than"):
        cabling.find_cables([Place("x" * 200, local_host, cables[:2])], journal, lambda _text: None)
    assert state_of(cables[:2]) == before
    assert journal.find("nic") is None


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from kbench.host.journal import Journal
    from kbench.host.local import LocalHost
    from kbench.host.nic import cabling
    host = LocalHost(Path(sys.argv[1]))
    journal = Journal.open("killed")
    journal.record_process(host.agent_pid)
    cabling._listen = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    cabling.find_cables([cabling.Place("here", host, sys.argv[2:])], journal, print)
"""


def test_a_killed_search_is_undone_by_restore(
    bin_dir: Path, cables: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KBENCH_RUN_DIR", str(tmp_path / "run"))
    before = state_of(cables[:2])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), bin_dir, *cables[:2]],
        capture_output=True,
        check=False,
    )
    assert done.returncode == -9, done.stderr
    assert state_of(cables[:2]) != before  # they were left up
    undone = restore()
    assert any(cables[0] in line for line in undone) and any(cables[1] in line for line in undone)
    assert state_of(cables[:2]) == before
    assert restore() == []


def test_nothing_to_try_is_no_error(local_host: Host) -> None:
    assert cabling.find_cables([Place("here", local_host, [])], None, lambda _text: None) == cabling.Cables()


def wire(bin_dir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([bin_dir / "kb-wire", *words], capture_output=True, text=True, check=False)


def test_only_frames_of_its_own_search_count(bin_dir: Path, cables: list[str]) -> None:
    for name in cables[:2]:
        ip("link", "set", name, "up")
    common = ["--interval-ms", "50", "--duration-ms", "300"]
    other = subprocess.Popen(
        [bin_dir / "kb-wire", "--port", cables[1], "--label", "x", "--nonce", "f" * 32, *common],
        stdout=subprocess.PIPE,
    )
    done = wire(bin_dir, "--port", cables[0], "--label", "y", "--nonce", NONCE, *common)
    heard_other, _ = other.communicate()
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events] == ["ready", "done"]
    counts = events[-1]["ports"][cables[0]]
    assert counts["sent"] >= 3 and counts["failed"] == 0 and counts["heard"] == 0
    assert b'"heard","at"' not in heard_other


def test_a_frame_that_comes_back_is_heard_at_its_own_port(bin_dir: Path, cables: list[str]) -> None:
    """What left a port and arrives at it again is a loop; the copy that it sends is none."""
    for name in cables[:2]:
        ip("link", "set", name, "up")
    with listener(cables[1]) as mirror:
        program = subprocess.Popen(
            [
                bin_dir / "kb-wire",
                "--port",
                cables[0],
                "--label",
                "z",
                "--nonce",
                NONCE,
                "--duration-ms",
                "1500",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert program.stdout and json.loads(program.stdout.readline())["event"] == "ready"
        mirror.setblocking(True)
        mirror.settimeout(5)
        while int.from_bytes((frame := mirror.recv(2048))[12:14], "big") != PROBE:
            pass
        assert frame[:6] == b"\xff" * 6
        mirror.send(frame)
        event = json.loads(program.stdout.readline())
        program.terminate()
        program.communicate(timeout=10)
    assert event == {"event": "heard", "at": cables[0], "from": cables[0], "label": "z"}
    assert program.returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--port is missing"),
        (["--port", "lo"], "--label is missing"),
        (["--port", "lo", "--label", "x", "--nonce", "12"], 'nonce: "12" is not 32 hexadecimal digits'),
        (["--port", "kbD-none", "--label", "x", "--nonce", NONCE], 'no interface "kbD-none"'),
        (["--port", "lo@../x", "--label", "x", "--nonce", NONCE], "is no name of a namespace"),
        (["--port", "lo", "--label", "x" * 200, "--nonce", NONCE], "--label: longer than 127 bytes"),
    ],
)
def test_bad_arguments_are_told(bin_dir: Path, words: list[str], said: str) -> None:
    done = wire(bin_dir, *words)
    assert done.returncode == 2
    assert said in done.stderr
