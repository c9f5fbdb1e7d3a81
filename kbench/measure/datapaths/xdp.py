# SPDX-License-Identifier: GPL-2.0-only
"""An XDP program on the receiving port, sending back or redirecting by a device map."""

from __future__ import annotations

from kbench.measure.datapaths.base import ProgramDatapath


class Xdp(ProgramDatapath):
    """kb-xdp, in native mode unless asked otherwise."""

    name = "xdp"
    program = "kb-xdp"
    functions = frozenset(("drop", "forward", "filter"))

    @property
    def mode(self) -> str:
        """Attach mode: native, or generic on top of socket buffers."""
        return self.options.xdp_mode

    @property
    def redirects(self) -> bool:
        """In native mode, unless the frames go back; generic mode sends socket buffers."""
        return self.mode == "native" and self.facts.get("verdict") != "tx"

    def arguments(self) -> list[str]:
        """The attach mode."""
        return ["--mode", self.mode]


class XdpGeneric(Xdp):
    """The same program on top of socket buffers, for drivers without native XDP."""

    name = "xdp_generic"
    default = False

    @property
    def mode(self) -> str:
        """Whatever `xdp` is asked to be."""
        return "generic"
