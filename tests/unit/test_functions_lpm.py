# SPDX-License-Identifier: GPL-2.0-only
"""The multibit tries against the definition of longest-prefix match, walked as core/image.h walks them."""

from __future__ import annotations

import ipaddress
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbench.functions import lpm
from kbench.functions.model import Network
from tests.unit.core_tools import random_network

DEFAULT = 7


def walk(slots: lpm.U32, root: int, version: int, address: int) -> int:
    """kb_lookup_ipv4() and kb_lookup_ipv6() in Python."""
    strides = lpm.STRIDES4 if version == 4 else lpm.STRIDES6
    left, node = (32 if version == 4 else 128), root
    for stride in strides:
        left -= stride
        slot = int(slots[node + (address >> left & ((1 << stride) - 1))])
        if not slot & lpm.CHILD:
            return slot
        node = slot & ~lpm.CHILD
    raise AssertionError("a child behind the last level")


def by_definition(prefixes: dict[Network, int], address: int) -> int:
    """The value of the longest prefix that holds the address."""
    holding = [
        (p.prefixlen, value)
        for p, value in prefixes.items()
        if int(p.network_address) <= address <= int(p.broadcast_address)
    ]
    return max(holding)[1] if holding else DEFAULT


def build(prefixes: dict[Network, int], version: int, slots: lpm.SlotArray) -> int:
    columns = lpm.Prefixes.of(
        version,
        [int(p.network_address) for p in prefixes],
        [p.prefixlen for p in prefixes],
        list(prefixes.values()),
    )
    return lpm.add_trie(slots, lpm.STRIDES4 if version == 4 else lpm.STRIDES6, columns, DEFAULT)


@given(seed=st.integers(0, 2**64), version=st.sampled_from((4, 6)), count=st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_any_prefixes(seed: int, version: int, count: int) -> None:
    rng = Random(seed)
    prefixes = {random_network(rng, version): rng.randrange(1 << 31) for _ in range(count)}
    slots = lpm.SlotArray()
    slots.add(lpm.np.zeros(48, lpm.np.uint32))  # the root need not be at 0
    root = build(prefixes, version, slots)
    width = 32 if version == 4 else 128
    addresses = {rng.getrandbits(width) for _ in range(20)}
    for p in prefixes:
        first, last = int(p.network_address), int(p.broadcast_address)
        addresses |= {first, last, max(first - 1, 0), min(last + 1, (1 << width) - 1)}
    array = slots.array()
    for address in addresses:
        assert walk(array, root, version, address) == by_definition(prefixes, address)


@pytest.mark.parametrize("version", [4, 6])
def test_every_length_nested_at_one_address(version: int) -> None:
    width = 32 if version == 4 else 128
    address = int(
        ipaddress.ip_address("10.129.66.165" if version == 4 else "2001:db8:a5a5:5a5a:1234:5678:9abc:def1")
    )
    kind = ipaddress.IPv4Network if version == 4 else ipaddress.IPv6Network
    prefixes: dict[Network, int] = {
        kind((address >> (width - n) << (width - n), n)): 100 + n for n in range(width + 1)
    }
    slots = lpm.SlotArray()
    root = build(prefixes, version, slots)
    array = slots.array()
    for bit in range(width):
        other = address ^ 1 << (width - 1 - bit)  # agrees in exactly `bit` leading bits
        assert walk(array, root, version, other) == 100 + bit
    assert walk(array, root, version, address) == 100 + width


def test_nodes_are_whole_lines() -> None:
    slots = lpm.SlotArray()
    with pytest.raises(AssertionError):
        slots.add(lpm.np.zeros(17, lpm.np.uint32))
