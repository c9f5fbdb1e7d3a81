# SPDX-License-Identifier: GPL-2.0-only
"""Compiles a function's tables to the image of core/image.h: one flat little-endian blob."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

from kbench import model as kmodel
from kbench.errors import UsageError
from kbench.functions import lpm
from kbench.functions.classify import RuleParams, VectorSet, add_rules
from kbench.functions.model import (
    MARTIAN_DESTINATIONS,
    PORT_RX,
    PORT_TX,
    ROUTES_MAX,
    RULES_MAX,
    Port,
    Route,
    Tables,
    inside,
)

MAGIC = 0x4D49424B  # "KBIM"
VERSION = 1
BYTES_MAX = 1 << 31
FUNCTIONS: dict[kmodel.Function, int] = {"drop": 1, "forward": 2, "filter": 3}

ROUTE_NONE, ROUTE_DISCARD, ROUTE_PORT0 = 0, 1, 2
_VALUE_OF_OUT = {"discard": ROUTE_DISCARD, "rx": ROUTE_PORT0 + PORT_RX, "tx": ROUTE_PORT0 + PORT_TX}

_HEAD = struct.Struct("<IHHQI")  # magic .. crc32
_REST = struct.Struct("<I4Q15I6s6s6s6sI")  # reserved .. params; the checksum covers it and all after it
HEADER_BYTES = _HEAD.size + _REST.size
_ALIGN = 64


def compile_image(
    function: kmodel.Function, tables: Tables, ports: Sequence[Port | tuple[bytes, bytes]]
) -> bytes:
    """The image of `function` over `tables` for a DUT with these two ports (rx, tx).

    Raises UsageError for more rules or routes than an image holds.
    """
    if len(tables.rules) > RULES_MAX:
        raise UsageError(f"{len(tables.rules)} rules: kbench compiles at most {RULES_MAX}")
    if len(tables.routes) > ROUTES_MAX:
        raise UsageError(f"{len(tables.routes)} routes: kbench compiles at most {ROUTES_MAX}")
    if len(ports) != 2 or any(len(mac) != 6 for port in ports for mac in port):
        raise ValueError("an image has two ports of two MAC addresses each")
    slots, vectors = lpm.SlotArray(), VectorSet()
    route4 = route6 = 0
    rules = RuleParams()
    if function != "drop":
        route4 = _add_routes(slots, tables.routes, 4)
        route6 = _add_routes(slots, tables.routes, 6)
    if function == "filter":
        rules = add_rules(slots, vectors, tables.rules)

    slots_at = _aligned(HEADER_BYTES)
    vectors_at = _aligned(slots_at + 4 * slots.count)
    total = vectors_at + len(vectors.blob())
    if total > BYTES_MAX:
        raise UsageError(f"the tables take {total >> 20} MiB compiled: an image holds {BYTES_MAX >> 20} MiB")
    body = bytearray(total)
    _REST.pack_into(
        body,
        _HEAD.size,
        0,
        *(slots_at, slots.count, vectors_at, vectors.count),
        *(FUNCTIONS[function], len(tables.rules) if function == "filter" else 0),
        *(int(tables.default_accept), rules.accept_vector, route4, route6),
        *(rules.src4, rules.dst4, rules.src6, rules.dst6, rules.sport, rules.dport, rules.protocol),
        *(rules.no_sport, rules.no_dport),
        *(mac for port in ports for mac in port),
        0,
    )
    body[slots_at : slots_at + 4 * slots.count] = slots.array().astype("<u4").tobytes()
    body[vectors_at:] = vectors.blob()
    crc = zlib.crc32(memoryview(body)[_HEAD.size :])
    _HEAD.pack_into(body, 0, MAGIC, VERSION, HEADER_BYTES, total, crc)
    return bytes(body)


def _aligned(offset: int) -> int:
    return (offset + _ALIGN - 1) // _ALIGN * _ALIGN


def _add_routes(slots: lpm.SlotArray, routes: Sequence[Route], version: int) -> int:
    """Adds the routing trie of one family. Martian destinations are in it as routes that discard."""
    martians = tuple(m for m in MARTIAN_DESTINATIONS if m.version == version)
    mine = [r for r in routes if r.prefix.version == version]
    networks = [int(r.prefix.network_address) for r in mine]
    lengths = [r.prefix.prefixlen for r in mine]
    values = [_VALUE_OF_OUT[r.out] for r in mine]
    # A longer route inside martian space would win over the martian prefix: leave it out. Few
    # routes have a martian's first byte, so few need the exact test.
    keep = [
        i
        for i, network in enumerate(networks)
        if not (_may_be_martian(network, version) and inside(mine[i].prefix, martians))
    ]
    if len(keep) != len(mine):
        networks, lengths, values = ([column[i] for i in keep] for column in (networks, lengths, values))
    for martian in martians:
        networks.append(int(martian.network_address))
        lengths.append(martian.prefixlen)
        values.append(ROUTE_DISCARD)
    strides = lpm.STRIDES4 if version == 4 else lpm.STRIDES6
    return lpm.add_trie(slots, strides, lpm.Prefixes.of(version, networks, lengths, values), ROUTE_NONE)


def _may_be_martian(network: int, version: int) -> bool:
    top = network >> (24 if version == 4 else 120)
    return top in (0, 127) or top >= 224
