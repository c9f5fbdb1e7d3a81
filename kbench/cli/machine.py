# SPDX-License-Identifier: GPL-2.0-only
"""Commands about the machine: doctor, restore, build, lab."""

from __future__ import annotations

import argparse
from typing import Any


def add(commands: Any) -> None:
    """Adds them to the command line's `commands`."""
    doctor = commands.add_parser("doctor", help="what this machine can run, and why not")
    doctor.add_argument("--json", action="store_true", help="print it as JSON")
    doctor.set_defaults(command=_doctor)

    restore = commands.add_parser("restore", help="undo what a killed run left behind")
    restore.set_defaults(command=_restore)

    build = commands.add_parser("build", help="build the C programs into the cache")
    build.set_defaults(command=_build)

    lab = commands.add_parser("lab", help="the virtual machine that has modules and pktgen")
    lab_commands = lab.add_subparsers(metavar="COMMAND", required=True)
    shell = lab_commands.add_parser("shell", help="a prompt in the lab")
    shell.add_argument("--kernel", default="6.12", help="6.1, 6.12 or a path (default: 6.12)")
    shell.set_defaults(command=_lab_shell)


def _doctor(arguments: argparse.Namespace) -> int:
    from kbench.commands.machine import doctor

    return doctor(as_json=arguments.json)


def _restore(_arguments: argparse.Namespace) -> int:
    from kbench.commands.machine import restore

    return restore()


def _build(_arguments: argparse.Namespace) -> int:
    from kbench.commands.machine import build

    return build()


def _lab_shell(arguments: argparse.Namespace) -> int:
    from kbench.commands.machine import lab_shell

    return lab_shell(arguments.kernel)
