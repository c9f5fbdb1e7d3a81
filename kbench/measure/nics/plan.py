# SPDX-License-Identifier: GPL-2.0-only
"""What to measure on network cards: options and the ports that were found become cases and one part."""

from __future__ import annotations

import dataclasses
from typing import Any

from kbench.errors import EnvironmentProblem, UsageError
from kbench.host.base import Host
from kbench.host.facts import cpu_facts
from kbench.measure.generators import GENERATORS
from kbench.measure.nics.bay import Bay
from kbench.measure.plan import (
    DEFAULT_DATAPATHS,
    Options,
    Plan,
    make_cases,
    refuse_bad_options,
    refuse_uncovered,
)
from kbench.model import Kind, Part

PART_NAMES: dict[str, Any] = {"local": "host", "lab": "lab", "ssh": "remote"}
"""Names of a part by the kind of the DUT's Host."""


def refuse_before(options: Options) -> None:
    """What can be told to be wrong before any machine is touched."""
    refuse_bad_options(options)
    if options.queues and not all(1 <= n <= 1024 for n in options.queues):
        raise UsageError("--queues must be between 1 and 1024")
    if "placement" in options.given and options.placement == "same":
        raise UsageError(
            "--placement same is for veth: on network cards generator and DUT have CPUs of their own"
        )
    if "lab_nic" in options.given and options.where != "lab":
        raise UsageError(
            "--lab-nic is about the lab's ports, these are not: add --where lab, or leave it out"
        )
    if options.dut and options.nic:
        raise UsageError(
            "--nic names ports of this machine; those of --dut stand in its URL (ssh://host/eth1)"
        )
    if options.dut and options.where == "lab":
        raise UsageError("--dut ssh:// is another machine than the lab: leave --where lab out")
    if options.tester and options.peer:
        raise UsageError("--peer names ports of this machine; those of --generator stand in its URL")
    if options.where == "lab" and options.methods != ("max",):
        raise UsageError("the lab has no real time, which methods other than max need")


def dry_plan(options: Options) -> Plan:
    """What a run would measure as far as that can be told without touching a port."""
    refuse_before(options)
    part = Part(
        name="lab" if options.where == "lab" else "remote" if options.dut else "host",
        kind="emulated" if options.where == "lab" else "wall",
        datapaths=options.datapaths or DEFAULT_DATAPATHS,
        generator=options.generator or "pktgen",
        placement="split",
        reason="as asked",
        nic={},
    )
    cases = make_cases(options)
    refuse_uncovered(cases, (part,))
    notice = (
        "the ports were not looked at: a run leaves out what their driver can't do, and takes generator xdp where"
        " pktgen is missing; attaching a datapath for each trial takes time that is not in these figures"
    )
    return Plan(cases, (part,), f"on {options.dut or ','.join(options.nic)}", (notice,))


def nic_plan(options: Options, bay: Bay) -> Plan:
    """Cases and the part. Raises UsageError for what the topology can't do, EnvironmentProblem without a generator."""
    top, notices = bay.topology, []
    if top.kind == "loopback" and options.functions != ("drop",):
        if "functions" in options.given:
            raise UsageError(
                "a port that hears itself would receive what it forwards, again and again: only --function drop can be"
                " measured on it"
            )
        options = dataclasses.replace(options, functions=("drop",))
        notices.append(f"{top.rx.name} hears itself, so only function drop is measured")
    cases = make_cases(options)
    generator, why = pick_generator(options, bay)
    if why:
        notices.append(why)
    notices += shared_seats(bay)
    names = options.datapaths
    if names is None:
        native = bay.native_xdp()
        names = tuple(n if native or n != "xdp" else "xdp_generic" for n in DEFAULT_DATAPATHS)
        if not native:
            notices.append(
                f"xdp_generic in place of xdp: {top.rx.name}'s driver has no native XDP, so the program runs on socket"
                " buffers, after the driver's work"
            )
    driver = bay.states[top.rx].driver
    if driver == "veth" and generator == "pktgen" and {"xdp_generic"} & set(names):
        raise UsageError(
            "pktgen into generic XDP over veth crashes kernels 6.1 and 6.12 (BUG in pskb_expand_head): --generator xdp"
        )
    part = Part(
        name=PART_NAMES[top.dut.kind],
        kind=kind_of(bay),
        datapaths=tuple(names),
        generator=generator,
        placement="split",
        reason="as asked",
        nic=top.document(bay.states),
    )
    refuse_uncovered(cases, (part,))
    where = f"on {top.rx.name} ({driver}, {top.rx.label}), {top.kind}, offered by {top.generator.name}"
    if top.tester is not top.dut:
        where += f" of {top.generator.label}"
    return Plan(cases, (part,), where, tuple(notices))


def shared_seats(bay: Bay) -> list[str]:
    """What has to share a CPU for want of others; more queues make more of it."""
    seats, one = bay.seats, bay.tester is bay.dut
    told = []
    if one and seats.generator in seats.receive:
        told.append(f"the generator and the DUT's queue share CPU {seats.generator}: there is no other")
    if seats.application in seats.receive:
        told.append(f"a datapath in userspace shares CPU {seats.application} with a queue: there is no other")
    return told


def kind_of(bay: Bay) -> Kind:
    """Real time, unless a machine of the topology has an emulated CPU."""
    hosts = dict.fromkeys((bay.dut, bay.tester))
    return "emulated" if any(emulated_cpu(host) for host in hosts) else "wall"


def emulated_cpu(host: Host) -> bool:
    """Whether the machine's CPU is QEMU's own (TCG), whose clock is no measure; the lab's is, unless KVM runs it."""
    return "TCG" in str(cpu_facts(host).get("model"))


def pick_generator(options: Options, bay: Bay) -> tuple[str, str | None]:
    """Name of the generator, and what to say about the choice: pktgen where the tester has it, else live frames."""
    asked = options.generator
    if asked == "pktgen" or asked is None:
        try:
            GENERATORS["pktgen"]().setup(bay.tester, bay.journal)
        except EnvironmentProblem as problem:
            if asked:
                raise
            return "xdp", f"generator xdp: {problem}"
        return "pktgen", None
    return asked, None
