# SPDX-License-Identifier: GPL-2.0-only
"""What a chart is, how it becomes SVG or pixels, and how datapaths look in all of them.

A chart is drawn when it is asked for, and in one of two ways: inline in a page, in whose light or dark colours it
shows itself, or alone, black on white, for papers.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Topic = Literal["ports", "throughput", "loss", "latency", "cpu", "ledger"]
LineStyle = str | tuple[float, tuple[float, ...]]

WIDTH_IN = 6.2
"""Of every chart, in inches."""
PNG_DPI = 200

# Okabe and Ito's colour-blind safe palette, darkened where it is too pale for a white page. Marker and dashes tell
# datapaths apart where there are no colours.
STYLES: dict[str, tuple[str, str, LineStyle]] = {
    "netfilter": ("#d55e00", "s", (0, (1, 1.2))),
    "xdp": ("#0080c8", "o", "-"),
    "xdp_generic": ("#5b6bbf", "H", (0, (3, 1, 1, 1))),
    "af_packet": ("#009e73", "^", (0, (6, 1.5, 1, 1.5))),
    "kernel": ("#808080", "D", (0, (4, 1.5))),
    "tc": ("#d18f00", "v", (0, (9, 2))),
    "af_xdp": ("#3fa5d8", "P", (0, (2.5, 1.2))),
    "dpdk": ("#c4689a", "X", (0, (6, 1.5, 1, 1.5, 1, 1.5))),
    "nftables": ("#a89a00", "p", (0, (9, 1.5, 3, 1.5))),
}
_OTHER_COLOURS = ("#9467bd", "#8c564b", "#7f9b3a", "#b5495b", "#4f7cac")
_OTHER_MARKERS = ("*", "h", "<", ">", "d")
_OTHER_LINES: tuple[LineStyle, ...] = (
    (0, (8, 1.5, 2, 1.5)),
    (0, (3, 3)),
    (0, (5, 1, 1, 1, 1, 1, 1, 1)),
    (0, (12, 1.5)),
    (0, (2, 3)),
)

# Colours that stand for the page's own: replaced after drawing, so that one SVG suits light and dark.
_ON_PAGE = ("#010203", "#040506")
_PAGE = dict(zip(_ON_PAGE, ("var(--ink, #222)", "var(--faint, #bbb)"), strict=True))
_ON_PAPER = ("#000000", "#b8b8b8")


@dataclass(frozen=True)
class Chart:
    """One chart: what it is called, what it says in words, and how to draw it."""

    name: str
    """Lower-case letters, digits and hyphens, unique in a report: its ids in the page and its file's name."""
    topic: Topic
    title: str
    alt: str
    """The text alternative: the figures themselves, in words."""
    height_in: float
    plot: Callable[[Axes], None] = field(repr=False, compare=False)
    note: str = ""
    """How to read it."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9-]+", self.name):
            raise ValueError(
                f"a chart's name has lower-case letters, digits and hyphens only, not {self.name!r}"
            )

    def inline_svg(self) -> str:
        """The bare ``<svg>`` element: unique ids, the page's colours, no fixed size. Trusted markup, made here.

        It is hidden from assistive technology: the figure around it carries `alt`.
        """
        svg = self._drawn("svg", inline=True).decode()
        # A style sheet would be the whole page's; what it says is inherited from the element as well.
        svg = re.sub(r"<style\b.*?</style>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
        svg = re.sub(r">\s+<", "><", svg)
        head, rest = re.sub(r"<[^>]*>", self._for_page, svg).split(">", 1)
        head = re.sub(r'\s(width|height|version|xmlns|xmlns:xlink)="[^"]*"', "", head)
        return f'{head} style="stroke-linejoin: round" aria-hidden="true">{rest}'

    def _for_page(self, tag: re.Match[str]) -> str:
        """One tag, with the page's colours and font, and ids that no other chart has. Text is left as it is."""
        found = tag.group()
        found = re.sub(r'\bid="([^"]+)"', rf'id="{self.name}-\1"', found)
        found = re.sub(r"url\(#([^)]+)\)", rf"url(#{self.name}-\1)", found)
        found = re.sub(r'href="#([^"]+)"', rf'href="#{self.name}-\1"', found)
        found = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 system-ui, sans-serif", found)
        found = re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", found)
        found = re.sub(r"(\.\d\d)\d+", r"\1", found)
        for drawn, colour in _PAGE.items():
            found = found.replace(drawn, colour)
        return found

    def svg(self) -> bytes:
        """A file of its own: black on white, letters as outlines, so that it looks the same without the fonts."""
        svg = self._drawn("svg").decode()
        head, rest = svg[svg.index("<svg") :].split(">", 1)
        words = (
            f"<title>{escape(_printable(self.title))}</title>\n<desc>{escape(_printable(self.alt))}</desc>"
        )
        return f'<?xml version="1.0" encoding="utf-8"?>\n{head} role="img">\n{words}{rest}'.encode()

    def png(self, dpi: int = PNG_DPI) -> bytes:
        """The same as pixels."""
        return self._drawn("png", dpi)

    def _drawn(self, form: Literal["svg", "png"], dpi: int = PNG_DPI, inline: bool = False) -> bytes:
        ink, faint = _ON_PAGE if inline else _ON_PAPER
        settings: dict[Any, Any] = {
            "svg.fonttype": "none" if inline else "path", "svg.hashsalt": self.name, "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans"], "font.size": 10, "text.color": ink, "axes.labelcolor": ink,
            "axes.edgecolor": faint, "xtick.color": ink, "ytick.color": ink, "grid.color": faint,
            "hatch.linewidth": 0.5, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
            "axes.facecolor": "none", "text.parse_math": False,
        }  # fmt: skip
        with mpl.rc_context(settings):
            figure = Figure(figsize=(WIDTH_IN, self.height_in), layout="constrained")
            self.plot(figure.add_subplot())
            out = io.BytesIO()
            # Neither date nor version: the same chart gives the same file.
            said = (
                {"Software": None} if form == "png" else dict.fromkeys(("Date", "Creator", "Format", "Type"))
            )
            figure.savefig(out, format=form, metadata=said, dpi=dpi, facecolor="none" if inline else "white")
        return out.getvalue()


def _printable(text: str) -> str:
    """Without the control characters that XML does not have."""
    return re.sub(
        r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]", "\N{REPLACEMENT CHARACTER}", text
    )


def style(datapath: str) -> tuple[str, str, LineStyle]:
    """Colour, marker and line style of a datapath; unknown ones get stable ones of their own."""
    known = STYLES.get(datapath)
    if known is not None:
        return known
    number = zlib.crc32(datapath.encode("utf-8", "replace"))
    number, colour = divmod(number, len(_OTHER_COLOURS))
    number, marker = divmod(number, len(_OTHER_MARKERS))
    return _OTHER_COLOURS[colour], _OTHER_MARKERS[marker], _OTHER_LINES[number % len(_OTHER_LINES)]


def ink() -> str:
    """The colour of text in the chart that is being drawn: only within `Chart.plot`."""
    return str(mpl.rcParams["text.color"])


def faint() -> str:
    """The colour of lines that stay in the background: only within `Chart.plot`."""
    return str(mpl.rcParams["grid.color"])
