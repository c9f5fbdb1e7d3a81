# SPDX-License-Identifier: GPL-2.0-only
"""Pages: a template that extends base.html.j2 as one self-contained HTML file, and such a page as PDF.

What others wrote meets two walls: autoescaping, and a Content-Security-Policy that runs and shows only what is named
by its hash. The policy allows no style attributes, so those of charts become classes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any, Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from kbench import __version__
from kbench.errors import EnvironmentProblem
from kbench.explain.answer import number, rate, share, time_ns
from kbench.explain.report.tables import mark

TEMPLATES = Path(__file__).parent / "templates"
PRINT_DPI = 200
"""Of charts in the PDF, which has them as pixels: inline SVG takes WeasyPrint minutes."""
PNG_START = "data:image/png;base64,"


class Drawable(Protocol):
    """What the page needs of a chart."""

    @property
    def alt(self) -> str:
        """Its figures in words."""

    def inline_svg(self) -> str:
        """Markup that follows the page's colours."""

    def png(self, dpi: int = 200) -> bytes:
        """The same as pixels, black on white."""


class _Styles:
    """Style attributes of charts, each once, as classes of the page's own sheet."""

    def __init__(self) -> None:
        self.classes: dict[str, str] = {}

    def strip(self, svg: str) -> str:
        """The SVG with classes in place of style attributes and of style sheets of its own."""

        def named(match: re.Match[str]) -> str:
            rules = match[1].strip()
            return f' class="{self.classes.setdefault(rules, f"s{len(self.classes)}")}"'

        svg = re.sub(r"<style\b.*?</style>", "", svg, flags=re.S)
        return re.sub(r"<[a-zA-Z][^<>]*>", lambda tag: re.sub(r'\sstyle="([^"<>{}]*)"', named, tag[0]), svg)

    def sheet(self) -> str:
        return "".join(f".{name}{{{rules}}}\n" for rules, name in self.classes.items())


def page_html(template: str, *, paged: bool = False, **context: Any) -> str:
    """Render a template below explain/report/templates/ that extends base.html.j2.

    `paged`: for the PDF; charts are pixels, what can be folded is open, there is no script.
    """
    styles = _Styles()

    def picture(chart: Drawable) -> Markup:
        if paged:
            data = base64.b64encode(chart.png(PRINT_DPI)).decode()
            return Markup('<img src="{}{}" alt="{}">').format(PNG_START, data, chart.alt)
        return Markup(styles.strip(chart.inline_svg()))

    def head() -> dict[str, Markup | str]:
        """Styles, script and the policy that names them: asked for when the body is done."""
        style, printed = _read("report.css") + styles.sheet(), _read("print.css")
        script = "" if paged else _read("report.js")
        policy = [
            "default-src 'none'", f"style-src {_hash(style)} {_hash(printed)}",
            f"script-src {_hash(script)}" if script else "script-src 'none'", "img-src data:",
            "base-uri 'none'", "form-action 'none'",
        ]  # fmt: skip
        # Our own files, not data: they must not be escaped.
        own = {"style": Markup(style), "print_style": Markup(printed), "script": Markup(script)}
        return {**own, "policy": "; ".join(policy)}

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(
        number=number, rate=rate, share=share, time_ns=time_ns, picture=picture, look=_look
    )
    environment.globals.update(paged=paged, head=head, kbench_version=__version__)
    return environment.get_template(template).render(**context)


def _look(datapath: str) -> dict[str, str]:
    colour, path = mark(datapath)
    return {"colour": colour, "path": path}


def _read(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def page_pdf(page: str) -> bytes:
    """A page that was made with `paged` as PDF (A4). EnvironmentProblem without WeasyPrint or what it needs."""
    try:
        from weasyprint import HTML
        from weasyprint.urls import URLFetcher, URLFetcherResponse
    except ImportError as error:
        raise EnvironmentProblem(
            "no WeasyPrint, which makes the PDF: pip install 'weasyprint>=68'"
        ) from error
    except OSError as error:
        raise EnvironmentProblem(
            f"WeasyPrint can't load a system library ({str(error).splitlines()[0]}): "
            "install libpango-1.0-0 and libpangoft2-1.0-0 (and a font: fonts-dejavu-core)"
        ) from error

    class OnlyData(URLFetcher):  # type: ignore[misc]
        """What is in the page itself, and nothing from anywhere else."""

        def fetch(self, url: str, headers: Any = None) -> Any:
            if not url.startswith(PNG_START):
                raise ValueError(f"a report loads nothing: {url[:80]}")
            return URLFetcherResponse(
                url, base64.b64decode(url[len(PNG_START) :]), {"Content-Type": "image/png"}
            )

    made: bytes = HTML(string=page, url_fetcher=OnlyData()).write_pdf(pdf_tags=True)
    return made
