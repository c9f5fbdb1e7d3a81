# SPDX-License-Identifier: GPL-2.0-only
"""Ways of getting packets through the DUT; one file per kind."""

from __future__ import annotations

from kbench.measure.datapaths.af_packet import AfPacket
from kbench.measure.datapaths.base import Datapath
from kbench.measure.datapaths.kernel import Kernel
from kbench.measure.datapaths.netfilter import Netfilter
from kbench.measure.datapaths.xdp import Xdp, XdpGeneric

DATAPATHS: dict[str, type[Datapath]] = {d.name: d for d in (Netfilter, Xdp, XdpGeneric, AfPacket, Kernel)}
