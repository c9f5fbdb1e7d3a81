# SPDX-License-Identifier: GPL-2.0-only
"""Synthetic runs on NICs: an emulated hairpin, two ports over ssh with 1 to 4 queues, a link at line rate."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kbench.model import Case, CpuTime, Kind, Part, Trial, Verification
from kbench.store import Run, RunStore, load_run
from tests.unit import synthetic_runs as synthetic

HERE, TESTER = "this machine", "ssh://root@10.0.0.2:2222"
EMULATED_ID, QUEUES_ID, LINE_ID = "20000104-000000-e1e1", "20000105-000000-1ce5", "20000106-000000-11e1"
DATAPATHS = ("xdp", "af_packet", "kernel")
EMULATED_PPS = {"xdp": 56_000.0, "af_packet": 31_000.0, "kernel": 42_000.0}
PER_QUEUE_PPS = {"xdp": 4.1e6, "af_packet": 0.71e6, "kernel": 0.93e6}
SCALES = {"xdp": 0.97, "af_packet": 0.02, "kernel": 0.9}
"""How much of a queue's rate each further one adds."""
GIGABIT_PPS = 1e9 / (84 * 8)
QUEUES = (1, 2, 4)
NOTICE = "irqbalance runs: it may move the queues' interrupts during the run; stop it for that time."


def port(
    host: str, name: str, driver: str, speed_mbps: int | None, emulated: bool = False, **more: Any
) -> dict[str, Any]:
    """A port, as `Part.nic` has it."""
    number = sum(f"{host}{name}".encode()) % 200
    return {
        "host": host, "name": name, "driver": driver, "bus": f"0000:{number:02x}:00.0",
        "mac": f"52:54:00:00:00:{number:02x}", "speed_mbps": speed_mbps, "emulated": emulated, **more,
    }  # fmt: skip


def hairpin(
    host: str = HERE, driver: str = "e1000e", speed: int | None = 1000, **more: Any
) -> dict[str, Any]:
    """eth1 of the DUT cabled to eth2, both of `host` unless ``tester`` says otherwise."""
    tester = more.pop("tester", host)
    mine, theirs = port(host, "eth1", driver, speed, **more), port(tester, "eth2", driver, speed, **more)
    return {
        "kind": "hairpin", "found": "probe frames", "dut": host, "tester": tester, "driver_loopback": False,
        "ports": {"generator": theirs, "rx": mine, "tx": mine, "sink": theirs},
    }  # fmt: skip


def two_port() -> dict[str, Any]:
    """In by eth1, out by eth3; generator and sink on another machine."""
    names = {
        "generator": (TESTER, "eth2"),
        "rx": (HERE, "eth1"),
        "tx": (HERE, "eth3"),
        "sink": (TESTER, "eth4"),
    }
    ports = {role: port(host, name, "ice", 25_000) for role, (host, name) in names.items()}
    return {
        "kind": "two-port", "found": "named", "dut": HERE, "tester": TESTER, "driver_loopback": False, "ports": ports,
    }  # fmt: skip


def loopback() -> dict[str, Any]:
    """One port that the driver loops back."""
    mine = port(HERE, "eth1", "mlx5_core", 25_000)
    return {
        "kind": "loopback", "found": "named", "dut": HERE, "tester": HERE, "driver_loopback": True,
        "ports": {"generator": mine, "rx": mine},
    }  # fmt: skip


def part(nic: Mapping[str, Any], name: str = "host", kind: Kind = "wall", kernel: str | None = None) -> Part:
    """A part on NICs."""
    return Part(name, kind, DATAPATHS, "xdp", "split", "Synthetic NICs.", kernel, dict(nic))  # type: ignore[arg-type]


def facts_of(nic: Mapping[str, Any], hardware: bool) -> dict[str, Any]:
    """``nics`` and ``nic_profile`` of a part, with a setting that could not be made."""
    ports = {(p["host"], p["name"]): p for p in nic["ports"].values()}
    return {
        "nic_profile": {"name": "default", "settings": {"gro": False, "lro": False, "rings": "max"}},
        "nics": [
            {
                **{key: p[key] for key in ("host", "name", "driver", "bus", "speed_mbps")},
                "driver_version": "6.12.0", "firmware": "4.40 0x8001c967" if hardware else None,
                "before": settings(False), "during": settings(True),
                "not_set": {"pause.rx": "the driver refuses it: Operation not supported"},
                "clock": {"hardware": hardware, "phc": n if hardware else None,
                          "why": "" if hardware else "the driver offers no hardware receive filter"},
            }
            for n, p in enumerate(ports.values())
        ],
    }  # fmt: skip


def settings(during: bool) -> dict[str, Any]:
    """Of one port."""
    made: dict[str, Any] = {
        "channels.combined": 4 if during else 16, "rings.rx": 4096 if during else 512, "rings.tx": 512, "mtu": 1500,
        "features.generic-receive-offload": not during, "features.large-receive-offload": False,
        "coalesce.rx-usecs": 50, "pause.rx": True, "threaded": False,
    }  # fmt: skip
    for queue in range(4):
        made[f"irq.{130 + queue}.smp_affinity_list"] = str(queue + 1) if during else "0-15"
        made[f"queue.rx-{queue}.rps_cpus"] = "0"
    return made


def trial(part_: Part, case: Case, datapath: str, round_: int, pps: float, random_: random.Random) -> Trial:
    """A rate trial on NICs: packets by CPU, and what the NICs counted."""
    made = synthetic.wall_trial(case, datapath, round_, random_, pps)
    queues = max(case.queues, 1)
    offered = made.counters.offered
    uneven = [1 + 0.1 * (n - (queues - 1) / 2) for n in range(queues)]
    in_stack = offered // 50 if datapath == "xdp" else offered
    softnet = {f"processed/cpu{n + 1}": int(in_stack * uneven[n] / queues) for n in range(queues)}
    stats = {f"rx_queue_{n}_packets": int(offered * uneven[n] / queues) for n in range(queues)}
    stats |= {"rx_missed_errors": offered // 900, "rx_bytes": offered * 64}
    given = {"generator": 0, "receive": 1, "application": 5, "receive_all": [*range(1, queues + 1)]}
    raw = {
        "testbed": "nic", "cpus": given,
        "offloads": {"rx": [], "tx": []},
        "nic_stats": {"rx": stats, "sink": {"rx_packets": offered, "rx_no_dma_resources": 3}},
    }  # fmt: skip
    cpus = [CpuTime(n, 0.0, 0.02, 0.0, 0.9 if 1 <= n <= queues else 0.0, 0.0, 0.08) for n in range(6)]
    return dataclasses.replace(
        made, part=part_.name, kind=part_.kind, placement="split", raw=raw, softnet=softnet, cpus=cpus,
        block=round_ // 3, dut_cpu_ns_per_packet=1e9 / pps, cpu_ns_per_packet=1e9 / pps + 100, steal_share=0.0,
    )  # fmt: skip


def timed(part_: Part, case: Case, datapath: str, hardware: bool) -> Trial:
    """A latency trial, with the clock that it was timed by."""
    made = trial(part_, case, datapath, 1, 50_000.0, random.Random(3))
    kind, what = (
        ("hardware", "PHC of eth2 to PHC of eth4") if hardware else ("software", "the tester's own clock")
    )
    made.raw["latency_clock"] = {"kind": kind, "what": what}
    quick = synthetic.histogram({"xdp": 4000.0, "af_packet": 22_000.0}.get(datapath, 9000.0), 20_000, 5)
    return dataclasses.replace(made, purpose="latency", load_pps=50_000.0, latency=quick)


def write(
    root: Path,
    run_id: str,
    part_: Part,
    rates: Mapping[Case, Mapping[str, float]],
    hardware: bool,
    rounds: int = 9,
) -> Run:
    """A run of one part on NICs, `rates` by case and datapath."""
    random_ = random.Random(11)
    document = synthetic.document((part_,), tuple(rates), rounds)
    machine = document["facts"].pop("host")
    document["facts"][part_.name] = machine | facts_of(part_.nic or {}, hardware)
    document["label"], document["command"] = None, ["kbench", "run", "--nic", "eth1"]
    with RunStore.create(root, run_id, document) as store:
        for case, by_datapath in rates.items():
            for datapath in by_datapath:
                store.append_verification(Verification(part_.name, case.case_id, datapath, 78, True))
        for case, by_datapath in rates.items():
            for round_ in range(rounds):
                for datapath, pps in by_datapath.items():
                    store.append_trial(trial(part_, case, datapath, round_, pps, random_))
            for datapath in by_datapath:
                store.append_trial(timed(part_, case, datapath, hardware))
        store.append_notice(NOTICE, part_.name)
        store.append_end("2000-01-04T00:02:00Z")
    return load_run(run_id, root)


def emulated(root: Path, run_id: str = EMULATED_ID, **topology: Any) -> Run:
    """Hairpin between two e1000e of a lab VM."""
    where = part(hairpin("lab", **{"emulated": True, **topology}), "lab", "emulated", "6.12.9-test")
    return write(root, run_id, where, {synthetic.FORWARD: EMULATED_PPS}, hardware=False)


def queues(root: Path, run_id: str = QUEUES_ID) -> Run:
    """Two ports of real NICs, the tester behind ssh, with 1, 2 and 4 queues."""
    rates = {
        Case("forward", routes=1000, queues=n): {
            name: pps * (1 + (n - 1) * SCALES[name]) for name, pps in PER_QUEUE_PPS.items()
        }
        for n in QUEUES
    }
    return write(root, run_id, part(two_port()), rates, hardware=True)


def at_line_rate(root: Path, run_id: str = LINE_ID) -> Run:
    """Gigabit between two ports of one machine: xdp fills the wire."""
    rates = {"xdp": GIGABIT_PPS * 0.97, "kernel": 0.9e6}
    where = dataclasses.replace(part(hairpin()), datapaths=("xdp", "kernel"))
    return write(root, run_id, where, {synthetic.FORWARD: rates}, hardware=False)
