# SPDX-License-Identifier: GPL-2.0-only
"""Arguments in, one call out. Heavy imports happen in the command that needs them, so that --help is quick."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from kbench import __version__
from kbench.cli import machine, measuring, network, reading
from kbench.errors import INTERRUPTED_EXIT_CODE, KbenchError, UsageError

EXAMPLES = """\
examples:
  kbench run                                     compare all datapaths on forward and filter
  kbench run --datapath xdp,kernel --function forward --routes 1,1000,100000
  kbench run --where lab --datapath netfilter,xdp --function filter --rules 10000 --shape fw
  kbench run --where host --load 200000 --duration 1 --label "after the upgrade"
  kbench topo                                    free network ports and their cables
  kbench run --nic eth1                          on a network card, whose peer is found
  kbench run --nic eth1 --generator ssh://root@other/eth2
  kbench verify --datapath xdp --rules-file examples/rules.toml
  kbench report @latest --pdf
  kbench compare @-2 @latest
  kbench export @latest --format junit --out kbench.xml

exit codes:
  0 done   2 bad input   3 this machine lacks something   4 a datapath differs from the reference
  5 a measurement failed   6 results can't be written or read   130 interrupted, everything undone
  compare: 10 something is worse   11 not enough data to say
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

    measuring.add(commands)
    reading.add(commands)
    network.add(commands)
    machine.add(commands)
    return parser
