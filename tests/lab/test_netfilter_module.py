# SPDX-License-Identifier: GPL-2.0-only
"""kbench_nf.ko and kb-netfilter in the lab: the ledger, refusals, and nothing left behind."""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections.abc import Iterator

import pytest

from kbench.errors import MeasureError
from kbench.host import net
from kbench.host.lab import LabHost, Parts
from kbench.model import Case
from tests.lab import netfilter_bed
from tests.lab.netfilter_bed import Bed

PACKETS = 20_000
TROUBLE = re.compile(r"WARNING:|BUG:|Oops|refcount|unregister_netdevice|RCU stall|suspicious")


@pytest.fixture(scope="module", params=["6.1", "6.12"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    with netfilter_bed.boot(request.param, tmp_path_factory.mktemp("lab")) as host:
        yield host
        host.finish()


@pytest.fixture
def bed(lab: LabHost) -> Iterator[Bed]:
    """A testbed; afterwards the module must be gone and the kernel's log clean."""
    made = Bed.make(lab)
    yield made
    made.close()
    assert not netfilter_bed.loaded(lab)
    log = lab.run(["/bin/busybox", "dmesg", "-c"]).stdout
    assert not TROUBLE.search(log), log[-3000:]


@pytest.mark.parametrize(
    ("case", "forwarded"),
    [
        (Case("drop"), 0),
        (Case("forward"), PACKETS),
        (Case("forward", routes=100_000, match_share=0.75), PACKETS * 3 // 4),
        (Case("filter", rules=10_000, routes=1000, match_share=0.5), PACKETS // 2),
        (Case("forward", frame_bytes=1518), PACKETS),
    ],
    ids=lambda value: value.case_id if isinstance(value, Case) else "",
)
def test_the_ledger_closes_to_the_packet(bed: Bed, case: Case, forwarded: int) -> None:
    prepared = bed.prepare(case)
    datapath = bed.attach(case.function, prepared.work.image)
    assert datapath.ready["module_loaded"]
    before = bed.arrived()
    offered = bed.offer(prepared.traffic, PACKETS, frame_bytes=case.frame_bytes)
    assert (offered["sent"], offered["failed"]) == (PACKETS, 0)
    seen = datapath.snapshot()
    dropped = sum(seen["dropped"].values())
    assert seen["received"] == PACKETS == seen["forwarded"] + dropped
    assert seen["forwarded"] == forwarded == bed.arrived() - before
    assert seen["lost"] == {"tx": 0, "memory": 0}
    assert seen["passed"] == 0
    reason = "no_route" if case.function == "forward" else "policy"
    assert seen["dropped"][reason] == PACKETS - forwarded
    assert datapath.stop() == seen


def test_counters_are_reset(bed: Bed) -> None:
    prepared = bed.prepare(Case("drop"))
    datapath = bed.attach("drop", prepared.work.image)
    bed.offer(prepared.traffic, 100)
    datapath.reset()
    bed.offer(prepared.traffic, 30)
    last = datapath.stop()
    assert last is not None
    assert (last["received"], last["dropped"]["policy"]) == (30, 30)


def test_what_the_port_does_not_take_is_lost_not_forwarded(bed: Bed) -> None:
    prepared = bed.prepare(Case("forward"))
    datapath = bed.attach("forward", prepared.work.image)
    net.batch(bed.lab, bed.veth.tx.netns, [f"link set {bed.veth.tx.name} mtu 1000"])
    bed.offer(prepared.traffic, 500, frame_bytes=1018)
    bed.offer(prepared.traffic, 300, frame_bytes=1019)
    net.batch(bed.lab, bed.veth.tx.netns, [f"link set {bed.veth.tx.name} down"])
    bed.offer(prepared.traffic, 200)
    last = datapath.stop()
    assert last is not None
    assert (last["received"], last["forwarded"], last["lost"]["tx"]) == (1000, 500, 500)
    assert bed.arrived() == 500


def test_a_killed_program_leaves_nothing_active(bed: Bed) -> None:
    prepared = bed.prepare(Case("forward"))
    datapath = bed.attach("forward", prepared.work.image)
    datapath.kill()
    assert datapath.wait(5.0, check=False).code == -9
    bed.offer(prepared.traffic, 100)
    assert bed.arrived() == 0
    assert netfilter_bed.loaded(bed.lab)  # idle; the next user takes it away
    again = bed.attach("forward", prepared.work.image)
    assert not again.ready["module_loaded"]
    bed.offer(prepared.traffic, 100)
    assert bed.arrived() == 100
    again.stop()


def test_unload(bed: Bed) -> None:
    prepared = bed.prepare(Case("drop"))
    unload = [bed.lab.program("kb-netfilter"), "--unload"]
    datapath = bed.attach("drop", prepared.work.image)
    busy = bed.lab.run(unload, check=False)
    assert (busy.code, busy.stderr) == (1, "kb-netfilter: kbench_nf is in use\n")
    datapath.kill()
    datapath.wait(5.0, check=False)
    assert netfilter_bed.loaded(bed.lab)
    assert bed.lab.run(unload).code == 0
    assert not netfilter_bed.loaded(bed.lab)
    assert bed.lab.run(unload).code == 0  # nothing to do


def test_a_module_that_somebody_else_loaded_stays(bed: Bed) -> None:
    prepared = bed.prepare(Case("drop"))
    bed.lab.run(["/bin/busybox", "insmod", bed.lab.module("kbench_nf")])
    datapath = bed.attach("drop", prepared.work.image)
    assert not datapath.ready["module_loaded"]
    datapath.stop()
    assert netfilter_bed.loaded(bed.lab)
    bed.lab.run(["/bin/busybox", "rmmod", "kbench_nf"])


def damage(image: bytes, kind: str) -> bytes:
    """An image that is wrong in one way."""
    blob = bytearray(image)
    if kind == "magic":
        blob[:4] = b"ELF!"
    elif kind == "version":
        blob[4:6] = struct.pack("<H", 99)
    elif kind == "truncated":
        del blob[-64:]
    elif kind == "tiny":
        del blob[40:]
    elif kind == "corrupted":
        blob[-100] ^= 1
    elif kind == "slots outside":
        blob[24:32] = struct.pack("<Q", len(blob) + 64)
        blob[16:20] = struct.pack("<I", zlib.crc32(bytes(blob[20:])))
    return bytes(blob)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("magic", "not a kbench image (wrong magic)"),
        ("version", "image of another version: compile it again"),
        ("truncated", "truncated: length differs from the header's"),
        ("tiny", "truncated: shorter than an image header"),
        ("corrupted", "corrupted: wrong checksum"),
        ("slots outside", "corrupted: slots lie outside the image"),
    ],
)
def test_the_program_and_the_kernel_each_refuse_a_bad_image(bed: Bed, kind: str, message: str) -> None:
    prepared = bed.prepare(Case("forward"))
    path = f"{prepared.scratch}/bad"
    bed.lab.put(path, damage(bed.lab.read(prepared.work.image), kind))
    assert bed.refuse("forward", path) == (2, f"kb-netfilter: {path}: {message}")
    code, said = bed.refuse("forward", path, "--no-check")
    assert code == 2
    assert re.fullmatch(rf"kb-netfilter: the kernel refuses \S+( image)?: {re.escape(message)}", said), said


def test_the_function_must_be_the_images(bed: Bed) -> None:
    prepared = bed.prepare(Case("forward"))
    code, said = bed.refuse("drop", prepared.work.image)
    assert (code, said.endswith("compiled for another function than drop")) == (2, True)
    code, said = bed.refuse("drop", prepared.work.image, "--no-check")
    assert (code, said.endswith("the image was compiled for another function")) == (2, True)


def test_a_module_of_another_kernel(bed: Bed) -> None:
    ours = bed.lab.kernel_release
    other = Parts.prepare("6.12" if ours.startswith("6.1.") else "6.1", lambda _text: None)
    assert other.module is not None
    prepared = bed.prepare(Case("drop"))
    path = f"{prepared.scratch}/other.ko"
    bed.lab.put(path, other.module.read_bytes())
    code, said = bed.refuse("drop", prepared.work.image, "--module", path, module=False)
    assert code == 3
    there, here = other.kernel.release, ours
    assert said == f"kb-netfilter: {path} was built for kernel {there}, this is {here}: build it for this one"
    assert bed.refuse("drop", prepared.work.image, "--module", prepared.work.image, module=False)[0] == 2
    code, said = bed.refuse("drop", prepared.work.image, module=False)
    assert (code, said) == (3, "kb-netfilter: kbench_nf is not loaded: give --module FILE")


def test_another_build_of_the_module_is_replaced_only_if_idle(bed: Bed) -> None:
    prepared = bed.prepare(Case("drop"))
    path = f"{prepared.scratch}/other.ko"
    module = bytearray(bed.lab.read(bed.lab.module("kbench_nf")))
    note = module.index(b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0") + 16
    module[note] ^= 0xFF  # another build ID
    bed.lab.put(path, bytes(module))
    datapath = bed.attach("drop", prepared.work.image)
    code, said = bed.refuse("drop", prepared.work.image, "--module", path, module=False)
    assert (code, "another build of kbench_nf is loaded and in use" in said) == (3, True)
    datapath.kill()
    datapath.wait(5.0, check=False)
    argv = bed.arguments("drop", prepared.work.image, "--module", path, module=False)
    replaced = bed.lab.start(argv, netns=bed.veth.rx.netns)
    assert replaced.ready["module_loaded"]
    replaced.stop()


def test_two_namespaces_at_once(bed: Bed) -> None:
    second = Bed.make(bed.lab)
    forward, drop = bed.prepare(Case("forward")), second.prepare(Case("drop"))
    one = bed.attach("forward", forward.work.image)
    two = second.attach("drop", drop.work.image)
    assert (one.ready["module_loaded"], two.ready["module_loaded"]) == (True, False)
    code, said = bed.refuse("forward", forward.work.image)
    assert (code, "another program uses the netfilter datapath" in said) == (1, True)
    bed.offer(forward.traffic, 1000)
    second.offer(drop.traffic, 700)
    last = one.stop()
    assert last is not None
    assert (last["received"], last["forwarded"]) == (1000, 1000)
    assert netfilter_bed.loaded(bed.lab)  # the other one still needs it
    second.offer(drop.traffic, 50)
    last = two.stop()
    assert last is not None
    assert (last["received"], last["dropped"]["policy"]) == (750, 750)
    second.close()


def test_an_interface_that_goes_away_ends_it_in_order(bed: Bed) -> None:
    prepared = bed.prepare(Case("forward"))
    datapath = bed.attach("forward", prepared.work.image)
    bed.offer(prepared.traffic, 100)
    extra = bed.veth.rx.netns
    net.batch(bed.lab, extra, [f"link del {bed.veth.rx.name}"])
    assert bed.veth.rx.name not in net.links(bed.lab, extra)
    with pytest.raises(MeasureError, match="rx0 or tx0 went away while forwarding"):
        datapath.stop()
    assert datapath.events[-1]["forwarded"] == 100


def test_bad_arguments(bed: Bed) -> None:
    prepared = bed.prepare(Case("drop"))
    program = bed.lab.program("kb-netfilter")
    for arguments, message in (
        (["--rx", "nope", "--tx", "tx0"], 'no interface "nope"'),
        (["--tx", "tx0"], "--rx is missing"),
        (["--rx", "rx0", "--tx", "lo"], "not an Ethernet interface"),
    ):
        argv = [program, *arguments, "--function", "drop", "--image", prepared.work.image]
        argv += ["--module", bed.lab.module("kbench_nf")]
        done = bed.lab.run(argv, netns=bed.veth.rx.netns, check=False)
        assert (done.code, message in done.stderr) == (2, True), done.stderr


def test_merged_packets_are_forwarded_whole_and_counted_one_by_one(bed: Bed) -> None:
    """TCP leaves gen0 in GSO buffers; the way back is the kernel's. `received` counts packets of the wire."""
    data = bytes(range(256)) * 16384
    bed.sink.stop()
    veth, lab = bed.veth, bed.lab
    here, there = "198.51.100.1", "192.0.2.9"
    for port, own, other, mac in (
        (veth.generator, here, there, veth.rx.mac),
        (veth.sink, there, here, veth.tx.mac),
        (veth.rx, "203.0.113.1", here, veth.generator.mac),
    ):
        net.batch(
            lab,
            port.netns,
            [
                f"addr add {own}/32 dev {port.name}",
                f"route add {other}/32 dev {port.name} scope link",
                f"neigh replace {other} lladdr {mac} dev {port.name} nud permanent",
            ],
        )
    lab.write_text("/proc/sys/net/ipv4/ip_forward", "1", netns=veth.rx.netns)
    prepared = bed.prepare(Case("forward"))
    datapath = bed.attach("forward", prepared.work.image)
    lab.put(f"{prepared.scratch}/data", data)
    # The sleep keeps the listener's input open: nc would end its side of the connection otherwise.
    listen = (
        "sleep 8 | nc -l -p 5000 | md5sum & until grep -q :1388 /proc/net/tcp*; do usleep 50000; done;"
        """ echo '{"event":"ready"}'; wait"""
    )
    server = lab.start(["/bin/busybox", "sh", "-c", listen], netns=veth.sink.netns)
    lab.run(
        ["/bin/busybox", "sh", "-c", f"nc {there} 5000 < {prepared.scratch}/data"], netns=veth.generator.netns
    )
    assert hashlib.md5(data).hexdigest() in server.wait(20.0).stdout
    last = datapath.stop()
    assert last is not None
    buffers = net.link_stats(lab, veth.rx.netns)[veth.rx.name]["rx"]["packets"]
    assert last["received"] == last["forwarded"] >= len(data) / 1460
    assert buffers < last["received"]  # otherwise nothing was merged, and nothing tested
    bed.restart_sink()
