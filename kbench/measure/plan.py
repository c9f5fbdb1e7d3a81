# SPDX-License-Identifier: GPL-2.0-only
"""What to measure: the user's options and the machine's abilities become cases and parts."""

from __future__ import annotations

import difflib
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from kbench.errors import EnvironmentProblem, UsageError
from kbench.functions.traffic import tables_for
from kbench.functions.validate import validate_case
from kbench.measure.datapaths import DATAPATHS
from kbench.measure.generators import GENERATORS
from kbench.model import Case, Function, Part, Placement

DEFAULT_DATAPATHS = tuple(name for name, datapath in DATAPATHS.items() if datapath.default)
FUNCTIONS: tuple[Function, ...] = ("forward", "filter", "drop")
Where = Literal["auto", "host", "lab"]
LabMode = Literal["exact", "functional"]
Search = Literal["mlr", "tst009"]

METHODS = {
    "max": "maximum forwarding rate at overload, with its loss (RFC 2889), and latency at one common load",
    "throughput": "highest load without loss (NDR) and with a stated loss ratio (PDR), by a search (RFC 2544)",
    "loss-curve": "loss ratio from the maximum downwards in steps of 10 % (RFC 2544, 26.3)",
    "latency": "latency at 0, 10, 50 and 90 % of each datapath's own PDR, and at one common load (RFC 8219)",
    "back-to-back": "longest burst without loss, and the buffer that explains it (RFC 9004)",
    "cpu-at-load": "CPU time per packet at a load that is the same for all, and what polling costs without any",
}
"""What can be measured; all but `max` need real time."""

UNFAIR_PKTGEN_XDP = (
    "pktgen over veth makes xdp look bad: pktgen's socket buffers are shared, so veth copies each packet before"
    " native XDP sees it. Compare xdp with --generator xdp as well."
)


class Answer(Protocol):
    """Whether a thing can be done here, and if not, why and what helps."""

    @property
    def ok(self) -> bool: ...
    @property
    def why(self) -> str: ...
    @property
    def what_to_do(self) -> str: ...


class Abilities(Protocol):
    """The part of `kbench.doctor.Capabilities` that a plan depends on."""

    @property
    def netfilter(self) -> Answer: ...
    @property
    def xdp(self) -> Answer: ...
    @property
    def af_packet(self) -> Answer: ...
    @property
    def kernel(self) -> Answer: ...
    @property
    def pktgen(self) -> Answer: ...
    @property
    def live_frames(self) -> Answer: ...
    @property
    def lab(self) -> Answer: ...


def can_run(can: Abilities, datapath: str) -> Answer:
    """Whether this machine itself can run a datapath."""
    answer: Answer = can.xdp if datapath == "xdp_generic" else getattr(can, datapath)
    return answer


def can_offer(can: Abilities, generator: str) -> Answer:
    """Whether this machine itself can run a generator."""
    return can.pktgen if generator == "pktgen" else can.live_frames


@dataclass(frozen=True)
class Options:
    """What the user asked for; None leaves the choice to the plan."""

    where: Where = "auto"
    kernel: str = "6.12"
    lab_mode: LabMode = "exact"
    datapaths: tuple[str, ...] | None = None
    functions: tuple[str, ...] = ("forward", "filter")
    generator: str | None = None
    rules: tuple[int, ...] = (100,)
    rules_file: str | None = None
    shapes: tuple[str, ...] = ("acl",)
    routes: tuple[int, ...] = (1000,)
    routes_file: str | None = None
    frame_bytes: tuple[int, ...] = (64,)
    flows: int = 256
    match_share: float = 1.0
    seed: int = 1
    methods: tuple[str, ...] = ("max",)
    load_pps: float | None = None
    rounds: int = 30
    blocks: int = 5
    duration_s: float = 0.1
    until_ci: float | None = None
    """Half-width of the ratios' intervals, as a share, at which sampling ends; None: after `rounds`."""
    budget_s: float = 300.0
    """Seconds after which `until_ci` gives up."""
    search: Search = "mlr"
    pdr_loss: float = 0.005
    trial_s: float = 0.2
    """Length of a final trial of a search, of a step of a loss curve, of a latency trial."""
    repeats: int = 5
    """How often a search, a loss curve, a burst search is made, each time on topologies built anew."""
    settle_s: float = 0.0
    """Pause after each trial (RFC 2544, 23)."""
    profile: str | None = None
    given: tuple[str, ...] = ()
    """Fields that the user chose: a profile leaves them as they are."""
    placement: Placement = "same"
    af_packet_ring: str = "v3"
    xdp_mode: str = "native"
    latency: bool = True
    nic: tuple[str, ...] = ()
    """The DUT's ports, rx first; none: a veth testbed, unless `dut` says otherwise."""
    peer: tuple[str, ...] = ()
    """Ports that they are cabled to, in the same order; none: they are looked for."""
    dut: str | None = None
    """ssh:// URL of the DUT with its ports; None: it is this machine, or the lab."""
    tester: str | None = None
    """ssh:// URL of the machine that offers load, with its ports."""
    nic_profile: str | None = None
    queues: tuple[int, ...] = ()
    """Numbers of receive queues to measure with; none: as the NIC profile says."""
    i_know: bool = False
    """Take ports that are in use, but for that of the controlling session."""
    lab_nic: str = "e1000e"
    label: str | None = None
    results: Path = Path("results")
    reports: Path = Path("reports")


@dataclass(frozen=True)
class Plan:
    """Cases and parts of a run, and what its reader has to know."""

    cases: tuple[Case, ...]
    parts: tuple[Part, ...]
    why: str
    notices: tuple[str, ...] = field(default=())


def on_nics(options: Options) -> bool:
    """Whether network cards are asked for, in place of veth."""
    return bool(options.nic or options.dut)


def one_of(what: str, name: str, known: list[str]) -> str:
    """`name` if it is known; otherwise UsageError with the nearest match and the choices."""
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}"
    raise UsageError(f"unknown {what} {name!r}: {hint}")


def make_cases(options: Options) -> tuple[Case, ...]:
    """All combinations that make sense; each is validated."""
    cases = []
    for name in options.functions:
        function: Function = one_of("function", name, list(FUNCTIONS))  # type: ignore[assignment]
        routes = (1,) if function == "drop" or options.routes_file else options.routes
        rules = options.rules if function == "filter" and not options.rules_file else (0,)
        shapes = options.shapes if function == "filter" and not options.rules_file else ("acl",)
        for frame in options.frame_bytes:
            for n_routes in routes:
                for n_rules, shape, queues in itertools.product(rules, shapes, options.queues or (0,)):
                    case = Case(
                        function=function,
                        frame_bytes=frame,
                        routes=n_routes,
                        rules=n_rules,
                        shape=shape,
                        flows=options.flows,
                        match_share=options.match_share,
                        routes_file=options.routes_file if function != "drop" else None,
                        rules_file=options.rules_file if function == "filter" else None,
                        seed=options.seed,
                        queues=queues,
                    )
                    validate_case(case)
                    if case.rules_file or case.routes_file:
                        tables_for(case)  # a bad file is refused before anything is begun
                    cases.append(case)
    return tuple(cases)


def make_plan(options: Options, can: Abilities) -> Plan:
    """Decides where what is measured, by the rules of docs/method.md.

    Raises UsageError for bad options, EnvironmentProblem for what this machine can't do.
    """
    refuse_bad_options(options)
    for what, given in (
        ("--peer", options.peer),
        ("--generator ssh://", options.tester),
        ("--queues", options.queues),
        ("--nic-profile", options.nic_profile),
        ("--i-know", options.i_know),
        ("--lab-nic", "lab_nic" in options.given),
    ):
        if given:
            raise UsageError(
                f"{what} is about network cards: name the DUT's port with --nic, or --dut ssh://"
            )
    if options.xdp_mode == "generic" and options.generator == "pktgen":
        raise UsageError(
            "pktgen into generic XDP over veth crashes kernels 6.1 and 6.12 (BUG in pskb_expand_head, shared buffers):"
            " use --generator xdp or --xdp-mode native"
        )
    cases = make_cases(options)
    if options.where == "host":
        parts, why = _host_only(options, can)
    elif options.where == "lab":
        parts, why = (_lab_part(options, can, "--where lab"),), "everything in the lab, as asked"
    else:
        parts, why = _auto(options, can)
    parts = tuple(part for part in parts if part.datapaths)
    if not parts:
        raise EnvironmentProblem(f"nothing that was asked for can run here: {why}")
    refuse_uncovered(cases, parts)
    notices = [
        f"{part.name}: {UNFAIR_PKTGEN_XDP}"
        for part in parts
        if part.generator == "pktgen" and "xdp" in part.datapaths
    ]
    notices += [
        f"{part.name}: generator {part.generator} in place of {options.generator}, which can't run here:"
        f" {can_offer(can, options.generator).why}"
        for part in parts
        if options.generator and part.generator != options.generator
    ]
    return Plan(cases, parts, why, tuple(notices))


def refuse_bad_options(options: Options) -> None:
    """What no machine could measure."""
    for name in options.methods:
        one_of("method", name, list(METHODS))
    for name in options.datapaths or ():
        one_of("datapath", name, list(DATAPATHS))
    if options.generator:
        one_of("generator", options.generator, list(GENERATORS))
    if options.load_pps is not None and options.load_pps < 1:
        raise UsageError("--load must be 'max' or at least 1 packet/s")
    for flag, number, low, high in (
        ("--rounds", options.rounds, 1, 100_000),
        ("--blocks", options.blocks, 1, 1000),
        ("--repeats", options.repeats, 1, 1000),
        ("--duration", options.duration_s, 0.02, 600),
        ("--trial", options.trial_s, 0.05, 600),
        ("--budget", options.budget_s, 1, 7 * 86400),
    ):
        if not low <= number <= high:
            raise UsageError(f"{flag} must be between {low} and {high}")
    for flag, share in (("--until-ci", options.until_ci), ("--pdr-loss", options.pdr_loss)):
        if share is not None and not 0.0001 <= share <= 0.5:
            raise UsageError(f"{flag} must be between 0.01% and 50%")
    if options.blocks > options.rounds:
        raise UsageError(f"--rounds {options.rounds} can't be parted into {options.blocks} blocks")


def _auto(options: Options, can: Abilities) -> tuple[tuple[Part, ...], str]:
    answers = {name: can_run(can, name) for name in options.datapaths or DEFAULT_DATAPATHS} | {
        "pktgen": can.pktgen
    }
    lacks = "; ".join(f"no {name} ({answer.why})" for name, answer in answers.items() if not answer.ok)
    if not lacks:
        return _host_only(options, can)
    host = _host_part(options, can, lacks)
    if options.methods != ("max",):
        return (host,), f"on the host only, as {', '.join(options.methods)} need real time; it has {lacks}"
    if can.lab.ok:
        why = (
            f"two parts, because of this host: {lacks}. On it what it can run, at real speed; in the lab all"
            " datapaths with pktgen, in instructions per packet"
        )
        return (host, _lab_part(options, can, lacks)), why
    if options.datapaths and set(options.datapaths) - set(host.datapaths):
        raise EnvironmentProblem(
            f"this host has {lacks}; and the lab can't run: {can.lab.why}; {can.lab.what_to_do}"
        )
    return (
        host,
    ), f"on the host only, which has {lacks}; and the lab can't run: {can.lab.why}; {can.lab.what_to_do}"


def _host_only(options: Options, can: Abilities) -> tuple[tuple[Part, ...], str]:
    for name in options.datapaths or ():
        answer = can_run(can, name)
        if not answer.ok:
            raise EnvironmentProblem(f"{name} can't run on this host: {answer.why}; {answer.what_to_do}")
    if options.generator and not can_offer(can, options.generator).ok:
        answer = can_offer(can, options.generator)
        raise EnvironmentProblem(
            f"{options.generator} can't run on this host: {answer.why}; {answer.what_to_do}"
        )
    part = _host_part(options, can, "as asked" if options.where == "host" else "it can run everything")
    why = "everything on the host"
    for name in DEFAULT_DATAPATHS if options.datapaths is None else ():
        if name not in part.datapaths:
            why += f"; without {name}: {can_run(can, name).why}"
    return (part,), why


def _host_part(options: Options, can: Abilities, reason: str) -> Part:
    names = tuple(n for n in options.datapaths or DEFAULT_DATAPATHS if can_run(can, n).ok)
    wanted = [options.generator] if options.generator else []
    able = [g for g in (*wanted, "pktgen", "xdp") if can_offer(can, g).ok]
    return Part("host", "wall", names if able else (), able[0] if able else "xdp", options.placement, reason)


def _lab_part(options: Options, can: Abilities, reason: str) -> Part:
    if not can.lab.ok:
        raise EnvironmentProblem(f"the lab can't run here: {can.lab.why}; {can.lab.what_to_do}")
    if options.load_pps is not None and options.where == "lab":
        raise UsageError("the lab offers exact counts, not rates: leave --load out, or use --where host")
    if options.methods != ("max",):
        raise UsageError("the lab has no real time, which methods other than max need: use --where host")
    if options.placement == "split" and options.where == "lab" and options.lab_mode == "exact":
        raise UsageError("the lab's exact mode has one CPU: use --placement same, or --lab-mode functional")
    names = options.datapaths or DEFAULT_DATAPATHS
    placement: Placement = "same" if options.lab_mode == "exact" else options.placement
    generator = options.generator or "pktgen"
    return Part("lab", options.lab_mode, names, generator, placement, reason, kernel=options.kernel)


def refuse_uncovered(cases: tuple[Case, ...], parts: tuple[Part, ...]) -> None:
    """UsageError for a function that none of the datapaths has."""
    names = {name for part in parts for name in part.datapaths}
    for case in cases:
        if not any(case.function in DATAPATHS[name].functions for name in names):
            raise UsageError(f"none of {', '.join(sorted(names))} can do function {case.function!r}")
