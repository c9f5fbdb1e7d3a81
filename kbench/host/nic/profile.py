# SPDX-License-Identifier: GPL-2.0-only
"""The profile that ports are set to for a run: kbench's own, or one from a TOML file.

The default: one receive queue (``--queues``) whose interrupt is on a CPU of its own, RSS spread equally over the
queues; GRO on, as hosts have it, but no LRO, which can't be forwarded; VLAN tags left in the frames; no pause frames,
with which loss would turn into back-pressure on the generator (RFC 2544 tests the DUT); no adaptive coalescing, which
would make figures depend on what came before; no second distribution of packets by RPS, RFS or XPS; no threaded NAPI.
Rings, coalescing times, checksum offload, MTU and promiscuous mode stay as they are.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from kbench.errors import UsageError
from kbench.host.nic.apply import Applied, apply
from kbench.host.nic.port import Scalar

__all__ = ["DEFAULT", "Applied", "NicProfile", "apply", "load_profile"]

KEEP = "keep"
"""Instead of any value: leave it as it is."""
QUEUES_MAX = 1024
U32_MAX = 2**32 - 1


@dataclass(frozen=True)
class _Key:
    """What a key may be, besides "keep", and what it is by default."""

    values: tuple[Scalar, ...] = ()
    """These only; empty: whole numbers from `low` to `high`."""
    low: int = 0
    high: int = U32_MAX
    default: Scalar = KEEP

    def wrong(self, value: object) -> str:
        """What to write instead, or "" if the value is right."""
        if value == KEEP and isinstance(value, str):
            return ""
        if self.values:
            right = any(value == good and type(value) is type(good) for good in self.values)
            words = [f'"{v}"' if isinstance(v, str) else str(v).lower() for v in self.values]
            return "" if right else f'use {", ".join(words)} or "{KEEP}"'
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            return f'use a whole number from {self.low} to {self.high}, or "{KEEP}"'
        return ""


def _switch(default: Scalar = KEEP) -> _Key:
    return _Key(values=(True, False), default=default)


FEATURES = (
    "rx-checksumming",
    "tx-checksumming",
    "tx-checksum-ipv4",
    "tx-checksum-ip-generic",
    "tx-checksum-ipv6",
    "tx-checksum-sctp",
    "scatter-gather",
    "tx-scatter-gather",
    "tx-scatter-gather-fraglist",
    "tcp-segmentation-offload",
    "tx-tcp-segmentation",
    "tx-tcp6-segmentation",
    "generic-segmentation-offload",
    "tx-udp-segmentation",
    "tx-gso-partial",
    "tx-gso-list",
    "generic-receive-offload",
    "rx-gro-hw",
    "rx-gro-list",
    "rx-udp-gro-forwarding",
    "large-receive-offload",
    "rx-vlan-offload",
    "tx-vlan-offload",
    "rx-vlan-filter",
    "rx-vlan-stag-hw-parse",
    "rx-vlan-stag-filter",
    "tx-vlan-stag-hw-insert",
    "ntuple-filters",
    "receive-hashing",
    "tx-nocache-copy",
    "rx-fcs",
    "rx-all",
    "hw-tc-offload",
    "l2-fwd-offload",
)
"""By the names that `ethtool -k` prints."""
_FEATURE_DEFAULTS = {
    "generic-receive-offload": True,
    "large-receive-offload": False,
    "rx-vlan-offload": False,
    "tx-vlan-offload": False,
    "rx-vlan-filter": False,
}

KEYS: dict[str, _Key] = {
    "queues": _Key(low=1, high=QUEUES_MAX, default=1),
    "mtu": _Key(low=68, high=65535),
    "promisc": _switch(),
    "irq-affinity": _Key(values=(True,), default=True),
    "rss": _Key(values=("equal",), default="equal"),
    "rps": _Key(values=(False,), default=False),
    "rfs": _Key(values=(False,), default=False),
    "xps": _Key(values=(False,), default=False),
    "threaded": _switch(False),
    "gro_flush_timeout": _Key(),
    "napi_defer_hard_irqs": _Key(high=2**31 - 1),
    "rings.rx": _Key(low=1, high=2**20),
    "rings.tx": _Key(low=1, high=2**20),
    "coalesce.adaptive-rx": _switch(False),
    "coalesce.adaptive-tx": _switch(False),
    **{f"coalesce.{way}-{unit}": _Key() for way in ("rx", "tx") for unit in ("usecs", "frames")},
    **{f"features.{name}": _switch(_FEATURE_DEFAULTS.get(name, KEEP)) for name in FEATURES},
    "pause.autoneg": _switch(False),
    "pause.rx": _switch(False),
    "pause.tx": _switch(False),
}
"""Keys of a profile by their flat names: ``[rings]`` with ``rx = 512`` is rings.rx. Those that are settings of a port
are called as in `PortState.settings`."""
TABLES = tuple(dict.fromkeys(key.partition(".")[0] for key in KEYS if "." in key))


@dataclass(frozen=True)
class NicProfile:
    """What ports are set to. `values` are by flat names, without those to keep; `explicit` are those of a file."""

    name: str
    """"default" or the path of the file."""
    queues: int = 1
    values: Mapping[str, Scalar] = field(default_factory=dict)
    explicit: tuple[str, ...] = ()

    def facts(self) -> dict[str, Scalar]:
        """All keys by their flat names, "keep" included, for the record."""
        return {key: self.queues if key == "queues" else self.values.get(key, KEEP) for key in KEYS}


def _profile(name: str, given: Mapping[str, Any]) -> NicProfile:
    merged = {key: given.get(key, kind.default) for key, kind in KEYS.items()}
    queues = merged.pop("queues")
    values = {key: value for key, value in merged.items() if value != KEEP}
    return NicProfile(name, 1 if queues == KEEP else queues, values, tuple(given))


DEFAULT = _profile("default", {})
"""See the top of this file."""


def load_profile(path: str | Path) -> NicProfile:
    """The profile of a TOML file; keys that it lacks are the default's.

    Raises UsageError, one line, for the first thing in it that is wrong.
    """
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}") from None
    given: dict[str, Any] = {}
    for key, value in _flat(data, path):
        if key not in KEYS:
            raise UsageError(f"{path}: unknown key {key!r}{_near(key)}")
        wrong = "use a whole number" if key == "queues" and value == KEEP else KEYS[key].wrong(value)
        if wrong:
            raise UsageError(f"{path}: {key} = {_written(value)}: {wrong}")
        given[key] = value
    return _profile(str(path), given)


def _flat(data: Mapping[str, Any], path: str | Path) -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if key in TABLES:
            if not isinstance(value, dict):
                raise UsageError(f"{path}: write [{key}], with its keys below")
            for name, inner in value.items():
                yield f"{key}.{name}", inner
        else:
            yield key, value


def _written(value: object) -> str:
    """As TOML has it."""
    return str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')


def _near(key: str) -> str:
    close = get_close_matches(key, [*KEYS, *TABLES], 1)
    if not close:
        close = get_close_matches(key.rpartition(".")[2], [k.rpartition(".")[2] for k in KEYS], 1)
        close = [k for k in KEYS if close and k.rpartition(".")[2] == close[0]]
    return (
        f" (did you mean '{close[0]}'?)"
        if close
        else f": use {', '.join(k for k in KEYS if '.' not in k)}" + (f" or a key of [{'], ['.join(TABLES)}]")
    )
