# SPDX-License-Identifier: GPL-2.0-only
"""Sets a lent port to a profile, and reads back what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from kbench.errors import EnvironmentProblem
from kbench.host.nic import settings
from kbench.host.nic.irqs import queue_irqs
from kbench.host.nic.lend import Lent
from kbench.host.nic.port import PortState, Scalar
from kbench.host.nic.settings import At
from kbench.host.nic.state import read_state
from kbench.host.shell import Shell

IRQBALANCE = "grep -ls '^irqbalance$' /proc/[0-9]*/comm || true"
MASKS = {"rps": "rps_cpus", "rfs": "rps_flow_cnt", "xps": "xps_cpus"}
"""Key of a profile -> file of each queue that is 0 when it is off."""
OWN = {"irq-affinity", "rss", *MASKS}
"""Keys of a profile that are not settings by themselves."""


class Profile(Protocol):
    """What is needed of a `NicProfile`."""

    @property
    def name(self) -> str: ...
    @property
    def queues(self) -> int: ...
    @property
    def values(self) -> Mapping[str, Scalar]: ...
    @property
    def explicit(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Applied:
    """What a port was set to, read back: drivers round, and refuse."""

    before: dict[str, Scalar]
    during: dict[str, Scalar]
    """Both by flat names."""
    not_set: dict[str, str]
    """What the profile asks for and the port does not do: name -> reason."""
    irqbalance: bool
    """Whether irqbalance runs there, which may move interrupts every 10 s."""
    receive_irqs: tuple[int, ...]
    """Interrupt of each receive queue, as far as the driver names them."""


def apply(host: Shell, lent: Lent, profile: Profile, cpus: Sequence[int], *, strict: bool = True) -> Applied:
    """Set a port to a profile; the interrupt of queue i goes to ``cpus[i % len(cpus)]``.

    What the port can't do is in `not_set`. Raises EnvironmentProblem for that when the user's file asked for it, and
    when the port has fewer queues than asked for; with `strict` False (the tester's ports) neither is an error.
    """
    job = _Job(At(host, lent.name, lent.netns), lent.state, profile, cpus)
    job.set_channels()
    job.set_rest()
    during = job.now
    if strict:
        job.complain(during)
    return Applied(
        before=lent.state.flat(),
        during=during.flat(),
        not_set=job.not_set,
        irqbalance=bool(host.run(["sh", "-c", IRQBALANCE]).stdout.strip()),
        receive_irqs=queue_irqs(during.irq_names, lent.name).receive,
    )


def queue_count(state: PortState) -> int:
    """Receive queues of a port: what `ethtool -l` says, else the queues that the kernel has."""
    channels = [state.settings.get(f"channels.{kind}") for kind in ("combined", "rx")]
    numbers = [number for number in channels if isinstance(number, int)]
    if sum(numbers):
        return sum(numbers)
    return sum(key.startswith("queue.rx-") and key.endswith(".rps_cpus") for key in state.settings) or 1


def channel_counts(state: PortState, queues: int) -> dict[str, Scalar]:
    """What to set for so many receive queues: combined ones where the driver has them, else as many of each kind."""
    if state.limits.get("channels.combined"):
        wanted: dict[str, Scalar] = {"channels.combined": queues}
        others: Scalar = 0
    else:
        wanted, others = {}, queues
    for kind in ("channels.rx", "channels.tx"):
        if state.limits.get(kind):
            wanted[kind] = others
    return wanted


class _Job:
    """One port being set. Looking at it takes a second on a slow machine, so it is done once for each step."""

    def __init__(self, at: At, before: PortState, profile: Profile, cpus: Sequence[int]) -> None:
        self._at = at
        self._before = before
        self._profile = profile
        self._cpus = cpus
        self.not_set: dict[str, str] = {}
        self.now = self._look()

    def _look(self) -> PortState:
        return read_state(self._at.shell, self._at.name, self._at.netns)

    def _put(self, wanted: Mapping[str, Scalar]) -> None:
        """Set what differs, look again; reasons of what failed go to `not_set`."""
        wrong = {key: value for key, value in wanted.items() if self.now.settings.get(key) != value}
        if not wrong:
            return
        failed = settings.put(self._at, wrong)
        self.now = self._look()
        for key, value in wrong.items():
            why = failed.get(settings.group_of(key))
            if why and self.now.settings.get(key) != value:
                self.not_set[key] = why

    def set_channels(self) -> None:
        """As many queues as the profile asks for; they come first, since all else is of the queues that are there."""
        queues = self._profile.queues
        if queue_count(self.now) == queues:
            return
        wanted = channel_counts(self.now, queues)
        limits = self.now.limits
        most = limits.get("channels.combined") or limits.get("channels.rx", queues)
        if not wanted:
            self.not_set["channels"] = f"the driver keeps to {_queues(queue_count(self.now))}"
        elif queues > most:
            self.not_set["channels"] = f"the port has at most {_queues(most)}"
        else:
            self._put(wanted)

    def set_rest(self) -> None:
        """All other settings, at once."""
        self._put({**self._values(), **self._rss(), **self._masks(), **self._affinity()})

    def _values(self) -> dict[str, Scalar]:
        """Whatever is a setting of the port under its own name."""
        wanted: dict[str, Scalar] = {}
        for key, value in self._profile.values.items():
            name = key.removeprefix("features.")
            if key in OWN:
                continue
            if key in self.now.settings:
                as_number = isinstance(value, bool) and not isinstance(self.now.settings[key], bool)
                wanted[key] = int(value) if as_number else value
            elif key.startswith("features.") and name in self.now.fixed:
                if self.now.fixed[name] != value:
                    self.not_set[key] = f"fixed by the driver to {settings.onoff(self.now.fixed[name])}"
            elif value is not False:  # what the driver does not have is off
                self.not_set[key] = "the driver has no such setting"
        return wanted

    def _rss(self) -> dict[str, Scalar]:
        """Queues in turn, if the table that is there could be put back."""
        if "rss" not in self._profile.values or "rss.table" not in self.now.settings:
            return {}
        if not str(self._before.settings.get("rss.table", "equal")).startswith(("equal", "weight")):
            self.not_set["rss.table"] = "ethtool has no words to put the table back that was there"
            return {}
        # A driver that has more queues than asked for, and keeps to them, is given packets on so many.
        return {"rss.table": f"equal {min(self._profile.queues, queue_count(self.now))}"}

    def _masks(self) -> dict[str, Scalar]:
        """No packet changes its CPU after the interrupt."""
        files = {name for key, name in MASKS.items() if key in self._profile.values}
        return {
            key: "0"
            for key, value in self.now.settings.items()
            if key.startswith("queue.") and _is_on(key, value, files)
        }

    def _affinity(self) -> dict[str, Scalar]:
        """Each queue's interrupts to its CPU."""
        if "irq-affinity" not in self._profile.values or not self.now.irq_names:
            return {}
        found = queue_irqs(self.now.irq_names, self._at.name)
        if not found.receive:
            self.not_set["irq-affinity"] = (
                "the driver's names of interrupts don't tell which queue they are of"
            )
        return {
            f"irq.{number}.smp_affinity_list": str(self._cpus[index % len(self._cpus)])
            for queues in (found.receive, found.transmit)
            for index, number in enumerate(queues)
        }

    def complain(self, during: PortState) -> None:
        """EnvironmentProblem for what the user wanted and does not get."""
        have = queue_count(during)
        if have < self._profile.queues:
            why = self.not_set.get("channels", "the driver does not make more")
            raise EnvironmentProblem(
                f"{self._at.name} has {_queues(have)}, not {self._profile.queues}: {why}; use --queues {have}"
            )
        for key, why in self.not_set.items():
            if key in self._profile.explicit:
                raise EnvironmentProblem(
                    f"{self._profile.name}: {self._at.name} can't be set to {key}"
                    f" = {settings.onoff(self._profile.values[key])}: {why}"
                )


def _queues(number: int) -> str:
    return f"{number} queue{'' if number == 1 else 's'}"


def _is_on(key: str, value: Scalar, files: set[str]) -> bool:
    name = key.rpartition(".")[2]
    return name in files and bool(str(value).strip("0,"))
