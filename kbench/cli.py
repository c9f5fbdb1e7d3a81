# SPDX-License-Identifier: GPL-2.0-only
"""Arguments in, one call out. Heavy imports happen in the command that needs them, so that --help is quick."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from kbench import __version__
from kbench.errors import INTERRUPTED_EXIT_CODE, KbenchError, UsageError

if TYPE_CHECKING:
    from kbench.measure.plan import Options

EXAMPLES = """\
examples:
  kbench run                                     compare all datapaths on forward and filter
  kbench run --datapath xdp,kernel --function forward --routes 1,1000,100000
  kbench run --where lab --datapath netfilter,xdp --function filter --rules 10000 --shape fw
  kbench run --where host --load 200000 --duration 1 --label "after the upgrade"
  kbench verify --datapath xdp --rules-file examples/rules.toml
  kbench report @latest

exit codes:
  0 done   2 bad input   3 this machine lacks something   4 a datapath differs from the reference
  5 a measurement failed   6 results can't be written or read   130 interrupted, everything undone
"""


class Parser(argparse.ArgumentParser):
    """Reports bad usage as one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    try:
        arguments = _parser().parse_args(argv)
        command: Callable[[argparse.Namespace], int] = arguments.command
        return command(arguments)
    except KbenchError as error:
        print(f"kbench: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("kbench: interrupted; everything was undone, finished trials are kept", file=sys.stderr)
        return INTERRUPTED_EXIT_CODE
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="kbench",
        description="Compares packet forwarding and filtering in netfilter, XDP, AF_PACKET and the kernel.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"kbench {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    run = commands.add_parser("run", help="verify and measure datapaths, write a report")
    _selection(run)
    _measuring(run)
    run.set_defaults(command=_run)

    verify = commands.add_parser("verify", help="only prove that datapaths do the same work")
    _selection(verify)
    _output(verify)
    verify.set_defaults(command=_verify)

    report = commands.add_parser("report", help="write the HTML report of a run")
    report.add_argument("run", help="run id, directory, or @latest")
    report.add_argument("--out", type=Path, help="file to write (default: reports/RUN.html)")
    _places(report)
    report.add_argument("--json", action="store_true", help="print the comparison as JSON instead")
    report.set_defaults(command=_report)

    compare = commands.add_parser("compare", help="what changed between two runs")
    compare.add_argument("base", help="run id, directory, or @latest")
    compare.add_argument("head", help="the run that is compared with it")
    compare.add_argument(
        "--force", action="store_true", help="also across machines and grades; marked as forced"
    )
    _places(compare)
    compare.add_argument("--json", action="store_true", help="print it as JSON")
    compare.set_defaults(command=_compare)

    doctor = commands.add_parser("doctor", help="what this machine can run, and why not")
    doctor.add_argument("--json", action="store_true", help="print it as JSON")
    doctor.set_defaults(command=_doctor)

    listing = commands.add_parser("list", help="datapaths, functions, generators, kernels and stored runs")
    _places(listing)
    listing.set_defaults(command=_list)

    restore = commands.add_parser("restore", help="undo what a killed run left behind")
    restore.set_defaults(command=_restore)

    build = commands.add_parser("build", help="build the C programs into the cache")
    build.set_defaults(command=_build)

    selftest = commands.add_parser("selftest", help="what kbench's own claims are worth on this machine")
    _selftesting(selftest)
    selftest.set_defaults(command=_selftest)

    lab = commands.add_parser("lab", help="the virtual machine that has modules and pktgen")
    lab_commands = lab.add_subparsers(metavar="COMMAND", required=True)
    shell = lab_commands.add_parser("shell", help="a prompt in the lab")
    shell.add_argument("--kernel", default="6.12", help="6.1, 6.12 or a path (default: 6.12)")
    shell.set_defaults(command=_lab_shell)
    return parser


def _names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise argparse.ArgumentTypeError("expects names, separated by commas")
    return names


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expects whole numbers, separated by commas, not {text!r}"
        ) from None


def _load(text: str) -> float | None:
    if text == "max":
        return None
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expects 'max' or packets per second, not {text!r}") from None


def _share(text: str) -> float:
    try:
        return float(text.removesuffix("%")) / 100
    except ValueError:
        raise argparse.ArgumentTypeError(f"expects a percentage like 2%, not {text!r}") from None


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
    where.add_argument("--placement", choices=("same", "split"), default="same",
                       help="generator and DUT on one CPU, or on two (default: same)")  # fmt: skip
    what = parser.add_argument_group("what")
    what.add_argument("--datapath", type=_names, metavar="LIST", help="netfilter,xdp,af_packet,kernel")
    what.add_argument("--function", type=_names, metavar="LIST",
                      help="forward,filter,drop (default: forward,filter)")  # fmt: skip
    what.add_argument("--generator", metavar="NAME", help="pktgen or xdp (default: pktgen where it exists)")
    what.add_argument("--rules", type=_numbers, metavar="N,...", help="generated rules (default: 100)")
    what.add_argument(
        "--shape", type=_names, metavar="LIST", default=("acl",), help="acl,fw,ipc (default: acl)"
    )
    what.add_argument("--rules-file", metavar="FILE", help="TOML file of rules instead")
    what.add_argument("--routes", type=_numbers, metavar="N,...",
                      help="generated routes (default: 1000)")  # fmt: skip
    what.add_argument("--routes-file", metavar="FILE", help="TOML file of routes instead")
    what.add_argument("--frame-bytes", type=_numbers, metavar="N,...",
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
    how.add_argument("--method", type=_names, metavar="LIST",
                     help="max, throughput, loss-curve, latency, back-to-back, cpu-at-load (default: max)")  # fmt: skip
    how.add_argument("--profile", choices=("rfc2544",), help="sizes, durations and repeats by a standard")
    how.add_argument("--dry-run", action="store_true", help="only print what would be measured, how long it takes"
                     " and by which sections of which standard")  # fmt: skip
    how.add_argument(
        "--load", type=_load, metavar="PPS", default=None, help="max: packets per second, or max (default)"
    )
    how.add_argument("--rounds", type=int, metavar="N", help="max: trials of each datapath (default: 30)")
    how.add_argument("--blocks", type=int, metavar="N",
                     help="max: parts of the rounds, each on topologies built anew (default: 5)")  # fmt: skip
    how.add_argument("--duration", type=float, metavar="S", help="max: seconds per trial (default: 0.1)")
    how.add_argument("--until-ci", type=_share, metavar="X%",
                     help="max: go on until each ratio is known to +-X%%")  # fmt: skip
    how.add_argument("--budget", type=float, metavar="S",
                     help="seconds after which --until-ci gives up (default: 300)")  # fmt: skip
    how.add_argument("--search", choices=("mlr", "tst009"),
                     help="throughput: MLRsearch, or binary search with loss verification (default: mlr)")  # fmt: skip
    how.add_argument(
        "--pdr-loss", type=_share, metavar="X%", help="throughput: loss ratio of PDR (default: 0.5%%)"
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
    _output(parser)


def _selftesting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "check",
        choices=("overhead", "aa", "ab"),
        help="overhead: what the probes cost; aa: compare a datapath with itself; ab: with a slower build of it",
    )
    parser.add_argument("--rounds", type=int, metavar="N",
                        help="comparisons (default: 100); overhead: pairs of trials (default: 240)")  # fmt: skip
    parser.add_argument("--datapath", metavar="NAME", default="xdp", help="default: xdp")
    parser.add_argument("--confidence", type=_share, metavar="X", default=0.99,
                        help="level of the intervals in percent (default: 99)")  # fmt: skip
    parser.add_argument("--slowdown", type=_share, metavar="X%", default=0.03,
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


def _output(parser: argparse.ArgumentParser) -> None:
    _places(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress, only warnings and the result")
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")


def _places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--results", type=Path, metavar="DIR", default=Path("results"), help="default: results"
    )
    parser.add_argument(
        "--reports", type=Path, metavar="DIR", default=Path("reports"), help="default: reports"
    )


def _options(a: argparse.Namespace) -> Options:
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
    options = Options(
        where=a.where,
        kernel=a.kernel,
        lab_mode=a.lab_mode,
        datapaths=a.datapath,
        generator=a.generator,
        shapes=a.shape,
        match_share=a.match_share,
        seed=a.seed,
        placement=a.placement,
        af_packet_ring=a.af_packet_ring,
        xdp_mode=a.xdp_mode,
        results=a.results,
        reports=a.reports,
        given=tuple(given),
        **given,  # type: ignore[arg-type]
    )
    if options.profile is None:
        return options
    from kbench.measure.profile import apply

    return apply(options, frozenset(given))


def _run(arguments: argparse.Namespace) -> int:
    from kbench.commands import dry_run, run_and_report

    if arguments.dry_run:
        return dry_run(_options(arguments))
    return run_and_report(
        _options(arguments), quiet=arguments.quiet, as_json=arguments.json, resume=arguments.resume
    )


def _verify(arguments: argparse.Namespace) -> int:
    from kbench.commands import verify

    return verify(_options(arguments), quiet=arguments.quiet, as_json=arguments.json)


def _report(arguments: argparse.Namespace) -> int:
    from kbench.commands import report

    return report(arguments.run, arguments.results, arguments.reports, arguments.out, as_json=arguments.json)


def _compare(arguments: argparse.Namespace) -> int:
    from kbench.commands import compare

    return compare(
        arguments.base, arguments.head, arguments.results, force=arguments.force, as_json=arguments.json
    )


def _doctor(arguments: argparse.Namespace) -> int:
    from kbench.commands import doctor

    return doctor(as_json=arguments.json)


def _list(arguments: argparse.Namespace) -> int:
    from kbench.commands import listing

    return listing(arguments.results)


def _restore(arguments: argparse.Namespace) -> int:
    from kbench.commands import restore

    return restore()


def _build(arguments: argparse.Namespace) -> int:
    from kbench.commands import build

    return build()


def _selftest(arguments: argparse.Namespace) -> int:
    from kbench.selftest.checks import selftest
    from kbench.selftest.room import Request

    rounds = arguments.rounds
    request = Request(
        check=arguments.check,
        rounds=(240 if arguments.check == "overhead" else 100) if rounds is None else rounds,
        datapath=arguments.datapath,
        confidence=arguments.confidence,
        blocks=arguments.blocks,
        slices=arguments.slices,
        slice_s=arguments.duration,
        slow_down=arguments.slowdown,
        results=arguments.results,
    )
    return selftest(request, quiet=arguments.quiet, as_json=arguments.json)


def _lab_shell(arguments: argparse.Namespace) -> int:
    from kbench.commands import lab_shell

    return lab_shell(arguments.kernel)
