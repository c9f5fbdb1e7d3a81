# SPDX-License-Identifier: GPL-2.0-only
"""Lends a port to a run: written down whole, moved into a namespace, brought up, and given back."""

from __future__ import annotations

from dataclasses import dataclass

from kbench.errors import KbenchError
from kbench.host.base import Host
from kbench.host.journal import Entry, Journal
from kbench.host.nic.port import PortState
from kbench.host.nic.putback import put_back
from kbench.host.nic.state import read_state

__all__ = ["Lent", "lend", "put_back"]


@dataclass
class Lent:
    """A port that is lent, in a namespace of the run (None: it stayed where it was)."""

    host: Host
    journal: Journal | None
    entry: Entry | None
    state: PortState
    """Before anything was changed."""
    netns: str | None
    given_back: bool = False

    @property
    def name(self) -> str:
        """The same inside the namespace as outside."""
        return self.state.name

    def give_back(self) -> list[str]:
        """Put the port back and note it. What can't be put back raises, and stays in the journal."""
        if self.given_back:
            return []
        did = put_back(self.host, self.state)
        if self.journal and self.entry:
            self.journal.done(self.entry)
        self.given_back = True
        return did


def has_carrier(host: Host, name: str, netns: str | None = None) -> bool:
    """Whether a port is up and hears its peer."""
    try:
        return host.read_text(f"/sys/class/net/{name}/carrier", netns=netns).strip() == "1"
    except KbenchError:
        return False  # the kernel answers EINVAL while the port is down


def lend(host: Host, journal: Journal | None, name: str, netns: str | None) -> Lent:
    """Take a port into the namespace `netns` (which is there; None: leave it in place) and bring it up.

    Its whole state is in the journal before anything changes. Without a journal (the lab, which is thrown away whole)
    only `give_back` puts it back. Raises EnvironmentProblem when there is no such port; after any failure the port is
    as it was.
    """
    state = read_state(host, name)
    entry = journal.record("nic", state=state.to_json(), at=host.address) if journal else None
    lent = Lent(host, journal, entry, state, netns)
    try:
        if netns is not None:
            host.run(["ip", "link", "set", "dev", name, "netns", netns])
        host.run(["ip", "link", "set", "dev", name, "up"], netns=netns)
        if netns is not None and not state.up:
            # Here settings get changed: those that did not show before are written down as well.
            lent.state = state.with_shown(read_state(host, name, netns))
            if journal and entry:
                lent.entry = journal.record("nic", state=lent.state.to_json(), at=host.address)
                journal.done(entry)
    except BaseException:
        lent.give_back()
        raise
    return lent
