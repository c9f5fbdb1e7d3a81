# SPDX-License-Identifier: GPL-2.0-only
"""Options about network cards, and the command topo."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kbench.cli.arguments import names, numbers
from kbench.errors import UsageError

if TYPE_CHECKING:
    from kbench.measure.plan import Options

SSH = "ssh://"
LAB_NICS = ("e1000e", "virtio-net", "vmxnet3", "e1000", "igb")


def add(commands: Any) -> None:
    """Adds topo to the command line's `commands`."""
    topo = commands.add_parser("topo", help="which ports are free, and how they are cabled, as a picture")
    topo.add_argument("--where", choices=("host", "lab"), default="host", help="default: host")
    topo.add_argument("--kernel", default="6.12", help="the lab's: 6.1, 6.12 or a path (default: 6.12)")
    ports(topo)
    topo.add_argument("--generator", metavar="URL", help="ssh://[user@]host/eth2: look there as well")
    topo.add_argument("--json", action="store_true", help="print it as JSON")
    topo.set_defaults(command=_topo)


def ports(parser: argparse._ActionsContainer) -> None:
    """Which ports, on which machines."""
    parser.add_argument(
        "--nic", type=names, metavar="IF[,IF]", help="the DUT's port, or two: receiving, sending"
    )
    parser.add_argument("--peer", type=names, metavar="IF[,IF]",
                        help="what they are cabled to, or loopback (default: found by probe frames)")  # fmt: skip
    parser.add_argument(
        "--dut", metavar="URL", help="ssh://[user@]host[:port]/eth1[,eth3]: the DUT is another machine"
    )
    parser.add_argument(
        "--i-know", action="store_true", help="take ports that are in use; never that of this session"
    )
    parser.add_argument("--lab-nic", choices=LAB_NICS,
                        help="the lab's ports, eth1 cabled to eth2 and eth3 to eth4 (default: e1000e)")  # fmt: skip


def queues(text: str) -> tuple[int, ...]:
    """``4`` is 1, 2, 4: how it scales; a list is itself."""
    given = numbers(text)
    if "," in text or given[0] < 1:
        return given
    most = given[0]
    return (*(1 << n for n in range(most.bit_length()) if 1 << n < most), most)


def split_generator(given: Sequence[str] | None) -> tuple[str | None, str | None]:
    """--generator stands for a kind and for a machine: both, each at most once. Raises UsageError."""
    machines = [word for word in given or () if word.startswith(SSH)]
    kinds = [word for word in given or () if not word.startswith(SSH)]
    if len(machines) > 1 or len(kinds) > 1:
        raise UsageError("--generator takes one kind (pktgen, xdp) and one machine (ssh://...)")
    return next(iter(kinds), None), next(iter(machines), None)


def options(arguments: argparse.Namespace) -> Options:
    """What topo is asked for."""
    from kbench.measure.plan import Options

    chosen = {} if arguments.lab_nic is None else {"lab_nic": arguments.lab_nic}
    return Options(
        where=arguments.where,
        kernel=arguments.kernel,
        nic=arguments.nic or (),
        peer=arguments.peer or (),
        dut=arguments.dut,
        tester=arguments.generator,
        i_know=arguments.i_know,
        given=tuple(chosen),
        **chosen,
    )


def _topo(arguments: argparse.Namespace) -> int:
    from kbench.commands.topo import topo

    return topo(options(arguments), as_json=arguments.json)
