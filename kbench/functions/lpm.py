# SPDX-License-Identifier: GPL-2.0-only
"""Multibit tries for longest-prefix match, as core/image.h walks them, built with numpy.

A trie is built level by level: the prefixes that end in a level are written into its nodes, shorter ones
first so that longer ones overwrite them; the prefixes that go on get child nodes, which start as
copies of the value that their slot had. No step looks at a single prefix in Python.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]

CHILD = 0x80000000
"""KB_CHILD of core/image.h: the slot holds the index of a node, not a value."""
SLOT_GROUP = 16
"""KB_SLOT_GROUP: a node is whole cache lines of this many slots."""
STRIDES4 = (16, 8, 8)
STRIDES6 = (16, *([4] * 28))


@dataclasses.dataclass
class Prefixes:
    """Prefixes with their values, as arrays of one length; each prefix only once.

    Addresses are left-aligned: an IPv4 address is the upper half of `high`.
    """

    high: U64
    low: U64
    lengths: npt.NDArray[np.int64]
    values: U32

    @staticmethod
    def of(version: int, networks: list[int], lengths: list[int], values: list[int]) -> Prefixes:
        """From plain lists: network addresses as integers, prefix lengths, values."""
        if version == 4:
            high = np.array(networks, dtype=np.uint64) << np.uint64(32)
            low = np.zeros(len(networks), dtype=np.uint64)
        else:
            high = np.array([n >> 64 for n in networks], dtype=np.uint64)
            low = np.array([n & 0xFFFFFFFFFFFFFFFF for n in networks], dtype=np.uint64)
        return Prefixes(high, low, np.array(lengths, np.int64), np.array(values, np.uint32))

    def select(self, mask: npt.NDArray[np.bool_]) -> Prefixes:
        """Those that `mask` names."""
        return Prefixes(self.high[mask], self.low[mask], self.lengths[mask], self.values[mask])

    def bits(self, start: int, count: int) -> npt.NDArray[np.int64]:
        """Address bits start..start+count-1, counted from the left. They never straddle the halves."""
        word, shift = (self.high, 64 - start - count) if start < 64 else (self.low, 128 - start - count)
        return (word >> np.uint64(shift) & np.uint64((1 << count) - 1)).astype(np.int64)


class SlotArray:
    """The one array in which all nodes of an image stand."""

    def __init__(self) -> None:
        self._parts: list[U32] = []
        self.count = 0

    def add(self, slots: U32) -> int:
        """Appends whole nodes; the index of their first slot."""
        if len(slots) % SLOT_GROUP:
            raise AssertionError("nodes are whole lines")
        index = self.count
        self._parts.append(slots)
        self.count += len(slots)
        if self.count >= CHILD:
            raise OverflowError("too many slots")
        return index

    def array(self) -> U32:
        """All slots."""
        return np.concatenate(self._parts) if self._parts else np.zeros(0, np.uint32)


def add_trie(slots: SlotArray, strides: tuple[int, ...], prefixes: Prefixes, default: int) -> int:
    """Builds one trie and returns the slot index of its root.

    `default` is the value of what no prefix covers.
    """
    root = slots.count
    nodes = np.full(1 << strides[0], default, np.uint32)
    left = prefixes
    node_of = np.zeros(len(left.lengths), np.int64)  # first slot of the node that each prefix is in
    start = 0
    for stride, next_stride in zip(strides, (*strides[1:], 0), strict=True):
        at = node_of + left.bits(start, stride)
        for length in range(start if start == 0 else start + 1, start + stride + 1):
            ends = left.lengths == length
            if ends.any():
                span = 1 << (start + stride - length)
                where = at[ends][:, None] + np.arange(span)
                nodes[where] = left.values[ends][:, None]
        goes_on = left.lengths > start + stride
        left, at = left.select(goes_on), at[goes_on]
        parents, child_of = np.unique(at, return_inverse=True)
        size = 1 << next_stride
        children = np.repeat(nodes[parents], size) if len(parents) else np.zeros(0, np.uint32)
        first_child = slots.count + len(nodes)
        nodes[parents] = CHILD | (first_child + np.arange(len(parents)) * size).astype(np.uint32)
        slots.add(nodes)
        if not len(parents):
            break
        nodes, node_of = children, child_of.astype(np.int64) * size
        start += stride
    return root
