# SPDX-License-Identifier: GPL-2.0-only
"""Types of arguments, and the options that several commands have."""

from __future__ import annotations

import argparse
from pathlib import Path


def names(text: str) -> tuple[str, ...]:
    """Names, separated by commas; each once."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise argparse.ArgumentTypeError("expects names, separated by commas")
    return names


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers, separated by commas; each once."""
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expects whole numbers, separated by commas, not {text!r}"
        ) from None


def load(text: str) -> float | None:
    """Packets per second; None for ``max``."""
    if text == "max":
        return None
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expects 'max' or packets per second, not {text!r}") from None


def share(text: str) -> float:
    """A percentage as a share: ``2%`` is 0.02."""
    try:
        return float(text.removesuffix("%")) / 100
    except ValueError:
        raise argparse.ArgumentTypeError(f"expects a percentage like 2%, not {text!r}") from None


def output(parser: argparse.ArgumentParser) -> None:
    """Where results and reports are, and how much is printed."""
    places(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress, only warnings and the result")
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")


def stored(parser: argparse.ArgumentParser) -> None:
    """Where results are."""
    parser.add_argument(
        "--results", type=Path, metavar="DIR", default=Path("results"), help="default: results"
    )


def places(parser: argparse.ArgumentParser) -> None:
    """Where results and reports are."""
    stored(parser)
    parser.add_argument(
        "--reports", type=Path, metavar="DIR", default=Path("reports"), help="default: reports"
    )
