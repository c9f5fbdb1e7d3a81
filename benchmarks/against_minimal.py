# SPDX-License-Identifier: GPL-2.0-only
"""How much the packet core costs: our datapaths against the smallest programs that forward at all.

    sudo .venv/bin/python benchmarks/against_minimal.py [--rounds N] [--duration S] [--routes N]

`xdp` stands beside a hand-written TTL + MAC + redirect program, `af_packet` beside a recvmmsg/sendmmsg loop; both
minimal programs look nothing up and check next to nothing. Trials alternate in one run; what is printed is the median
ratio of paired rounds with its 95 % bootstrap interval.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from kbench.errors import KbenchError
from kbench.explain.stats import paired_ratio
from kbench.host import builds
from kbench.host.journal import Journal
from kbench.host.local import LocalHost
from kbench.measure.bench import Benches
from kbench.measure.datapaths.af_packet import AfPacket
from kbench.measure.datapaths.base import Datapath, Options, ProgramDatapath
from kbench.measure.datapaths.xdp import Xdp
from kbench.measure.generators.base import Load
from kbench.measure.generators.xdp import XdpLiveFrames
from kbench.measure.observe import Setting
from kbench.measure.prepare import prepare
from kbench.measure.testbeds.base import cpus_for
from kbench.measure.testbeds.veth import VethTestbed
from kbench.measure.trial import run_trial
from kbench.model import Case

HERE = Path(__file__).parent


def minimal(name_: str, program_: str, bin_dir: Path, *, pinned: bool) -> type[Datapath]:
    """A datapath class for one of the minimal programs."""

    class Minimal(ProgramDatapath):
        name = name_
        program = str(bin_dir / program_)
        functions = frozenset(("forward",))
        userspace = pinned

        def arguments(self) -> list[str]:
            return ["--cpu", str(self.testbed.cpus.application)] if pinned else []

    return Minimal


def main() -> int:
    """Measures and prints the two ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--duration", type=float, default=0.3)
    parser.add_argument("--routes", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kbench-minimal-") as build:
        subprocess.run(["make", "-s", "-C", str(HERE), f"O={build}"], check=True)
        minimals = (
            (Xdp, minimal("minimal_xdp", "kb-minimal-xdp", Path(build) / "bin", pinned=False)),
            (AfPacket, minimal("minimal_mmsg", "kb-minimal-mmsg", Path(build) / "bin", pinned=True)),
        )
        for ours, smallest in minimals:
            measure(ours, smallest, arguments)
    return 0


def measure(ours: type[Datapath], smallest: type[Datapath], arguments: argparse.Namespace) -> None:
    """One pair, interleaved, and its ratio."""
    case = Case("forward", routes=arguments.routes)
    cpus = cpus_for("same", 2)
    with ExitStack() as stack:
        local = stack.enter_context(LocalHost(builds.programs()))
        journal = Journal.open(f"minimal-{ours.name}")
        stack.callback(journal.close)
        scratch = str(journal.make_tmpdir())
        benches = stack.enter_context(Benches())
        pair = []
        for kind in (ours, smallest):
            testbed = VethTestbed(local, f"min-{kind.name}", "same", cpus, journal)
            prepared = prepare(case, local, scratch, testbed.image_ports)
            pair.append(benches.add(kind.name, testbed, kind, Options(), prepared.work))
        generator = stack.enter_context(XdpLiveFrames())
        setting = Setting("host", "wall", case, generator, prepared.traffic)
        rates: list[dict[int, float]] = [{}, {}]
        for round_ in range(arguments.rounds):
            for at in (0, 1) if round_ % 2 else (1, 0):
                trial = run_trial(
                    pair[at], setting, Load(None, arguments.duration), purpose="rate", round_=round_
                )
                assert trial.forwarded_pps is not None, trial
                rates[at][round_] = trial.forwarded_pps
        ratio = paired_ratio(rates[0], rates[1])
    assert ratio is not None
    if ratio.low is None or ratio.high is None:
        print(f"{ours.name} / {smallest.name}: {ratio.value:.3f} ({ratio.reason})")
    else:
        print(
            f"{ours.name} / {smallest.name}: {ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}], n = {ratio.n}"
        )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KbenchError as error:
        sys.exit(f"{Path(__file__).name}: {error}")
