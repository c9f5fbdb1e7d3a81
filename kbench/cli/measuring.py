# SPDX-License-Identifier: GPL-2.0-only
"""Commands that measure: run, verify, selftest."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbench.cli.arguments import load, names, numbers, output, share
from kbench.cli.network import ports, queues, split_generator

if TYPE_CHECKING:
    from kbench.measure.plan import Options


def add(commands: Any) -> None:
    """Adds them to the command line's `commands` (argparse's own type of these is private)."""
    run = commands.add_parser("run", help="verify and measure datapaths, write a report")
    _selection(run)
    _measuring(run)
    run.set_defaults(command=_run)

    verify = commands.add_parser("verify", help="only prove that datapaths do the same work")
    _selection(verify)
    output(verify)
    verify.set_defaults(command=_verify)

    selftest = commands.add_parser("selftest", help="what kbench's own claims are worth on this machine")
    _selftesting(selftest)
    selftest.set_defaults(command=_selftest)


def _selection(parser: argparse.ArgumentParser) -> None:
    where = parser.add_argument_group("where")
    where.add_argument("--where", choices=("auto", "host", "lab"), default="auto", help="default: auto")
    where.add_argument("--kernel", default="6.12", help="the lab's: 6.1, 6.12 or a path (default: 6.12)")
    where.add_argument(
        "--lab-mode",
        choices=("exact", "functional"),
        default="exact",
        help="exact: instructions per packet; functional: counters only, by KVM where it works (default: exact)",
    )
    where.add_argument("--placement", choices=("same", "split"),
                       help="generator and DUT on one CPU, or on two (default: same; on NICs: split)")  # fmt: skip
    nics = parser.add_argument_group("on network cards (docs/nic.md)")
    ports(nics)
    nics.add_argument("--nic-profile", metavar="FILE", help="TOML file of settings (default: kbench's own)")
    nics.add_argument("--queues", type=queues, metavar="N",
                      help="receive queues, one to N; or a list (default: as the profile says)")  # fmt: skip
    what = parser.add_argument_group("what")
    what.add_argument(
        "--datapath", type=names, metavar="LIST", help="netfilter,xdp,xdp_generic,af_packet,kernel"
    )
    what.add_argument("--function", type=names, metavar="LIST",
                      help="forward,filter,drop (default: forward,filter)")  # fmt: skip
    what.add_argument("--generator", action="append", metavar="NAME|URL",
                      help="pktgen or xdp (default: pktgen where it exists); or ssh://[user@]host/eth2")  # fmt: skip
    what.add_argument("--rules", type=numbers, metavar="N,...", help="generated rules (default: 100)")
    what.add_argument(
        "--shape", type=names, metavar="LIST", default=("acl",), help="acl,fw,ipc (default: acl)"
    )
    what.add_argument("--rules-file", metavar="FILE", help="TOML file of rules instead")
    what.add_argument("--routes", type=numbers, metavar="N,...",
                      help="generated routes (default: 1000)")  # fmt: skip
    what.add_argument("--routes-file", metavar="FILE", help="TOML file of routes instead")
    what.add_argument("--frame-bytes", type=numbers, metavar="N,...",
                      help="frame sizes with the 4-byte FCS (default: 64)")  # fmt: skip
    what.add_argument("--flows", type=int, metavar="N", help="default: 256")
    what.add_argument("--match-share", type=float, metavar="X", default=1.0,
                      help="share of packets that are forwarded, 0 to 1 (default: 1)")  # fmt: skip
    what.add_argument(
        "--seed", type=int, metavar="N", default=1, help="of generated tables and traffic (default: 1)"
    )
    what.add_argument("--af-packet-ring", choices=("v2", "v3"), default="v3", help="default: v3")
    what.add_argument("--xdp-mode", choices=("native", "generic"), default="native", help="default: native")


def _measuring(parser: argparse.ArgumentParser) -> None:
    how = parser.add_argument_group("how")
    how.add_argument("--method", type=names, metavar="LIST",
                     help="max, throughput, loss-curve, latency, back-to-back, cpu-at-load (default: max)")  # fmt: skip
    how.add_argument("--profile", choices=("rfc2544",), help="sizes, durations and repeats by a standard")
    how.add_argument("--dry-run", action="store_true", help="only print what would be measured, how long it takes"
                     " and by which sections of which standard")  # fmt: skip
    how.add_argument(
        "--load", type=load, metavar="PPS", default=None, help="max: packets per second, or max (default)"
    )
    how.add_argument("--rounds", type=int, metavar="N", help="max: trials of each datapath (default: 30)")
    how.add_argument("--blocks", type=int, metavar="N",
                     help="max: parts of the rounds, each on topologies built anew (default: 5)")  # fmt: skip
    how.add_argument("--duration", type=float, metavar="S", help="max: seconds per trial (default: 0.1)")
    how.add_argument("--until-ci", type=share, metavar="X%",
                     help="max: go on until each ratio is known to +-X%%")  # fmt: skip
    how.add_argument("--budget", type=float, metavar="S",
                     help="seconds after which --until-ci gives up (default: 300)")  # fmt: skip
    how.add_argument("--search", choices=("mlr", "tst009"),
                     help="throughput: MLRsearch, or binary search with loss verification (default: mlr)")  # fmt: skip
    how.add_argument(
        "--pdr-loss", type=share, metavar="X%", help="throughput: loss ratio of PDR (default: 0.5%%)"
    )
    how.add_argument(
        "--trial", type=float, metavar="S", help="other methods: seconds per final trial (default: 0.2)"
    )
    how.add_argument("--repeats", type=int, metavar="N",
                     help="other methods: searches, each on topologies built anew (default: 5)")  # fmt: skip
    how.add_argument("--no-latency", action="store_true", help="leave the latency trials out")
    how.add_argument(
        "--resume", metavar="RUN", help="go on with a run that was killed or interrupted, by its options"
    )
    how.add_argument("--label", metavar="TEXT", help="stored with the run")
    output(parser)


def _selftesting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "check",
        choices=("overhead", "aa", "ab"),
        help="overhead: what the probes cost; aa: compare a datapath with itself; ab: with a slower build of it",
    )
    parser.add_argument("--rounds", type=int, metavar="N",
                        help="comparisons (default: 100); overhead: pairs of trials (default: 960)")  # fmt: skip
    parser.add_argument("--datapath", metavar="NAME", default="xdp", help="default: xdp")
    parser.add_argument("--confidence", type=share, metavar="X", default=0.99,
                        help="level of the intervals in percent (default: 99)")  # fmt: skip
    parser.add_argument("--slowdown", type=share, metavar="X%", default=0.03,
                        help="ab: how much longer a packet takes (default: 3%%)")  # fmt: skip
    parser.add_argument("--blocks", type=int, metavar="N", default=8,
                        help="topologies built anew in each comparison (default: 8)")  # fmt: skip
    parser.add_argument("--slices", type=int, metavar="N", default=24,
                        help="pairs of trials in a block (default: 24)")  # fmt: skip
    parser.add_argument("--duration", type=float, metavar="S", default=0.02,
                        help="seconds per trial (default: 0.02)")  # fmt: skip
    parser.add_argument(
        "--results", type=Path, metavar="DIR", default=Path("results"), help="default: results"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, only warnings and the result")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def options(a: argparse.Namespace) -> Options:
    """What a run is asked for, from its arguments."""
    from kbench.measure.plan import Options

    chosen: dict[str, object] = {
        "functions": a.function,
        "rules": a.rules,
        "rules_file": a.rules_file,
        "routes": a.routes,
        "routes_file": a.routes_file,
        "flows": a.flows,
        "frame_bytes": a.frame_bytes,
    }
    chosen |= {"placement": a.placement, "lab_nic": a.lab_nic}
    generator, tester = split_generator(a.generator)
    chosen |= {
        "nic": a.nic,
        "peer": a.peer,
        "dut": a.dut,
        "tester": tester,
        "nic_profile": a.nic_profile,
        "queues": a.queues,
    }
    if hasattr(a, "rounds"):
        chosen |= {
            "methods": a.method,
            "rounds": a.rounds,
            "blocks": a.blocks,
            "duration_s": a.duration,
            "until_ci": a.until_ci,
            "budget_s": a.budget,
            "search": a.search,
            "pdr_loss": a.pdr_loss,
            "trial_s": a.trial,
            "repeats": a.repeats,
            "profile": a.profile,
        }
        if a.rounds is not None and a.blocks is None:
            chosen["blocks"] = min(a.rounds, Options.blocks)
        chosen |= {"load_pps": a.load, "latency": not a.no_latency, "label": a.label}
    given = {name: value for name, value in chosen.items() if value is not None}
    made = Options(
        where=a.where,
        kernel=a.kernel,
        lab_mode=a.lab_mode,
        datapaths=a.datapath,
        generator=generator,
        i_know=a.i_know,
        shapes=a.shape,
        match_share=a.match_share,
        seed=a.seed,
        af_packet_ring=a.af_packet_ring,
        xdp_mode=a.xdp_mode,
        results=a.results,
        reports=a.reports,
        given=tuple(given),
        **given,  # type: ignore[arg-type]
    )
    if made.profile is None:
        return made
    from kbench.measure.profile import apply

    return apply(made, frozenset(given))


def _run(arguments: argparse.Namespace) -> int:
    from kbench.commands.measuring import dry_run, run_and_report

    if arguments.dry_run:
        return dry_run(options(arguments))
    return run_and_report(
        options(arguments), quiet=arguments.quiet, as_json=arguments.json, resume=arguments.resume
    )


def _verify(arguments: argparse.Namespace) -> int:
    from kbench.commands.measuring import verify

    return verify(options(arguments), quiet=arguments.quiet, as_json=arguments.json)


def _selftest(arguments: argparse.Namespace) -> int:
    from kbench.selftest.checks import selftest
    from kbench.selftest.room import Request

    rounds = arguments.rounds
    request = Request(
        check=arguments.check,
        rounds=(960 if arguments.check == "overhead" else 100) if rounds is None else rounds,
        datapath=arguments.datapath,
        confidence=arguments.confidence,
        blocks=arguments.blocks,
        slices=arguments.slices,
        slice_s=arguments.duration,
        slow_down=arguments.slowdown,
        results=arguments.results,
    )
    return selftest(request, quiet=arguments.quiet, as_json=arguments.json)
