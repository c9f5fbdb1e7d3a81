# SPDX-License-Identifier: GPL-2.0-only
"""Network namespaces and links on a Host, by iproute2."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from kbench.errors import EnvironmentProblem, MeasureError
from kbench.host.base import Host
from kbench.host.journal import Journal

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def add_namespace(host: Host, journal: Journal | None, name: str) -> None:
    """Make a namespace with its loopback up.

    With a journal (the lab, which is thrown away whole, needs none) it is written down first.
    EnvironmentProblem if the name is taken: a namespace that somebody else made is never touched.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"bad name of a namespace: {name!r}")
    if host.exists(f"/run/netns/{name}"):
        raise EnvironmentProblem(f"network namespace {name} exists already; `kbench restore` or delete it")
    if journal:
        journal.record("netns", at=host.address, name=name)
    done = host.run(["ip", "netns", "add", name], check=False)
    if done.code:
        # Somebody was faster: it is not ours to delete.
        entry = journal.find("netns", at=host.address, name=name) if journal else None
        if journal and entry and "exists" in done.stderr:
            journal.done(entry)
        raise MeasureError(f"can't add network namespace {name}: {done.stderr.strip()}")
    batch(host, name, ["link set lo up"])


def del_namespace(host: Host, journal: Journal | None, name: str) -> None:
    """Delete a namespace that `add_namespace` made, and note it in the journal."""
    host.run(["ip", "netns", "delete", name])
    entry = journal.find("netns", at=host.address, name=name) if journal else None
    if journal and entry:
        journal.done(entry)


def batch(host: Host, netns: str | None, lines: Iterable[str], *, timeout_s: float = 60.0) -> None:
    """Run `ip` commands (lines without the ``ip``) in one process; MeasureError names the one that failed."""
    commands = list(lines)
    text = "".join(f"{line}\n" for line in commands)
    done = host.run(["ip", "-batch", "-"], netns=netns, stdin=text.encode(), check=False, timeout_s=timeout_s)
    if not done.code:
        return
    failed = re.search(r"^Command failed -:(\d+)\s*$", done.stderr, re.MULTILINE)
    message = re.sub(r"^Command failed -:\d+\s*$", "", done.stderr, flags=re.MULTILINE).strip()
    line = commands[int(failed[1]) - 1] if failed else "-batch"
    where = f" in namespace {netns}" if netns else ""
    raise MeasureError(f"`ip {line}`{where}: {message or f'exit status {done.code}'}")


def _ip_json(host: Host, netns: str | None, *args: str) -> list[dict[str, Any]]:
    text = host.run(["ip", "-json", *args], netns=netns).stdout
    try:
        found = json.loads(text or "[]")
    except ValueError as error:
        raise MeasureError(f"ip -json {' '.join(args)} printed no JSON: {error}") from error
    return [item for item in found if item]  # older iproute2 prints {} for what a filter left out


def links(host: Host, netns: str | None = None) -> dict[str, dict[str, Any]]:
    """Interfaces by name, as ``ip -json -details link`` describes them."""
    return {str(link["ifname"]): link for link in _ip_json(host, netns, "-details", "link", "show")}


def link_stats(host: Host, netns: str | None = None) -> dict[str, dict[str, dict[str, int]]]:
    """Counters by interface: {"rx": {"bytes", "packets", "errors", "dropped", ...}, "tx": {...}}."""
    found = _ip_json(host, netns, "-statistics", "link", "show")
    return {str(link["ifname"]): link["stats64"] for link in found if "stats64" in link}
