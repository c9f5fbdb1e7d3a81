# SPDX-License-Identifier: GPL-2.0-only
"""Trials on emulated NICs: every packet accounted for, and losses made on purpose found by name.

Adapters that QEMU emulates lose frames of their own accord when the virtual CPU is slow (vmxnet3), but count them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from kbench.errors import EnvironmentProblem
from kbench.functions.packets import Packet
from kbench.host.lab import LabHost, LabNics, Parts
from kbench.measure.bench import Bench, Benches
from kbench.measure.carried import carried
from kbench.measure.datapaths import DATAPATHS
from kbench.measure.datapaths.base import Options
from kbench.measure.generators.base import Generator, Load
from kbench.measure.generators.pktgen import Pktgen
from kbench.measure.generators.xdp import XdpLiveFrames
from kbench.measure.observe import Setting
from kbench.measure.prepare import Prepared, prepare
from kbench.measure.trial import run_trial
from kbench.measure.verify import verify
from kbench.model import Case, Counters
from tests.lab.nic_bed import NicBed

_numbers = itertools.count()
E1000E, VIRTIO, VMXNET3 = (
    ("eth1", "eth2", "eth3", "eth4"),
    ("eth5", "eth6", "eth7", "eth8"),
    ("eth9", "eth10", "eth11", "eth12"),
)
"""rx, generator, tx, sink."""
PLUG = ("eth13",)
"""An e1000e that hears itself."""
Made = tuple[Bench, Prepared]
Make = Callable[..., Made]


def on_wire(bench: Bench, prepared: Prepared) -> list[Packet]:
    """The verification packets that the emulated adapters carry as they are: most, but not those that they mend."""
    bench.testbed.turn.end()
    packets = carried(bench.testbed, prepared.packets, prepared.scratch)
    assert len(packets) > 0.8 * len(prepared.packets)
    return packets


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    parts = Parts.prepare("6.12", lambda _text: None)
    nics = LabNics(models=[m for m in ("e1000e", "virtio-net", "vmxnet3") for _ in (1, 2)], plugs=1)
    logs = tmp_path_factory.mktemp("lab")
    with LabHost.boot(parts, mode="fast", log_dir=logs, progress=lambda _text: None, nics=nics) as host:
        yield host


@pytest.fixture
def make(lab: LabHost) -> Iterator[Make]:
    with Benches() as benches:

        def bench(name: str, ports: tuple[str, ...], case: Case) -> Made:
            bed = NicBed(lab, ports)
            scratch = f"/tmp/kbO{next(_numbers)}"
            lab.make_dir(scratch)
            prepared = prepare(case, lab, scratch, bed.image_ports)
            return benches.add(name, bed, DATAPATHS[name], Options(), prepared.work), prepared

        yield bench


def offer(
    made: Made, count: int, generator: Generator | None = None, rate_pps: float | None = None
) -> Counters:
    """The ledger of one trial, which must be closed to the packet."""
    bench, prepared = made
    with generator or Pktgen() as source:
        setting = Setting("lab", "functional", prepared.case, source, prepared.traffic)
        trial = run_trial(bench, setting, Load(rate_pps, 600.0, count), purpose="account", round_=0)
    counters = trial.counters
    assert trial.valid and counters.unexplained == 0, (trial.problems, counters, trial.raw["offered"])
    return counters


FORWARD = Case("forward", routes=10)


@pytest.mark.parametrize(
    ("name", "ports"),
    [
        ("xdp_generic", E1000E[:2]),
        ("xdp", VIRTIO),
        ("kernel", VIRTIO[:2]),
        ("xdp", VMXNET3[:2]),
    ],
)
def test_proven_and_each_packet_accounted_for(make: Make, name: str, ports: tuple[str, ...]) -> None:
    made = make(name, ports, FORWARD)
    bench, prepared = made
    packets, reference = on_wire(bench, prepared), prepared.reference
    proven = verify(bench, "lab", FORWARD, packets, reference, prepared.marker, prepared.scratch)
    assert proven.passed, proven.differences
    counters = offer(made, 2000)
    assert counters.offered == 2000
    assert set(counters.lost_by) <= {"nic_rx_missed", "tx_port", "tx", "qdisc", "sink_missed"}
    assert counters.forwarded > 200


@pytest.mark.parametrize("name", ["xdp_generic", "netfilter"])
def test_a_port_that_hears_itself(make: Make, name: str) -> None:
    case = Case("drop")
    made = make(name, PLUG, case)
    bench, prepared = made
    packets, reference = on_wire(bench, prepared), prepared.reference
    proven = verify(bench, "lab", case, packets, reference, prepared.marker, prepared.scratch)
    assert proven.passed, proven.differences
    counters = offer(made, 2000)
    assert (counters.dropped, counters.lost) == ({"policy": 2000}, 0)


def test_a_driver_without_native_xdp_is_said(make: Make) -> None:
    with pytest.raises(EnvironmentProblem, match="the driver of eth1 has no native XDP"):
        make("xdp", E1000E[:2], FORWARD)


def test_a_port_that_takes_no_xdp_frames_is_said(make: Make) -> None:
    with pytest.raises(
        EnvironmentProblem, match="the driver of eth2 has no native XDP, so that it can't send"
    ):
        offer(make("netfilter", E1000E, FORWARD), 10, XdpLiveFrames())


@pytest.mark.parametrize(("ports", "program"), [(VIRTIO[:2], "none"), (VIRTIO, "native")])
def test_a_generator_of_xdp_frames_tells_what_its_full_ring_refused(
    lab: LabHost, make: Make, ports: tuple[str, ...], program: str
) -> None:
    """virtio_net takes them with a program on the port only: the sink's, where that is the generator's too."""
    made = make("netfilter", ports, FORWARD)
    assert 0 < offer(made, 2000, XdpLiveFrames()).offered <= 2000
    bed, prepared = made[0].testbed, made[1]
    argv = [lab.program("kb-offer-xdp"), "--if", bed.generator.name, "--traffic", prepared.traffic]
    process = lab.start([*argv, "--frame-bytes", "64", "--count", "1"], netns=bed.generator.netns)
    assert process.ready["tx_program"] == program
    process.wait(30.0)


@pytest.mark.parametrize(("name", "place"), [("netfilter", "tx"), ("xdp", "xdp_redirect")])
def test_an_outgoing_port_that_is_down(lab: LabHost, make: Make, name: str, place: str) -> None:
    made = make(name, VIRTIO, FORWARD)
    tx = made[0].testbed.tx
    lab.run(["ip", "link", "set", tx.name, "down"], netns=tx.netns)
    try:
        assert offer(made, 1000).lost_by == {place: 1000}
    finally:
        lab.run(["ip", "link", "set", tx.name, "up"], netns=tx.netns)


def test_the_backlog_of_a_nic(lab: LabHost, make: Make) -> None:
    """Receive packet steering through a backlog that takes next to nothing; the limit is the machine's."""
    made = make("netfilter", E1000E[:2], FORWARD)
    rx, limit = made[0].testbed.rx, "/proc/sys/net/core/netdev_max_backlog"
    before = lab.read_text(limit)
    lab.write_text(f"/sys/class/net/{rx.name}/queues/rx-0/rps_cpus", "2", netns=rx.netns)
    lab.write_text(limit, "1")
    try:
        counters = offer(made, 3000)
    finally:
        lab.write_text(limit, before)
        lab.write_text(f"/sys/class/net/{rx.name}/queues/rx-0/rps_cpus", "0", netns=rx.netns)
    assert set(counters.lost_by) <= {"backlog", "tx_port", "qdisc"} and counters.lost_by["backlog"] > 0


def test_a_nic_without_descriptors_misses(lab: LabHost, make: Make) -> None:
    """vmxnet3 counts what it has no buffer for: a small ring, and a thread that does not get to empty it.

    pktgen's thread no longer lets anything else have its CPU; the last test, so that none minds.
    """
    made = make("kernel", VMXNET3, FORWARD)
    bed = made[0].testbed
    assert isinstance(bed, NicBed)
    rx = bed.rx
    lab.run(["ethtool", "-G", rx.name, "rx", "32"], netns=rx.netns)
    bed.wait_for_carriers()
    bed.start_reader()
    lab.write_text(f"/sys/class/net/{rx.name}/threaded", "1", netns=rx.netns)
    lab.run([lab.program("kb-pin"), "--comm", f"napi/{rx.name}-", "--cpu", "0"], netns=rx.netns)
    lab.run([lab.program("kb-pin"), "--comm", "kpktgend_0", "--fifo", "2"])
    counters = offer(made, 5000)
    assert counters.lost_by["nic_rx_missed"] > 1000
    assert set(counters.lost_by) <= {"nic_rx_missed", "tx_port", "qdisc", "sink_missed"}
