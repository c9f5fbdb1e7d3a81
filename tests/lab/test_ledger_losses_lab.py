# SPDX-License-Identifier: GPL-2.0-only
"""Losses made to happen on purpose that take a machine of their own, and those of netfilter: found by name."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from kbench.errors import MeasureError
from kbench.host.lab import LabHost
from kbench.measure.bench import Bench, Benches
from kbench.measure.datapaths import DATAPATHS
from kbench.measure.datapaths.base import Options
from kbench.measure.generators.base import Generator, Load
from kbench.measure.generators.pktgen import Pktgen
from kbench.measure.generators.xdp import XdpLiveFrames
from kbench.measure.observe import Setting
from kbench.measure.prepare import Prepared, prepare
from kbench.measure.testbeds.base import Cpus, Port
from kbench.measure.testbeds.veth import VethTestbed
from kbench.measure.trial import run_trial
from kbench.model import Case, Counters
from tests.lab import netfilter_bed

_numbers = itertools.count()
Made = tuple[Bench, Prepared]
Make = Callable[..., Made]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    with netfilter_bed.boot("6.12", tmp_path_factory.mktemp("lab")) as host:
        yield host


@pytest.fixture
def make(lab: LabHost) -> Iterator[Make]:
    with Benches() as benches:

        def bench(name: str, case: Case) -> Made:
            number = next(_numbers)
            bed = VethTestbed(lab, f"kbQ{number}", "same", Cpus(0, 0, 1), None)
            lab.make_dir(f"/tmp/kbQ{number}")
            prepared = prepare(case, lab, f"/tmp/kbQ{number}", bed.image_ports)
            return benches.add(name, bed, DATAPATHS[name], Options(), prepared.work), prepared

        yield bench


def offer(made: Made, count: int, generator: Generator | None = None) -> Counters:
    """The ledger of one trial, which must be closed to the packet."""
    bench, prepared = made
    with generator or Pktgen() as source:
        setting = Setting("lab", "functional", prepared.case, source, prepared.traffic)
        trial = run_trial(bench, setting, Load(None, 600.0, count), purpose="account", round_=0)
    counters = trial.counters
    assert trial.valid, (trial.problems, counters, trial.raw["offered"])
    assert counters.offered == counters.handled + counters.lost
    assert counters.unexplained == 0, counters
    return counters


@contextmanager
def short_backlog(lab: LabHost, port: Port, cpu: int) -> Iterator[None]:
    """Receive packet steering sends what `port` receives through the backlog of `cpu`, which takes next to nothing.

    The limit is the machine's (net.core.netdev_max_backlog), so it is set back.
    """
    limit = "/proc/sys/net/core/netdev_max_backlog"
    before = lab.read_text(limit)
    lab.write_text(f"/sys/class/net/{port.name}/queues/rx-0/rps_cpus", f"{1 << cpu:x}", netns=port.netns)
    lab.write_text(limit, "1")
    try:
        yield
    finally:
        lab.write_text(limit, before)


# Live frames come by way of the ring and NAPI's poll; what pktgen sends goes to the backlog at once (veth_xmit()).
@pytest.mark.parametrize("datapath", ["kernel", "af_packet", "netfilter"])
def test_backlog(lab: LabHost, make: Make, datapath: str) -> None:
    made = make(datapath, Case("forward"))
    with short_backlog(lab, made[0].testbed.rx, cpu=1):
        counters = offer(made, 3000, XdpLiveFrames())
    assert counters.offered == 3000
    assert counters.lost_by == {"backlog": counters.lost}
    assert counters.lost > 1000


def test_no_route_netfilter(make: Make) -> None:
    counters = offer(make("netfilter", Case("forward", routes=10, match_share=0.5)), 1600)
    assert (counters.dropped, counters.forwarded, counters.lost) == ({"no_route": 800}, 800, 0)


def test_too_big_a_frame_is_refused_by_the_port_netfilter(lab: LabHost, make: Make) -> None:
    made = make("netfilter", Case("forward", frame_bytes=1518))
    tx = made[0].testbed.tx
    lab.run(["ip", "link", "set", tx.name, "mtu", "500"], netns=tx.netns)
    assert offer(made, 1000).lost_by == {"tx": 1000}


def test_pktgen_that_does_not_end_in_time_is_stopped(
    lab: LabHost, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, prepared = make("kernel", Case("forward"))
    load = Load(10.0, 60.0)
    monkeypatch.setattr("kbench.measure.generators.base.START_S", 2.0 - 4 * load.duration_s)
    with pytest.raises(MeasureError, match="did not come in time"):
        Pktgen().offer(bench.testbed, bench.into, prepared.traffic, 64, load)
    left = lab.list_dir("/proc/net/pktgen", netns=bench.into.netns)
    assert [name for name in left if name != "pgctrl" and not name.startswith("kpktgend_")] == []


@pytest.mark.parametrize("datapath", ["kernel", "netfilter"])
def test_a_sink_that_does_not_keep_up_is_a_loss_at_the_port(lab: LabHost, make: Make, datapath: str) -> None:
    made = make(datapath, Case("forward"))
    bench = made[0]
    bench.start_sink("count")
    port = bench.testbed.sink
    lab.write_text(f"/sys/class/net/{port.name}/threaded", "1", netns=port.netns)
    lab.run([lab.program("kb-pin"), "--comm", f"napi/{port.name}-", "--cpu", "0"], netns=port.netns)
    # On the same CPU, pktgen's thread no longer lets the sink's have its turn; nothing after this test minds.
    lab.run([lab.program("kb-pin"), "--comm", "kpktgend_0", "--fifo", "1"])
    assert set(offer(made, 100_000).lost_by) == {"tx_port"}
