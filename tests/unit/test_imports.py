# SPDX-License-Identifier: GPL-2.0-only
"""Imports run downwards only: cli (commands) -> doctor, measure, explain -> functions, host, store -> model, errors."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "kbench"
RANK = {
    "__main__": 5,
    "cli": 4,
    "commands": 3,
    "selftest": 3,
    "doctor": 2,
    "measure": 2,
    "explain": 2,
    "functions": 1,
    "host": 1,
    "store": 1,
    "estimate": 1,
    "model": 0,
    "errors": 0,
    "places": 0,
    "__init__": 0,
}
HEAVY = ("pandas", "matplotlib", "scipy", "pyperf", "jinja2")


def unit_of(module: str) -> str:
    """The part of the house that a dotted module name belongs to: kbench.host.local -> host."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports(source: str, package: str) -> Iterator[str]:
    """Every module that `source`, a module of `package`, imports, wherever in the file, in full."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            if module == "kbench":  # from kbench import host
                yield from (f"kbench.{alias.name}" for alias in node.names)
            else:
                yield module


def forbidden(module: str, imported: str) -> str:
    """Why `module` must not import `imported`, or ""."""
    own = unit_of(module)
    if imported.split(".", maxsplit=1)[0] in HEAVY and own in (
        "measure",
        "host",
        "functions",
        "store",
        "model",
        "errors",
        "doctor",
    ):
        return "only explain reads results with it; measuring must start in well under a second"
    if imported.split(".", maxsplit=1)[0] != "kbench":
        return ""
    other = unit_of(imported)
    if other in (own, "__init__") or imported == "kbench.__version__":
        return ""
    if other not in RANK:
        return ""  # a name in kbench/__init__.py
    if RANK[other] >= RANK[own]:
        return "imports run downwards only"
    return ""


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


def test_every_part_of_the_house_has_a_rank() -> None:
    assert {unit_of(name) for name, _ in modules()} <= set(RANK)


@pytest.mark.parametrize(
    ("module", "path"), modules(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_imports_run_downwards(module: str, path: Path) -> None:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    bad = [
        f"{name}: {why}" for name in imports(path.read_text(), package) if (why := forbidden(module, name))
    ]
    assert not bad


@pytest.mark.parametrize(
    ("module", "text", "allowed"),
    [
        ("kbench.measure.run", "from kbench.explain import stats", False),
        ("kbench.explain.report", "import kbench.measure.run", False),
        ("kbench.explain.report", "from ..measure import run", False),
        ("kbench.host.local", "from kbench.store import RunStore", False),
        ("kbench.model", "from kbench import errors", False),
        ("kbench.measure.run", "def f():\n    import pandas", False),
        ("kbench.measure.run", "from kbench.host.local import LocalHost", True),
        ("kbench.host.local", "from kbench.errors import KbenchError", True),
        ("kbench.explain.figures", "import matplotlib.pyplot", True),
        ("kbench.cli", "from kbench import doctor, __version__", True),
        ("kbench.host.local", "from . import undo", True),
    ],
)
def test_the_check_itself(module: str, text: str, allowed: bool) -> None:
    bad = [why for name in imports(text, module.rpartition(".")[0]) if (why := forbidden(module, name))]
    assert (not bad) == allowed


def test_the_measuring_wing_loads_nothing_heavy() -> None:
    names = [
        name for name, _ in modules() if unit_of(name) in ("measure", "host", "functions", "doctor", "cli")
    ]
    code = (
        f"import sys, importlib\nfor name in {names!r}: importlib.import_module(name)\n"
        f"print([name for name in {('pandas', 'matplotlib', 'scipy')!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
