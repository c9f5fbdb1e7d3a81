# SPDX-License-Identifier: GPL-2.0-only
"""Commands about the machine: doctor, restore, build, lab."""

from __future__ import annotations

import json

from rich.console import Console

from kbench.errors import UsageError


def doctor(*, as_json: bool) -> int:
    """Prints what this machine can run; 3 when it can measure nothing."""
    from kbench import doctor as wing
    from kbench.host import builds
    from kbench.host.local import LocalHost

    with LocalHost(builds.programs()) as host:
        capabilities = wing.probe(host)
    if as_json:
        print(json.dumps(wing.as_data(capabilities), indent=1))
    else:
        Console().print(wing.render(capabilities))
    return wing.exit_code(capabilities)


def restore() -> int:
    """Undoes what killed runs left behind."""
    from kbench.host.journal import restore as undo
    from kbench.measure.run import need_root

    need_root()
    lines = undo()
    for line in lines:
        print(line)
    if not lines:
        print("nothing to restore")
    return 0


def build() -> int:
    """Builds the C programs into the cache and prints where they are."""
    from kbench.host import builds
    from kbench.measure.reporter import Reporter

    print(builds.programs(Reporter().step))
    return 0


def lab_shell(kernel: str) -> int:
    """A prompt in the lab, on this terminal."""
    import sys

    from kbench.host.lab import shell
    from kbench.measure.reporter import Reporter

    if not sys.stdin.isatty():
        raise UsageError("kbench lab shell needs a terminal")
    shell(kernel, Reporter().step)
    return 0
