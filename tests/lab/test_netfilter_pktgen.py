# SPDX-License-Identifier: GPL-2.0-only
"""kb-offer-pktgen in the lab: exact counts, pace, ends, flows, and nothing left in pktgen."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from kbench.functions.flows import Group
from kbench.functions.packets import traffic_file
from kbench.host.lab import LabHost
from kbench.model import Case
from tests.lab import netfilter_bed
from tests.lab.netfilter_bed import Bed


@pytest.fixture(scope="module", params=["6.1", "6.12"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    with netfilter_bed.boot(request.param, tmp_path_factory.mktemp("lab")) as host:
        yield host
        host.finish()


@pytest.fixture
def bed(lab: LabHost) -> Iterator[Bed]:
    """A testbed; afterwards pktgen must have no device there."""
    made = Bed.make(lab)
    yield made
    netns = made.veth.generator.netns
    for name in lab.list_dir("/proc/net/pktgen", netns=netns):
        assert name == "pgctrl" or name.startswith("kpktgend_"), name
    made.close()


@pytest.fixture
def traffic(bed: Bed) -> str:
    """16 groups of flows; nothing has to forward them."""
    return bed.prepare(Case("drop")).traffic


@pytest.mark.parametrize("count", [1, 5, 16, 1003])
def test_the_count_is_exact(bed: Bed, traffic: str, count: int) -> None:
    done = bed.offer(traffic, count)
    assert (done["sent"], done["failed"]) == (count, 0)
    shares = [device["sent"] for device in done["devices"]]
    assert len(shares) == min(count, 16)
    assert max(shares) - min(shares) <= 1
    # pktgen's stopwatch counts microseconds: a few packets may take none of them.
    assert (count < 1000 or done["busy_ns"] > 0) and 0 <= done["busy_ns"] <= done["elapsed_ns"]
    assert done["elapsed_ns"] <= done["last_ns"] - done["first_ns"]


def test_groups_take_turns_at_full_speed(bed: Bed, traffic: str) -> None:
    """One after the other they would end at sixteen different moments, the first after 1/16 of the time."""
    done = bed.offer(traffic, 16_000)
    ends = [device["stopped_us"] - done["first_ns"] / 1000 for device in done["devices"]]
    assert min(ends) > 0.5 * max(ends)


def test_the_pace_is_held(bed: Bed, traffic: str) -> None:
    done = bed.offer(traffic, 3000, rate_pps=3000)
    assert done["sent"] == 3000
    assert done["elapsed_ns"] == pytest.approx(1e9, rel=0.05)


def test_the_duration_ends_it(bed: Bed, traffic: str) -> None:
    done = bed.offer(traffic, rate_pps=2000, duration_ms=700)
    assert done["elapsed_ns"] == pytest.approx(0.7e9, rel=0.15)
    assert done["sent"] == pytest.approx(1400, rel=0.15)


def test_sigterm_stops_pktgen(bed: Bed, traffic: str) -> None:
    argv = bed.pktgen(traffic, "--frame-bytes", 64, "--rate-pps", 1000, "--duration-ms", 0, "--count", 10**9)
    process = bed.lab.start(argv, netns=bed.veth.generator.netns)
    deadline = time.monotonic() + 20
    while not process.snapshot()["sent"]:
        assert time.monotonic() < deadline
    process.reset()
    process.signal(signal.SIGTERM)
    done = process.wait(10.0)
    assert done.code == 0
    last = done.events[-1]
    before = bed.reached()
    assert 0 <= last["sent"] < sum(device["sent"] for device in last["devices"]) <= before
    time.sleep(0.3)
    assert bed.reached() == before


def test_a_killed_generator_does_not_go_on(bed: Bed, traffic: str) -> None:
    argv = bed.pktgen(traffic, "--frame-bytes", 64, "--rate-pps", 1000, "--count", 10**9)
    process = bed.lab.start(argv, netns=bed.veth.generator.netns)
    deadline = time.monotonic() + 20
    while not process.snapshot()["sent"]:
        assert time.monotonic() < deadline
    process.kill()
    process.wait(10.0, check=False)
    time.sleep(0.5)
    before = bed.reached()
    time.sleep(0.5)
    assert bed.reached() == before
    assert bed.offer(traffic, 100)["sent"] == 100  # and does not stand in the next one's way


def test_shared_buffers_are_given_away_where_pktgen_can(bed: Bed, traffic: str) -> None:
    argv = bed.pktgen(traffic, "--frame-bytes", 64, "--count", 160, "--no-shared")
    done = bed.lab.run(argv, netns=bed.veth.generator.netns, check=False)
    if bed.lab.kernel_release.startswith("6.1."):
        assert (done.code, "no flag SHARED" in done.stderr) == (3, True)
    else:
        assert done.code == 0
        assert '"shared":false' in done.stdout
    assert bed.offer(traffic, 16)["shared"] is True


def test_ipv6_and_single_flows(bed: Bed) -> None:
    macs = {"src_mac": bed.veth.generator.mac_bytes, "dst_mac": bed.veth.rx.mac_bytes}
    src, dst = (int(ip_address(text)) for text in ("2001:db8::1", "2001:db8::2"))
    group = Group(6, src, dst, sport_lo=5, sport_hi=5, dport=9)
    bed.lab.put("/tmp/kbN-v6", traffic_file((group,), **macs))
    assert bed.offer("/tmp/kbN-v6", 10, frame_bytes=82)["sent"] == 10
    argv = bed.pktgen("/tmp/kbN-v6", "--frame-bytes", 81, "--count", 1)
    done = bed.lab.run(argv, netns=bed.veth.generator.netns, check=False)
    assert (done.code, "IPv6 frames have at least 82 bytes" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--frame-bytes", 63, "--count", 1], "not in 64.."),
        (["--frame-bytes", 1519, "--count", 1], "takes at most 1518"),
        (["--frame-bytes", 64], "neither --count nor --duration-ms"),
        (["--frame-bytes", 64, "--count", 20, "--rate-pps", 1], "pktgen's least for 16 groups is 2"),
    ],
)
def test_bad_arguments(bed: Bed, traffic: str, options: list[object], message: str) -> None:
    done = bed.lab.run(bed.pktgen(traffic, *options), netns=bed.veth.generator.netns, check=False)
    assert (done.code, message in done.stderr) == (2, True), done.stderr
