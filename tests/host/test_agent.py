# SPDX-License-Identifier: GPL-2.0-only
"""kb-agent on this machine: programs, files, namespaces, and that nothing outlives the connection."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from kbench.errors import EnvironmentProblem, MeasureError, UsageError
from kbench.host import undo
from kbench.host.base import Host, HostFileError
from kbench.host.local import LocalHost


@pytest.fixture
def namespace() -> Generator[str, None, None]:
    name = f"kbtest-{secrets.token_hex(4)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield name
    subprocess.run(["ip", "netns", "delete", name], check=True)


def gone(pid: int, timeout_s: float = 6.0) -> bool:
    """Whether the process ends within the time (a zombie has ended)."""
    deadline = time.monotonic() + timeout_s
    while undo.starttime(pid) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def script(tmp_path: Path, text: str, name: str = "kb-test") -> list[str]:
    """A program that keeps (or breaks) the contract of docs/programs.md."""
    path = tmp_path / name
    path.write_text(f"#!{sys.executable}\nimport json, os, signal, sys, time\n" + textwrap.dedent(text))
    path.chmod(0o755)
    return [str(path)]


COUNTING = """
    count = 0
    def say(**event): print(json.dumps(event), flush=True)
    def snapshot(*_): say(event="counters", count=count)
    def reset(*_):
        global count
        count = 0
        say(event="reset")
    def stop(*_):
        snapshot()
        sys.exit(0)
    signal.signal(signal.SIGUSR1, snapshot)
    signal.signal(signal.SIGUSR2, reset)
    signal.signal(signal.SIGTERM, stop)
    say(event="ready", cpu=sorted(os.sched_getaffinity(0)))
    while True:
        count += 1
        signal.pause()
"""


def test_arguments_and_environment_arrive_as_they_are(local_host: Host) -> None:
    odd = ["", " a  b ", "%41%", "ümläut", "new\nline", "tab\t", "'\"$HOME`"]
    code = "import sys, os; sys.stdout.write('\\0'.join(sys.argv[1:]) + '\\0' + os.environ['ODD'])"
    done = local_host.run([sys.executable, "-c", code, *odd], env={"ODD": "x = y%20\n"})
    assert done.stdout == "\0".join([*odd, "x = y%20\n"])


def test_large_output_of_both_streams(local_host: Host) -> None:
    code = "import os\nfor i in range(160):\n os.write(1, b'o' * 65536)\n os.write(2, b'e' * 65536)"
    done = local_host.run([sys.executable, "-c", code])
    assert done.stdout == "o" * (160 << 16)
    assert done.stderr == "e" * (160 << 16)


def test_stdin_is_what_was_given_and_otherwise_empty(local_host: Host) -> None:
    data = bytes(range(256)) * 5000
    done = local_host.run(["sha256sum"], stdin=data)
    expected = subprocess.run(["sha256sum"], input=data, capture_output=True, check=True).stdout.decode()
    assert done.stdout == expected
    assert local_host.run(["cat"]).stdout == ""


def test_lines_to_a_running_program(local_host: Host) -> None:
    echo = local_host.start(["cat"], ready=False, stdin_open=True)
    for i in range(3):
        echo.send_line(json.dumps({"event": "echo", "text": f"ä {i}%"}))
        assert echo.wait_event("echo", 20)["text"] == f"ä {i}%"
    echo.end_input()
    assert len(echo.wait(20).events) == 3
    with pytest.raises(MeasureError, match="exit status 0 before it could be written to"):
        echo.send_line("late")


def test_what_a_program_does_not_read_waits_and_has_a_limit(local_host: Host) -> None:
    """A pipe holds 64 KiB: the agent goes on serving others, keeps 1 MB more, and refuses what is beyond."""
    line = "x" * 99_999
    busy = local_host.start(["sh", "-c", "kill -STOP $$; exec wc -c"], ready=False, stdin_open=True)
    sent = 0
    with pytest.raises(MeasureError, match="it does not read its stdin"):
        for _ in range(20):
            busy.send_line(line)
            sent += 1
    assert 10 <= sent <= 11
    assert local_host.run(["echo", "served"]).stdout == "served\n"
    busy.end_input()
    with pytest.raises(MeasureError, match="its stdin is closed"):
        busy.send_line("more")
    busy.signal(signal.SIGCONT)
    assert int(busy.wait(20).stdout) == sent * 100_000


def test_writing_to_a_program_that_went_away(local_host: Host, tmp_path: Path) -> None:
    text = "sys.stdin.readline(); sys.exit(print('kb-test: it broke', file=sys.stderr) or 1)"
    process = local_host.start(script(tmp_path, text), ready=False, stdin_open=True)
    process.send_line("go")
    with pytest.raises(MeasureError, match=r"kb-test ended with exit status 1 before .*it broke"):
        for _ in range(1000):  # the first ones may still fit into the pipe
            process.send_line("more")
            time.sleep(0.01)
    closed = 'os.close(0); print(\'{"event":"ready"}\', flush=True); time.sleep(60)'
    deaf = local_host.start(script(tmp_path, closed), stdin_open=True)
    with pytest.raises(MeasureError, match="its stdin is closed"):
        deaf.send_line("anyone?")
    shut = local_host.start(["sleep", "60"], ready=False)
    with pytest.raises(MeasureError, match="its stdin is closed"):
        shut.send_line("never open")


def test_the_connections_end_is_the_end_of_input(bin_dir: Path, tmp_path: Path) -> None:
    told = tmp_path / "told"
    code = f"trap '' TERM; cat; echo end >{told}"
    with LocalHost(bin_dir) as host:
        reader = host.start(["sh", "-c", code], ready=False, stdin_open=True)
        host.run(["sh", "-c", f"while ! grep -q SigIgn.*4... /proc/{reader.pid}/status; do sleep 0.01; done"])
    assert gone(reader.pid) and told.read_text() == "end\n"


def test_many_at_once(local_host: Host) -> None:
    processes = [local_host.start(["sh", "-c", f"sleep 0.1; echo {i}"], ready=False) for i in range(60)]
    assert [process.wait(20).stdout for process in processes] == [f"{i}\n" for i in range(60)]


def test_status_errors_and_time_outs(local_host: Host, tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match=r"exit status 7.*oops"):
        local_host.run(["sh", "-c", "echo oops >&2; exit 7"])
    assert local_host.run(["sh", "-c", "kill -9 $$"], check=False).code == -9
    with pytest.raises(MeasureError, match="SIGSEGV"):
        local_host.run(["sh", "-c", "kill -SEGV $$"])
    with pytest.raises(EnvironmentProblem, match=r"no-such-program: No such file"):
        local_host.run(["no-such-program"])
    with pytest.raises(MeasureError, match="network namespace kbtest-none: No such file"):
        local_host.run(["true"], netns="kbtest-none")
    with pytest.raises(UsageError, match="kb-test: bad image"):
        local_host.start(script(tmp_path, "sys.exit(print('kb-test: bad image', file=sys.stderr) or 2)"))
    with pytest.raises(EnvironmentProblem, match="kb-test: no XDP"):
        local_host.run(script(tmp_path, "sys.exit(print('kb-test: no XDP', file=sys.stderr) or 3)"))
    with pytest.raises(MeasureError, match="broken event"):
        local_host.start(script(tmp_path, "print('{\"event\":', flush=True); time.sleep(9)"))
    started = time.monotonic()
    with pytest.raises(MeasureError, match=r"did not come in time; its last words: waiting"):
        local_host.run(["sh", "-c", "echo waiting >&2; exec sleep 60"], timeout_s=0.5)
    with pytest.raises(MeasureError, match="ready"):
        local_host.start(["sleep", "60"], timeout_s=0.3)
    assert time.monotonic() - started < 5


def test_counters_contract(local_host: Host, tmp_path: Path) -> None:
    process = local_host.start(script(tmp_path, COUNTING), cpu=0)
    assert process.ready["cpu"] == [0]
    assert [process.snapshot()["count"] for _ in range(3)] == [1, 2, 3]
    process.reset()
    assert process.snapshot()["count"] == 1
    assert process.stop() == {"event": "counters", "count": 2}
    assert process.stop() == {"event": "counters", "count": 2}
    with pytest.raises(MeasureError):
        process.snapshot()


def test_a_program_that_ignores_sigterm_is_killed(local_host: Host, tmp_path: Path) -> None:
    text = 'signal.signal(15, signal.SIG_IGN); print(\'{"event":"ready"}\', flush=True); time.sleep(60)'
    process = local_host.start(script(tmp_path, text))
    with pytest.raises(MeasureError, match="did not come in time"):
        process.stop(timeout_s=0.3)
    assert gone(process.pid)


def test_a_program_takes_its_group_along(local_host: Host) -> None:
    done = local_host.run(["sh", "-c", "sleep 61 & echo $!"])
    assert gone(int(done.stdout))


def test_files_byte_for_byte(local_host: Host, tmp_path: Path) -> None:
    path = str(tmp_path / "some file%20")
    data = os.urandom(5 << 20)
    local_host.put(path, data, mode=0o600)
    assert Path(path).read_bytes() == data == local_host.read(path)
    assert Path(path).stat().st_mode & 0o777 == 0o600
    local_host.put(path, b"")
    assert local_host.read(path) == b""
    assert local_host.exists(path)
    assert not local_host.exists(path + "x")
    assert local_host.is_dir(str(tmp_path)) and not local_host.is_dir(path)
    assert local_host.list_dir(str(tmp_path)) == ["some file%20"]
    local_host.remove(path)
    local_host.make_dir(path)
    assert Path(path).is_dir()
    local_host.remove(path)
    assert not Path(path).exists()
    for call in (local_host.read, local_host.list_dir, local_host.remove):
        with pytest.raises(HostFileError, match="No such file"):
            call(path)
    with pytest.raises(HostFileError, match="Is a directory"):
        local_host.read(str(tmp_path))


def test_namespace_views(local_host: Host, namespace: str) -> None:
    local_host.run(["ip", "link", "add", "kbt0", "type", "veth", "peer", "name", "kbt1"], netns=namespace)
    assert local_host.list_dir("/sys/class/net", netns=namespace) == ["kbt0", "kbt1", "lo"]
    assert local_host.run(["ls", "/sys/class/net"], netns=namespace).stdout.split() == ["kbt0", "kbt1", "lo"]
    assert "kbt0" in local_host.read_text("/proc/net/dev", netns=namespace)
    assert "kbt0" not in local_host.read_text("/proc/net/dev")
    assert "kbt0" not in local_host.list_dir("/sys/class/net")
    forwarding = "/proc/sys/net/ipv4/conf/kbt0/forwarding"
    for value in ("1", "0"):
        local_host.write_text(forwarding, value, netns=namespace)
        assert local_host.read_text(forwarding, netns=namespace) == f"{value}\n"
    local_host.write_text("/sys/class/net/kbt0/mtu", "1400", netns=namespace)
    assert local_host.read_text("/sys/class/net/kbt0/mtu", netns=namespace) == "1400\n"
    with pytest.raises(HostFileError, match="Invalid argument"):
        local_host.write_text("/sys/class/net/kbt0/mtu", "99999999", netns=namespace)
    with pytest.raises(HostFileError, match="No such file"):
        local_host.write_text(forwarding, "1")


def test_bpffs_is_the_same_in_a_namespace(local_host: Host, namespace: str) -> None:
    kind = ["stat", "-f", "-c", "%T", "/sys/fs/bpf"]
    assert "bpf" in local_host.run(kind, netns=namespace).stdout
    if "bpf" in local_host.run(kind).stdout:
        inside = local_host.run(["stat", "-c", "%d", "/sys/fs/bpf"], netns=namespace).stdout
        assert int(inside) == Path("/sys/fs/bpf").stat().st_dev


def test_closing_ends_everything(bin_dir: Path) -> None:
    host = LocalHost(bin_dir)
    plain = host.start(["sleep", "62"], ready=False)
    stubborn = host.start(["sh", "-c", "trap '' TERM; echo '{\"event\":\"ready\"}'; sleep 63; sleep 63"])
    escaped = int(host.run(["sh", "-c", "setsid sleep 64 >/dev/null 2>&1 & echo $!; sleep 0.3"]).stdout)
    assert undo.starttime(escaped) is not None
    pids = [host.agent_pid, plain.pid, stubborn.pid, escaped]
    started = time.monotonic()
    host.close()
    assert time.monotonic() - started < 4
    assert all(gone(pid, 0.5) for pid in pids)
    host.close()
    with pytest.raises(MeasureError, match="lost"):
        host.run(["true"])


def test_killed_agent_is_reported_and_takes_its_programs(bin_dir: Path) -> None:
    with LocalHost(bin_dir) as host:
        process = host.start(["sleep", "65"], ready=False)
        threading.Timer(0.3, os.kill, (host.agent_pid, signal.SIGKILL)).start()
        with pytest.raises(MeasureError, match="connection to kb-agent was lost"):
            process.wait(10)
        assert gone(process.pid)
        with pytest.raises(MeasureError, match="lost"):
            host.read("/proc/uptime")


RUNNER = """
    import sys, time
    from pathlib import Path
    from kbench.host.local import LocalHost
    host = LocalHost(Path(sys.argv[1]))
    process = host.start(["sleep", "66"], ready=False)
    stubborn = host.start(["sh", "-c", "trap '' TERM; sleep 67; sleep 67"], ready=False)
    print(host.agent_pid, process.pid, stubborn.pid, flush=True)
    process.wait(60)
"""


def test_sigkill_of_python_leaves_no_process(bin_dir: Path) -> None:
    code = textwrap.dedent(RUNNER)
    with subprocess.Popen(
        [sys.executable, "-c", code, str(bin_dir)], stdout=subprocess.PIPE, text=True
    ) as runner:
        assert runner.stdout
        pids = [int(word) for word in runner.stdout.readline().split()]
        assert len(pids) == 3 and all(undo.starttime(pid) for pid in pids)
        runner.kill()
    assert all(gone(pid) for pid in pids)


def test_an_interrupt_at_any_moment_leaves_a_usable_host(bin_dir: Path) -> None:
    class Interrupt(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    interrupted = 0
    with LocalHost(bin_dir) as host:
        for attempt in range(300):
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.00005 + attempt % 60 * 0.00002)
                    host.run(["true"])
                    host.start(["sleep", "68"], ready=False).stop()
                    host.put("/dev/null", b"x" * 100_000)
                    host.read("/proc/uptime")
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupt:
                interrupted += 1
        signal.signal(signal.SIGALRM, before)
        assert interrupted > 30
        assert host.run(["echo", "still here"]).stdout == "still here\n"
        agent = host.agent_pid
    assert gone(agent, 0.5)


def raw_agent(bin_dir: Path, data: bytes) -> tuple[bytes, int]:
    done = subprocess.run([bin_dir / "kb-agent"], input=data, capture_output=True, check=False, timeout=20)
    return done.stdout, done.returncode


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense 1",
        b"get",
        b"get 1 -",
        b"spawn 1 - - x 0 true",
        b"write 1 2 -",
        b"put 1 - /x 644 - -5",
        b"get 1;2 - /x",
        b"get 1 - /%zz",
        b"get 1 - %00",
    ],
)
def test_what_is_no_request_ends_the_connection(bin_dir: Path, line: bytes) -> None:
    out, code = raw_agent(bin_dir, b"hello 7\n" + line + b"\nhello 8\n")
    assert out.startswith(b"hello 7 2 ") and b"hello 8" not in out
    assert code == 1


def test_line_without_end_is_refused(bin_dir: Path) -> None:
    _, code = raw_agent(bin_dir, b"get 1 - /" + b"x" * (3 << 20))
    assert code == 1


def test_back_pressure_bounds_the_agents_memory(bin_dir: Path) -> None:
    """A client that does not read: the program is stopped by its full pipe, and nothing is lost afterwards."""
    size = 50_000_000
    with subprocess.Popen([bin_dir / "kb-agent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as agent:
        assert agent.stdin and agent.stdout
        agent.stdin.write(f"spawn 1 - - 0 0 head -c {size} /dev/zero\n".encode())
        agent.stdin.flush()
        time.sleep(1.0)
        resident = next(
            int(line.split()[1])
            for line in Path(f"/proc/{agent.pid}/status").read_text().splitlines()
            if line.startswith("VmRSS")
        )
        assert resident < 10_000  # KiB
        got = 0
        while True:
            words = agent.stdout.readline().split()
            if words[0] == b"out":
                got += len(agent.stdout.read(int(words[2])))
            elif words[0] == b"exit":
                break
        assert got == size
        agent.stdin.close()
        assert agent.wait(10) == 0


def test_a_program_runs_in_its_own_group_with_default_signals(local_host: Host) -> None:
    status = local_host.run(["cat", "/proc/self/status"]).stdout
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(fields["SigBlk"], 16) == 0
    assert int(fields["SigIgn"], 16) & (1 << (signal.SIGPIPE - 1)) == 0
