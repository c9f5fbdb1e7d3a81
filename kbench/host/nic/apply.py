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
    at = At(host, lent.name, lent.netns)
    job = _Job(at, lent.state, profile, cpus)
    job.set_channels()
    job.set_values()
    job.set_rss()
    job.set_masks()
    job.set_affinity()
    during = job.look()
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
    """One port being set; each step looks at what the one before left."""

    def __init__(self, at: At, before: PortState, profile: Profile, cpus: Sequence[int]) -> None:
        self.at = at
        self._before = before
        self._profile = profile
        self._cpus = cpus
        self.not_set: dict[str, str] = {}

    def look(self) -> PortState:
        """The port as it is now."""
        return read_state(self.at.shell, self.at.name, self.at.netns)

    def _put(self, wanted: Mapping[str, Scalar], now: PortState) -> None:
        """Set what differs from `now`; reasons of what fails go to `not_set`."""
        wrong = {key: value for key, value in wanted.items() if now.settings.get(key) != value}
        failed = settings.put(self.at, wrong)
        if not failed:
            return
        found = self.look().settings
        for key, value in wrong.items():
            why = failed.get(settings.group_of(key))
            if why and found.get(key) != value:
                self.not_set[key] = why

    def set_channels(self) -> None:
        """As many queues as the profile asks for."""
        now = self.look()
        queues = self._profile.queues
        if queue_count(now) == queues:
            return
        wanted = channel_counts(now, queues)
        if not wanted:
            self.not_set["channels"] = f"the driver keeps to {queue_count(now)} queues"
            return
        most = now.limits.get("channels.combined") or now.limits.get("channels.rx", queues)
        if queues > most:
            self.not_set["channels"] = f"the port has at most {most} queues"
            return
        self._put(wanted, now)

    def set_values(self) -> None:
        """Whatever is a setting of the port under its own name."""
        now = self.look()
        wanted: dict[str, Scalar] = {}
        for key, value in self._profile.values.items():
            name = key.removeprefix("features.")
            if key in OWN:
                continue
            if key in now.settings:
                same = now.settings[key]
                wanted[key] = int(value) if isinstance(value, bool) and not isinstance(same, bool) else value
            elif key.startswith("features.") and name in now.fixed:
                if now.fixed[name] != value:
                    self.not_set[key] = f"fixed by the driver to {settings.onoff(now.fixed[name])}"
            elif value is not False:
                # What the driver does not have is off.
                self.not_set[key] = "the driver has no such setting"
        self._put(wanted, now)

    def set_rss(self) -> None:
        """Queues in turn, if the table that is there could be put back."""
        now = self.look()
        if "rss" not in self._profile.values or "rss.table" not in now.settings:
            return
        if not str(self._before.settings.get("rss.table", "equal")).startswith(("equal", "weight")):
            self.not_set["rss.table"] = "ethtool has no words to put the table back that was there"
            return
        self._put({"rss.table": f"equal {self._profile.queues}"}, now)

    def set_masks(self) -> None:
        """No packet changes its CPU after the interrupt."""
        files = {name for key, name in MASKS.items() if key in self._profile.values}
        now = self.look()
        on = [
            key
            for key, value in now.settings.items()
            if key.startswith("queue.") and _is_on(key, value, files)
        ]
        self._put(dict.fromkeys(on, "0"), now)

    def set_affinity(self) -> None:
        """Each queue's interrupts to its CPU."""
        now = self.look()
        if "irq-affinity" not in self._profile.values or not now.irq_names:
            return
        found = queue_irqs(now.irq_names, self.at.name)
        if not found.receive:
            self.not_set["irq-affinity"] = (
                "the driver's names of interrupts don't tell which queue they are of"
            )
            return
        wanted: dict[str, Scalar] = {}
        for queues in (found.receive, found.transmit):
            for index, number in enumerate(queues[: self._profile.queues]):
                wanted[f"irq.{number}.smp_affinity_list"] = str(self._cpus[index % len(self._cpus)])
        self._put(wanted, now)

    def complain(self, during: PortState) -> None:
        """EnvironmentProblem for what the user wanted and does not get."""
        have = queue_count(during)
        if have < self._profile.queues:
            why = self.not_set.get("channels", "the driver does not make more")
            raise EnvironmentProblem(
                f"{self.at.name} has {have} queues, not {self._profile.queues}: {why}; use --queues {have}"
            )
        for key, why in self.not_set.items():
            if key in self._profile.explicit:
                raise EnvironmentProblem(
                    f"{self._profile.name}: {self.at.name} can't be set to {key}"
                    f" = {settings.onoff(self._profile.values[key])}: {why}"
                )


def _is_on(key: str, value: Scalar, files: set[str]) -> bool:
    name = key.rpartition(".")[2]
    return name in files and bool(str(value).strip("0,"))
