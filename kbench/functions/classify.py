# SPDX-License-Identifier: GPL-2.0-only
"""The filter's part of the image: for each field, a look-up that yields the set of rules satisfied.

Aggregated bit vectors (Baboescu and Varghese, SIGCOMM 2001); core/image.h reads them. Sets are Python
integers here (bit n: rule n) and become `struct kb_vector` when they are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kbench.functions import lpm
from kbench.functions.model import Network, PortRange, Rule

VECTOR_WORDS = 157
SUMMARY_WORDS = 3
VECTOR_BYTES = 8 * (SUMMARY_WORDS + VECTOR_WORDS)


@dataclass
class RuleParams:
    """Where the look-ups start: the rule part of `struct kb_params`."""

    accept_vector: int = 0
    src4: int = 0
    dst4: int = 0
    src6: int = 0
    dst6: int = 0
    sport: int = 0
    dport: int = 0
    protocol: int = 0
    no_sport: int = 0
    no_dport: int = 0


class VectorSet:
    """The image's vectors; equal sets are stored once."""

    def __init__(self) -> None:
        self._ids: dict[int, int] = {}
        self._blob: bytes | None = None

    @property
    def count(self) -> int:
        """How many different sets there are."""
        return len(self._ids)

    def id_of(self, rules: int) -> int:
        """Number of the vector that holds this set."""
        self._blob = None
        return self._ids.setdefault(rules, len(self._ids))

    def blob(self) -> bytes:
        """All vectors, each with its summary in front."""
        if self._blob is None:
            raw = b"".join(rules.to_bytes(8 * VECTOR_WORDS, "little") for rules in self._ids)
            words = np.frombuffer(raw, "<u8").reshape(-1, VECTOR_WORDS)
            used = np.zeros((len(words), 64 * SUMMARY_WORDS), np.uint8)
            used[:, :VECTOR_WORDS] = words != 0
            summary = np.packbits(used, axis=1, bitorder="little").view("<u8")
            self._blob = np.hstack([summary, words]).astype("<u8").tobytes()
        return self._blob


def add_rules(slots: lpm.SlotArray, vectors: VectorSet, rules: Sequence[Rule]) -> RuleParams:
    """Adds all five look-ups of a filter."""
    params = RuleParams()
    params.accept_vector = vectors.id_of(sum(1 << i for i, r in enumerate(rules) if r.action == "accept"))
    params.src4 = _add_prefixes(slots, vectors, rules, 4, lambda r: r.src)
    params.dst4 = _add_prefixes(slots, vectors, rules, 4, lambda r: r.dst)
    params.src6 = _add_prefixes(slots, vectors, rules, 6, lambda r: r.src)
    params.dst6 = _add_prefixes(slots, vectors, rules, 6, lambda r: r.dst)
    params.sport = _add_ranges(slots, vectors, [r.sport for r in rules], 65536)
    params.dport = _add_ranges(slots, vectors, [r.dport for r in rules], 65536)
    protocols = [None if r.protocol is None else (r.protocol, r.protocol) for r in rules]
    params.protocol = _add_ranges(slots, vectors, protocols, 256)
    params.no_sport = vectors.id_of(sum(1 << i for i, r in enumerate(rules) if r.sport is None))
    params.no_dport = vectors.id_of(sum(1 << i for i, r in enumerate(rules) if r.dport is None))
    return params


def _add_prefixes(
    slots: lpm.SlotArray,
    vectors: VectorSet,
    rules: Sequence[Rule],
    family: int,
    field: Callable[[Rule], Network | None],
) -> int:
    """Adds the trie of an address field: the longest prefix knows the rules of all that contain it."""
    any_address = 0
    of_prefix: dict[tuple[int, int], int] = {}
    for i, rule in enumerate(rules):
        prefix = field(rule)
        if prefix is None:
            if rule.family in (None, family):
                any_address |= 1 << i
        elif prefix.version == family:
            key = (int(prefix.network_address), prefix.prefixlen)
            of_prefix[key] = of_prefix.get(key, 0) | 1 << i
    width = 32 if family == 4 else 128
    values: list[int] = []
    outer: list[tuple[int, int, int]] = []  # (last address, length, set) of the prefixes around this one
    ordered = sorted(of_prefix)  # a prefix comes before those inside it
    for network, length in ordered:
        while outer and outer[-1][0] < network:
            outer.pop()
        holds = of_prefix[network, length] | (outer[-1][2] if outer else any_address)
        outer.append((network + (1 << (width - length)) - 1, length, holds))
        values.append(vectors.id_of(holds))
    prefixes = lpm.Prefixes.of(family, [n for n, _ in ordered], [n for _, n in ordered], values)
    return lpm.add_trie(
        slots, lpm.STRIDES4 if family == 4 else lpm.STRIDES6, prefixes, vectors.id_of(any_address)
    )


def _add_ranges(
    slots: lpm.SlotArray, vectors: VectorSet, ranges: Sequence[PortRange | None], size: int
) -> int:
    """Adds a table with one slot per value: the set changes only where a range begins or ends."""
    holds = sum(1 << i for i, r in enumerate(ranges) if r is None)
    changes: dict[int, int] = {0: 0}
    for i, bounds in enumerate(ranges):
        if bounds is not None:
            lo, hi = bounds
            changes[lo] = changes.get(lo, 0) ^ 1 << i
            changes[hi + 1] = changes.get(hi + 1, 0) ^ 1 << i
    starts = [start for start in sorted(changes) if start < size]
    ids = []
    for start in starts:
        holds ^= changes[start]
        ids.append(vectors.id_of(holds))
    spans = np.diff([*starts, size])
    return slots.add(np.repeat(np.array(ids, np.uint32), spans))
