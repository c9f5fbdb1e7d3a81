# SPDX-License-Identifier: GPL-2.0-only
"""Generated tables: routes shaped like a BGP table, and rules in ClassBench's three shapes.

Both depend on nothing but their arguments: the same seed gives the same table on every machine.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kbench.errors import UsageError
from kbench.functions.model import ROUTES_MAX, Route

SEED_ROUTES = 0x726F7574

# Share of each prefix length in the global routing table, in percent, after the CIDR report and
# bgp.potaroo.net (2023), rounded, so they don't add up to 100 exactly; rare lengths are left out.
LENGTHS4 = {
    24: 60.0, 23: 10.0, 22: 11.4, 21: 5.2, 20: 4.5, 19: 2.7, 18: 1.5, 17: 0.9, 16: 1.5,
    15: 0.22, 14: 0.14, 13: 0.07, 12: 0.035, 11: 0.012, 10: 0.005, 9: 0.0015, 8: 0.0015,
}  # fmt: skip
LENGTHS6 = {
    48: 48.0, 47: 2.5, 46: 4.0, 45: 2.0, 44: 10.5, 43: 0.8, 42: 2.5, 41: 0.7, 40: 10.0, 39: 0.5,
    38: 1.0, 37: 0.3, 36: 3.0, 35: 0.4, 34: 0.9, 33: 1.0, 32: 10.0, 31: 0.2, 30: 0.3, 29: 1.2, 28: 0.2,
}  # fmt: skip
IPV6_SHARE = 0.2
IPV4_ONLY_BELOW = 10


@dataclass(frozen=True)
class _Space:
    """What prefixes of a family are drawn from. IPv6 is drawn by its upper 64 bits."""

    shares: dict[int, float]
    width: int
    site_length: int
    tops: npt.NDArray[np.uint64]
    top_length: int


# Left out as a whole: the /8s that hold special-purpose blocks (RFC 6890), among them 198.18.0.0/15.
_TOP4 = np.array([t for t in range(1, 224) if t not in (10, 100, 127, 169, 172, 192, 198, 203)], np.uint64)
# The registries' /12s of 2000::/3; 2001::/16 with the special-purpose blocks is not among them.
_TOP6 = np.array([0x240, 0x260, 0x280, 0x2A0, 0x2C0], np.uint64)
_IPV4 = _Space(LENGTHS4, 32, 16, _TOP4, 8)
_IPV6 = _Space(LENGTHS6, 64, 32, _TOP6, 12)


def generate_routes(n: int, seed: int = 1) -> tuple[Route, ...]:
    """`n` different routes, all out of tx. One route is the default route 0.0.0.0/0: the simplest forwarder.

    From 10 routes on, one in five is IPv6. Long prefixes are clustered in a limited number of
    allocations (IPv4 /16, IPv6 /32), as registries hand them out, and none is special-purpose space.
    """
    if not 0 <= n <= ROUTES_MAX:
        raise UsageError(f"{n} routes: kbench generates 0 to {ROUTES_MAX}")
    if n == 1:
        return (Route(ipaddress.IPv4Network("0.0.0.0/0"), "tx"),)
    # RandomState and not Generator, because NEP 19 promises that its stream never changes.
    rng = np.random.RandomState([SEED_ROUTES, seed % (1 << 32), n])
    count6 = round(n * IPV6_SHARE) if n >= IPV4_ONLY_BELOW else 0
    routes: list[Route] = []
    for length, networks in _draw(rng, n - count6, _IPV4):
        routes += [Route(ipaddress.IPv4Network((a, length)), "tx") for a in networks]
    for length, networks in _draw(rng, count6, _IPV6):
        routes += [Route(ipaddress.IPv6Network((a << 64, length)), "tx") for a in networks]
    return tuple(routes[i] for i in rng.permutation(n).tolist())


def _draw(rng: np.random.RandomState, n: int, space: _Space) -> list[tuple[int, list[int]]]:
    """For each prefix length, its network addresses as `width`-bit numbers."""
    if not n:
        return []
    site_length = space.site_length
    sites = _sites(rng, max(1, n // 16), space, site_length)
    drawn = []
    for length, count in _split(n, space.shares).items():
        if not count:
            continue
        found = np.zeros(0, np.uint64)
        while len(found) < count:
            want = 2 * (count - len(found)) + 16
            if length > site_length:
                # Low numbers are handed out first, and some allocations are cut up more than others:
                # squares make both denser at the low end.
                low = rng.random_sample(want) ** 2
                below = np.floor(low * (1 << (length - site_length))).astype(np.uint64)
                site = sites[np.floor(rng.random_sample(want) ** 2 * len(sites)).astype(np.int64)]
                new = site << np.uint64(length - site_length) | below
            else:
                new = _sites(rng, want, space, length)
            found = np.unique(np.concatenate([found, new]))
        chosen = rng.permutation(found)[:count]
        drawn.append((length, (chosen << np.uint64(space.width - length)).tolist()))
    return drawn


def _sites(rng: np.random.RandomState, n: int, space: _Space, length: int) -> npt.NDArray[np.uint64]:
    """`n` random prefixes of a length, not all different, as `length`-bit numbers."""
    bits = length - space.top_length
    below = rng.randint(0, 1 << bits, n, dtype=np.uint64)
    tops: npt.NDArray[np.uint64] = rng.choice(space.tops, n)
    return tops << np.uint64(bits) | below


def _split(n: int, shares: dict[int, float]) -> dict[int, int]:
    """`n` divided by shares, in whole numbers (largest remainder)."""
    total = sum(shares.values())
    exact = {length: n * share / total for length, share in shares.items()}
    whole = {length: int(value) for length, value in exact.items()}
    rest = sorted(exact, key=lambda length: whole[length] - exact[length])
    for length in rest[: n - sum(whole.values())]:
        whole[length] += 1
    return whole
