# SPDX-License-Identifier: GPL-2.0-only
"""Profiles of NICs: the default, files with every kind of mistake, and what a port is told to be set to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kbench.errors import EnvironmentProblem, UsageError
from kbench.host.nic.apply import channel_counts, queue_count
from kbench.host.nic.lend import Lent
from kbench.host.nic.profile import DEFAULT, KEYS, NicProfile, apply, load_profile
from kbench.host.nic.settings import group_of
from kbench.host.shell import Completed
from tests.unit.test_nic_state import captured

EXAMPLE = Path(__file__).parents[2] / "examples" / "nic-profile.toml"


def profile(tmp_path: Path, text: str) -> NicProfile:
    file = tmp_path / "my.toml"
    file.write_text(text)
    return load_profile(file)


def test_the_default_is_what_is_documented() -> None:
    assert DEFAULT.name == "default" and DEFAULT.queues == 1 and DEFAULT.explicit == ()
    assert dict(DEFAULT.values) == {
        "irq-affinity": True,
        "rss": "equal",
        "rps": False,
        "rfs": False,
        "xps": False,
        "threaded": False,
        "coalesce.adaptive-rx": False,
        "coalesce.adaptive-tx": False,
        "features.generic-receive-offload": True,
        "features.large-receive-offload": False,
        "features.rx-vlan-offload": False,
        "features.tx-vlan-offload": False,
        "features.rx-vlan-filter": False,
        "pause.autoneg": False,
        "pause.rx": False,
        "pause.tx": False,
    }
    facts = DEFAULT.facts()
    assert list(facts) == list(KEYS)
    assert (facts["queues"], facts["mtu"], facts["pause.rx"]) == (1, "keep", False)


def test_the_example_says_what_the_default_is() -> None:
    """So that people can begin with a copy of it."""
    loaded = load_profile(EXAMPLE)
    assert (loaded.queues, dict(loaded.values)) == (DEFAULT.queues, dict(DEFAULT.values))


def test_a_file_changes_the_default(tmp_path: Path) -> None:
    loaded = profile(
        tmp_path,
        'queues = 4\nmtu = 9000\nxps = "keep"\n[features]\ngeneric-receive-offload = false\n'
        '[rings]\nrx = 4096\n[pause]\nrx = "keep"\ntx = "keep"\nautoneg = "keep"\n',
    )
    assert loaded.queues == 4 and loaded.name.endswith("my.toml")
    assert loaded.values["mtu"] == 9000 and loaded.values["rings.rx"] == 4096
    assert loaded.values["features.generic-receive-offload"] is False
    assert "xps" not in loaded.values and "pause.rx" not in loaded.values
    assert loaded.values["rss"] == "equal"
    assert "rings.rx" in loaded.explicit and "rss" not in loaded.explicit
    assert loaded.facts()["pause.tx"] == "keep"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("queue = 1", r"unknown key 'queue' \(did you mean 'queues'\?\)"),
        ("[ring]\nrx = 1", r"unknown key 'ring' \(did you mean 'rings'\?\)"),
        ("[features]\nrx-vlan-offlaod = true", r"did you mean 'features.rx-vlan-offload'"),
        ("rx-usecs = 8", r"unknown key 'rx-usecs' \(did you mean 'coalesce.rx-usecs'\?\)"),
        (
            "zzzz = 8",
            r"unknown key 'zzzz': use queues, mtu, .* or a key of \[rings\], \[coalesce\], \[features\]",
        ),
        ("queues = 0", r"queues = 0: use a whole number from 1 to 1024"),
        ('queues = "keep"', r'queues = "keep": use a whole number'),
        ("queues = true", r"queues = true: use a whole number"),
        ("mtu = 1500.5", r"mtu = 1500.5: use a whole number from 68 to 65535, or \"keep\""),
        ("mtu = 67", r"mtu = 67: use a whole number"),
        ("[rings]\nrx = 2097152", r"rings.rx = 2097152: use a whole number from 1 to 1048576"),
        ("[coalesce]\nrx-usecs = -1", r"coalesce.rx-usecs = -1: use a whole number from 0"),
        ("[pause]\nrx = 1", r"pause.rx = 1: use true, false or \"keep\""),
        ('[features]\nrx-all = "on"', r'features.rx-all = "on": use true, false or "keep"'),
        ("rps = true", r'rps = true: use false or "keep"'),
        ('rss = "default"', r'rss = "default": use "equal" or "keep"'),
        ("rings = 4", r"write \[rings\], with its keys below"),
        ("queues = \n", r"Invalid value \(at line 1, column 10\)"),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=rf"my\.toml: .*{message}"):
        profile(tmp_path, text)


def test_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml: can't be read: No such file"):
        load_profile(str(tmp_path / "none.toml"))
    (tmp_path / "bad.toml").write_bytes(b"mtu = \xff")
    with pytest.raises(UsageError, match="not UTF-8 text"):
        load_profile(tmp_path / "bad.toml")


def test_each_key_of_a_profile_is_understood() -> None:
    """By a setter, or as one that is worked out from the port."""
    for key in KEYS:
        assert key in ("queues", "irq-affinity", "rss", "rps", "rfs", "xps") or group_of(key) in (
            "mtu", "promisc", "threaded", "gro_flush_timeout", "napi_defer_hard_irqs", "rings", "coalesce", "features",
            "pause",
        )  # fmt: skip


# --- Queues -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "limits", "have", "wanted"),
    [
        # e1000e has no channels: what the kernel shows.
        ({}, {}, 1, {}),
        ({"combined": 8}, {"combined": 8}, 8, {"channels.combined": 2}),
        # igb counts its link interrupt as "other", which is none of ours.
        ({"combined": 8, "other": 1}, {"combined": 8, "other": 1}, 8, {"channels.combined": 2}),
        ({"rx": 4, "tx": 4}, {"rx": 4, "tx": 4}, 4, {"channels.rx": 2, "channels.tx": 2}),
        # bnxt and ice have both kinds.
        ({"rx": 0, "tx": 0, "combined": 16}, {"rx": 16, "tx": 16, "combined": 16}, 16,
         {"channels.combined": 2, "channels.rx": 0, "channels.tx": 0}),
        ({"rx": 2, "tx": 0, "combined": 6}, {"rx": 16, "tx": 16, "combined": 16}, 8,
         {"channels.combined": 2, "channels.rx": 0, "channels.tx": 0}),
        # ethtool 5 prints 0 for what there is not.
        ({"rx": 0, "tx": 0, "combined": 8}, {"rx": 0, "tx": 0, "combined": 63}, 8, {"channels.combined": 2}),
    ],
)  # fmt: skip
def test_counts_of_queues(
    channels: dict[str, int], limits: dict[str, int], have: int, wanted: dict[str, int]
) -> None:
    state = captured("e1000e")
    state = replace(
        state,
        settings={**state.settings, **{f"channels.{kind}": n for kind, n in channels.items()}},
        limits={f"channels.{kind}": n for kind, n in limits.items()},
    )
    assert queue_count(state) == have
    assert channel_counts(state, 2) == wanted


# --- Setting ----------------------------------------------------------------------------------------------------


class Port:
    """A shell whose one port is what the lab's printed, and which only notes what it is told."""

    def __init__(self, driver: str, *, irqbalance: bool = False) -> None:
        self.text = (Path(__file__).parent / "nic_captures" / f"{driver}.txt").read_text()
        self.irqbalance = irqbalance
        self.did: list[str] = []

    def run(self, argv: Any, **_: Any) -> Completed:
        if argv[0] == "ip" and "address" in argv:
            return Completed(f"[{self.text.splitlines()[1]}]", "", 0)
        if argv[0] == "sh":
            found = "/proc/4/comm" if self.irqbalance else ""
            return Completed(found if "irqbalance" in argv[2] else self.text, "", 0)
        self.did.append(" ".join(argv))
        return Completed("", "", 0)

    def read_text(self, path: str, **_: Any) -> str:
        raise AssertionError(path)

    def write_text(self, path: str, text: str, **_: Any) -> None:
        self.did.append(f"{path} = {text.strip()}")

    def exists(self, path: str, **_: Any) -> bool:
        raise AssertionError(path)

    def list_dir(self, path: str, **_: Any) -> list[str]:
        raise AssertionError(path)


def lent_of(driver: str) -> Lent:
    return Lent(None, None, None, captured(driver), "space")  # type: ignore[arg-type]


def test_the_default_on_e1000e() -> None:
    port = Port("e1000e")
    done = apply(port, lent_of("e1000e"), DEFAULT, [1])
    assert port.did == [
        "ethtool -K eth1 rx-vlan-offload off tx-vlan-offload off",
        "ethtool -A eth1 autoneg off rx off tx off",
        "/proc/irq/37/smp_affinity_list = 1",
        "/proc/irq/38/smp_affinity_list = 1",
    ]
    assert done.not_set == {"features.rx-vlan-filter": "fixed by the driver to on"}
    assert done.receive_irqs == (37,) and not done.irqbalance


def test_a_driver_that_keeps_its_queues_is_given_packets_on_so_many() -> None:
    """vmxnet3 under QEMU: RSS is what limits it."""
    port = Port("vmxnet3", irqbalance=True)
    done = apply(port, lent_of("vmxnet3"), DEFAULT, [1])
    assert "ethtool -L eth5 combined 1" in port.did
    assert "ethtool -X eth5 equal 1" in port.did
    assert done.irqbalance


def test_each_queue_has_its_cpu() -> None:
    port = Port("vmxnet3")
    done = apply(port, lent_of("vmxnet3"), replace(DEFAULT, queues=2), [5, 7])
    assert [line for line in port.did if "irq" in line] == [
        "/proc/irq/43/smp_affinity_list = 5",
        "/proc/irq/44/smp_affinity_list = 7",
    ]
    assert done.receive_irqs == (43, 44)
    assert not any(line.startswith(("ethtool -L", "ethtool -X")) for line in port.did)


@pytest.mark.parametrize(
    ("driver", "queues", "message"),
    [
        ("e1000e", 2, "eth1 has 1 queue, not 2: the driver keeps to 1 queue; use --queues 1"),
        ("virtio_net", 4, "eth3 has 1 queue, not 4: the port has at most 1 queue; use --queues 1"),
        ("vmxnet3", 3, "eth5 has 2 queues, not 3: the port has at most 2 queues; use --queues 2"),
    ],
)
def test_more_queues_than_there_are(driver: str, queues: int, message: str) -> None:
    wanted = replace(DEFAULT, queues=queues)
    with pytest.raises(EnvironmentProblem, match=f"^{message}$"):
        apply(Port(driver), lent_of(driver), wanted, [0])
    assert "channels" in apply(Port(driver), lent_of(driver), wanted, [0], strict=False).not_set


def test_what_a_file_asks_for_and_the_driver_lacks(tmp_path: Path) -> None:
    asked = profile(tmp_path, "[coalesce]\nadaptive-rx = true")
    with pytest.raises(
        EnvironmentProblem, match=r"my.toml: eth1 can't be set to coalesce.adaptive-rx = on: the driver"
    ):
        apply(Port("e1000e"), lent_of("e1000e"), asked, [0])
    # Off is what it is anyway.
    asked = profile(tmp_path, "[coalesce]\nadaptive-rx = false")
    assert "coalesce.adaptive-rx" not in apply(Port("e1000e"), lent_of("e1000e"), asked, [0]).not_set


def test_an_rss_table_that_could_not_be_put_back_stays() -> None:
    lent = lent_of("vmxnet3")
    lent.state.settings["rss.table"] = "1 0 1 0"
    port = Port("vmxnet3")
    port.text = port.text.replace(
        "     0     1     0     1     0     1     0     1", "     1     0     1     0     1     0     1     0"
    )
    done = apply(port, lent, DEFAULT, [0])
    assert "no words to put the table back" in done.not_set["rss.table"]
    assert not any(line.startswith("ethtool -X") for line in port.did)
