# SPDX-License-Identifier: GPL-2.0-only
"""The XDP programs on the lab's kernels: their verifiers accept each function, and no packet goes missing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kbench.host.lab import LabHost
from kbench.model import Case
from tests.lab import netfilter_bed
from tests.lab.netfilter_bed import Bed

PACKETS = 5000
CASES = [
    Case("drop"),
    Case("forward"),
    Case("forward", routes=1000, match_share=0.5),
    Case("filter", rules=100, shape="fw", routes=1000, match_share=0.25),
]


@pytest.fixture(scope="module", params=["6.1", "6.12"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    with netfilter_bed.boot(request.param, tmp_path_factory.mktemp("lab")) as host:
        yield host
        host.finish()


@pytest.fixture
def bed(lab: LabHost) -> Iterator[Bed]:
    made = Bed.make(lab)
    yield made
    made.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.case_id)
def test_every_packet_is_accounted_for(bed: Bed, case: Case) -> None:
    prepared = bed.prepare(case)
    lab, veth = bed.lab, bed.veth
    argv = [lab.program("kb-xdp"), "--rx", veth.rx.name, "--tx", veth.tx.name]
    argv += ["--function", case.function, "--image", prepared.work.image]
    datapath = lab.start(argv, netns=veth.rx.netns, timeout_s=120)
    offer = [lab.program("kb-offer-xdp"), "--if", veth.generator.name, "--traffic", prepared.traffic]
    offer += ["--frame-bytes", "64", "--rate-pps", "0", "--duration-ms", "0", "--count", str(PACKETS)]
    offered = lab.start(offer, netns=veth.generator.netns).wait(120.0).events[-1]
    # Emulation may be too slow for the ring of the veth: what it refused was not offered.
    assert offered["sent"] + offered["failed"] == PACKETS and offered["failed_exact"]
    did = datapath.stop()
    assert did is not None
    assert did["received"] == offered["sent"] > PACKETS / 2
    assert did["passed"] == 0 and did["lost_exact"]
    assert did["forwarded"] + sum(did["dropped"].values()) + did["lost"]["tx"] == did["received"]
    assert bed.arrived() == did["forwarded"]
    if case.function == "drop":
        assert did["dropped"]["policy"] == did["received"]
    else:
        assert did["forwarded"] + did["lost"]["tx"] == pytest.approx(case.match_share * PACKETS, rel=0.5)
        assert did["forwarded"] > 0


def test_time_stamps(bed: Bed) -> None:
    """Live frames, the clock and both look-ups of a program work there too."""
    prepared = bed.prepare(Case("forward"))
    lab, veth = bed.lab, bed.veth
    argv = [lab.program("kb-sink"), "--if", veth.rx.name, "--mode", "latency"]
    sink = lab.start(argv, netns=veth.rx.netns, timeout_s=120)
    offer = [lab.program("kb-offer-xdp"), "--if", veth.generator.name, "--traffic", prepared.traffic]
    offer += [
        "--frame-bytes",
        "64",
        "--rate-pps",
        "1000",
        "--duration-ms",
        "0",
        "--count",
        "200",
        "--timestamp",
    ]
    offered = lab.start(offer, netns=veth.generator.netns).wait(120.0).events[-1]
    seen = sink.stop()
    assert seen is not None
    assert seen["packets"] == offered["sent"] == seen["latency"]["count"] > 0
    assert seen["unstamped"] == 0
