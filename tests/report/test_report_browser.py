# SPDX-License-Identifier: GPL-2.0-only
"""The report in a real browser: no error, no request, nothing wider than the window.

The page is put into a frame of the wanted width (headless Chromium's own window has a least width),
and a script in the page around it, never in the report, writes down what it sees.
"""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kbench.explain.report import render
from tests.unit import synthetic_findings
from tests.unit import synthetic_runs as synthetic

pytestmark = pytest.mark.needs_browser

PROBE = """
<!doctype html><meta charset="utf-8"><body style="margin:0">
<iframe id="f" style="border:0;width:WIDTHpx;height:1000px"></iframe>
<pre id="seen"></pre>
<script>
const frame = document.getElementById("f");
const write = (data) => { document.getElementById("seen").textContent = JSON.stringify(data); };
frame.onload = () => {
  const page = frame.contentDocument, root = page.documentElement, view = frame.contentWindow;
  const inside = (e) => e.closest(".scroll") !== null;
  const out = [...page.querySelectorAll("body *")].filter(
    (e) => !inside(e) && e.getBoundingClientRect().right > root.clientWidth + 1);
  const style = view.getComputedStyle(page.body);
  write({
    width: root.clientWidth, scroll: root.scrollWidth, out: out.slice(0, 5).map((e) => e.outerHTML.slice(0, 120)),
    requests: view.performance.getEntriesByType("resource").map((r) => r.name).filter((n) => !n.startsWith("data:")),
    scripts: page.scripts.length, charts: page.querySelectorAll("figure svg").length,
    empty: [...page.querySelectorAll("figure svg")].filter((s) => s.getBoundingClientRect().height < 40).length,
    ink: style.color, paper: style.backgroundColor,
    chart_ink: view.getComputedStyle(page.querySelector("figure svg text") || page.body).fill,
  });
};
frame.srcdoc = PAGE;
</script>
"""


def look(
    browser: str, tmp_path: Path, page: str, width: int, dark: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """What the probe saw, and the lines of the browser's console."""
    # "</" would end the probe's script.
    source = json.dumps(page).replace("</", "<\\/")
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE.replace("WIDTH", str(width)).replace("PAGE", source), encoding="utf-8")
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--window-size=1700,1100",
            "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=4000",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom", probe.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.S)
    assert found and found[1], f"the probe did not run: {done.stderr[-2000:]}"
    seen: dict[str, Any] = json.loads(html.unescape(found[1]))
    return seen, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def brightness(colour: str) -> float:
    """0 (black) to 255 of an rgb() colour."""
    return sum(float(n) for n in re.findall(r"[\d.]+", colour)[:3]) / 3


@pytest.fixture
def page(tmp_path: Path) -> str:
    return render(synthetic.write_full(tmp_path / "results"))


@pytest.mark.parametrize("width", [400, 800, 1600])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_fits_and_is_quiet(
    browser_path: str, tmp_path: Path, page: str, width: int, dark: bool
) -> None:
    seen, console = look(browser_path, tmp_path, page, width, dark)
    assert console == [] and seen["requests"] == [] and seen["scripts"] == 0
    assert seen["scroll"] <= seen["width"] <= width and seen["out"] == []
    assert seen["charts"] == 8 and seen["empty"] == 0
    ink, paper = brightness(seen["ink"]), brightness(seen["paper"])
    assert (ink > 200 and paper < 50) if dark else (ink < 50 and paper > 200)
    assert abs(brightness(seen["chart_ink"]) - ink) < 1, "charts do not follow the page's colours"


@pytest.mark.parametrize("width", [400, 1600])
def test_the_page_of_all_methods_fits(browser_path: str, tmp_path: Path, width: int) -> None:
    page = render(synthetic_findings.write(tmp_path / "results"))
    seen, console = look(browser_path, tmp_path, page, width)
    assert console == [] and seen["scroll"] <= seen["width"] and seen["out"] == []
    assert seen["charts"] == 7 and seen["empty"] == 0


def test_the_probe_itself_sees_what_is_wrong(browser_path: str, tmp_path: Path) -> None:
    bad = (
        "<!doctype html><body><div style='width:2000px'>wide</div><img src='http://kbench.invalid/x.png'>"
        "<script>console.error('kb-bad')</script></body>"
    )
    seen, console = look(browser_path, tmp_path, bad, 400)
    assert seen["scroll"] > seen["width"] and seen["out"] and seen["scripts"] == 1
    assert seen["requests"] == ["http://kbench.invalid/x.png"]
    assert any("kb-bad" in line for line in console)


def test_long_names_do_not_widen_the_page(browser_path: str, tmp_path: Path) -> None:
    run = synthetic.write_full(tmp_path / "results")
    run.run["command"] = ["kbench", "run", "x" * 600]
    run.facts["host"]["hostname"] = "h" * 400
    run.verifications[-1].differences.append("d" * 500)
    run.run["plan"]["parts"][0]["reason"] = "r" * 300
    seen, _ = look(browser_path, tmp_path, render(run), 400)
    assert seen["scroll"] <= seen["width"] and seen["out"] == []


def test_it_prints(browser_path: str, tmp_path: Path, page: str) -> None:
    source, out = tmp_path / "page.html", tmp_path / "page.pdf"
    source.write_text(page, encoding="utf-8")
    subprocess.run(
        [
            browser_path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={out}", source.as_uri(),
        ],
        capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    data = out.read_bytes()
    assert data.startswith(b"%PDF")
    pages = len(re.findall(rb"/Type\s*/Page\b", data))
    assert 2 <= pages <= 12
