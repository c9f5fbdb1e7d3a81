# SPDX-License-Identifier: GPL-2.0-only
"""The image's layout as C sees it, and that damaged or forged images are refused or at least harmless."""

from __future__ import annotations

import ipaddress
import struct
import zlib
from random import Random

import pytest

from kbench.errors import UsageError
from kbench.functions import image as image_module
from kbench.functions.classify import VECTOR_BYTES
from kbench.functions.image import compile_image
from kbench.functions.model import RULES_MAX, Route, Rule, Tables
from kbench.functions.packets import packets_file, verification_packets
from kbench.functions.reference import REASONS
from tests.unit.core_tools import PORTS, Core, build, compare, random_tables

PATCHED = {
    "magic": "not a kbench image",
    "version": "another version",
    "header_bytes": "another version",
    "total_bytes": "truncated",
    "slots.offset": "corrupted",
    "slots.count": "corrupted",
    "vectors.offset": "corrupted",
    "vectors.count": "corrupted",
}
"""What a damaged field is called; all others are caught by the checksum."""


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Core:
    directory = tmp_path_factory.mktemp("core")
    return Core(build(directory, sanitize=True), directory)


@pytest.fixture(scope="module")
def tables() -> Tables:
    return random_tables(Random(5))


@pytest.fixture(scope="module")
def layout(core: Core) -> dict[str, int]:
    return {name: int(at) for name, at in (line.rsplit(" ", 1) for line in core.run("layout").splitlines())}


def test_python_and_c_agree_on_sizes_and_reasons(layout: dict[str, int]) -> None:
    assert layout["header"] == image_module.HEADER_BYTES == 144
    assert layout["vector"] == VECTOR_BYTES
    assert [layout[f"reason {name}"] for name in REASONS] == list(range(len(REASONS)))


def test_every_field_is_where_c_looks_for_it(layout: dict[str, int], tables: Tables) -> None:
    blob = compile_image("filter", tables, PORTS)

    def u32(name: str) -> int:
        return int(struct.unpack_from("<I", blob, layout[name])[0])

    def u64(name: str) -> int:
        return int(struct.unpack_from("<Q", blob, layout[name])[0])

    assert blob[:4] == b"KBIM"
    assert u64("total_bytes") == len(blob)
    assert u32("crc32") == zlib.crc32(blob[layout["reserved"] :])
    assert u64("slots.offset") % 64 == u64("vectors.offset") % 64 == u64("slots.count") % 16 == 0
    assert u64("vectors.offset") + VECTOR_BYTES * u64("vectors.count") == len(blob)
    assert u32("params.function") == 3
    assert u32("params.rules") == len(tables.rules)
    assert u32("params.default_accept") == tables.default_accept
    roots = ["route4", "route6", "src4", "dst4", "src6", "dst6", "sport", "dport", "protocol"]
    starts = [u32(f"params.{name}") for name in roots]
    assert starts == sorted(set(starts)) and starts[-1] + 256 == u64("slots.count")
    for name in ("accept_vector", "no_sport", "no_dport"):
        assert u32(f"params.{name}") < u64("vectors.count")
    for number, port in enumerate(PORTS):
        at = layout[f"params.ports[{number}].mac"]
        assert blob[at : at + 12] == port.mac + port.next_hop


def test_drop_needs_no_tables(core: Core, tables: Tables) -> None:
    blob = compile_image("drop", tables, PORTS)
    assert len(blob) == 192
    assert core.run("check", core.put("drop", blob), stdin="cut 192\n") == "ok\n"


def test_equal_vectors_are_stored_once(layout: dict[str, int]) -> None:
    rules = tuple(Rule("accept", dport=(n, n)) for n in (1, 2, 3))
    blob = compile_image("filter", Tables((), rules), PORTS)
    count = struct.unpack_from("<Q", blob, layout["vectors.count"])[0]
    assert count == 5  # all three rules, each alone, and none


@pytest.mark.parametrize("function", ["drop", "forward", "filter"])
def test_a_damaged_header_is_refused(
    core: Core, layout: dict[str, int], tables: Tables, function: str
) -> None:
    path = core.put("image", compile_image(function, tables, PORTS))  # type: ignore[arg-type]
    fields = {
        name: at for name, at in layout.items() if name not in ("header", "vector") and "reason" not in name
    }
    ends = {*fields.values(), layout["header"]}
    patches = []
    for name, start in fields.items():
        for at in range(start, min(end for end in ends if end > start)):
            patches += [(name, at, mask) for mask in (0x01, 0x80, 0xFF)]
    answers = core.run(
        "check", path, stdin="".join(f"{at:x} {mask:x}\n" for _, at, mask in patches)
    ).splitlines()
    assert len(answers) == len(patches) >= 3 * 144
    for (name, at, mask), answer in zip(patches, answers, strict=True):
        expected = PATCHED.get(name, "wrong checksum")
        assert expected in answer, f"{name} at {at} ^ {mask:#x}: {answer}"


def test_flipped_bits_and_cut_images_are_refused(core: Core, tables: Tables) -> None:
    blob = compile_image("filter", tables, PORTS)
    path = core.put("image", blob)
    rng = Random(1)
    flips = [f"{rng.randrange(len(blob)):x} {1 << rng.randrange(8):x}\n" for _ in range(300)]
    cuts = [f"cut {n}\n" for n in (*range(0, 200, 7), 143, 144, len(blob) // 2, len(blob) - 1)]
    answers = core.run("check", path, stdin="".join(flips + cuts)).splitlines()
    assert len(answers) == len(flips) + len(cuts)
    assert all(
        answer.startswith(("corrupted", "truncated", "not a", "image of another")) for answer in answers
    )
    assert all("truncated" in answer for answer in answers[len(flips) :])


def test_forged_images_cannot_make_the_core_read_elsewhere(core: Core, tables: Tables) -> None:
    """Right checksum, random contents: whatever is decided, the address sanitizer sees no bad access."""
    packets = verification_packets(tables, "filter", PORTS, seed=1)
    frames = core.put("frames", packets_file(packets))
    image = core.put("image", compile_image("filter", tables, PORTS))
    accepted = int(core.run("forge", image, frames, "40"))
    assert accepted >= 10  # otherwise the check refused nearly all and the test says little


def test_more_than_10000_rules_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^10001 rules: kbench compiles at most 10000$"):
        compile_image("filter", Tables((), (Rule("drop"),) * (RULES_MAX + 1)), PORTS)


def test_the_last_of_10000_rules_counts(core: Core) -> None:
    rules = (*(Rule("drop", dport=(n, n)) for n in range(1, RULES_MAX)), Rule("accept", protocol=17))
    tables = Tables((Route(ipaddress.ip_network("0.0.0.0/0"), "tx"),), rules, default_accept=False)
    frames = [p.frame for p in verification_packets(tables, "filter", PORTS, seed=1)]
    assert compare(core, "filter", tables, frames)["forwarded"] > 10
