# SPDX-License-Identifier: GPL-2.0-only
"""Interrupts of a port: their names, and which one is which queue's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_TRIGGER = re.compile(r"^(?:.*-)?(?:edge|level|fasteoi)$", re.IGNORECASE)
"""The last word of /proc/interrupts before the names: ``3-edge``, ``IR-PCI-MSIX 0-edge``, on ARM ``Edge``."""

_BOTH = (
    re.compile(
        r"(?:^|[-.:])(?:txrx|rxtx|tx-rx)-(\d+)$", re.IGNORECASE
    ),  # igb, ixgbe, i40e, ice, bnxt, tg3, ena
    re.compile(r"^mlx5_comp(\d+)(?:@|$)"),
    re.compile(r"^mlx4-(\d+)@"),
)
_RECEIVE = (
    re.compile(r"(?:^|[-.:])rx-(\d+)$", re.IGNORECASE),  # e1000e, vmxnet3 with separate vectors, stmmac
    re.compile(r"^virtio\d+-input\.(\d+)$"),
)
_TRANSMIT = (
    re.compile(r"(?:^|[-.:])tx-(\d+)$", re.IGNORECASE),
    re.compile(r"^virtio\d+-output\.(\d+)$"),
)
_OTHER = re.compile(r"[-:]fdir[-:]")
"""i40e's flow director has a queue of its own."""


@dataclass(frozen=True)
class QueueIrqs:
    """Interrupt numbers: `receive[i]` is that of receive queue i (it may serve transmit queue i as well)."""

    receive: tuple[int, ...]
    transmit: tuple[int, ...]
    """Of transmit queues with interrupts of their own."""


def names(interrupts: str) -> dict[int, str]:
    """/proc/interrupts: the name of each interrupt that has a driver, "a, b" when they share it."""
    lines = interrupts.splitlines()
    cpus = len(lines[0].split()) if lines else 0
    found: dict[int, str] = {}
    for line in lines[1:]:
        number, _, rest = line.partition(":")
        if not number.strip().isdigit():
            continue
        words = rest.split()[cpus:]
        trigger = next((at for at, word in enumerate(words) if _TRIGGER.match(word)), None)
        if trigger is not None and words[trigger + 1 :]:
            found[int(number)] = " ".join(words[trigger + 1 :])
    return found


def _ordered(found: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    # By rank, not by index: tg3 counts its receive queues from 1.
    return tuple(number for _index, number in sorted(found))


def _index(name: str, patterns: Iterable[re.Pattern[str]]) -> int | None:
    for pattern in patterns:
        match = pattern.search(name)
        if match:
            return int(match[1])
    return None


def queue_irqs(irq_names: Mapping[str, str], port: str) -> QueueIrqs:
    """Which of a device's interrupts (number -> name) serve its queues, in the order of the queues.

    Without names that tell of queues, one interrupt named like the port serves all.
    """
    receive, transmit, whole = [], [], []
    for number, shared in irq_names.items():
        for name in shared.split(", "):
            if _OTHER.search(name):
                continue
            both, rx, tx = (_index(name, kind) for kind in (_BOTH, _RECEIVE, _TRANSMIT))
            if both is not None or rx is not None:
                receive.append((both if both is not None else rx or 0, int(number)))
            elif tx is not None:
                transmit.append((tx, int(number)))
            elif name == port:
                whole.append((0, int(number)))
    if not receive:
        return QueueIrqs(_ordered(whole), ())
    return QueueIrqs(_ordered(receive), _ordered(transmit))
