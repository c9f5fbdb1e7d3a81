# SPDX-License-Identifier: GPL-2.0-only
"""Made-up comparisons for the tests of charts, and what those tests look at: a chart's markup and its texts' places."""

from __future__ import annotations

import dataclasses
import functools
import random
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from kbench.explain import stats
from kbench.explain.comparison import CPU_STATES, Comparison, Latency, Ledger, Outlier, Row
from kbench.explain.figures import Chart
from kbench.explain.figures.base import WIDTH_IN
from kbench.explain.grade import Grade
from kbench.explain.method_results import CpuAtLoad, Curve, LatencyAt
from kbench.explain.stats import Estimate
from kbench.explain.throughput import Bound
from kbench.model import Case, Histogram, Kind, Part
from tests.unit import synthetic_runs as synthetic

EIGHT = ("netfilter", "xdp", "af_packet", "kernel", "tc", "af_xdp", "dpdk", "nftables")
LONG = tuple(f"{name}-with-a-patch-of-{n}-queues_and_a_long_branch_name" for n, name in enumerate(EIGHT))
HOSTILE = '<script>alert("x")</script>&#x26;$\\frac{1}{2}$\x00\u202e'
PATCHED = r'"><b onload=x id="figure_1" href="#y">'
SVG = "{http://www.w3.org/2000/svg}"


def comparison(
    case: Case = synthetic.FORWARD,
    datapaths: Sequence[str] = EIGHT,
    rounds: int = 12,
    kind: Kind = "wall",
    faster: float = 1.0,
) -> Comparison:
    """Rates (or instructions) in steps of 20 %, times a `faster` of one case against another."""
    part = Part("lab" if kind == "exact" else "host", kind, tuple(datapaths), "pktgen", "same", "made up")
    rows = [row(name, 3e6 * 0.8**n * faster, rounds, kind) for n, name in enumerate(datapaths)]
    return Comparison(part, case.case_id, case, case.function, case.frame_bytes, "pktgen", None, datapaths[0],
                      kind == "exact", rows=rows)  # fmt: skip


def row(name: str, value: float, rounds: int, kind: Kind) -> Row:
    """One datapath: round 3 is an outlier, a few packets are lost."""
    random_ = random.Random(name)
    made = Row(name, ["same"])
    if kind == "exact":
        made.by_round = {r: 1e9 / value + 0.1 * r for r in range(3)}
        made.figure = stats.spread(list(made.by_round.values()))
    else:
        made.by_round = {r: value * random_.gauss(1, 0.02) for r in range(rounds)}
        made.by_round[3] = value * 0.6
        made.outliers = [Outlier(3, 0, made.by_round[3], 0.6, -9.0)]
        made.figure = stats.median_ci(list(made.by_round.values()), "round")
        made.dut_by_round = {r: 1e9 / pps for r, pps in made.by_round.items()}
        made.dut_ns = stats.median_ci(list(made.dut_by_round.values()))
        made.cpus = {c: dict(zip(CPU_STATES, (0.1, 0.2, 0.0, 0.5, 0.0, 0.2), strict=True)) for c in (0, 1)}
        histogram = timed(sum(name.encode()) % 7)
        percentiles = {f"{p:g}": stats.percentile_ns(histogram, p) for p in (50.0, 99.0, 99.9)}
        made.latency = Latency(
            20_000, [5e4], percentiles, histogram.min_ns, histogram.max_ns, False, histogram
        )
    made.ledger = Ledger(rounds, 100_000, 74_800, {"policy": 25_000}, 200, {"socket_ring": 150})
    return made


@functools.cache
def timed(number: int) -> Histogram:
    """Some latencies, the same for the same number."""
    return synthetic.histogram(2000.0 * 1.6**number, 20_000, 1)


def bounds(datapaths: Sequence[str] = EIGHT, repeats: int = 4) -> list[Bound]:
    """NDR and PDR of each; the last one's NDR was not reached."""
    found = []
    for goal, loss in (("ndr", 0.0), ("pdr", 0.005)):
        for n, name in enumerate(datapaths):
            pps = 2e6 * 0.8**n * (1 if loss else 0.7)
            rate = (
                None if name == datapaths[-1] and not loss else Estimate(pps, pps * 0.98, pps * 1.02, repeats)
            )
            pairs = {r: (pps * (1 + 0.001 * r), pps * 1.01) for r in range(repeats if rate else 0)}
            found.append(Bound(name, goal, loss, "mlrsearch", 0.3, rate, n == 0, None, None, None, None, repeats,
                               {"found": repeats}, 1000.0, 3e6, pairs, Grade()))  # fmt: skip
    return found


def curves(datapaths: Sequence[str] = EIGHT, repeats: int = 3) -> list[Curve]:
    """Loss above each one's rate."""
    return [
        Curve(name, 0.3, repeats, {"loss_free": repeats}, [
            (r, 3e5 * tenth, tenth / 10, max(0.0, 1 - 0.8**n * 2.2e6 / (3e5 * tenth)))
            for r in range(repeats) for tenth in range(10, 0, -1)
        ], Grade())
        for n, name in enumerate(datapaths)
    ]  # fmt: skip


def latencies(datapaths: Sequence[str] = EIGHT) -> list[LatencyAt]:
    """At four loads each."""
    found = []
    for n, name in enumerate(datapaths):
        for load in ("0", "10", "50", "90"):
            middle = 1000.0 * 1.6**n * (1 + int(load) / 30)
            percentiles: dict[str, float | None] = {"50": middle, "90": middle * 1.3, "99": middle * 3}
            percentiles |= {"99.9": middle * 9, "99.99": None}
            found.append(LatencyAt(name, load, int(load) / 100, 1e5, 20_000, percentiles, 10**7, False,
                                   timed(0), Grade()))  # fmt: skip
    return found


def cpu_at_load(datapaths: Sequence[str] = EIGHT) -> list[CpuAtLoad]:
    """With cycles for all."""
    return [
        CpuAtLoad(name, 250_000.0, Estimate(100.0 + n, 99.0, 103.0 + n, 4), Estimate(60.0, 59.0, 61.0, 4),
                  Estimate(900.0 + n, None, None, 4), None, None, 0.0, {}, Grade())
        for n, name in enumerate(datapaths)
    ]  # fmt: skip


def cases(**fields: Sequence[int]) -> list[Case]:
    """A filter case per value of each field, the others at their defaults."""
    base = Case("filter", rules=100, routes=1000)
    return [dataclasses.replace(base, **{name: value}) for name, values in fields.items() for value in values]


def parsed(chart: Chart) -> ET.Element:
    """The inline markup as XML; the name space of links is the page's."""
    return ET.fromstring(f'<p xmlns:xlink="http://www.w3.org/1999/xlink">{chart.inline_svg()}</p>')


def words(chart: Chart) -> list[str]:
    """The texts in a chart."""
    return ["".join(found.itertext()) for found in parsed(chart).iter("text")]


def marks_of(chart: Chart) -> int:
    """How many marks and lines there are."""
    return len(re.findall(r"<(?:use|path) ", chart.inline_svg()))


def boxes(chart: Chart) -> tuple[list[tuple[str, Bbox]], Bbox]:
    """Every text that is shown, with the pixels that it takes, and those of the picture."""
    with mpl.rc_context({"font.sans-serif": ["DejaVu Sans"], "font.size": 10, "text.parse_math": False}):
        figure = Figure(figsize=(WIDTH_IN, chart.height_in), layout="constrained", dpi=100)
        canvas = FigureCanvasAgg(figure)
        axes: Axes = figure.add_subplot()
        chart.plot(axes)
        canvas.draw()
        low, high = axes.get_position().intervaly * figure.bbox.height
        left, right = axes.get_position().intervalx * figure.bbox.width
        found = []
        x_labels, y_labels = axes.get_xticklabels(which="both"), axes.get_yticklabels(which="both")
        for text in figure.findobj(Text):
            assert isinstance(text, Text)
            box = text.get_window_extent(canvas.get_renderer())
            # The ticks of a log axis beyond its limits have labels that are not drawn.
            of_x, of_y = text in x_labels, text in y_labels
            outside = (of_x and not left - 1 <= (box.x0 + box.x1) / 2 <= right + 1) or (
                of_y and not low - 1 <= (box.y0 + box.y1) / 2 <= high + 1
            )
            if text.get_visible() and text.get_text().strip() and not outside:
                found.append((text.get_text(), box))
        return found, figure.bbox
