# SPDX-License-Identifier: GPL-2.0-only
"""OpenMetrics text (version 1.0): gauges in base units, for a monitoring system to keep a run's results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric, StateSetMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.registry import Collector

from kbench.explain.export.document import Document, clean, when
from kbench.explain.export.results import Result, results
from kbench.explain.grade import MEANING
from kbench.store import Run

LABELS = (
    "run", "part", "kind", "case", "function", "frame_bytes", "generator", "method", "datapath", "load",
)  # fmt: skip
"""Labels of every result; a family may have one more, and `bound`: value, low or high."""
OF_NICS = ("queues", "driver")
"""Labels more in runs on NICs: of others they would be empty, which is the same as not there."""
NS = 1e-9


@dataclass(frozen=True)
class Family:
    """One metric family: `name` lacks the prefix, and the unit that OpenMetrics puts behind it."""

    name: str
    unit: str
    help: str
    extra: str | None = None
    """A label of this family alone; `extra_of` gives its value from the result's metric."""
    extra_of: Callable[[str], str] = str
    scale: float = 1.0


def _quantile(metric: str) -> str:
    return f"{float(metric.removeprefix('latency_p')) / 100:.6g}"


_LATENCY = Family("latency", "seconds", "Latency through the DUT.", "quantile", _quantile, NS)
_GOAL = Family("throughput", "packets_per_second", "Throughput found by a search.", "goal")
_GOAL_RATIO = Family(
    "throughput", "ratio", "Throughput over the reference's.", "goal", lambda m: m.removesuffix("_ratio")
)
_PACKETS = Family(
    "ledger", "packets", "Packets of all trials by their fate.", "fate", lambda m: m.removeprefix("packets_")
)
FAMILIES = {
    "rate": Family("handled_rate", "packets_per_second", "Packets forwarded, or dropped as the function says."),
    "rate_ratio": Family("handled_rate", "ratio", "Rate over the reference's, paired by rounds."),
    "paced_rate": Family("paced_rate", "packets_per_second", "Most that the generator offers with pacing."),
    "instructions": Family("cost", "instructions_per_packet", "Guest instructions per packet."),
    "instructions_ratio": Family("cost", "ratio", "Instructions per packet over the reference's."),
    "cpu": Family("cpu", "seconds_per_packet", "CPU time per packet: generator, veth and DUT.", scale=NS),
    "dut_cpu": Family("dut_cpu", "seconds_per_packet", "CPU time per packet of the DUT.", scale=NS),
    "receive_cpu": Family("receive_cpu", "seconds_per_packet", "The same into a bare drop.", scale=NS),
    "cycles": Family("dut_cpu", "cycles_per_packet", "CPU cycles per packet of the DUT."),
    "idle_cpu_share": Family("idle_cpu", "ratio", "Share of a CPU taken while no packet comes."),
    "loss_ratio": Family("loss", "ratio", "Share of the packets that were lost."),
    "latency_max": Family("latency_max", "seconds", "Highest latency seen.", scale=NS),
    "longest_burst": Family("longest_burst", "frames", "Longest burst without loss (RFC 9004)."),
    "implied_buffer": Family("implied_buffer", "seconds", "Longest burst as time at the burst's rate."),
    "corrected_buffer": Family("corrected_buffer", "seconds", "The same less what was forwarded meanwhile."),
    "ndr": _GOAL, "pdr": _GOAL, "throughput": _GOAL,
    "ndr_ratio": _GOAL_RATIO, "pdr_ratio": _GOAL_RATIO, "throughput_ratio": _GOAL_RATIO,
}  # fmt: skip


def family_of(metric: str) -> Family:
    """The metric family of a result's metric. KeyError for one that this file does not know: a bug."""
    if metric.startswith("latency_p"):
        return _LATENCY
    return _PACKETS if metric.startswith("packets_") else FAMILIES[metric]


def document(run: Run) -> Document:
    """All results that have a value, with their grades, verifications and facts; ends with ``# EOF``."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(run))
    text: bytes = generate_latest(registry)  # type: ignore[no-untyped-call]
    return Document(text)


class _Collected(Collector):
    """What `generate_latest` asks of a registry."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def collect(self) -> Iterator[Metric]:
        yield from _about(self._run)
        yield from _figures(self._run, [result for result in results(self._run) if result.value is not None])
        yield from _proofs(self._run)


def _labels(run: Run, result: Result) -> list[str]:
    values = (
        run.run_id, result.part, result.kind, result.case_id, result.function, result.frame_bytes,
        result.generator, result.method, result.datapath, result.load,
    )  # fmt: skip
    of_nics = (result.case.queues if result.case else 0, result.driver or "") if _on_nics(run) else ()
    return [clean(str(value)) for value in (*values, *of_nics)]


def _on_nics(run: Run) -> bool:
    return any(part.nic for part in run.parts)


def _names(run: Run) -> tuple[str, ...]:
    return (*LABELS, *OF_NICS) if _on_nics(run) else LABELS


def _figures(run: Run, found: list[Result]) -> Iterator[Metric]:
    """Each family once, with all its samples: OpenMetrics lets none come again."""
    families: dict[str, GaugeMetricFamily] = {}
    for result in found:
        what = family_of(result.metric)
        extra = [what.extra] if what.extra else []
        name = f"kbench_{what.name}_{what.unit}"
        made = families.setdefault(
            name, GaugeMetricFamily(name, what.help, labels=[*_names(run), *extra, "bound"], unit=what.unit)
        )
        labels = _labels(run, result) + ([what.extra_of(result.metric)] if what.extra else [])
        for bound in ("value", "low", "high"):
            value = getattr(result, bound)
            if value is not None:
                made.add_metric([*labels, bound], value * what.scale)
    yield from families.values()
    grades = StateSetMetricFamily(
        "kbench_grade", "How far a result can be trusted, A to F.", labels=[*_names(run), "metric"]
    )
    for result in found:
        if result.grade is not None:
            states = {str(letter): letter == result.grade.letter for letter in MEANING}
            grades.add_metric([*_labels(run, result), result.metric], states)
    if grades.samples:
        yield grades


def _proofs(run: Run) -> Iterator[Metric]:
    names = ["run", "part", "case", "datapath"]
    made = GaugeMetricFamily(
        "kbench_verification_passed", "1: it does what the reference model says.", labels=names
    )
    last = {(v.part, v.case_id, v.datapath): v for v in run.verifications}
    for key, proof in last.items():
        made.add_metric([clean(str(value)) for value in (run.run_id, *key)], float(proof.passed))
    if made.samples:
        yield made


def _about(run: Run) -> Iterator[Metric]:
    """The run, and the facts of each part's machine that decide most."""
    outcome = str(run.outcome or "complete") if run.ended else "killed"
    about = {
        "label": run.run.get("label"), "kbench_version": run.run.get("kbench_version"), "outcome": outcome,
        "schema_version": run.run.get("schema_version"),
    }  # fmt: skip
    info = InfoMetricFamily("kbench_run", "What run this is, and how it ended.", labels=["run"])
    info.add_metric([clean(run.run_id)], _known(about))
    yield info
    started = when(run.run.get("started_at"))
    if started is not None:
        at = GaugeMetricFamily(
            "kbench_run_started_timestamp_seconds", "When the run started (Unix time).", labels=["run"],
            unit="seconds",
        )  # fmt: skip
        at.add_metric([clean(run.run_id)], started.timestamp())
        yield at
    machine = InfoMetricFamily("kbench_part", "The machine of a part.", labels=["run", "part"])
    for part in dict.fromkeys([*(p.name for p in run.parts), *run.facts]):
        machine.add_metric([clean(run.run_id), clean(str(part))], _known(_facts(run.facts.get(part, {}))))
    if machine.samples:
        yield machine


def _facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The host's facts are nested, the lab's kernel is a text."""
    cpu, kernel = facts.get("cpu"), facts.get("kernel")
    return {
        "hostname": facts.get("hostname"),
        "distribution": facts.get("distribution"),
        "virtualization": facts.get("virtualization"),
        "kernel": kernel.get("release") if isinstance(kernel, Mapping) else kernel,
        "cpu_model": cpu.get("model") if isinstance(cpu, Mapping) else None,
        "microcode": cpu.get("microcode") if isinstance(cpu, Mapping) else None,
    }


def _known(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: clean(str(value)) for name, value in values.items() if value is not None}
