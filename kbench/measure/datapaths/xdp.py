# SPDX-License-Identifier: GPL-2.0-only
"""An XDP program on the receiving port, redirecting by a device map."""

from __future__ import annotations

from kbench.measure.datapaths.base import ProgramDatapath


class Xdp(ProgramDatapath):
    """kb-xdp, in native mode unless asked otherwise."""

    name = "xdp"
    program = "kb-xdp"
    functions = frozenset(("drop", "forward", "filter"))

    @property
    def redirects(self) -> bool:
        """In native mode; generic mode sends socket buffers."""
        return self.options.xdp_mode == "native"

    def arguments(self) -> list[str]:
        """Attach mode: native, or generic on top of socket buffers."""
        return ["--mode", self.options.xdp_mode]
