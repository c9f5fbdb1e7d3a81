# SPDX-License-Identifier: GPL-2.0-only
"""The report in a real browser: no error, no request, nothing wider than the window; tables sort and filter; axe-core
finds no fault that keeps people out."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, sync_playwright
from playwright.sync_api import Page as Tab

from kbench.explain import report
from kbench.store import Run
from tests.report.pages import big
from tests.unit import synthetic_findings, synthetic_nics
from tests.unit import synthetic_runs as synthetic

pytestmark = pytest.mark.needs_browser

OVERFLOW = """
() => {
  const root = document.documentElement;
  const inside = (e) => e.closest(".scroll") !== null || e.closest(".skip") !== null;
  const out = [...document.querySelectorAll("body *")].filter(
    (e) => !inside(e) && e.getBoundingClientRect().right > root.clientWidth + 1);
  const style = getComputedStyle(document.body);
  const charts = [...document.querySelectorAll("figure svg")];
  return {
    width: root.clientWidth, scroll: root.scrollWidth, out: out.slice(0, 5).map((e) => e.outerHTML.slice(0, 120)),
    charts: charts.length, empty: charts.filter((s) => s.getBoundingClientRect().height < 40).length,
    ink: style.color, paper: style.backgroundColor,
    chart_ink: charts.length ? getComputedStyle(charts[0].querySelector("text")).fill : "",
  };
}
"""


@dataclass
class Seen:
    """A page in the browser, and all that it said and asked for."""

    tab: Tab
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def layout(self) -> dict[str, Any]:
        found: dict[str, Any] = self.tab.evaluate(OVERFLOW)
        return found


@pytest.fixture(scope="module")
def chromium(browser_path: str) -> Generator[Browser, None, None]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--host-resolver-rules=MAP * ~NOTFOUND",
            ],
        )
        yield browser
        browser.close()


class Opener:
    """Opens pages, and closes them at the end of the test."""

    def __init__(self, browser: Browser, place: Path) -> None:
        self.browser, self.place = browser, place
        self.contexts: list[Any] = []

    def __call__(self, page: str, width: int = 1280, dark: bool = False, script: bool = True) -> Seen:
        file = self.place / f"page{len(self.contexts)}.html"
        file.write_text(page, encoding="utf-8")
        context = self.browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light",
            java_script_enabled=script,
        )  # fmt: skip
        self.contexts.append(context)
        seen = Seen(context.new_page())
        seen.tab.on("console", lambda message: seen.console.append(message.text))
        seen.tab.on("pageerror", lambda error: seen.console.append(str(error)))
        seen.tab.on("request", lambda request: seen.requests.append(request.url))
        seen.tab.goto(file.as_uri(), wait_until="load")
        seen.requests = [url for url in seen.requests if url != file.as_uri() and not url.startswith("data:")]
        return seen


@pytest.fixture
def show(chromium: Browser, tmp_path: Path) -> Generator[Opener, None, None]:
    opener = Opener(chromium, tmp_path)
    yield opener
    for context in opener.contexts:
        context.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return synthetic.write_full(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def page(run: Run) -> str:
    return report.html([run])


@pytest.fixture(scope="module")
def methods_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return report.html([synthetic_findings.write(tmp_path_factory.mktemp("results"))])


@pytest.fixture(scope="module")
def nics_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("results")
    return report.html([synthetic_nics.at_line_rate(place), synthetic_nics.emulated(place)])


def brightness(colour: str) -> float:
    """0 (black) to 255 of an rgb() colour."""
    return sum(float(n) for n in re.findall(r"[\d.]+", colour)[:3]) / 3


@pytest.mark.parametrize("width", [400, 800, 1600])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_fits_and_is_quiet(show: Opener, run: Run, page: str, width: int, dark: bool) -> None:
    seen = show(page, width, dark)
    layout = seen.layout()
    assert seen.console == [] and seen.requests == []
    assert layout["scroll"] <= layout["width"] <= width and layout["out"] == []
    assert layout["charts"] == len(report.figures([run])) >= 8 and layout["empty"] == 0
    ink, paper = brightness(layout["ink"]), brightness(layout["paper"])
    assert (ink > 200 and paper < 50) if dark else (ink < 50 and paper > 200)
    assert abs(brightness(layout["chart_ink"]) - ink) < 1, "charts do not follow the page's colours"


@pytest.mark.parametrize("width", [400, 1600])
def test_the_page_of_all_methods_fits(show: Opener, methods_page: str, width: int) -> None:
    seen = show(methods_page, width)
    layout = seen.layout()
    assert seen.console == [] and seen.requests == []
    assert layout["scroll"] <= layout["width"] and layout["out"] == []
    assert layout["charts"] >= 8 and layout["empty"] == 0


def test_the_look_itself_sees_what_is_wrong(show: Opener) -> None:
    seen = show(
        "<!doctype html><body><div style='width:2000px'>wide</div><img src='http://kbench.invalid/x.png'>"
        "<script>console.error('kb-bad'); undefined_function()</script></body>", 400
    )  # fmt: skip
    layout = seen.layout()
    assert layout["scroll"] > layout["width"] and layout["out"]
    assert seen.requests == ["http://kbench.invalid/x.png"]
    assert any("kb-bad" in line for line in seen.console)
    assert any("undefined_function" in line for line in seen.console)


def test_the_policy_stops_what_escaping_would_let_through(show: Opener, page: str) -> None:
    assert '<main id="main">' in page
    slipped = (
        "<main id=\"main\"><script>console.log('ran')</script><img src=x onerror=\"console.log('ran')\">"
        "<img src='http://kbench.invalid/y.png'><p id='slip' style='color: rgb(1, 2, 3)'>x</p>"
    )
    seen = show(page.replace('<main id="main">', slipped))
    assert "ran" not in seen.console
    assert len([line for line in seen.console if "Content Security Policy" in line]) >= 4
    assert seen.tab.evaluate("getComputedStyle(document.getElementById('slip')).color") != "rgb(1, 2, 3)"


def test_long_names_do_not_widen_the_page(show: Opener, tmp_path: Path) -> None:
    run = synthetic.write_full(tmp_path / "results")
    run.run["command"] = ["kbench", "run", "x" * 600]
    run.run["label"] = "l" * 300
    run.facts["host"]["hostname"] = "h" * 400
    run.verifications[-1].differences.append("d" * 500)
    run.run["plan"]["parts"][0]["reason"] = "r" * 300
    layout = show(report.html([run]), 400).layout()
    assert layout["scroll"] <= layout["width"] and layout["out"] == []


RANKING = "#answer-host-forward-p1-f64 table"


def column(seen: Seen, table: str, number: int) -> list[str]:
    """The texts of a column's cells that can be seen."""
    cells = f"{table} tbody tr:not([hidden]) > :nth-child({number})"
    return [text.strip() for text in seen.tab.locator(cells).all_inner_texts()]


def test_tables_sort_by_click(show: Opener, page: str) -> None:
    seen = show(page)
    assert column(seen, RANKING, 1) == ["xdp", "kernel", "af_packet"]
    head = seen.tab.locator(f"{RANKING} thead th").nth(1)
    assert head.get_attribute("aria-sort") is None
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(seen, RANKING, 1) == ["af_packet", "kernel", "xdp"]
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert column(seen, RANKING, 1) == ["xdp", "kernel", "af_packet"]
    first = seen.tab.locator(f"{RANKING} thead th").first
    first.get_by_role("button").click()
    assert column(seen, RANKING, 1) == ["af_packet", "kernel", "xdp"]
    assert first.get_attribute("aria-sort") == "ascending" and head.get_attribute("aria-sort") is None
    assert seen.console == []


def test_tables_sort_by_keyboard(show: Opener, page: str) -> None:
    seen = show(page)
    button = seen.tab.locator(f"{RANKING} thead th").nth(1).get_by_role("button")
    seen.tab.locator(f"{RANKING} thead th").first.get_by_role("button").focus()
    seen.tab.keyboard.press("Tab")
    assert button.evaluate("(e) => e === document.activeElement")
    seen.tab.keyboard.press("Enter")
    assert column(seen, RANKING, 1) == ["af_packet", "kernel", "xdp"]
    seen.tab.keyboard.press("Space")
    assert column(seen, RANKING, 1) == ["xdp", "kernel", "af_packet"]


def test_numbers_sort_by_value_and_what_is_missing_comes_last(show: Opener, methods_page: str) -> None:
    seen = show(methods_page)
    table = "#latency table"
    values = seen.tab.locator(f"{table} thead th")
    names = [text.split()[0] for text in values.all_inner_texts()]
    number = names.index("p50") + 1
    for order in (1, -1):
        values.nth(number - 1).get_by_role("button").click()
        texts = [text for text in column(seen, table, number) if text != "-"]
        units = {"ns": 1.0, "us": 1e3, "ms": 1e6}
        numbers = [float(text.split()[0]) * units[text.split()[1]] for text in texts]
        assert numbers == sorted(numbers, reverse=order < 0) and len({text.split()[1] for text in texts}) > 1
        tail = names.index("p99.99") + 1
        values.nth(tail - 1).get_by_role("button").click()
        shown = column(seen, table, tail)
        assert "-" in shown and "-" not in shown[: len(shown) - shown.count("-")]
        values.nth(number - 1).get_by_role("button").click() if order > 0 else None


def test_tables_are_filtered_by_words(show: Opener, methods_page: str) -> None:
    seen = show(methods_page)
    table = "#latency table"
    rows = len(column(seen, table, 1))
    assert rows > 7
    field_ = seen.tab.locator("#latency .filter input").first
    field_.fill("XDP 90")
    assert 0 < len(column(seen, table, 1)) < rows
    assert set(column(seen, table, 1)) == {"xdp"}
    assert seen.tab.locator("#latency output").first.inner_text() == f"1 of {rows} rows"
    field_.fill("")
    assert len(column(seen, table, 1)) == rows
    assert seen.tab.locator("#answer .filter").count() == 0, "short tables need no filter"


def test_the_page_is_whole_without_its_script(show: Opener, page: str) -> None:
    seen = show(page, script=False)
    words = seen.tab.locator("main").inner_text()
    assert "xdp forwards 3.98x" in words and column(seen, RANKING, 1) == ["xdp", "kernel", "af_packet"]
    assert seen.tab.locator("button, input").count() == 0, "nothing that would do nothing"
    assert seen.tab.locator("#facts-run1-1 tbody tr").count() > 2


def test_the_skip_link_is_the_first_stop(show: Opener, page: str) -> None:
    seen = show(page)
    seen.tab.keyboard.press("Tab")
    assert seen.tab.evaluate("document.activeElement.className") == "skip"
    seen.tab.keyboard.press("Enter")
    assert seen.tab.url.endswith("#main")


def test_paper_is_white_whatever_the_screen_is(show: Opener, page: str) -> None:
    seen = show(page, 800, dark=True)
    seen.tab.emulate_media(media="print", color_scheme="dark")
    layout = seen.layout()
    assert brightness(layout["paper"]) == 255 and brightness(layout["ink"]) == 0
    assert layout["scroll"] <= layout["width"]
    assert not seen.tab.locator(".filter").first.is_visible()


def test_it_prints_with_all_that_is_folded(show: Opener, page: str, tmp_path: Path) -> None:
    seen = show(page)
    closed = seen.tab.locator("details:not([open])").count()
    assert closed > 0
    seen.tab.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert seen.tab.locator("details:not([open])").count() == 0
    seen.tab.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert seen.tab.locator("details:not([open])").count() == closed
    data = seen.tab.pdf(format="A4")
    assert data.startswith(b"%PDF")
    assert 4 <= len(re.findall(rb"/Type\s*/Page\b", data)) <= 40


def faults(seen: Seen) -> list[str]:
    """What axe-core calls serious or critical, with the first place of each."""
    seen.tab.evaluate("for (const item of document.querySelectorAll('details')) item.open = true")
    found = Axe().run(seen.tab).response["violations"]
    return [
        f"{fault['id']} ({fault['impact']}): {fault['nodes'][0]['html'][:160]}"
        for fault in found if fault["impact"] in ("serious", "critical")
    ]  # fmt: skip


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_axe_finds_no_serious_fault(
    show: Opener, page: str, methods_page: str, dark: bool, width: int
) -> None:
    assert faults(show(page, width, dark)) == []
    assert faults(show(methods_page, width, dark)) == []


@pytest.mark.parametrize(("dark", "width"), [(False, 400), (True, 1280)])
def test_a_page_of_nics_fits_and_has_no_fault(show: Opener, nics_page: str, dark: bool, width: int) -> None:
    seen = show(nics_page, width, dark)
    layout = seen.layout()
    assert seen.console == [] and seen.requests == []
    assert layout["scroll"] <= layout["width"] and layout["out"] == [] and layout["empty"] == 0
    assert faults(seen) == []


def test_a_page_of_two_runs_of_many_cases_fits_and_has_no_fault(
    show: Opener, run: Run, tmp_path: Path
) -> None:
    seen = show(report.html([run, big(tmp_path / "results", 900, 4)]), 400, dark=True)
    layout = seen.layout()
    assert seen.console == [] and seen.requests == []
    assert layout["scroll"] <= layout["width"] and layout["out"] == [] and layout["empty"] == 0
    assert faults(seen) == []


def test_axe_finds_faults_where_there_are_some(show: Opener) -> None:
    bad = show(
        "<!doctype html><html><head><title></title></head><body><img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>"
        "<button></button><p style='color: #ccc; background: #fff'>pale text</p></body></html>"
    )
    found = " ".join(faults(bad))
    for rule in ("image-alt", "button-name", "color-contrast", "html-has-lang"):
        assert rule in found
