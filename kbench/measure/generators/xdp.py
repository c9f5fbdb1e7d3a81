# SPDX-License-Identifier: GPL-2.0-only
"""BPF live frames: bpf_prog_test_run() redirects freshly written frames into the port.

No socket buffers are made on the way, so an XDP datapath behind a veth is measured without the copy
that pktgen's shared buffers cost there.
"""

from __future__ import annotations

from kbench.measure.generators.base import Generator, Load


class XdpLiveFrames(Generator):
    """Program kb-offer-xdp, resident."""

    name = "xdp"
    program = "kb-offer-xdp"
    timestamps = True
    resident = True

    def arguments(self, load: Load) -> list[str]:
        """`--timestamp` writes the clock into each payload, `--gaps` counts the times between packets."""
        wanted = (("--timestamp", load.timestamp), ("--gaps", load.gaps))
        return [option for option, on in wanted if on]
