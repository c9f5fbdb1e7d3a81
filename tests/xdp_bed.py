# SPDX-License-Identifier: GPL-2.0-only
"""A veth testbed for the XDP programs' own tests: three namespaces, the programs, their JSON lines.

Deliberately without kbench's own Host and testbed: what is tested here are the C programs alone.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

GEN_MAC, RX_MAC, TX_MAC, SINK_MAC = (f"02:00:00:00:00:{i:02x}" for i in (1, 2, 3, 4))
READY_S = 60.0


def run(*argv: str, check: bool = True) -> str:
    """The output of a command, which must succeed."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(argv)}: {done.returncode}: {done.stderr}")
    return done.stdout


class Program:
    """One running program of the contract in docs/programs.md."""

    def __init__(self, netns: str, argv: Sequence[str | Path]) -> None:
        self.name = Path(argv[0]).name
        # Not `ip netns exec` (it would remount /sys); nsenter execs, so that the pid is the program's own.
        self.process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{netns}", *map(str, argv)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._rest = b""

    def event(self, name: str, timeout_s: float = READY_S) -> dict[str, Any]:
        """Waits for the next line, which must be this event."""
        assert self.process.stdout and self.process.stderr
        end = time.monotonic() + timeout_s
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{self.name}: no line within {timeout_s} s"
            chunk = os.read(self.process.stdout.fileno(), 1 << 16)
            if not chunk:
                raise AssertionError(f"{self.name} ended: {self.process.stderr.read().decode()}")
            self._rest += chunk
        line, self._rest = self._rest.split(b"\n", 1)
        record: dict[str, Any] = json.loads(line)
        assert record["event"] == name, record
        return record

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def counters(self) -> dict[str, Any]:
        self.signal(signal.SIGUSR1)
        return self.event("counters")

    def reset(self) -> None:
        self.signal(signal.SIGUSR2)
        self.event("reset")

    def stop(self) -> dict[str, Any]:
        """SIGTERM; the last counters."""
        self.signal(signal.SIGTERM)
        return self.finish()

    def finish(self, timeout_s: float = READY_S) -> dict[str, Any]:
        """The last counters of a program that ends, and the check that it ended well."""
        last = self.event("counters", timeout_s)
        assert self.process.wait(timeout=10) == 0
        return last

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=10)
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()


class Bed:
    """generator g0 - d0 DUT d1 - s0 sink, in namespaces of its own prefix."""

    def __init__(self, bin_dir: Path, prefix: str = "kbX-") -> None:
        self.bin = bin_dir
        self.gen, self.dut, self.sink = (f"{prefix}{name}" for name in ("gen", "dut", "sink"))
        self.programs: list[Program] = []
        self.down()
        for netns in (self.gen, self.dut, self.sink):
            run("ip", "netns", "add", netns)
            setting = "net.ipv6.conf.{}.disable_ipv6=1"
            sysctls = [setting.format("all"), setting.format("default")]
            run("ip", "netns", "exec", netns, "sysctl", "-qw", *sysctls)
        self._cable((self.gen, "g0", GEN_MAC), (self.dut, "d0", RX_MAC))
        self._cable((self.dut, "d1", TX_MAC), (self.sink, "s0", SINK_MAC))

    def _cable(self, *ends: tuple[str, str, str]) -> None:
        (ns_a, if_a, mac_a), (ns_b, if_b, mac_b) = ends
        argv = ["ip", "link", "add", if_a, "netns", ns_a, "address", mac_a, "type", "veth"]
        run(*argv, "peer", "name", if_b, "netns", ns_b, "address", mac_b)
        for netns, name, _ in ends:
            run("ip", "-n", netns, "link", "set", name, "up")

    def kill_programs(self) -> None:
        """For the end of a test: what it left running, because it failed or meant to."""
        for program in self.programs:
            program.kill()
        self.programs.clear()

    def down(self) -> None:
        self.kill_programs()
        for netns in (self.gen, self.dut, self.sink):
            run("ip", "netns", "del", netns, check=False)

    def start(self, netns: str, name: str, *args: str | Path) -> Program:
        """Starts a program and waits until it is ready."""
        program = Program(netns, [self.bin / name, *args])
        self.programs.append(program)
        program.event("ready")
        return program

    def refused(self, netns: str, name: str, *args: str | Path) -> tuple[int, str]:
        """Exit code and stderr of a program that is expected to refuse its arguments."""
        argv = ["nsenter", f"--net=/run/netns/{netns}", str(self.bin / name), *map(str, args)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
        return done.returncode, done.stderr

    def start_sink(self, mode: str = "count") -> Program:
        return self.start(self.sink, "kb-sink", "--if", "s0", "--mode", mode)

    def start_datapath(self, name: str, function: str, image: Path, *args: str) -> Program:
        argv = ("--rx", "d0", "--tx", "d1", "--function", function, "--image", str(image), *args)
        return self.start(self.dut, name, *argv)

    def start_offer(
        self,
        traffic: Path,
        *args: str,
        frame_bytes: int = 64,
        rate_pps: int = 0,
        duration_ms: int = 0,
        count: int = 0,
        cpu: int | None = 0,
    ) -> Program:
        argv = ["--if", "g0", "--traffic", str(traffic), "--frame-bytes", str(frame_bytes)]
        argv += ["--rate-pps", str(rate_pps), "--duration-ms", str(duration_ms), "--count", str(count)]
        if cpu is not None:
            argv += ["--cpu", str(cpu)]
        return self.start(self.gen, "kb-offer-xdp", *argv, *args)


def traffic_file(groups: Sequence[tuple[str, str, int, int, int]]) -> bytes:
    """A KBTR file of UDP groups (source, destination, first and last source port, destination port)."""
    macs = bytes.fromhex((GEN_MAC + RX_MAC).replace(":", ""))
    data = b"KBTR" + struct.pack("<I", 1) + macs + struct.pack("<I", len(groups))
    for src, dst, low, high, dport in groups:
        family = 6 if ":" in src else 4
        kind = socket.AF_INET6 if family == 6 else socket.AF_INET
        pair = (socket.inet_pton(kind, src).ljust(16, b"\0"), socket.inet_pton(kind, dst).ljust(16, b"\0"))
        data += struct.pack("<BBHHH", family, socket.IPPROTO_UDP, low, high, dport) + b"".join(pair)
    return data
